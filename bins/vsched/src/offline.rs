//! What needs no daemon: admission and simulation of files, and trying mechanisms.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use vsched::io::Journal;
use vsched::{
    CoreReport, Refusal, Reservation, Task, TaskSet, place_all, place_one, simulate as simulate_core,
};

/// What `check --json` prints.
#[derive(Serialize)]
struct Checked {
    fits: bool,
    tasks: Vec<Place>,
}

#[derive(Serialize)]
struct Place {
    name: String,
    reservation: Reservation,
    share: f64,
    core: Option<usize>,
    refusal: Option<Refusal>,
}

pub(crate) fn check(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let set = read(file)?;
    let places = place(&set);
    let fits = places.iter().all(|place| place.core.is_some());
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &Checked { fits, tasks: places })?;
        writeln!(out)?;
    } else {
        for Place { name, reservation, share, core, refusal } in &places {
            match (core, refusal) {
                (Some(core), _) => {
                    writeln!(out, "{name:16} {reservation} {:5.1} %  core {core}", share * 100.0)?;
                }
                (None, Some(refusal)) => writeln!(out, "{name:16} {reservation} doesn't fit: {refusal}")?,
                (None, None) => writeln!(out, "{name:16} {reservation} doesn't fit")?,
            }
        }
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All together if that can be; else one after the other, so that what doesn't fit is named.
fn place(set: &TaskSet) -> Vec<Place> {
    let reservations: Vec<Reservation> = set.tasks.iter().map(|task| task.reservation).collect();
    let all = place_all(&reservations, &set.cores);
    let mut placed: Vec<(Reservation, usize)> = Vec::new();
    let mut places = Vec::new();
    for (index, task) in set.tasks.iter().enumerate() {
        let found = match &all {
            Some(placement) => Ok(placement.core_of[index]),
            None => place_one(&placed, &task.reservation, &set.cores),
        };
        placed.extend(found.as_ref().ok().map(|core| (task.reservation, *core)));
        places.push(Place {
            name: task.name.clone(),
            reservation: task.reservation,
            share: task.reservation.share(),
            core: found.as_ref().ok().copied(),
            refusal: found.err(),
        });
    }
    places
}

/// What `simulate --json` prints, for each core.
#[derive(Serialize)]
struct Simulated {
    core: usize,
    names: Vec<String>,
    #[serde(flatten)]
    report: CoreReport,
}

pub(crate) fn simulate(file: &Path, duration: Duration, seed: u64, json: bool) -> anyhow::Result<()> {
    let set = read(file)?;
    let places = place(&set);
    let mut cores: Vec<Vec<Task>> = vec![Vec::new(); set.cores.len()];
    for (task, place) in set.tasks.iter().zip(&places) {
        // What doesn't fit is simulated too, to show what it would do: on the emptiest core.
        let load = |core: &Vec<Task>| core.iter().map(|task| task.reservation.share()).sum::<f64>();
        let emptiest = (0..cores.len()).min_by(|a, b| load(&cores[*a]).total_cmp(&load(&cores[*b])));
        cores[place.core.or(emptiest).unwrap_or(0)].push(task.clone());
    }
    let mut out = std::io::stdout().lock();
    let reports: Vec<Simulated> = cores
        .iter()
        .enumerate()
        .map(|(core, tasks)| Simulated {
            core,
            names: tasks.iter().map(|task| task.name.clone()).collect(),
            report: simulate_core(tasks, duration, seed.wrapping_add(core as u64)),
        })
        .collect();
    if json {
        serde_json::to_writer_pretty(&mut out, &reports)?;
        writeln!(out)?;
        return Ok(());
    }
    for Simulated { core, names, report } in &reports {
        writeln!(
            out,
            "core {core}: used {:.1} %, {} misses, {} preemptions, {} switches",
            report.utilisation * 100.0,
            report.misses,
            report.preemptions,
            report.switches
        )?;
        for (name, task) in names.iter().zip(&report.tasks) {
            writeln!(
                out,
                "  {name:16} {:9} periods, {:7} misses, worst {:?} late, preempted {} times, used {:?}",
                task.periods, task.misses, task.worst_lateness, task.preemptions, task.used
            )?;
        }
    }
    Ok(())
}

/// What `mechanisms --json` prints.
#[derive(Serialize)]
struct Mechanism {
    mechanism: &'static str,
    limits: Option<vsched::Limits>,
    error: Option<String>,
}

pub(crate) fn mechanisms(state: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let (journal, _) = Journal::open(state, Duration::ZERO)?;
    let probed = vsched::io::probe(&Arc::new(journal));
    let any = probed.iter().any(|probed| probed.found.is_ok());
    let list: Vec<Mechanism> = probed
        .into_iter()
        .map(|probed| Mechanism {
            mechanism: probed.kind.name(),
            error: probed.found.as_ref().err().map(ToString::to_string),
            limits: probed.found.ok(),
        })
        .collect();
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &list)?;
        writeln!(out)?;
    } else {
        for Mechanism { mechanism, limits, error } in &list {
            match (limits, error) {
                (Some(limits), _) => writeln!(
                    out,
                    "{mechanism:9} periods from {:?}, share within {:.1} %: {}",
                    limits.smallest_period,
                    limits.error * 100.0,
                    limits.note
                )?,
                (None, error) => {
                    writeln!(out, "{mechanism:9} {}", error.as_deref().unwrap_or("can't be used"))?;
                }
            }
        }
    }
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> anyhow::Result<TaskSet> {
    let length = fs::metadata(file).with_context(|| file.display().to_string())?.len();
    anyhow::ensure!(
        length <= vsched::MAX_FILE as u64,
        "{}: longer than {} bytes",
        file.display(),
        vsched::MAX_FILE
    );
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    TaskSet::parse(&text).with_context(|| file.display().to_string())
}
