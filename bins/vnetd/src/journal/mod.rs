//! The record on disk of every change that the daemon accepted.

mod record;
mod sync;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vnet_core::control::CodecError;

use record::{End, ForeignHeader, HEADER};
use sync::Syncer;

pub(crate) use record::Entry;

// A journal shorter than this isn't worth compacting.
const COMPACT_ABOVE: u64 = 1 << 20;

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another daemon uses the state directory.
    #[error("another vnetd uses the state directory {}; stop it, or give this one its own (--state-dir)", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The file is not a journal.
    #[error("{} is not a journal of this release; move it away to start without state", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The change can't be a record.
    #[error("the change is too large for the journal: {source}")]
    Codec {
        /// Why.
        #[from]
        source: CodecError,
    },
}

/// The journal in a state directory, which it locks.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    file: Arc<File>,
    length: u64,
    compact_at: u64,
    syncer: Syncer,
    /// The last failure, until the next success.
    trouble: Option<String>,
    /// What was wrong when it was opened.
    damage: Option<String>,
    _lock: File,
}

/// A journal as it was found.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) entries: Vec<Entry>,
    /// A tail that was cut off, for the log.
    pub(crate) warning: Option<String>,
}

/// Where a record begins, to take it back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Journal {
    /// Opens the journal in `directory`, making both where they are missing.
    pub(crate) fn open(directory: &Path) -> Result<Opened, JournalError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("make the state directory", directory))?;
        let lock = lock(directory)?;
        let path = directory.join("journal");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let contents = record::from_bytes(&bytes)
            .map_err(|ForeignHeader| JournalError::Foreign { path: path.clone() })?;
        let extra = bytes.len() - contents.valid;
        let mut damage = None;
        let mut warning = None;
        match contents.end {
            End::Clean => {}
            End::Torn => {
                warning = Some(format!("{} ended in half a record; cut off {extra} bytes", path.display()));
            }
            End::Damaged => {
                let copy = directory.join("journal.damaged");
                fs::write(&copy, &bytes).map_err(failed("keep a copy of the damaged journal as", &copy))?;
                let text = format!(
                    "{} was damaged at byte {}: changes after it are lost; a copy is in {}",
                    path.display(),
                    contents.valid,
                    copy.display()
                );
                warning = Some(text.clone());
                damage = Some(text);
            }
        }
        let mut length = contents.valid as u64;
        if extra > 0 {
            file.set_len(length).map_err(failed("cut", &path))?;
        }
        if length == 0 {
            file.seek(SeekFrom::Start(0)).map_err(failed("write", &path))?;
            file.write_all(HEADER).map_err(failed("write", &path))?;
            length = HEADER.len() as u64;
        }
        let journal = Self {
            directory: directory.to_owned(),
            file: Arc::new(file),
            length,
            compact_at: COMPACT_ABOVE,
            syncer: Syncer::start().map_err(failed("start the thread that syncs", &path))?,
            trouble: None,
            damage,
            _lock: lock,
        };
        Ok(Opened { journal, entries: contents.entries, warning })
    }

    /// Writes a record. It survives the daemon's death at once and, within a
    /// second, that of the machine. After an error the journal is as before.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<Mark, JournalError> {
        let bytes = record::to_bytes(entry)?;
        let mark = Mark(self.length);
        match self.file.write_all_at(&bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                self.trouble = None;
                self.syncer.changed(&self.file);
                Ok(mark)
            }
            Err(source) => {
                // Whatever was written lies after the length that counts; the
                // next record overwrites it. Cutting it is only tidy.
                let _ = self.file.set_len(self.length);
                let error = JournalError::Io { action: "write", path: self.path(), source };
                self.trouble = Some(format!("{error}; changes are refused until there is room again"));
                Err(error)
            }
        }
    }

    /// Takes back the record at `mark` and those after it.
    pub(crate) fn undo(&mut self, mark: Mark) -> Result<(), JournalError> {
        self.length = mark.0;
        self.file.set_len(self.length).map_err(failed("cut", &self.path()))
    }

    /// Has the journal grown so much that a compact one should replace it?
    pub(crate) fn wants_compaction(&self) -> bool {
        self.length > self.compact_at
    }

    /// Replaces the journal by one that holds `entries` alone.
    pub(crate) fn compact(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let result = self.replace(entries);
        self.compact_at = COMPACT_ABOVE.max(self.length.saturating_mul(4));
        if let Err(error) = &result {
            self.trouble = Some(format!("{error}; the journal grows until it can be compacted"));
        }
        result
    }

    fn replace(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let mut bytes = HEADER.to_vec();
        for entry in entries {
            bytes.extend(record::to_bytes(entry)?);
        }
        let new = self.directory.join("journal.new");
        let write = |path: &Path| -> io::Result<File> {
            let mut file =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write(&new).map_err(|source| {
            let _ = fs::remove_file(&new);
            JournalError::Io { action: "write", path: new.clone(), source }
        })?;
        fs::rename(&new, self.path()).map_err(failed("rename to the journal", &new))?;
        self.file = Arc::new(file);
        self.length = bytes.len() as u64;
        self.syncer.replaced(&self.file);
        // The name, too, must survive the machine's death.
        File::open(&self.directory).and_then(|dir| dir.sync_all()).map_err(failed("sync", &self.directory))
    }

    /// What does not work, one sentence each.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let sync =
            self.syncer.trouble().map(|error| format!("can't sync {}: {error}", self.path().display()));
        [self.damage.clone(), self.trouble.clone(), sync].into_iter().flatten().collect()
    }

    /// Makes sure that everything is on the disk.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(failed("sync", &self.path()))
    }

    fn path(&self) -> PathBuf {
        self.directory.join("journal")
    }
}

fn lock(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(JournalError::Io { action: "lock", path, source }),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use vnet_core::control::Request;

    use super::*;

    fn change(ms: u64) -> Entry {
        Entry::Change(Request::SetConfigurationBound(ms))
    }

    fn entries(directory: &Path) -> Vec<Entry> {
        Journal::open(directory).unwrap().entries
    }

    #[test]
    fn records_are_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap().journal;
        journal.append(&change(1)).unwrap();
        let mark = journal.append(&change(2)).unwrap();
        journal.undo(mark).unwrap();
        journal.append(&change(3)).unwrap();
        drop(journal);
        assert_eq!(entries(directory.path()), [change(1), change(3)]);
    }

    #[test]
    fn one_daemon_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = Journal::open(directory.path()).unwrap();
        assert!(matches!(Journal::open(directory.path()), Err(JournalError::Locked { .. })));
        drop(first);
        assert!(Journal::open(directory.path()).is_ok());
    }

    #[test]
    fn a_compact_journal_takes_further_records() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap().journal;
        for ms in 1..100 {
            journal.append(&change(ms)).unwrap();
        }
        let before = journal.length;
        journal.compact(&[change(99)]).unwrap();
        assert!(journal.length < before / 10);
        journal.append(&change(100)).unwrap();
        drop(journal);
        assert_eq!(entries(directory.path()), [change(99), change(100)]);
    }

    #[test]
    fn a_damaged_journal_is_kept_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(directory.path()).unwrap().journal;
        let first = journal.append(&change(1)).unwrap();
        journal.append(&change(2)).unwrap();
        drop(journal);
        let path = directory.path().join("journal");
        let mut bytes = fs::read(&path).unwrap();
        bytes[usize::try_from(first.0).unwrap() + 12] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        let opened = Journal::open(directory.path()).unwrap();
        assert_eq!(opened.entries, []);
        assert!(
            opened.journal.troubles()[0].contains("damaged at byte 16"),
            "{:?}",
            opened.journal.troubles()
        );
        assert_eq!(fs::read(directory.path().join("journal.damaged")).unwrap(), bytes);
    }

    #[test]
    fn a_foreign_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        fs::write(&path, "a letter to a friend").unwrap();
        assert!(matches!(Journal::open(directory.path()), Err(JournalError::Foreign { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"a letter to a friend");
    }
}
