//! The VNET daemon and the client library for it.
