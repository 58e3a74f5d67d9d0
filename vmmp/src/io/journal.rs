//! A journal in a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::record::{self, HEADER, JournalError, Record};

/// A journal that is open for more.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// What was written since it was made.
    bytes: u64,
    is_dirty: bool,
}

/// A journal's file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The kernel refuses.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// What the kernel answered; "No space left on device" of a full disk.
        source: io::Error,
    },
    /// It is something else.
    #[error("{}: {source}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong.
        source: JournalError,
    },
    /// Another process has it.
    #[error("{} is in use by another process; is the daemon running already?", path.display())]
    InUse {
        /// The journal.
        path: PathBuf,
    },
}

impl Journal {
    /// Opens a journal, or makes an empty one, and gives what is in it. What a crash
    /// has cut off at its end is dropped.
    ///
    /// # Errors
    /// It can't be read or written, is none, or is in use.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), FileError> {
        let wrong = |action| {
            let path = path.to_owned();
            move |source| FileError::Io { action, path, source }
        };
        let file = File::options().create(true).append(true).read(true).open(path);
        let file = file.map_err(wrong("open"))?;
        lock(&file, path)?;
        let content = fs::read(path).map_err(wrong("read"))?;
        let (records, whole) =
            record::read(&content).map_err(|source| FileError::Journal { path: path.to_owned(), source })?;
        let mut journal = Self { path: path.to_owned(), file, bytes: whole as u64, is_dirty: true };
        if whole < content.len() {
            journal.file.set_len(whole as u64).map_err(wrong("shorten"))?;
        }
        if whole == 0 {
            journal.write_bytes(HEADER)?;
        }
        journal.sync()?;
        Ok((journal, records))
    }

    /// Adds a record. It is on disk when [`Journal::sync`] has returned.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&mut self, record: &Record) -> Result<(), FileError> {
        self.write_bytes(&record.to_bytes())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(self.wrong("write"))?;
        self.bytes += bytes.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// Waits until what was written can't be lost.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn sync(&mut self) -> Result<(), FileError> {
        if std::mem::take(&mut self.is_dirty) {
            self.file.sync_data().map_err(self.wrong("write"))?;
        }
        Ok(())
    }

    /// How long it is, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Replaces what is in it, as a whole.
    ///
    /// # Errors
    /// The new one can't be written; the old one is as it was then.
    pub fn rewrite(&mut self, records: &[Record]) -> Result<(), FileError> {
        let mut content = HEADER.to_vec();
        content.extend(records.iter().flat_map(Record::to_bytes));
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let replace = || -> io::Result<File> {
            let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
            temporary.write_all(&content)?;
            temporary.as_file().sync_data()?;
            rustix::fs::flock(temporary.as_file(), rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            temporary.persist(&self.path)?;
            File::open(folder)?.sync_all()?;
            File::options().append(true).read(true).open(&self.path)
        };
        let file = replace().map_err(self.wrong("replace"))?;
        lock(&file, &self.path)?;
        (self.file, self.bytes, self.is_dirty) = (file, content.len() as u64, false);
        Ok(())
    }

    fn wrong(&self, action: &'static str) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = self.path.clone();
        move |source| FileError::Io { action, path, source }
    }
}

/// Nobody else may have it at the same time.
fn lock(file: &File, path: &Path) -> Result<(), FileError> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| FileError::InUse { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MigrationId;

    fn records(from: u64, to: u64) -> Vec<Record> {
        (from..to).map(|id| Record::Closed { id: MigrationId(id) }).collect()
    }

    #[test]
    fn what_was_written_is_there_again_whatever_a_crash_has_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, found) = Journal::open(&path).unwrap();
        assert!(found.is_empty());
        records(0, 10).iter().for_each(|record| journal.write(record).unwrap());
        journal.sync().unwrap();
        assert!(matches!(Journal::open(&path), Err(FileError::InUse { .. })));
        drop(journal);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut journal, found) = Journal::open(&path).unwrap();
            assert_eq!(found, records(0, found.len() as u64));
            journal.write(&records(99, 100)[0]).unwrap();
            drop(journal);
            assert_eq!(Journal::open(&path).unwrap().1.last(), records(99, 100).last());
        }
        fs::write(&path, "something else altogether").unwrap();
        assert!(matches!(Journal::open(&path), Err(FileError::Journal { .. })));
    }

    #[test]
    fn a_journal_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        records(0, 100).iter().for_each(|record| journal.write(record).unwrap());
        journal.rewrite(&records(5, 7)).unwrap();
        assert!(matches!(Journal::open(&path), Err(FileError::InUse { .. })));
        journal.write(&records(7, 8)[0]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, records(5, 8));
    }
}
