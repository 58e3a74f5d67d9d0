//! Making the files of disks.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use crate::config::{DiskConfig, DiskFormat};
use crate::error::DriverError;
use crate::id::VmId;

/// Makes a disk's file: a copy of its image, or empty.
pub(crate) fn create(id: &VmId, disk: &DiskConfig, path: &Path) -> Result<(), DriverError> {
    match (disk.format, &disk.image) {
        (DiskFormat::Raw, image) => create_raw(image.as_deref(), path, disk.bytes)
            .map_err(DriverError::io(id, format!("make the disk {}", path.display()))),
        (DiskFormat::Qcow2, None) => {
            let mut command = Command::new("qemu-img");
            command.args(["create", "-q", "-f", "qcow2"]).arg(path).arg(disk.bytes.to_string());
            qemu_img(id, &mut command)
        }
        (DiskFormat::Qcow2, Some(image)) => {
            fs::copy(image, path).map_err(DriverError::io(id, format!("copy {}", image.display())))?;
            let mut command = Command::new("qemu-img");
            command.args(["resize", "-q", "-f", "qcow2"]).arg(path).arg(disk.bytes.to_string());
            qemu_img(id, &mut command)
        }
    }
}

fn qemu_img(id: &VmId, command: &mut Command) -> Result<(), DriverError> {
    let output = command.output().map_err(|source| DriverError::Program {
        program: "qemu-img".into(),
        package: "qemu-utils",
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DriverError::Monitor { vm: id.clone(), action: "make a disk".into(), answer, log: String::new() })
}

/// Copies `image` with its holes, and makes the copy `bytes` long.
fn create_raw(image: Option<&Path>, path: &Path, bytes: u64) -> io::Result<()> {
    const BLOCK: usize = 64 << 10;
    let mut file = File::create(path)?;
    if let Some(image) = image {
        let mut source = File::open(image)?;
        let length = source.metadata()?.len();
        if length > bytes {
            let why = format!("{} has {length} bytes, which the disk's {bytes} can't hold", image.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut block = vec![0; BLOCK];
        loop {
            let count = source.read(&mut block)?;
            match &block[..count] {
                [] => break,
                zeros if zeros.iter().all(|byte| *byte == 0) => {
                    file.seek(SeekFrom::Current(count as i64))?;
                }
                data => file.write_all(data)?,
            }
        }
    }
    file.set_len(bytes)?;
    file.sync_all()
}
