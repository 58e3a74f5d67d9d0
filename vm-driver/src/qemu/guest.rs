//! The small Linux guest that `cargo xtask guest` makes for tests and demonstrations.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::config::Boot;

/// Its kernel and first file system.
#[derive(Clone, Debug)]
pub struct Guest {
    kernel: PathBuf,
    initrd: PathBuf,
}

/// The guest is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} has no guest (vmlinuz, initrd): run `cargo xtask guest`, or say where it is in {VARIABLE}", .folder.display())]
pub struct NoGuest {
    /// Where it was looked for.
    pub folder: PathBuf,
}

/// The environment variable that names the guest's folder.
pub const VARIABLE: &str = "VIRTUOSO_GUEST";

impl Guest {
    /// The guest in the folder that [`VARIABLE`] names, or else in `target/guest` of
    /// the repository that this program was built in.
    pub fn find() -> Result<Self, NoGuest> {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest");
        let folder = std::env::var_os(VARIABLE).map_or(built, PathBuf::from);
        Self::in_folder(&folder)
    }

    /// The guest in this folder.
    pub fn in_folder(folder: &Path) -> Result<Self, NoGuest> {
        let missing = |_| NoGuest { folder: folder.to_owned() };
        let file = |name: &str| folder.join(name).canonicalize().map_err(missing);
        Ok(Self { kernel: file("vmlinuz")?, initrd: file("initrd")? })
    }

    /// How to boot it with this address on `eth0`, and what its init script knows
    /// besides (`disk=1`, `dirty=32`, ...).
    pub fn boot(&self, address: Option<Ipv4Addr>, more: &str) -> Boot {
        let address = address.map_or_else(String::new, |address| format!(" vip={address}"));
        Boot::Kernel {
            kernel: self.kernel.clone(),
            initrd: Some(self.initrd.clone()),
            command_line: format!("console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check{address} {more}"),
        }
    }
}
