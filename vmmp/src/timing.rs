//! How long parties wait for each other.

use std::time::Duration;

/// A moment: the time since some moment that all calls of one state machine share.
pub type Moment = Duration;

/// How long parties wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What isn't answered is said again after this.
    pub again: Duration,
    /// Destinations send heartbeats so often.
    pub heartbeat: Duration,
    /// The agent gives up a destination that is silent for so long.
    pub silence: Duration,
    /// A destination gives up an origin that doesn't answer for so long, and an
    /// origin a destination of which nothing is heard.
    pub patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            again: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            silence: Duration::from_secs(15),
            patience: Duration::from_secs(30),
        }
    }
}
