//! Why a daemon can't go on.

use std::io;
use std::path::PathBuf;

use vm_driver::DriverError;
use vmmp::delta::DeltaError;
use vmmp::io::journal::FileError;
use vmmp::io::stream::Address;

/// Why a daemon can't start, or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that can't be used.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A configuration that can't be.
    #[error("{}: {what}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field, and what it may be.
        what: String,
    },
    /// An address where nobody can listen.
    #[error(
        "could not listen at {address}: {source}; the configuration must name an address of this host that nobody else has"
    )]
    Listen {
        /// The address.
        address: Address,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The journal. Without it nothing can be promised, so the daemon ends.
    #[error("the journal: {0}")]
    Journal(#[from] FileError),
    /// The keys.
    #[error("{0}")]
    Keys(#[from] DeltaError),
    /// The driver.
    #[error("{0}")]
    Driver(#[from] DriverError),
    /// A thread that can't be started.
    #[error("could not start a thread: {0}")]
    Thread(io::Error),
}
