//! Settings of the kernel for the whole machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};

/// How much of a [`THROTTLE_PERIOD`] real-time tasks may have, in us; -1: all.
pub(crate) const THROTTLE: &str = "/proc/sys/kernel/sched_rt_runtime_us";
const THROTTLE_PERIOD: &str = "/proc/sys/kernel/sched_rt_period_us";

/// While this file is open with a time in it, no CPU sleeps so deeply that it needs longer
/// to wake up (`Documentation/power/pm_qos_interface.rst` of the kernel).
const LATENCY: &str = "/dev/cpu_dma_latency";

/// The part of a core at which the kernel throttles real-time tasks.
pub(crate) fn throttle_limit() -> f64 {
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<f64>().ok();
    match (read(THROTTLE), read(THROTTLE_PERIOD)) {
        (Some(runtime), Some(period)) if runtime >= 0.0 && period > 0.0 => runtime / period,
        _ => f64::INFINITY,
    }
}

/// No CPU sleeps deeply while the file is open. The kernel forgets it when the file is
/// closed, so it need not be in the journal.
pub(crate) fn stay_awake() -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).open(LATENCY)?;
    file.write_all(&0i32.to_ne_bytes())?;
    Ok(file)
}
