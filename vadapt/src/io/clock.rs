//! Real time.

use std::time::{Duration, Instant};

use crate::run::Clock;

/// Real time since the clock was made.
#[derive(Debug, Clone, Copy)]
pub struct WallClock(Instant);

impl WallClock {
    /// A clock that starts at 0 now.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place of this crate that reads the machine's clock"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
