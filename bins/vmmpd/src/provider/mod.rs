//! A provider: its machines, as origin and destination of their migrations.
//!
//! | module | holds |
//! | --- | --- |
//! | `node` | the state machine with its journal, in one thread |
//! | `host` | what machines are, and what is under way with each |
//! | `effects` | what the state machine asks for, machine by machine |
//! | `method`, `files`, `live` | the methods |
//! | `tunnel` | the way of a monitor's bytes to another monitor |
//! | `overlay` | the VNET daemon's part |
//! | `requests`, `visitors` | users, and other parties |

mod effects;
mod files;
mod host;
mod lanes;
mod live;
mod manifest;
mod method;
mod node;
mod overlay;
mod program;
mod requests;
mod running;
mod tunnel;
mod visitors;

pub use program::{main_from_env, run};
