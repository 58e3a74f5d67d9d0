//! Which machines should run: a file for each, so that a restart knows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use vmmp::MachineId;

/// The folder with a file for each machine that should run.
pub(super) struct Running(PathBuf);

impl Running {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Should it run?
    pub(super) fn is_wanted(&self, machine: &MachineId) -> bool {
        self.0.join(machine.as_str()).exists()
    }

    /// It should run from now on, or not any more; that can't be lost then.
    pub(super) fn want(&self, machine: &MachineId, is_wanted: bool) -> io::Result<()> {
        let path = self.0.join(machine.as_str());
        if is_wanted == path.exists() {
            return Ok(());
        }
        if is_wanted {
            File::create(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
        File::open(&self.0)?.sync_all()
    }
}
