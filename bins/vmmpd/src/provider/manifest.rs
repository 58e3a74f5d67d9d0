//! What a destination is told of a machine first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vm_driver::{State, VmConfig};
use vmmp::{MachineId, MethodName};

/// The file in a machine's folder that says what is arriving there.
const FILE: &str = "arriving.json";

/// The longest manifest, in bytes.
pub(super) const MAX: usize = 1 << 20;

/// The file of a suspended machine's memory, as drivers call it.
const MEMORY: &str = "memory";

/// A machine as the origin describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: VmConfig,
    /// Stopped or suspended; running if it comes live.
    pub(super) state: State,
    /// Its version, as the driver has it.
    pub(super) version: u64,
    /// Should it run when it is there?
    pub(super) run: bool,
    pub(super) method: MethodName,
    pub(super) files: Vec<Part>,
}

/// A file of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) bytes: u64,
}

impl Manifest {
    /// What an origin has sent, if it is of this machine and names no file but its own.
    pub(super) fn from_bytes(bytes: &[u8], machine: &MachineId) -> Result<Self, String> {
        if bytes.len() > MAX {
            return Err(format!("the origin describes the machine in {} bytes", bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("the origin describes the machine badly: {error}"))?;
        if manifest.config.id.as_str() != machine.as_str() {
            return Err(format!("the origin sends machine {} in place of {machine}", manifest.config.id));
        }
        let is_own = |part: &&Part| {
            part.name == MEMORY || manifest.config.disks.iter().any(|disk| disk.file_name() == part.name)
        };
        match manifest.files.iter().find(|part| !is_own(part)) {
            Some(part) => Err(format!("the origin sends a file `{}`, which is no disk of it", part.name)),
            None => Ok(manifest),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|part| part.bytes).sum()
    }

    /// Writes it into the machine's folder, where it can't be lost then.
    pub(super) fn save(&self, folder: &Path) -> io::Result<()> {
        write_json(self, &path(folder))
    }

    /// What is arriving in the folder.
    pub(super) fn load(folder: &Path) -> Option<Self> {
        read_json(&path(folder))
    }

    /// Nothing is arriving there any more.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        remove_if_there(&path(folder))
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Writes something where it can't be lost then, as a whole.
pub(super) fn write_json(what: &impl Serialize, path: &Path) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.sync_data()?;
    fs::rename(&partial, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads what [`write_json`] has written; what somebody else has made of it counts as missing.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    let damaged = |error: &serde_json::Error| tracing::error!("{} is damaged: {error}", path.display());
    serde_json::from_slice(&bytes).inspect_err(damaged).ok()
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use vm_driver::VmId;

    use super::*;

    #[test]
    fn a_manifest_can_name_nothing_but_the_machines_own_files() {
        let manifest = |name: &str| Manifest {
            config: VmConfig::new(VmId::new("vm").unwrap(), 1 << 20),
            state: State::Stopped,
            version: 1,
            run: false,
            method: MethodName::new("COPY").unwrap(),
            files: vec![Part { name: name.into(), bytes: 1 }],
        };
        let read = |name: &str, machine: &str| {
            let bytes = serde_json::to_vec(&manifest(name)).unwrap();
            Manifest::from_bytes(&bytes, &MachineId::new(machine).unwrap())
        };
        assert_eq!(read("memory", "vm"), Ok(manifest("memory")));
        assert!(read("memory", "other").is_err());
        for name in ["../../etc/passwd", "/etc/passwd", "vm.json", ""] {
            assert!(read(name, "vm").is_err(), "{name}");
        }
        assert!(Manifest::from_bytes(b"{", &MachineId::new("vm").unwrap()).is_err());
    }
}
