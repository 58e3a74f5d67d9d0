//! What touches the world: the machine's clock.

mod clock;

pub use clock::WallClock;
