//! Where records go.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use crate::report::Record;

/// What takes the records of a run; an error ends the run.
pub type Sink<'a> = dyn FnMut(&Record) -> io::Result<()> + 'a;

/// A place for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTo {
    /// Standard output (`-`).
    Stdout,
    /// A file, which is created anew.
    File(PathBuf),
}

impl FromStr for ReportTo {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stdout } else { Self::File(text.into()) })
    }
}

impl fmt::Display for ReportTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl ReportTo {
    /// Opens the place. The sink writes each record at once and whole.
    ///
    /// # Errors
    ///
    /// The file can't be created.
    pub fn open(&self) -> io::Result<impl FnMut(&Record) -> io::Result<()> + use<>> {
        let mut writer: Box<dyn Write> = match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => Box::new(File::create(path)?),
        };
        Ok(move |record: &Record| {
            let mut line = serde_json::to_vec(record)?;
            line.push(b'\n');
            writer.write_all(&line)?;
            writer.flush()
        })
    }
}
