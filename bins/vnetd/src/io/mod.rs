//! Everything around the daemon: the runtime, signals, systemd, HTTP, the log.

pub(crate) mod log;
pub(crate) mod metrics_server;
pub(crate) mod notify;
pub(crate) mod runtime;
pub(crate) mod trace;
