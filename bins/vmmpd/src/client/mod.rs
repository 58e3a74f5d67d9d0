//! Speaking to the agent and to providers.

mod program;
mod show;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vmmp::delta::DeltaError;
use vmmp::io::channel::Keys;
use vmmp::io::greeting::Purpose;
use vmmp::io::stream::{Address, Stream};
use vmmp::{MachineId, MethodName, MigrationId, PeerName, Progress};

use crate::config::Key;
use crate::control::{AgentReply, AgentRequest, Conversation, ProviderReply, ProviderRequest};
use crate::links::{Contact, connect};

pub use program::main_from_env;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to speak to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub address: Address,
    /// Over the network: the user's key file, and the public key of the other side.
    pub keys: Option<(PathBuf, Key)>,
}

impl Target {
    /// A daemon of this machine, by the path of its control socket.
    pub fn local(path: impl AsRef<Path>) -> Self {
        Self { address: Address::Unix(path.as_ref().to_owned()), keys: None }
    }

    fn open(&self) -> Result<Conversation, ClientError> {
        let address = || self.address.clone();
        match &self.keys {
            None => Stream::connect(&self.address, PATIENCE)
                .map(Conversation::Plain)
                .map_err(|source| ClientError::Connect { address: address(), source }),
            Some((file, key)) => {
                let keys = Keys::load_or_make(file)?;
                let contact = Contact { address: address(), key: key.0 };
                Ok(Conversation::Secure(Box::new(connect(&keys, &contact, Purpose::Control)?)))
            }
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error("could not reach {address}: {source}; is the daemon running?")]
    Connect {
        /// Where.
        address: Address,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The encrypted connection failed.
    #[error("{0}")]
    Secure(#[from] DeltaError),
    /// The connection ended.
    #[error("the daemon has hung up: {0}")]
    Ended(#[from] io::Error),
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
    /// The migration failed; the machine is where it was.
    #[error("the machine is where it was: {0}")]
    Failed(String),
    /// It answered something else.
    #[error("the daemon answers something else: {0}")]
    Unexpected(String),
}

/// A connection to the agent.
pub struct Agent(Target);

impl Agent {
    /// The agent there. Each request has a connection of its own.
    ///
    /// # Errors
    /// It can't be reached.
    pub fn connect(target: &Target) -> Result<Self, ClientError> {
        target.open()?;
        Ok(Self(target.clone()))
    }

    /// Asks, and gives replies to `take` until it has a result.
    ///
    /// # Errors
    /// The connection ends, or the agent refuses.
    pub fn ask<T>(
        &self,
        request: &AgentRequest,
        mut take: impl FnMut(AgentReply) -> Option<T>,
    ) -> Result<T, ClientError> {
        let mut conversation = self.0.open()?;
        conversation.say(request)?;
        loop {
            match conversation.hear()? {
                AgentReply::Error { message } => return Err(ClientError::Refused(message)),
                reply => {
                    if let Some(result) = take(reply) {
                        return Ok(result);
                    }
                }
            }
        }
    }

    /// Moves a machine and waits until it is there: its new version.
    ///
    /// # Errors
    /// The agent refuses, can't be reached any more, or the migration has failed.
    pub fn migrate(
        &self,
        machine: MachineId,
        to: PeerName,
        method: Option<MethodName>,
        mut report: impl FnMut(Progress),
    ) -> Result<u64, ClientError> {
        let request = AgentRequest::Migrate { machine, to, method };
        let result = self.ask(&request, |reply| match reply {
            AgentReply::Progress { progress, .. } => {
                report(progress);
                None
            }
            AgentReply::Ended { result, .. } => Some(result),
            _ => None,
        })?;
        result.map_err(ClientError::Failed)
    }

    /// Begins to move a machine: the migration.
    ///
    /// # Errors
    /// The agent refuses, or can't be reached.
    pub fn begin(
        &self,
        machine: MachineId,
        to: PeerName,
        method: Option<MethodName>,
    ) -> Result<MigrationId, ClientError> {
        let request = AgentRequest::Migrate { machine, to, method };
        self.ask(&request, |reply| match reply {
            AgentReply::Begun { id, .. } => Some(id),
            _ => None,
        })
    }

    /// All machines and migrations.
    ///
    /// # Errors
    /// The agent can't be reached.
    pub fn list(&self) -> Result<(Vec<crate::control::Place>, Vec<crate::control::UnderWay>), ClientError> {
        self.ask(&AgentRequest::List, |reply| match reply {
            AgentReply::List { machines, migrations } => Some((machines, migrations)),
            _ => None,
        })
    }
}

/// Asks a provider.
///
/// # Errors
/// It can't be reached, or refuses.
pub fn ask_provider(target: &Target, request: &ProviderRequest) -> Result<ProviderReply, ClientError> {
    let mut conversation = target.open()?;
    conversation.say(request)?;
    match conversation.hear()? {
        ProviderReply::Error { message } => Err(ClientError::Refused(message)),
        reply => Ok(reply),
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Agent").field(&self.0.address).finish()
    }
}
