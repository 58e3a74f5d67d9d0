//! Links between daemons, as state machines: messages and times go in, messages
//! come out.

mod timing;

pub use timing::LinkTiming;
