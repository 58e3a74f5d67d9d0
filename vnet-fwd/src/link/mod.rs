//! Links between daemons, as one state machine without I/O: messages and times
//! go in, messages come out.
//!
//! [`LinkSet`] holds the links of a daemon and knows whose message each is and
//! whose timer is due; `machine` is the life of one link, `attempt` how it comes
//! up; [`message`] is what daemons say to each other. `path_mtu` finds how long the
//! datagrams of a path can be, and [`fragments`] is what longer frames go as.

mod arrivals;
mod attempt;
mod context;
mod dispatch;
mod encryption;
pub mod fragments;
mod frames;
mod loss;
mod machine;
pub mod message;
mod pacing;
mod path_mtu;
mod set;
mod sizes;
mod status;
mod timing;

pub use arrivals::{Arrival, Arrivals};
pub use context::Path;
pub use fragments::{Pieces, Rejoined};
pub use frames::{Departure, Inbound, Room};
pub use message::Features;
pub use set::{Action, ConnectionId, LinkSet};
pub use timing::LinkTiming;
