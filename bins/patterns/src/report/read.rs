//! Reading reports, of runs that have ended and of runs that go on.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Record;

/// The longest line that is read.
const MAX_LINE: usize = 1 << 20;

/// A report that can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file.
    #[error("can't read the report {}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line that is no record.
    #[error("line {line} of the report is no record of patterns: {error}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// Why.
        error: serde_json::Error,
    },
    /// A line without end.
    #[error("line {line} of the report is longer than {MAX_LINE} bytes")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
}

/// Reads a whole report.
///
/// # Errors
///
/// The file can't be read or holds something else than records. A last line
/// without its line feed, from a rank that was killed, is left out.
pub fn read(path: &Path) -> Result<Vec<Record>, ReadError> {
    Tail::new(path).poll()
}

/// Reads a report that is being written, a part at a time.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<File>,
    parser: LineParser,
}

impl Tail {
    /// A reader from the start of `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, parser: LineParser::default() }
    }

    /// The records that were written since the last call; none while the file doesn't exist.
    ///
    /// # Errors
    ///
    /// See [`read`].
    pub fn poll(&mut self) -> Result<Vec<Record>, ReadError> {
        let error = |error| ReadError::File { path: self.path.clone(), error };
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(e) => return Err(error(e)),
            },
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(error)?;
        self.parser.feed(&bytes)
    }
}

/// Cuts bytes into lines and lines into records.
#[derive(Clone, Debug, Default)]
pub struct LineParser {
    partial: Vec<u8>,
    line: u64,
}

impl LineParser {
    /// The records that these bytes complete.
    ///
    /// # Errors
    ///
    /// A line that is no record, or longer than 1 MiB. The records before it
    /// in `bytes` are lost; the lines after it can still be fed.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(piece);
            let complete = piece.ends_with(b"\n");
            let too_long = self.partial.len() > MAX_LINE;
            if complete || too_long {
                self.line += 1;
                let line = std::mem::take(&mut self.partial);
                if too_long {
                    return Err(ReadError::TooLong { line: self.line });
                }
                let record = serde_json::from_slice(&line)
                    .map_err(|error| ReadError::Line { line: self.line, error })?;
                records.push(record);
            }
        }
        Ok(records)
    }
}
