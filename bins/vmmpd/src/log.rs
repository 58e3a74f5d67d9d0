//! The log: lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends the log to standard error; `RUST_LOG` decides what is logged (default: `info`).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails where somebody else has a log already, which then serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .compact()
        .try_init();
}
