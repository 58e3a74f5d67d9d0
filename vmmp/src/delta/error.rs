//! What can go wrong in a transfer.

use std::io;

/// Why a transfer failed. The destination has the version that it had.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// A file or the connection could not be used.
    #[error("could not {action}: {source}")]
    Io {
        /// What was tried, with the path.
        action: String,
        /// What the kernel answered; for a full disk, "No space left on device".
        source: io::Error,
    },
    /// The peer is not one that may have it, or the connection was tampered with.
    #[error("the connection is not secure: {0}")]
    Secure(#[from] snow::Error),
    /// The peer's key is none that is allowed.
    #[error("a peer with the unknown key {key}; add it to the allowed ones if it is a provider of yours")]
    Unauthorised {
        /// Its public key, in hexadecimal digits.
        key: String,
    },
    /// The peer said something that it must not.
    #[error("the peer does not keep to the protocol: {0}")]
    Protocol(String),
    /// What came is not what was sent.
    #[error("what has arrived is not what was sent (checksums differ); the old version is kept, try again")]
    Checksum,
    /// The peer has given up.
    #[error("the peer has given up: {0}")]
    Peer(String),
}

impl DeltaError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }
}
