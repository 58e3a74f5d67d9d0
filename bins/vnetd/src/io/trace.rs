//! A record of what arrived over links, to work on estimators with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use vnet_core::HostName;
use wren::Sample;

/// Writes samples as lines `sequence,sent_ns,arrived_ns,bytes`, with an empty line
/// between runs, to a file `FROM-TO.csv` for each path.
#[derive(Debug)]
pub(crate) struct Trace {
    directory: PathBuf,
    files: BTreeMap<HostName, BufWriter<File>>,
}

impl Trace {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, files: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, from: &HostName, to: &HostName, run: &[Sample]) -> io::Result<()> {
        let file = match self.files.get_mut(from) {
            Some(file) => file,
            None => {
                let file = File::create(self.directory.join(format!("{from}-{to}.csv")))?;
                self.files.entry(from.clone()).or_insert(BufWriter::new(file))
            }
        };
        for Sample { sequence, sent_ns, arrived_ns, bytes } in run {
            writeln!(file, "{sequence},{sent_ns},{arrived_ns},{bytes}")?;
        }
        writeln!(file)?;
        file.flush()
    }
}
