//! The table: mechanisms by reservations, tasks and load.

use std::time::Duration;

use serde::Serialize;
use vsched::MechanismKind;

use crate::cell::{Bed, Cell, Outcome, Runs};

/// Period and slice in ms.
const SETTINGS: [(u64, u64); 4] = [(10, 5), (50, 10), (100, 30), (1000, 200)];

const TASKS: [usize; 4] = [1, 2, 4, 8];

/// All tasks together get at most this part of the machine: the second is what is admitted by default.
const MOST: [f64; 2] = [0.90, 0.95];

/// Periods tried for the smallest that is kept, in ms; the slice is half of it.
const PERIODS: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 50.0];

const MECHANISMS: [MechanismKind; 3] =
    [MechanismKind::Signal, MechanismKind::Deadline, MechanismKind::Cgroup];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long each cell is measured, in seconds
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// In how many turns of the mechanisms that is done
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
    /// Only periods of these many ms
    #[arg(long, value_delimiter = ',')]
    periods: Vec<u64>,
    /// Only these numbers of tasks
    #[arg(long, value_delimiter = ',')]
    tasks: Vec<usize>,
    /// Only these numbers of background hogs (0, 2)
    #[arg(long, value_delimiter = ',')]
    hogs: Vec<usize>,
    /// Only the default mechanism
    #[arg(long)]
    ours: bool,
    /// Leave the table of the smallest periods out
    #[arg(long)]
    no_smallest: bool,
    /// One short cell, to see whether it works
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    period_ms: f64,
    slice_ms: f64,
    /// The slice was cut so that all tasks fit.
    cut: bool,
    tasks: usize,
    hogs: usize,
    mechanism: MechanismKind,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    /// Why the mechanism can't do it.
    refused: Option<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bed = Bed::new()?;
    let mut rows = Vec::new();
    if !options.json {
        println!(
            "| period, ms | slice, ms | tasks | hogs | mechanism | share error | late slices | worst lateness, ms | switches/s | wakeups/s | scheduler CPU |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    }
    for cell in cells(options, bed.cores().len()) {
        measure(&bed, &cell.0, cell.1, options, &mut rows)?;
    }
    if !options.quick && !options.no_smallest {
        if !options.json {
            println!("\n| period, ms | mechanism | slices short by 10 % | late slices | share error |");
            println!("| --- | --- | --- | --- | --- |");
        }
        for period in PERIODS {
            let period = Duration::from_secs_f64(period / 1e3);
            smallest(&bed, period, options, &mut rows)?;
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(())
}

/// The cells, and whether the slice was cut.
fn cells(options: &Options, cores: usize) -> Vec<(Cell, bool)> {
    let wanted = |list: &[usize], value: usize| list.is_empty() || list.contains(&value);
    let mut cells = Vec::new();
    for (period, slice) in SETTINGS {
        if !options.periods.is_empty() && !options.periods.contains(&period) {
            continue;
        }
        for tasks in TASKS.into_iter().filter(|tasks| wanted(&options.tasks, *tasks)) {
            for hogs in [0, 2].into_iter().filter(|hogs| wanted(&options.hogs, *hogs)) {
                let mut cell = |slice: f64, cut| {
                    let slice = Duration::from_secs_f64(slice / 1e3);
                    cells.push((Cell { period: Duration::from_millis(period), slice, tasks, hogs }, cut));
                };
                let room = cores as f64 * period as f64 / tasks as f64;
                if slice as f64 <= room * MOST[0] {
                    cell(slice as f64, false);
                } else {
                    MOST.iter().for_each(|most| cell(room * most, true));
                }
            }
        }
    }
    if options.quick {
        cells.truncate(1);
    }
    cells
}

fn measure(bed: &Bed, cell: &Cell, cut: bool, options: &Options, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let outcomes = interleaved(bed, cell, options);
    for (mechanism, outcome) in outcomes {
        let row = Row {
            period_ms: cell.period.as_secs_f64() * 1e3,
            slice_ms: cell.slice.as_secs_f64() * 1e3,
            cut,
            tasks: cell.tasks,
            hogs: cell.hogs,
            mechanism,
            outcome: outcome.as_ref().ok().copied(),
            refused: outcome.err().map(|error| format!("{error:#}")),
        };
        if !options.json {
            print_row(&row);
        }
        rows.push(row);
    }
    Ok(())
}

/// Each mechanism measures the cell once, then each again.
fn interleaved(bed: &Bed, cell: &Cell, options: &Options) -> Vec<(MechanismKind, anyhow::Result<Outcome>)> {
    let mechanisms = if options.ours { &MECHANISMS[..1] } else { &MECHANISMS[..] };
    let mut runs: Vec<(MechanismKind, anyhow::Result<Runs>)> =
        mechanisms.iter().map(|kind| (*kind, Ok(Runs::default()))).collect();
    let turns = if options.quick { 1 } else { options.turns };
    let seconds = if options.quick { 0.5 } else { options.seconds };
    // At least some periods in each turn.
    let duration = Duration::from_secs_f64(seconds / f64::from(turns)).max(cell.period * 3);
    for _ in 0..turns {
        for (kind, so_far) in &mut runs {
            if let Ok(so_far_ok) = so_far
                && let Err(error) = bed.measure(*kind, cell, duration, so_far_ok)
            {
                *so_far = Err(error);
            }
        }
    }
    runs.into_iter().map(|(kind, runs)| (kind, runs.map(|runs| runs.outcome()))).collect()
}

fn smallest(bed: &Bed, period: Duration, options: &Options, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let cell = Cell { period, slice: period / 2, tasks: 1, hogs: 2 };
    for (mechanism, outcome) in interleaved(bed, &cell, options) {
        if !options.json {
            let ms = period.as_secs_f64() * 1e3;
            match &outcome {
                Ok(outcome) => println!(
                    "| {ms} | {mechanism} | {:.2} % | {:.2} % | {:.2} % |",
                    outcome.short_part() * 100.0,
                    outcome.late_part() * 100.0,
                    outcome.share_error * 100.0,
                ),
                Err(error) => println!("| {ms} | {mechanism} | {error:#} | | |"),
            }
        }
        rows.push(Row {
            period_ms: period.as_secs_f64() * 1e3,
            slice_ms: period.as_secs_f64() * 5e2,
            cut: false,
            tasks: 1,
            hogs: 2,
            mechanism,
            outcome: outcome.as_ref().ok().copied(),
            refused: outcome.err().map(|error| format!("{error:#}")),
        });
    }
    Ok(())
}

fn print_row(row: &Row) {
    let Row { period_ms, slice_ms, tasks, hogs, mechanism, .. } = row;
    let cut = if row.cut { " (cut to fit)" } else { "" };
    let cells = match (&row.outcome, &row.refused) {
        (Some(outcome), _) => format!(
            "{:.3} % | {:.2} % ({} of {}) | {:.2} | {:.0} | {:.0} | {:.2} %",
            outcome.share_error * 100.0,
            outcome.late_part() * 100.0,
            outcome.late,
            outcome.periods,
            outcome.worst_ms,
            outcome.switches,
            outcome.wakeups,
            outcome.scheduler * 100.0
        ),
        (None, why) => format!("{} | | | | |", why.as_deref().unwrap_or("")),
    };
    println!("| {period_ms} | {slice_ms}{cut} | {tasks} | {hogs} | {mechanism} | {cells} |");
}
