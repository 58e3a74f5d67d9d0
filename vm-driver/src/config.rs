//! What a VM is made of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vnet_core::{MacAddr, NetworkId};

use crate::error::DriverError;
use crate::id::VmId;

/// The configuration of a VM. It goes with the VM from host to host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmConfig {
    /// Its name.
    pub id: VmId,
    /// Virtual processors.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// What it runs when it is turned on.
    #[serde(default)]
    pub boot: Boot,
    /// Its disks, in the order that it sees them.
    #[serde(default)]
    pub disks: Vec<DiskConfig>,
    /// Its network cards, in the order that it sees them.
    #[serde(default)]
    pub nics: Vec<NicConfig>,
    /// Has it a screen and a keyboard?
    #[serde(default)]
    pub console: bool,
}

/// What a VM runs when it is turned on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Boot {
    /// What its first disk holds.
    #[default]
    Disk,
    /// A kernel outside its disks. The files must exist at every host.
    Kernel {
        /// The kernel's image.
        kernel: PathBuf,
        /// The first file system.
        #[serde(default)]
        initrd: Option<PathBuf>,
        /// What the kernel is told.
        #[serde(default)]
        command_line: String,
    },
    /// A program of the host, for drivers whose VMs share its kernel.
    Program {
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// Its name: letters, digits, `-` and `_`. With its format it names the file.
    pub name: String,
    /// What the VM sees of it, in bytes; a multiple of 512.
    pub bytes: u64,
    /// How it is kept.
    #[serde(default)]
    pub format: DiskFormat,
    /// An image (of the same format) that is copied when the VM is created;
    /// `None`: it is empty.
    #[serde(default)]
    pub image: Option<PathBuf>,
}

/// How a disk is kept in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// As it is; holes take no room.
    #[default]
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NicConfig {
    /// Its address.
    pub mac: MacAddr,
    /// The network that its frames belong to.
    #[serde(default)]
    pub network: NetworkId,
    /// How its frames leave the monitor.
    #[serde(default)]
    pub attachment: Attachment,
}

/// How the frames of a network card leave the monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Attachment {
    /// A TAP device that the driver makes and names.
    #[default]
    Tap,
    /// A stream socket that somebody listens on: each frame behind its length
    /// in four octets, most significant first.
    Stream {
        /// The Unix socket's path.
        path: PathBuf,
    },
}

impl DiskFormat {
    /// The name that `qemu-img` and files have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl DiskConfig {
    /// The name of its file in the VM's folder.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.name, self.format.name())
    }
}

impl VmConfig {
    /// One processor, no disk and no network card; for the rest, set the fields.
    pub fn new(id: VmId, memory_bytes: u64) -> Self {
        Self {
            id,
            cpus: 1,
            memory_bytes,
            boot: Boot::default(),
            disks: Vec::new(),
            nics: Vec::new(),
            console: false,
        }
    }

    /// Checks what every driver wants.
    ///
    /// # Errors
    /// [`DriverError::Config`] with the field and what it may be.
    pub fn check(&self) -> Result<(), DriverError> {
        let wrong = |what: String| Err(DriverError::Config { vm: self.id.clone(), what });
        if !(1..=255).contains(&self.cpus) {
            return wrong(format!("cpus = {}: a VM has 1 to 255 processors", self.cpus));
        }
        if self.memory_bytes < 1 << 20 {
            return wrong(format!("memory_bytes = {}: a VM needs 1 MiB at least", self.memory_bytes));
        }
        if matches!(&self.boot, Boot::Program { command } if command.is_empty()) {
            return wrong("boot.program.command is empty: name a program".into());
        }
        let mut names = BTreeSet::new();
        for disk in &self.disks {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if disk.name.is_empty() || disk.name.len() > 32 || !disk.name.bytes().all(is_word) {
                return wrong(format!("disk `{}`: name it with 1 to 32 of a-z, 0-9, - and _", disk.name));
            }
            if !names.insert(&disk.name) {
                return wrong(format!("disk `{}` is there twice: names must differ", disk.name));
            }
            if disk.bytes == 0 || !disk.bytes.is_multiple_of(512) {
                return wrong(format!("disk `{}`: {} bytes are no multiple of 512", disk.name, disk.bytes));
            }
            if let Some(image) = disk.image.as_ref().filter(|image| !image.is_file()) {
                return wrong(format!("disk `{}`: there is no image {}", disk.name, image.display()));
            }
        }
        let mut macs = BTreeSet::new();
        for nic in &self.nics {
            if nic.mac.is_multicast() || nic.mac == MacAddr::ZERO {
                return wrong(format!("{} is no address of a network card: make it unicast", nic.mac));
            }
            if !macs.insert(nic.mac) {
                return wrong(format!("two network cards have the address {}", nic.mac));
            }
        }
        Ok(())
    }
}

const fn one() -> u32 {
    1
}
