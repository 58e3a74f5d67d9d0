//! A provider: its machines, as origin and destination of their migrations.
//!
//! | module | holds |
//! | --- | --- |
//! | `node` | the state machine with its journal, in one thread |
//! | `host` | what machines are, and what is under way with each |
//! | `effects` | what the state machine asks for, machine by machine |
//! | `method`, `files`, `live` | the methods |
//! | `tunnel`, `packer` | the way of a monitor's bytes to another monitor |
//! | `behind` | disks that come after their machine |
//! | `overlay` | the VNET daemon's part |
//! | `requests`, `visitors` | users, and other parties |

mod behind;
mod effects;
mod files;
mod host;
mod lanes;
mod live;
mod manifest;
mod method;
mod node;
mod overlay;
mod packer;
mod program;
mod requests;
mod running;
mod tunnel;
mod visitors;

pub use program::{main_from_env, run};
