//! What can go wrong in a test bed.

use std::path::PathBuf;
use std::time::Duration;

use vlab::LabError;
use vnet_core::HostName;
use vnet_core::generate::GenerateError;
use vnetd::client::ClientError;

/// Why a test bed could not be built or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The laboratory failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A daemon refused a request or could not be reached.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An overlay could not be generated.
    #[error("the overlay can't be generated: {0}")]
    Generate(#[from] GenerateError),
    /// A process could not be started, written to or waited for.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// Daemons did not register with the Proxy in time.
    #[error("after {waited:?}, the Proxy still misses {missing:?}; the daemons' logs are in {}", logs.display())]
    NotRegistered {
        /// Which daemons.
        missing: Vec<HostName>,
        /// How long was waited.
        waited: Duration,
        /// Where the logs are.
        logs: PathBuf,
    },
    /// The description names no host for a VM.
    #[error("VM `{0}` has no `host` in the description of the laboratory")]
    Homeless(String),
    /// A process of the test bed ended or said something unexpected.
    #[error("{who}: {what}")]
    Process {
        /// Which process.
        who: String,
        /// What it did.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
