//! What was changed on the host, so that it can be put back by whoever comes next.
//!
//! Each change is written down before it is made: one JSON object a line. After
//! a `kill -9`, the watchdog or the next start reads the file and undoes what
//! was not released. Changes don't survive a reboot, and neither does a journal:
//! its first line names the boot.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::io::restore;
use crate::io::sys::SchedAttr;
use crate::mechanism::{Process, TaskId};

/// Journals longer than this are not read: we don't write such.
pub const MAX_JOURNAL: u64 = 64 << 20;

const VERSION: u32 = 1;

/// A journal that is being written. Only one program at a time has it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
    /// Locked as long as we live; the kernel unlocks it when we die.
    _lock: File,
}

#[derive(Debug)]
struct State {
    file: File,
    /// What is not released.
    live: Vec<Record>,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Record {
    Began { version: u32, boot: String },
    Process { task: TaskId, process: Process, was_stopped: bool },
    Thread { task: TaskId, process: Process, tid: u32, attr: SchedAttr, cpus: Vec<u32> },
    Group { task: TaskId, path: PathBuf },
    Moved { task: TaskId, process: Process, from: PathBuf },
    Setting { path: PathBuf, value: String },
    Released { task: TaskId },
}

/// What is wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file can't be used.
    #[error("{path}: {source}; name another folder for the state, or run as a user who may write there")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another program has it.
    #[error("{path} is in use by another scheduler; stop it, or let it (`vschedd`) run this task too")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A line is not one of ours.
    #[error("{path}, line {line}: {why}; put things back by hand, then remove the file")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// What was put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Tasks that had not been released.
    pub tasks: usize,
    /// Processes that were continued.
    pub continued: usize,
    /// Threads whose policy or cores were put back.
    pub threads: usize,
    /// Control groups that were removed.
    pub groups: usize,
    /// Settings of the kernel that were put back.
    pub settings: usize,
    /// What could not be put back, and why.
    pub failures: Vec<String>,
}

impl Journal {
    /// Takes the folder `state`, puts back what an earlier owner left changed, and begins anew.
    ///
    /// Waits up to `patience` for an owner who is about to leave.
    pub fn open(state: &Path, patience: Duration) -> Result<(Self, Recovery), JournalError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        fs::create_dir_all(state).map_err(failed(state))?;
        let lock = lock(state, patience)?;
        let path = state.join("journal");
        let recovery = recover_file(&path)?;
        let file = begin(&path).map_err(failed(&path))?;
        let state = Mutex::new(State { file, live: Vec::new() });
        Ok((Self { path, state, _lock: lock }, recovery))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, record: Record) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        append(&mut state.file, &record)?;
        state.live.push(record);
        Ok(())
    }

    /// Undoes what was written down for the task.
    pub(crate) fn release(&self, task: TaskId) -> Recovery {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (of_task, rest) = state.live.drain(..).partition(|record| record.task() == Some(task));
        state.live = rest;
        let mut recovery = restore::undo(&of_task);
        let written = if state.live.is_empty() {
            // Nothing is changed any more: the file need not grow for ever.
            begin(&self.path).map(|file| state.file = file)
        } else {
            append(&mut state.file, &Record::Released { task })
        };
        if let Err(error) = written {
            recovery.failures.push(format!("{}: {error}", self.path.display()));
        }
        recovery
    }

    /// As [`Journal::release`], where nobody can be told but the log.
    pub(crate) fn put_back(&self, task: TaskId) {
        for failure in self.release(task).failures {
            tracing::warn!(%task, "not put back: {failure}");
        }
    }

    /// Undoes everything.
    pub(crate) fn release_all(&self) -> Recovery {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let live = std::mem::take(&mut state.live);
        let recovery = restore::undo(&live);
        if let Ok(file) = begin(&self.path) {
            state.file = file;
        }
        recovery
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let recovery = self.release_all();
        for failure in recovery.failures {
            tracing::warn!("not put back: {failure}");
        }
    }
}

/// Puts back what the owner of the folder `state` left changed when it died.
/// Waits up to `patience` for it to be quite dead.
pub fn recover(state: &Path, patience: Duration) -> Result<Recovery, JournalError> {
    let _lock = lock(state, patience)?;
    let path = state.join("journal");
    let recovery = recover_file(&path)?;
    begin(&path).map_err(|source| JournalError::Io { path, source })?;
    Ok(recovery)
}

/// The processes that the owner of the folder `state` may have stopped.
pub(crate) fn processes(state: &Path) -> Vec<Process> {
    let path = state.join("journal");
    let records = fs::read(&path).ok().and_then(|bytes| parse(&path, &bytes).ok()).unwrap_or_default();
    let processes = records.into_iter().filter_map(|record| match record {
        Record::Process { process, was_stopped: false, .. } => Some(process),
        _ => None,
    });
    processes.collect()
}

fn lock(state: &Path, patience: Duration) -> Result<File, JournalError> {
    let path = state.join("lock");
    let failed = |source| JournalError::Io { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let until = Instant::now() + patience;
    while let Err(error) = flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        if Instant::now() >= until {
            return Err(JournalError::InUse { path: state.to_owned() });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(file)
}

fn begin(path: &Path) -> io::Result<File> {
    // A new file, not a truncated one: who dies in between leaves one of the two.
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
    append(&mut file, &Record::Began { version: VERSION, boot: boot_id()? })?;
    fs::rename(&fresh, path)?;
    Ok(file)
}

fn append(file: &mut File, record: &Record) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    // One call: the line is there whole, or (cut off at the end of the file) not at all.
    file.write_all(&line)
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn recover_file(path: &Path) -> Result<Recovery, JournalError> {
    let failed = |source| JournalError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Recovery::default()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_JOURNAL => {
            let why = format!("{} bytes are more than any journal has", metadata.len());
            return Err(JournalError::Line { path: path.to_owned(), line: 1, why });
        }
        Ok(_) => {}
    }
    let records = parse(path, &fs::read(path).map_err(failed)?)?;
    match records.first() {
        Some(Record::Began { boot, .. }) if *boot == boot_id().map_err(failed)? => {}
        // Of an earlier boot, or nothing was written: nothing is changed.
        _ => return Ok(Recovery::default()),
    }
    Ok(restore::undo(&live(records)))
}

/// Reads a journal. An unfinished last line is none: what it says was not done.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Record>, JournalError> {
    let wrong = |line: usize, why: String| JournalError::Line { path: path.to_owned(), line, why };
    let mut records = Vec::new();
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    for (index, line) in bytes[..whole].split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let record: Record =
            serde_json::from_slice(line).map_err(|error| wrong(index + 1, error.to_string()))?;
        match (&record, records.is_empty()) {
            (Record::Began { version, .. }, true) if *version == VERSION => {}
            (Record::Began { version, .. }, true) => {
                return Err(wrong(index + 1, format!("version {version} is not known, only {VERSION}")));
            }
            (Record::Began { .. }, false) => return Err(wrong(index + 1, "a second beginning".to_owned())),
            (_, true) => return Err(wrong(index + 1, "the beginning is missing".to_owned())),
            (_, false) => {}
        }
        records.push(record);
    }
    Ok(records)
}

/// What must hold of every journal, for the fuzz target.
#[doc(hidden)]
pub fn check_parser(bytes: &[u8]) {
    let Ok(records) = parse(Path::new("journal"), bytes) else { return };
    let mut again = Vec::new();
    for record in &records {
        again.extend(serde_json::to_vec(record).unwrap_or_default());
        again.push(b'\n');
    }
    let parsed = parse(Path::new("journal"), &again);
    assert_eq!(parsed.ok(), Some(records.clone()));
    assert!(live(records.clone()).len() <= records.len());
}

/// What is not released.
fn live(records: Vec<Record>) -> Vec<Record> {
    let mut live: Vec<Record> = Vec::new();
    for record in records {
        match record {
            Record::Released { task } => live.retain(|record| record.task() != Some(task)),
            other => live.push(other),
        }
    }
    live
}

impl Record {
    pub(crate) fn task(&self) -> Option<TaskId> {
        match self {
            Self::Began { .. } | Self::Setting { .. } => None,
            Self::Process { task, .. }
            | Self::Thread { task, .. }
            | Self::Group { task, .. }
            | Self::Moved { task, .. }
            | Self::Released { task } => Some(*task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_a_setting_is_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let setting = folder.path().join("setting");
        fs::write(&setting, "new").unwrap();
        let state = folder.path().join("state");
        let (journal, recovery) = Journal::open(&state, Duration::ZERO).unwrap();
        assert_eq!(recovery, Recovery::default());
        assert!(matches!(Journal::open(&state, Duration::ZERO), Err(JournalError::InUse { .. })));
        journal.write(Record::Setting { path: setting.clone(), value: "old".to_owned() }).unwrap();
        // As after `kill -9`: the file stays as it is, the lock goes.
        let left = fs::read(journal.path()).unwrap();
        drop(journal);
        fs::write(&setting, "new").unwrap();
        fs::write(state.join("journal"), [&left[..], b"{\"record\":\"setting\",\"pa"].concat()).unwrap();
        let recovery = recover(&state, Duration::ZERO).unwrap();
        assert_eq!((recovery.settings, fs::read_to_string(&setting).unwrap().as_str()), (1, "old"));
        assert_eq!(recover(&state, Duration::ZERO).unwrap(), Recovery::default());
    }

    #[test]
    fn a_journal_of_an_earlier_boot_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let setting = folder.path().join("setting");
        fs::write(&setting, "new").unwrap();
        let lines = [
            Record::Began { version: VERSION, boot: "another".to_owned() },
            Record::Setting { path: setting.clone(), value: "old".to_owned() },
        ]
        .map(|record| serde_json::to_string(&record).unwrap() + "\n");
        fs::write(folder.path().join("journal"), lines.concat()).unwrap();
        assert_eq!(recover(folder.path(), Duration::ZERO).unwrap(), Recovery::default());
        assert_eq!(fs::read_to_string(&setting).unwrap(), "new");
    }

    #[test]
    fn lines_that_are_not_ours_are_named() {
        let error =
            parse(Path::new("j"), b"{\"record\":\"began\",\"version\":1,\"boot\":\"\"}\nx\n").unwrap_err();
        assert!(error.to_string().starts_with("j, line 2: "), "{error}");
        let error =
            parse(Path::new("j"), b"{\"record\":\"began\",\"version\":2,\"boot\":\"\"}\n").unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}
