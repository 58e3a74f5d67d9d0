//! A process that computes, and writes down when it could.
//!
//! It looks at the clock without end. Where time has jumped, it notes its CPU
//! time before and after: a trace of (time, CPU time) between whose points CPU
//! time grows in a straight line.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

/// Shorter jumps are the clock's own cost.
const JUMP: u64 = 2_000;

/// More points than any measurement makes: past it, the trace ends.
const MOST_POINTS: usize = 4_000_000;

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn cpu() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// The body of the process.
pub(crate) fn run(trace: &Path, end: u64) -> io::Result<()> {
    let mut points: Vec<(u64, u64)> = Vec::with_capacity(1 << 16);
    let mut last = now();
    points.push((last, cpu()));
    while last < end {
        let time = now();
        if time - last > JUMP && points.len() < MOST_POINTS {
            let (since, then) = points[points.len() - 1];
            let cpu = cpu();
            // Interrupts too short to be seen may have taken some of it.
            points.push((last, cpu.min(then + (last - since))));
            points.push((time, cpu));
            last = now();
            continue;
        }
        last = time;
    }
    points.push((last, cpu()));
    let mut out = io::BufWriter::new(fs::File::create(trace)?);
    for (time, cpu) in points {
        out.write_all(&time.to_le_bytes())?;
        out.write_all(&cpu.to_le_bytes())?;
    }
    out.flush()
}

/// A spinner under measurement.
pub(crate) struct Spinner {
    child: Child,
    trace: PathBuf,
}

impl Spinner {
    /// One that ends at `end` of the monotonic clock.
    pub(crate) fn start(folder: &Path, name: &str, end: u64) -> anyhow::Result<Self> {
        let trace = folder.join(name);
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("spin").arg(&trace).arg(end.to_string()).stdin(Stdio::null()).process_group(0);
        let child = command.spawn().context("could not start a spinner")?;
        Ok(Self { child, trace })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Context switches of its one thread so far.
    pub(crate) fn switches(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let counts = text.lines().filter(|line| line.contains("ctxt_switches:"));
        counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
    }

    /// Waits for its end and reads what it wrote.
    pub(crate) fn trace(mut self) -> anyhow::Result<Vec<(u64, u64)>> {
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a spinner failed: {status}");
        let bytes = fs::read(&self.trace)?;
        fs::remove_file(&self.trace)?;
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        Ok(bytes.chunks_exact(16).map(|point| (number(&point[..8]), number(&point[8..]))).collect())
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that computes in the background, with ordinary priority.
pub(crate) struct Hog(Child);

impl Hog {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("hog").stdin(Stdio::null()).process_group(0);
        Ok(Self(command.spawn().context("could not start a hog")?))
    }

    /// The body of the process.
    pub(crate) fn run() -> ! {
        loop {
            std::hint::spin_loop();
        }
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
