//! What is asked of the daemon.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use vsched::io::TaskStatus;
use vsched::protocol::{Request, Response};
use vsched::{Reservation, TaskId};
use vschedd::Client;

pub(crate) fn attach(
    socket: &Path,
    name: Option<&str>,
    pids: &[u32],
    reservation: &Reservation,
    json: bool,
) -> anyhow::Result<()> {
    let name = name.map_or_else(|| format!("{pids:?}"), str::to_owned);
    let request = Request::Attach { name, pids: pids.to_vec(), reservation: *reservation };
    match Client::connect(socket)?.ask(&request)? {
        Response::Attached { task } if json => writeln!(std::io::stdout(), "{{\"task\":{task}}}")?,
        Response::Attached { task } => writeln!(std::io::stdout(), "task {task}")?,
        other => bail!("the daemon answers something else: {other:?}"),
    }
    Ok(())
}

pub(crate) fn set(socket: &Path, task: TaskId, reservation: &Reservation) -> anyhow::Result<()> {
    Client::connect(socket)?.ask(&Request::Set { task, reservation: *reservation })?;
    Ok(())
}

pub(crate) fn release(socket: &Path, task: TaskId) -> anyhow::Result<()> {
    Client::connect(socket)?.ask(&Request::Release { task })?;
    Ok(())
}

pub(crate) fn check(socket: &Path, reservation: &Reservation, json: bool) -> anyhow::Result<()> {
    match Client::connect(socket)?.ask(&Request::Check { reservation: *reservation })? {
        Response::Fits { core } if json => writeln!(std::io::stdout(), "{{\"core\":{core}}}")?,
        Response::Fits { core } => writeln!(std::io::stdout(), "{reservation} fits on core {core}")?,
        other => bail!("the daemon answers something else: {other:?}"),
    }
    Ok(())
}

pub(crate) fn list(socket: &Path, json: bool) -> anyhow::Result<()> {
    let tasks = tasks(&mut Client::connect(socket)?)?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &tasks)?;
        writeln!(out)?;
        return Ok(());
    }
    print(&mut out, &tasks)
}

pub(crate) fn top(socket: &Path, every: Duration, times: Option<u64>, json: bool) -> anyhow::Result<()> {
    let mut client = Client::connect(socket)?;
    let mut left = times;
    while left != Some(0) {
        let tasks = tasks(&mut client)?;
        let mut out = std::io::stdout().lock();
        if json {
            serde_json::to_writer(&mut out, &tasks)?;
            writeln!(out)?;
        } else {
            // Home, and clear the screen.
            write!(out, "\x1b[H\x1b[2J")?;
            print(&mut out, &tasks)?;
        }
        out.flush()?;
        left = left.map(|left| left - 1);
        if left != Some(0) {
            std::thread::sleep(every);
        }
    }
    Ok(())
}

pub(crate) fn tasks(client: &mut Client) -> anyhow::Result<Vec<TaskStatus>> {
    match client.ask(&Request::List)? {
        Response::Tasks { tasks } => Ok(tasks),
        other => bail!("the daemon answers something else: {other:?}"),
    }
}

fn print(out: &mut impl Write, tasks: &[TaskStatus]) -> anyhow::Result<()> {
    writeln!(
        out,
        "{:>5} {:16} {:>4} {:>22} {:>9} {:>9} {:>8} {:>7} {:>8}",
        "TASK", "NAME", "CORE", "(PERIOD, SLICE)", "RESERVED", "USED", "PERIODS", "MISSES", "OVERRUNS"
    )?;
    for task in tasks {
        let used = task.recent.map_or(f64::NAN, |sample| sample.share * 100.0);
        writeln!(
            out,
            "{:>5} {:16} {:>4} {:>22} {:>7.1} % {used:>7.1} % {:>8} {:>7} {:>8}",
            task.task.0,
            task.name,
            task.core,
            task.reservation.to_string(),
            task.reservation.share() * 100.0,
            task.counters.periods,
            task.counters.misses,
            task.counters.overruns,
        )?;
    }
    Ok(())
}
