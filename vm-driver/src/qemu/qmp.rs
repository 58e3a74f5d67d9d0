//! Talking to a QEMU process.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qapi::qmp;
use qapi::{Command, ExecuteError, Qmp, Stream};
use serde::{Deserialize, Serialize};

use crate::error::DriverError;
use crate::id::VmId;

/// How long QEMU may take to answer. It answers within milliseconds, unless the
/// machine is overloaded.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the monitor of one VM.
pub(super) struct Connection {
    vm: VmId,
    log: PathBuf,
    qmp: Qmp<Stream<BufReader<UnixStream>, UnixStream>>,
}

impl Connection {
    /// Connects and negotiates.
    pub(super) fn open(vm: &VmId, socket: &Path, log: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp::new(Stream::new(BufReader::new(stream.try_clone()?), stream));
        let mut greeting = String::new();
        if qmp.inner_mut().read_line(&mut greeting)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU has hung up"));
        }
        qmp.execute(&qmp::qmp_capabilities { enable: None }).map_err(io::Error::from)?;
        Ok(Self { vm: vm.clone(), log: log.to_owned(), qmp })
    }

    /// Executes a command, for an `action` that an error names.
    pub(super) fn call<C: Command>(&mut self, action: &str, command: &C) -> Result<C::Ok, DriverError> {
        let result = self.qmp.execute(command);
        // Nobody waits for events: states are asked for.
        self.qmp.events();
        result.map_err(|error| DriverError::Monitor {
            vm: self.vm.clone(),
            action: action.to_owned(),
            answer: match error {
                ExecuteError::Qapi(error) => format!("QEMU says: {}", error.desc),
                ExecuteError::Io(error) => format!("QEMU can't be reached: {error}"),
            },
            log: crate::io::process::last_lines(&self.log),
        })
    }

    /// An error of this VM.
    pub(super) fn error(&self, action: &str, answer: impl Into<String>) -> DriverError {
        DriverError::Monitor {
            vm: self.vm.clone(),
            action: action.to_owned(),
            answer: answer.into(),
            log: crate::io::process::last_lines(&self.log),
        }
    }

    pub(super) fn run_state(&mut self) -> Result<qmp::RunState, DriverError> {
        Ok(self.call("ask for its state", &qmp::query_status {})?.status)
    }

    pub(super) fn migration(&mut self) -> Result<Migration, DriverError> {
        self.call("ask how far the migration is", &QueryMigrate {})
    }

    pub(super) fn block_jobs(&mut self) -> Result<Vec<BlockJob>, DriverError> {
        self.call("ask how far its disks are", &QueryBlockJobs {})
    }
}

// Answers have other fields in each of QEMU's versions; only what is used is read.

/// `query-migrate`.
#[derive(Serialize)]
struct QueryMigrate {}

impl Command for QueryMigrate {
    const NAME: &'static str = "query-migrate";
    const ALLOW_OOB: bool = false;
    type Ok = Migration;
}

/// How far a migration is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Migration {
    /// Missing before the first one.
    #[serde(default)]
    pub(super) status: String,
    #[serde(default)]
    pub(super) error_desc: Option<String>,
    /// In milliseconds.
    #[serde(default)]
    pub(super) downtime: Option<u64>,
    #[serde(default)]
    pub(super) ram: Option<Ram>,
}

/// Bytes of memory.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Ram {
    #[serde(default)]
    pub(super) transferred: u64,
    #[serde(default)]
    pub(super) remaining: u64,
    /// How often all of it was gone through.
    #[serde(default, rename = "dirty-sync-count")]
    pub(super) dirty_sync_count: u64,
}

impl Migration {
    /// Will it not change any more by itself?
    pub(super) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "" | "none" | "completed" | "failed" | "cancelled")
    }
}

/// `query-block-jobs`.
#[derive(Serialize)]
struct QueryBlockJobs {}

impl Command for QueryBlockJobs {
    const NAME: &'static str = "query-block-jobs";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<BlockJob>;
}

/// A copying of a disk.
#[derive(Debug, Deserialize)]
pub(super) struct BlockJob {
    pub(super) device: String,
    #[serde(default)]
    pub(super) len: u64,
    #[serde(default)]
    pub(super) offset: u64,
    #[serde(default)]
    pub(super) ready: bool,
    /// `ok`, `failed`, or `nospace`.
    #[serde(default, rename = "io-status")]
    pub(super) io_status: String,
    #[serde(flatten)]
    _rest: HashMap<String, serde::de::IgnoredAny>,
}

/// `query-named-block-nodes`.
#[derive(Serialize)]
pub(super) struct QueryNodes {
    /// Without the disks behind each.
    pub(super) flat: bool,
}

impl Command for QueryNodes {
    const NAME: &'static str = "query-named-block-nodes";
    const ALLOW_OOB: bool = false;
    type Ok = Vec<Node>;
}

/// A part of a disk.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Node {
    pub(super) node_name: Option<String>,
    /// How many disks stand behind it; 0 where the question was for flat answers.
    #[serde(rename = "backing_file_depth")]
    pub(super) backing_file_depth: u64,
}

/// `blockdev-reopen`.
#[derive(Serialize)]
pub(super) struct Reopen {
    /// Nodes with all their options.
    pub(super) options: Vec<serde_json::Value>,
}

impl Command for Reopen {
    const NAME: &'static str = "blockdev-reopen";
    const ALLOW_OOB: bool = false;
    type Ok = qapi::Empty;
}
