//! What touches the world: the machine's clock and its threads.

mod clock;
mod portfolio;

pub use clock::WallClock;
pub use portfolio::Portfolio;
