//! The control side: connections, and the routing of what crosses them.

pub(crate) mod connection;
pub(crate) mod listener;
pub(crate) mod outbox;
pub(crate) mod record;
pub(crate) mod router;
