//! Putting back what a journal says was changed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use rustix::thread::{CpuSet, Pid, sched_setaffinity};

use crate::io::journal::{Record, Recovery};
use crate::io::sys::{SchedAttr, sched_getattr, sched_setattr};
use crate::io::{proc, sys, threads};
use crate::mechanism::{Process, TaskId};

/// Undoes all that `live` says.
pub(crate) fn undo(live: &[Record]) -> Recovery {
    let mut recovery = Recovery::default();
    let mut tasks: Vec<TaskId> = live.iter().filter_map(Record::task).collect();
    tasks.sort_unstable();
    tasks.dedup();
    recovery.tasks = tasks.len();
    // First what hurts most: nobody stays stopped, and nobody hogs a core.
    continue_all(live, &mut recovery);
    restore_threads(live, &mut recovery);
    for record in live.iter().rev() {
        match record {
            Record::Moved { process, from, .. } if proc::is_alive(process) => {
                let moved = fs::write(from.join("cgroup.procs"), process.pid.to_string());
                note(&mut recovery, &format!("{} to {}", process.pid, from.display()), moved);
            }
            Record::Group { path, .. } => remove_group(path, &mut recovery),
            Record::Setting { path, value } => {
                let written = fs::write(path, value);
                recovery.settings += usize::from(written.is_ok());
                note(&mut recovery, &path.display().to_string(), written);
            }
            _ => {}
        }
    }
    recovery
}

fn continue_all(live: &[Record], recovery: &mut Recovery) {
    for record in live {
        let Record::Process { process, was_stopped: false, .. } = record else { continue };
        if proc::is_alive(process) {
            let done = sys::kill(process.pid, libc::SIGCONT);
            recovery.continued += usize::from(done.is_ok());
            note(recovery, &format!("could not continue process {}", process.pid), done);
        }
    }
}

fn restore_threads(live: &[Record], recovery: &mut Recovery) {
    let mut known: BTreeMap<(Process, u32), (&SchedAttr, &[u32])> = BTreeMap::new();
    let mut of_process: BTreeMap<Process, (&SchedAttr, &[u32])> = BTreeMap::new();
    for record in live {
        if let Record::Thread { process, tid, attr, cpus, .. } = record {
            // The first is how it was before us.
            known.entry((*process, *tid)).or_insert((attr, cpus));
            of_process.entry(*process).or_insert((attr, cpus));
        }
    }
    for (process, before) in &of_process {
        // Children that were not yet seen have inherited from this one.
        for member in proc::tree(&[*process]) {
            if member != *process && of_process.contains_key(&member) {
                continue;
            }
            for tid in proc::threads(member.pid).unwrap_or_default() {
                let (attr, cpus) = known.get(&(member, tid)).copied().unwrap_or(*before);
                let done = restore_thread(tid, attr, cpus);
                recovery.threads += usize::from(done.is_ok());
                note(recovery, &format!("could not put back thread {tid}"), done);
            }
        }
    }
}

fn restore_thread(tid: u32, attr: &SchedAttr, cpus: &[u32]) -> io::Result<()> {
    if sched_getattr(tid)? != *attr {
        sched_setattr(tid, attr)?;
    }
    set_cpus(tid, cpus)
}

/// Binds a thread to these cores.
pub(crate) fn set_cpus(tid: u32, cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu as usize);
    }
    Ok(sched_setaffinity(Pid::from_raw(tid.cast_signed()), &set)?)
}

/// The cores of a thread.
pub(crate) fn cpus(tid: u32) -> io::Result<Vec<u32>> {
    let set = rustix::thread::sched_getaffinity(Pid::from_raw(tid.cast_signed()))?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).map(|cpu| cpu as u32).collect())
}

fn remove_group(path: &Path, recovery: &mut Recovery) {
    // Processes that we did not know of keep the group alive: they go to its parent.
    let left = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let home = path.parent().and_then(Path::parent);
    if let Some(home) = home {
        for pid in left.lines() {
            // It may just have ended.
            let _ = fs::write(home.join("cgroup.procs"), pid);
        }
    }
    match fs::remove_dir(path) {
        Ok(()) => {
            recovery.groups += 1;
            if let Some(ours) = path.parent() {
                // The last group takes the one that all were in with it; before, it is not empty.
                let _ = fs::remove_dir(ours);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => note(recovery, &format!("could not remove {}", path.display()), Err(error)),
    }
}

fn note(recovery: &mut Recovery, what: &str, done: io::Result<()>) {
    if let Err(error) = done
        && !threads::is_gone(&error)
    {
        recovery.failures.push(format!("{what}: {error}"));
    }
}
