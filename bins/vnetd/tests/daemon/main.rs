//! Real daemons as processes, joined over the loopback; no privileges needed.
#![allow(clippy::unwrap_used)]

mod apply;
mod configuration;
mod harness;
mod journal;
mod keys;
mod limits;
mod memory;
mod metrics;
mod primitives;
mod reload;
mod restart;
mod star;
mod systemd;
