//! Clocks, and burning processor time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::report::Moment;

/// Longer than any run; what is longer still counts as this.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment that is `time` after another.
pub(super) fn after(moment: Instant, time: Duration) -> Instant {
    moment + time.min(FOREVER)
}

/// Now, on the clocks of the report.
pub(super) fn moment() -> Moment {
    // A clock before 1970 is wrong anyway; the monotonic one still serves.
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment {
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        monotonic_ns: nanoseconds(clock_gettime(ClockId::Monotonic)),
    }
}

/// Uses `time` of the processor, as measured for this thread.
pub(super) fn burn(time: Duration) {
    let spent = || Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ThreadCPUTime)));
    let end = spent() + time;
    while spent() < end {
        for _ in 0..1_000 {
            std::hint::spin_loop();
        }
    }
}

/// A duration as `poll` wants it.
pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    // These clocks count from boot and from the start of the thread: never negative.
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}
