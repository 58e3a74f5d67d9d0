//! Why a reconfiguration failed, and what is left of it.

use std::fmt;
use std::time::Duration;

use vnet_core::control::ControlError;
use vnet_core::{HostName, LinkId};

use crate::client::ClientError;

/// How many of many hosts a message names.
const HOSTS_TOLD: usize = 8;

/// How many of many failures it tells: they tend to have one reason.
const FAILURES_TOLD: usize = 2;

/// A reconfiguration that failed.
#[derive(Debug)]
pub struct ApplyError {
    /// Why.
    pub cause: Cause,
    /// What became of the part that was done already.
    pub rollback: Rollback,
}

/// Why a reconfiguration failed.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The connection to the daemon failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Hosts of the description have no daemon.
    #[error("no daemon is registered for {}; start it there, or take the host out of the description", list(.hosts))]
    Missing {
        /// The hosts.
        hosts: Vec<HostName>,
    },
    /// A daemon did not answer.
    #[error("{host} did not answer: {why}")]
    Silent {
        /// The daemon.
        host: HostName,
        /// Why not.
        why: String,
    },
    /// A daemon refused its part.
    #[error("{host} can't {what}: {source}")]
    Refused {
        /// The daemon.
        host: HostName,
        /// Its part.
        what: String,
        /// Its reason.
        source: ControlError,
    },
    /// What was to happen in the middle failed (see [`apply_around`](super::apply_around)).
    #[error("{why}")]
    HandOver {
        /// Why.
        why: String,
    },
    /// Links did not come up.
    #[error(
        "{} of the new links did not come up within {within:?}, such as {}: {}",
        links.len(), links[0].0, links[0].1
    )]
    LinksDown {
        /// The links, and why they are down.
        links: Vec<(LinkId, String)>,
        /// How long they had.
        within: Duration,
    },
}

/// What became of the part that was done before the failure.
#[derive(Debug)]
pub enum Rollback {
    /// Nothing had been done.
    NotNeeded,
    /// Everything is as before.
    Done,
    /// Some of it could not be undone.
    Incomplete(Vec<String>),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match &self.rollback {
            Rollback::NotNeeded => f.write_str("; nothing was changed"),
            Rollback::Done => f.write_str("; everything was put back as it was"),
            Rollback::Incomplete(failures) => {
                let told = failures.len().min(FAILURES_TOLD);
                write!(f, "; not everything could be put back: {}", failures[..told].join("; "))?;
                match failures.len() - told {
                    0 => Ok(()),
                    more => write!(f, "; and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for ApplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.cause)
    }
}

impl From<ClientError> for ApplyError {
    fn from(error: ClientError) -> Self {
        Cause::from(error).into()
    }
}

impl From<Cause> for ApplyError {
    fn from(cause: Cause) -> Self {
        Self { cause, rollback: Rollback::NotNeeded }
    }
}

fn list(hosts: &[HostName]) -> String {
    let mut names: Vec<_> = hosts.iter().take(HOSTS_TOLD).map(HostName::to_string).collect();
    if hosts.len() > names.len() {
        names.push(format!("{} more", hosts.len() - names.len()));
    }
    names.join(", ")
}
