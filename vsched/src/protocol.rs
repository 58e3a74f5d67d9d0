//! What clients say to `vschedd`, and what it answers.
//!
//! Each message is one line of JSON over a Unix stream socket; a client sends a
//! request and reads one response, as often as it likes. Every message carries
//! `version`, now [`VERSION`]; a line has at most [`MAX_LINE`] bytes with its end.
//! Times are in nanoseconds.
//!
//! | `op` | with | answered by |
//! | --- | --- | --- |
//! | `hello` | | `host`: mechanism, its limits, cores, capacity |
//! | `attach` | `name`, `pids`, `reservation` | `attached`: task, core |
//! | `set` | `task`, `reservation` | `done` |
//! | `hold` | `task`, `goal`, `progress` | `done` |
//! | `release` | `task` | `done` |
//! | `check` | `reservation` | `fits`: core |
//! | `list` | | `tasks` |
//! | `history` | `task` | `history`: samples |
//! | `demand` | `task`, `count` | `demand`: samples for prediction |
//!
//! Any request may be answered by `error` with a text that says what to do.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::controller::Goal;
use crate::mechanism::{Limits, MechanismKind, TaskId};
use crate::monitor::{DemandSample, Sample};
use crate::reservation::Reservation;

/// The version that is spoken.
pub const VERSION: u32 = 1;

/// The longest line.
pub const MAX_LINE: usize = 1 << 20;

/// The most processes in one `attach`.
pub const MAX_PIDS: usize = 1024;

/// The longest name of a task, in bytes.
pub const MAX_NAME: usize = 256;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Who is there?
    Hello,
    /// Hold processes and their descendants to a reservation.
    Attach {
        /// A name to show.
        name: String,
        /// The processes.
        pids: Vec<u32>,
        /// What they are promised together.
        reservation: Reservation,
    },
    /// Change the reservation of a task.
    Set {
        /// The task.
        task: TaskId,
        /// What it is promised from its next period on.
        reservation: Reservation,
    },
    /// Let feedback change the slice of a task.
    Hold {
        /// The task.
        task: TaskId,
        /// What to hold.
        goal: Goal,
        /// The file that holds the task's progress, for a rate.
        progress: Option<PathBuf>,
    },
    /// Put everything about a task back as it was.
    Release {
        /// The task.
        task: TaskId,
    },
    /// Would it fit?
    Check {
        /// What would be promised.
        reservation: Reservation,
    },
    /// Show the tasks.
    List,
    /// Show what a task did.
    History {
        /// The task.
        task: TaskId,
    },
    /// Show what a task is likely to want.
    Demand {
        /// The task.
        task: TaskId,
        /// How many samples, at most.
        count: usize,
    },
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// To `hello`.
    Host {
        /// The mechanism in use.
        mechanism: MechanismKind,
        /// How good it is.
        limits: Limits,
        /// The cores that tasks may use.
        cores: Vec<usize>,
        /// What may be reserved of each.
        capacity: f64,
        /// CPU time that the mechanism has used.
        own_cpu: Duration,
    },
    /// To `attach`.
    Attached {
        /// The task's number from now on.
        task: TaskId,
    },
    /// To what has no other answer.
    Done,
    /// To `check`.
    Fits {
        /// On this core.
        core: usize,
    },
    /// To `list`.
    Tasks {
        /// The tasks.
        tasks: Vec<crate::io::TaskStatus>,
    },
    /// To `history`.
    History {
        /// The oldest first.
        samples: Vec<Sample>,
    },
    /// To `demand`.
    Demand {
        /// The oldest first.
        samples: Vec<DemandSample>,
    },
    /// It was not done, and nothing was changed.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// What is wrong with a message.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// It is too long.
    #[error("a message has at most {MAX_LINE} bytes")]
    TooLong,
    /// It is not one of ours.
    #[error("not a message of this protocol: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It is of another version.
    #[error("the message is of version {0}; this program speaks {VERSION}")]
    Version(u32),
    /// Too many processes.
    #[error("{0} processes; one task has at most {MAX_PIDS} to begin with")]
    TooManyPids(usize),
    /// The name is too long.
    #[error("a name has at most {MAX_NAME} bytes, and no control characters")]
    Name,
}

#[derive(Serialize, Deserialize)]
struct Message<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

/// The version alone: messages of other versions may look like anything else.
#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

impl Request {
    /// One line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a line, with or without its end.
    pub fn decode(line: &[u8]) -> Result<Self, ProtocolError> {
        let request = decode(line)?;
        if let Self::Attach { name, pids, .. } = &request {
            if pids.len() > MAX_PIDS {
                return Err(ProtocolError::TooManyPids(pids.len()));
            }
            if name.len() > MAX_NAME || name.chars().any(char::is_control) {
                return Err(ProtocolError::Name);
            }
        }
        Ok(request)
    }
}

impl Response {
    /// One line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a line, with or without its end.
    pub fn decode(line: &[u8]) -> Result<Self, ProtocolError> {
        decode(line)
    }
}

fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    let line = serde_json::to_vec(&Message { version: VERSION, body });
    // Only maps with keys that are not strings, and types that refuse, can fail: there are none.
    let mut line = line.expect("the messages are plain data");
    line.push(b'\n');
    line
}

fn decode<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, ProtocolError> {
    if line.len() > MAX_LINE {
        return Err(ProtocolError::TooLong);
    }
    let AnyVersion { version } = serde_json::from_slice(line)?;
    if version != VERSION {
        return Err(ProtocolError::Version(version));
    }
    let message: Message<T> = serde_json::from_slice(line)?;
    Ok(message.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let ms = Duration::from_millis;
        let reservation = Reservation::new(ms(10), ms(2)).unwrap();
        let requests = [
            Request::Hello,
            Request::Attach { name: "vm".to_owned(), pids: vec![1, 2], reservation },
            Request::Hold { task: TaskId(3), goal: Goal::Rate(1.5), progress: Some("/p".into()) },
            Request::Demand { task: TaskId(3), count: 5 },
        ];
        for request in requests {
            let line = request.encode();
            assert!(line.ends_with(b"\n"));
            assert_eq!(Request::decode(&line).unwrap(), request);
        }
        let fits = Response::Fits { core: 1 };
        assert_eq!(fits.encode(), b"{\"version\":1,\"answer\":\"fits\",\"core\":1}\n");
        assert_eq!(Response::decode(&fits.encode()).unwrap(), fits);
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let say = |line: &str| Request::decode(line.as_bytes()).unwrap_err().to_string();
        assert!(say(r#"{"version":2,"op":"what"}"#).contains("version 2"));
        assert!(say(r#"{"version":1,"op":"what"}"#).contains("unknown variant"));
        assert!(say(r#"{"op":"list"}"#).contains("version"));
        let reservation = r#"{"period_ns":1000000,"slice_ns":2000000}"#;
        assert!(
            say(&format!(r#"{{"version":1,"op":"check","reservation":{reservation}}}"#)).contains("shorten")
        );
        assert!(say(&" ".repeat(MAX_LINE + 1)).contains("at most"));
    }
}
