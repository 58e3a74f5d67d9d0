//! The speed of the simulator, how soon a change takes effect, and what feedback costs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;
use vsched::io::{Host, HostOptions};
use vsched::{Execution, Goal, Reservation, Task, TaskId, simulate};

use crate::cell::{Bed, sleep_until};
use crate::spinner::{Hog, Spinner, now};
use crate::trace::Trace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Shorter, to see whether it works
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Figures {
    simulated_periods_per_second: f64,
    changes: Vec<Change>,
    feedback: Vec<Feedback>,
}

/// From the call of `set` until the first period that has the new slice.
#[derive(Serialize)]
struct Change {
    period_ms: u64,
    changes: usize,
    worst_ms: f64,
    /// Those whose first period after the call, or the next, did not have the new slice.
    not_in_effect: usize,
}

/// One need of a task with a varying need.
#[derive(Serialize)]
struct Feedback {
    cost: u32,
    target: f64,
    rate: f64,
    used: f64,
    /// The smallest share that reaches the target, found by trying.
    least: f64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let simulated_periods_per_second = simulator(options);
    if !options.json {
        println!("simulator, 100 tasks: {simulated_periods_per_second:.0} periods a second");
    }
    let changes = changes(&bed, options)?;
    let feedback = feedback(&bed, options)?;
    if options.json {
        let figures = Figures { simulated_periods_per_second, changes, feedback };
        println!("{}", serde_json::to_string_pretty(&figures)?);
    }
    Ok(())
}

fn simulator(options: &Options) -> f64 {
    let task = |index: u64| {
        let period = Duration::from_micros(10_000 + 937 * index);
        let reservation = Reservation::new(period, period.mul_f64(0.009)).ok()?;
        Some(Task { name: String::new(), reservation, execution: Execution::Full })
    };
    let tasks: Vec<Task> = (0..100).filter_map(task).collect();
    let time = Duration::from_secs(if options.quick { 10 } else { 1000 });
    let started = Instant::now();
    let report = simulate(&tasks, time, 1);
    let periods: u64 = report.tasks.iter().map(|task| task.periods).sum();
    assert_eq!(report.misses, 0, "90 % fit");
    periods as f64 / started.elapsed().as_secs_f64()
}

fn changes(bed: &Bed, options: &Options) -> anyhow::Result<Vec<Change>> {
    let mut found = Vec::new();
    if !options.json {
        println!("\n| period, ms | changes | worst time until the new slice holds, ms | not in effect |");
        println!("| --- | --- | --- | --- |");
    }
    let _hogs = [Hog::start()?, Hog::start()?];
    for period_ms in [10, 50, 100] {
        let period = Duration::from_millis(period_ms);
        let count = if options.quick { 2 } else { 40 };
        let end = now() + (period * (count as u32 * 4 + 10)).as_nanos() as u64 + 500_000_000;
        let spinner = Spinner::start(bed.folder(), "change", end)?;
        let mut host = host(bed)?;
        let slices = [period / 5, period / 2];
        let task = host.attach("change", &[spinner.pid()], &Reservation::new(period, slices[0])?)?;
        std::thread::sleep(period * 4 + Duration::from_millis(100));
        let mut calls = Vec::new();
        for index in 0..count {
            let slice = slices[(index + 1) % 2];
            let reservation = Reservation::new(period, slice)?;
            let called = now();
            host.set(task, &reservation)?;
            calls.push((called, now(), slice));
            // At another point of the period each time.
            std::thread::sleep(period * 3 + period.mul_f64(0.37 * (index % 3) as f64 / 3.0));
        }
        // Periods of the default mechanism start at multiples of the period, if it is at most 100 ms.
        let to = now();
        sleep_until(end);
        drop(host);
        let trace = Trace::new(spinner.trace()?, calls[0].0, to);
        let mut change = Change { period_ms, changes: count, worst_ms: 0.0, not_in_effect: 0 };
        for (called, returned, slice) in calls {
            let start = returned.next_multiple_of(period.as_nanos() as u64);
            let had = trace.had(start, start + period.as_nanos() as u64);
            if (had.as_secs_f64() / slice.as_secs_f64() - 1.0).abs() > 0.05 {
                change.not_in_effect += 1;
            }
            change.worst_ms = change.worst_ms.max((start - called) as f64 / 1e6);
        }
        if !options.json {
            println!("| {period_ms} | {count} | {:.2} | {} |", change.worst_ms, change.not_in_effect);
        }
        found.push(change);
    }
    Ok(found)
}

/// What a unit of progress costs, in turns of an empty loop: some 0.1 ms, and multiples of it.
const UNIT: u64 = 30_000;

const PERIOD: Duration = Duration::from_millis(50);

fn feedback(bed: &Bed, options: &Options) -> anyhow::Result<Vec<Feedback>> {
    let costs = [2, 4, 1, 3];
    let hold = Duration::from_secs_f64(if options.quick { 1.0 } else { 5.0 });
    if !options.json {
        println!("\n| cost | target, units/s | rate | error | CPU used | least that does it | more |");
        println!("| --- | --- | --- | --- | --- | --- | --- |");
    }
    let worker = Worker::start(bed.folder())?;
    let mut host = host(bed)?;
    let start = Reservation::new(PERIOD, PERIOD / 2)?;
    worker.set_cost(costs[0])?;
    let task = host.attach("worker", &[worker.pid()], &start)?;
    let (rate, _) = observe(&mut host, task, &worker, Duration::from_secs(1))?;
    // A rate that takes a fifth of a core at the first cost.
    let target = rate * 0.4;
    host.hold(task, Goal::Rate(target), Some(worker.progress.clone()))?;
    let mut held = Vec::new();
    for cost in costs {
        worker.set_cost(cost)?;
        tick_for(&mut host, PERIOD * 10);
        held.push(observe(&mut host, task, &worker, hold)?);
    }
    let mut found = Vec::new();
    for (cost, (rate, used)) in costs.into_iter().zip(held) {
        worker.set_cost(cost)?;
        let least = least(&mut host, task, &worker, target, options)?;
        if !options.json {
            println!(
                "| {cost} | {target:.0} | {rate:.0} | {:+.2} % | {:.2} % | {:.2} % | {:+.2} % |",
                (rate / target - 1.0) * 100.0,
                used * 100.0,
                least * 100.0,
                (used / least - 1.0) * 100.0
            );
        }
        found.push(Feedback { cost, target, rate, used, least });
    }
    Ok(found)
}

/// The smallest share with which the target is reached, by halving.
fn least(
    host: &mut Host,
    task: TaskId,
    worker: &Worker,
    target: f64,
    options: &Options,
) -> anyhow::Result<f64> {
    let (mut too_little, mut enough) = (0.01, 0.9);
    let steps = if options.quick { 3 } else { 8 };
    for _ in 0..steps {
        let middle = (too_little + enough) / 2.0;
        host.set(task, &Reservation::new(PERIOD, PERIOD.mul_f64(middle))?)?;
        tick_for(host, PERIOD * 3);
        let (rate, _) =
            observe(host, task, worker, Duration::from_millis(if options.quick { 200 } else { 1000 }))?;
        if rate >= target {
            enough = middle;
        } else {
            too_little = middle;
        }
    }
    Ok(enough)
}

/// Units a second, and the share of a core used.
fn observe(host: &mut Host, task: TaskId, worker: &Worker, time: Duration) -> anyhow::Result<(f64, f64)> {
    let used = |host: &mut Host| {
        let status = host.list().into_iter().find(|status| status.task == task);
        status.map_or(0.0, |status| status.counters.used.as_secs_f64())
    };
    let (started, units, before) = (Instant::now(), worker.done()?, used(host));
    tick_for(host, time);
    let elapsed = started.elapsed().as_secs_f64();
    Ok(((worker.done()? - units) / elapsed, (used(host) - before) / elapsed))
}

fn tick_for(host: &mut Host, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        host.tick();
        std::thread::sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now())));
    }
}

fn host(bed: &Bed) -> anyhow::Result<Host> {
    let (mechanism, _) = vsched::io::choose(bed.journal())?;
    Ok(Host::new(mechanism, HostOptions::all_cores()?))
}

/// A process that makes progress, at a cost that is told it.
struct Worker {
    child: Child,
    progress: PathBuf,
    cost: PathBuf,
}

impl Worker {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let (progress, cost) = (folder.join("progress"), folder.join("cost"));
        fs::write(&progress, "0")?;
        fs::write(&cost, "1")?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("work").arg(&progress).arg(&cost).stdin(Stdio::null()).process_group(0);
        Ok(Self { child: command.spawn()?, progress, cost })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn set_cost(&self, cost: u32) -> anyhow::Result<()> {
        Ok(fs::OpenOptions::new().write(true).open(&self.cost)?.write_all(cost.to_string().as_bytes())?)
    }

    fn done(&self) -> anyhow::Result<f64> {
        Ok(fs::read_to_string(&self.progress)?.trim().parse()?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of the worker's process.
pub(crate) fn work(progress: &Path, cost: &Path) -> anyhow::Result<()> {
    let progress = fs::OpenOptions::new().write(true).open(progress)?;
    let cost = fs::File::open(cost)?;
    let mut done = 0u64;
    loop {
        let mut digit = [b'1'];
        cost.read_exact_at(&mut digit, 0)?;
        let units = u64::from(digit[0].saturating_sub(b'0').max(1));
        for turn in 0..UNIT * units {
            std::hint::black_box(turn);
        }
        done += 1;
        progress.write_all_at(format!("{done:020}").as_bytes(), 0)?;
    }
}
