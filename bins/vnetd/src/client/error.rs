//! Why a call failed.

use std::io;
use std::time::Duration;

use vnet_core::control::{CodecError, ControlError};

use super::Address;

/// A call that brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("can't reach a daemon at {address}: {source}; is vnetd running, and is this its control socket?")]
    Connect {
        /// Where the client tried.
        address: Address,
        /// What came of it.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the control connection to {address} broke: {source}")]
    Io {
        /// The daemon.
        address: Address,
        /// How.
        source: io::Error,
    },
    /// The daemon closed the connection.
    #[error("the daemon at {address} closed the control connection; its log says why")]
    Closed {
        /// The daemon.
        address: Address,
    },
    /// The peer sent something that isn't a control message, or a request is too long.
    #[error("the control connection to {address}: {source}")]
    Codec {
        /// The daemon.
        address: Address,
        /// What was wrong.
        source: CodecError,
    },
    /// The reply did not come in time.
    #[error("{target} did not answer within {after:?}")]
    Timeout {
        /// The daemon that was asked.
        target: String,
        /// How long the client waited.
        after: Duration,
    },
    /// The daemon says no.
    #[error("{target}: {source}")]
    Refused {
        /// The daemon that was asked.
        target: String,
        /// Its reason.
        source: ControlError,
    },
    /// The reply is to another question.
    #[error("{target} answered {question} with something else; are client and daemon of the same release?")]
    Unexpected {
        /// The daemon that was asked.
        target: String,
        /// What was asked.
        question: &'static str,
    },
}

impl ClientError {
    /// Is the connection of no more use? Connect again for further calls.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Io { .. } | Self::Closed { .. } | Self::Codec { .. })
    }
}
