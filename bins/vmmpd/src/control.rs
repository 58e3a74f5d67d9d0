//! What users say to the agent and to providers, and what they hear.
//!
//! JSON, one object at a time: on Unix sockets behind its length (4 octets, most
//! significant first), over the network as a record (kind 40) of an encrypted channel.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vm_driver::VmConfig;
use vmmp::io::channel::Channel;
use vmmp::io::stream::Stream;
use vmmp::{MachineId, MethodName, MigrationId, PeerName, Progress};

/// The longest object, in bytes.
const MAX: usize = 1 << 20;

const RECORD: u8 = 40;

/// What the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum AgentRequest {
    /// How could this machine move there?
    Query {
        /// The machine.
        machine: MachineId,
        /// Where to.
        to: PeerName,
    },
    /// Move it. Answered by [`AgentReply::Begun`], and then as [`AgentRequest::Watch`].
    Migrate {
        /// The machine.
        machine: MachineId,
        /// Where to.
        to: PeerName,
        /// How; `None`: by the best method that both sides have.
        method: Option<MethodName>,
    },
    /// Where are the machines, and what is under way?
    List,
    /// Tell me how a migration goes on, until it ends.
    Watch {
        /// Which; `None`: all, without end.
        id: Option<MigrationId>,
    },
    /// Stop a migration, if it isn't too late.
    Cancel {
        /// Which.
        id: MigrationId,
        /// Why.
        reason: String,
    },
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum AgentReply {
    /// The methods, the best first.
    Methods {
        /// What both sides have.
        methods: Vec<MethodName>,
    },
    /// It has begun.
    Begun {
        /// The migration.
        id: MigrationId,
        /// How it is done.
        method: MethodName,
    },
    /// It goes on.
    Progress {
        /// Which.
        id: MigrationId,
        /// How far it is.
        progress: Progress,
    },
    /// It has ended.
    Ended {
        /// Which.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// Its new version, or why it is where it was.
        result: Result<u64, String>,
    },
    /// What there is.
    List {
        /// All machines.
        machines: Vec<Place>,
        /// What is under way.
        migrations: Vec<UnderWay>,
    },
    /// It is being stopped.
    Cancelling,
    /// It was not done.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// Where a machine is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The machine.
    pub machine: MachineId,
    /// The provider that has it.
    pub provider: PeerName,
    /// Its version.
    pub version: u64,
}

/// A migration that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Which.
    pub id: MigrationId,
    /// The machine.
    pub machine: MachineId,
    /// Where from.
    pub from: PeerName,
    /// Where to.
    pub to: PeerName,
    /// How.
    pub method: MethodName,
    /// How far it is.
    pub progress: Progress,
}

/// What a provider is asked by its own users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum ProviderRequest {
    /// Make a machine, and turn it on.
    Create {
        /// What it is made of.
        config: Box<VmConfig>,
    },
    /// Turn it on, or let it go on.
    Start {
        /// The machine.
        machine: MachineId,
    },
    /// Turn it off.
    Stop {
        /// The machine.
        machine: MachineId,
        /// Ask it, and wait so many seconds; `None`: at once.
        within_s: Option<u64>,
        /// What would be lost may be.
        consent: bool,
    },
    /// Remove it and its disks.
    Delete {
        /// The machine.
        machine: MachineId,
        /// What would be lost may be.
        consent: bool,
    },
    /// What machines are here?
    List,
    /// Where does a VNC client reach its screen?
    Console {
        /// The machine.
        machine: MachineId,
    },
}

/// What a provider answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum ProviderReply {
    /// It is done.
    Done,
    /// The machines.
    Machines {
        /// By name.
        machines: Vec<Machine>,
    },
    /// Its screen; `None`: it has none.
    Console {
        /// Where.
        address: Option<SocketAddr>,
    },
    /// It was not done.
    Error {
        /// Why, and what to do.
        message: String,
    },
}

/// A machine at a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub machine: MachineId,
    /// Its version, as the protocol has it.
    pub version: u64,
    /// Its state, or that it moves.
    pub state: String,
    /// The monitor's process.
    pub pid: Option<u32>,
    /// Why it stopped, when it did so by itself.
    pub ended: Option<String>,
    /// Its disks are still coming from there.
    #[serde(default)]
    pub coming_from: Option<PeerName>,
}

/// A user's connection.
pub enum Conversation {
    /// On this machine.
    Plain(Stream),
    /// Over the network.
    Secure(Box<Channel>),
}

impl Conversation {
    /// Says something.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn say(&mut self, what: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_vec(what)?;
        match self {
            Self::Plain(stream) => {
                let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
                bytes.extend(body);
                stream.write_all(&bytes)
            }
            Self::Secure(channel) => channel.writer.send(RECORD, &body).map_err(io::Error::other),
        }
    }

    /// Hears something.
    ///
    /// # Errors
    /// The connection has ended, or what comes makes no sense.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let body = match self {
            Self::Plain(stream) => {
                let mut head = [0; 4];
                stream.read_exact(&mut head)?;
                let length = u32::from_be_bytes(head) as usize;
                if length > MAX {
                    return Err(invalid(format!("an object of {length} bytes, more than {MAX}")));
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body)?;
                body
            }
            Self::Secure(channel) => match channel.reader.receive().map_err(io::Error::other)? {
                (RECORD, body) if body.len() <= MAX => body,
                (kind, body) => return Err(invalid(format!("record {kind} of {} bytes", body.len()))),
            },
        };
        serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))
    }
}
