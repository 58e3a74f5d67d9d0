//! The guest of the tests that run real VMs: a Debian cloud kernel, unpacked, not
//! installed, and a busybox. Made once, kept in `target/guest`.

mod cpio;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::steps::root;

const INIT: &str = include_str!("init");

/// In this order, since nothing works out what needs what.
const MODULES: [&str; 12] = [
    "drivers/virtio/virtio_ring",
    "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev",
    "drivers/virtio/virtio_pci",
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
    "drivers/block/virtio_blk",
    "drivers/virtio/virtio_balloon",
    "drivers/input/evdev",
    "drivers/acpi/button",
];

const BUSYBOX: &str = "/bin/busybox";

/// Where the guest is kept.
pub(crate) fn folder() -> PathBuf {
    root().join("target/guest")
}

/// Is it there, made by this version of the task?
pub(crate) fn is_there() -> bool {
    let made_by = fs::read_to_string(folder().join("init")).unwrap_or_default();
    made_by == INIT && ["vmlinuz", "initrd"].iter().all(|name| folder().join(name).is_file())
}

/// Makes it.
pub(crate) fn make() -> anyhow::Result<()> {
    let folder = folder();
    let work = folder.join("work");
    fs::create_dir_all(&work).with_context(|| format!("make {}", work.display()))?;
    let unpacked = unpack_kernel(&work)?;
    let (kernel, modules) = find(&unpacked)?;
    fs::copy(&kernel, folder.join("vmlinuz")).context("copy the kernel")?;

    let mut archive = cpio::Archive::default();
    for name in ["bin", "dev", "proc", "sys", "tmp", "mod", "etc", "mnt"] {
        archive.folder(name);
    }
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("bin/busybox", 0o755, &read(Path::new(BUSYBOX))?);
    let mut order = String::new();
    for module in MODULES {
        let path = modules.join(format!("{module}.ko"));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.file(&format!("mod/{name}"), 0o644, &read(&path)?);
        order += &format!("{name}\n");
    }
    archive.file("mod/order", 0o644, order.as_bytes());
    // Not compressed: under TCG unpacking it would take longer than reading it.
    fs::write(folder.join("initrd"), archive.finish()).context("write the initrd")?;
    fs::remove_dir_all(&work).context("remove what was unpacked")?;
    // Last, as it says that the rest is there.
    fs::write(folder.join("init"), INIT).context("write the init script")
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// Downloads the package that Debian's newest cloud kernel is in, and unpacks it.
fn unpack_kernel(work: &Path) -> anyhow::Result<PathBuf> {
    let package = match kernel_package() {
        Ok(package) => package,
        // Lists that were never fetched, or are too old to name it.
        Err(_) => {
            text(Command::new("apt-get").args(["update", "-qq"]))?;
            kernel_package()?
        }
    };
    text(Command::new("apt-get").args(["download", "-qq", &package]).current_dir(work))?;
    let package = fs::read_dir(work)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download has left no package")?;
    let unpacked = work.join("unpacked");
    text(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked))?;
    Ok(unpacked)
}

/// The name of the package that Debian's newest cloud kernel is in.
fn kernel_package() -> anyhow::Result<String> {
    let depends = text(Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]))?;
    let package = depends.lines().find_map(|line| {
        line.trim().strip_prefix("Depends: ").filter(|name| name.starts_with("linux-image"))
    });
    package
        .map(str::to_owned)
        .context("apt-cache knows no linux-image-cloud-amd64; is this Debian for amd64?")
}

/// The kernel's image and the folder of its modules.
fn find(unpacked: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let only = |folder: PathBuf, prefix: &str| -> anyhow::Result<PathBuf> {
        fs::read_dir(&folder)
            .with_context(|| format!("list {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
            .with_context(|| format!("{} holds nothing that begins with `{prefix}`", folder.display()))
    };
    let kernel = only(unpacked.join("boot"), "vmlinuz-")?;
    let lib = [unpacked.join("lib/modules"), unpacked.join("usr/lib/modules")];
    let modules = lib.into_iter().find(|path| path.is_dir()).context("the package holds no modules")?;
    Ok((kernel, only(modules, "")?.join("kernel")))
}

fn text(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("could not start `{name}`"))?;
    if !output.status.success() {
        bail!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
