//! The commands of `vnet`, those without daemons and those with; no
//! privileges needed.
#![allow(clippy::unwrap_used)]

mod harness;
mod offline;
mod online;
