//! What a file was before it was written in place.
//!
//! Beside the file, with the suffix `.undo`: [`MAGIC`], the file's old length (8 octets),
//! and records: where (8 octets), how long (4 octets), CRC-32 of the old content (4
//! octets), the old content. All little endian. A record is in the log before the file
//! changes there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::table::beside;

const MAGIC: &[u8; 8] = b"VMMPund\x01";
const HEAD: usize = 16;

/// The log of a file that is being written.
pub(super) struct Undo {
    path: PathBuf,
    log: File,
}

impl Undo {
    /// Begins to log what `file` is.
    pub(super) fn begin(file: &Path) -> io::Result<Self> {
        let path = beside(file, ".undo");
        let mut log = File::create_new(&path)?;
        let mut head = MAGIC.to_vec();
        head.extend(fs::metadata(file)?.len().to_le_bytes());
        log.write_all(&head)?;
        Ok(Self { path, log })
    }

    /// Notes what stands there now.
    pub(super) fn note(&mut self, offset: u64, old: &[u8]) -> io::Result<()> {
        let mut record = Vec::with_capacity(HEAD + old.len());
        record.extend(offset.to_le_bytes());
        record.extend((old.len() as u32).to_le_bytes());
        record.extend(crc32fast::hash(old).to_le_bytes());
        record.extend(old);
        self.log.write_all(&record)
    }

    /// Makes what was noted last.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.log.sync_data()
    }

    /// The new version is whole.
    pub(super) fn end(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Puts back what a transfer that died has overwritten. Was there anything?
pub(super) fn put_back(file: &Path) -> io::Result<bool> {
    let path = beside(file, ".undo");
    let log = match fs::read(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if let Some((length, mut rest)) = log.strip_prefix(MAGIC).and_then(|rest| rest.split_first_chunk::<8>()) {
        let file = File::options().write(true).open(file)?;
        let mut records = Vec::new();
        while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *head;
            let Some((old, behind)) = behind.split_at_checked(u32::from_le_bytes([i, j, k, l]) as usize)
            else {
                break;
            };
            // Cut off by a crash, before the file was changed there.
            if crc32fast::hash(old) != u32::from_le_bytes([m, n, o, p]) {
                break;
            }
            records.push((u64::from_le_bytes([a, b, c, d, e, f, g, h]), old));
            rest = behind;
        }
        for (offset, old) in records.into_iter().rev() {
            file.write_all_at(old, offset)?;
        }
        file.set_len(u64::from_le_bytes(*length))?;
        file.sync_data()?;
    }
    fs::remove_file(&path)?;
    Ok(true)
}
