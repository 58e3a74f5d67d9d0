//! What guests boot: the guest of the tests, with this program in it.
//!
//! The kernel unpacks archives that stand one behind the other
//! (Documentation/driver-api/early-userspace/buffer-format.rst), so that the program and the
//! libraries that it is linked with need only be appended.

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use vm_driver::Boot;
use vm_driver::qemu::guest::Guest;

/// Where this program is in a guest.
const PROGRAM: &str = "app/vnet";

/// The least memory that a guest gets, in bytes.
const LEAST_MEMORY: u64 = 320 << 20;

/// What its kernel says if it has too little for the first file system.
pub(super) const TOO_LARGE: &[u8] = b"Initramfs unpacking failed";

/// How much memory a guest with this first file system needs, in bytes.
///
/// While it unpacks, it has all of it twice, and it gives files at most half of its memory.
pub(super) fn memory(initrd: &Path) -> anyhow::Result<u64> {
    let length = fs::metadata(initrd).with_context(|| format!("look at {}", initrd.display()))?.len();
    Ok(LEAST_MEMORY.max((128 << 20) + 4 * length).next_multiple_of(1 << 20))
}

/// Makes the first file system of all guests, in `folder`.
pub(super) fn with_this_program(folder: &Path) -> anyhow::Result<PathBuf> {
    let Boot::Kernel { initrd: Some(base), .. } = Guest::find()?.boot(None, "") else {
        bail!("the guest has no first file system: run `cargo xtask guest`");
    };
    let (root, path) = (folder.join("root"), folder.join("initrd"));
    let program = std::env::current_exe().context("find this program")?;
    copy(&program, &root.join(PROGRAM))?;
    // What debuggers want is most of it. Where that can't be taken off, guests get more memory.
    let _ = Command::new("strip").arg("--strip-debug").arg(root.join(PROGRAM)).output();
    for library in libraries(&program)? {
        copy(&library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    fs::copy(&base, &path).with_context(|| format!("copy {}", base.display()))?;
    let mut initrd = File::options().append(true).open(&path)?;
    // Archives begin at multiples of 4 octets.
    let length = initrd.metadata()?.len();
    initrd.write_all(&vec![0; (length.next_multiple_of(4) - length) as usize])?;
    let mut pack = Command::new("busybox");
    pack.args(["sh", "-c", "busybox find . | busybox cpio -o -H newc"]);
    let status = pack.current_dir(&root).stdin(Stdio::null()).stdout(initrd).stderr(Stdio::null()).status();
    let status = status.context("could not start `busybox`: install the package busybox-static")?;
    if !status.success() {
        bail!("busybox could not pack {}: {status}", root.display());
    }
    fs::remove_dir_all(&root).with_context(|| format!("remove {}", root.display()))?;
    Ok(path)
}

/// How a guest boots.
pub(super) fn boot(initrd: &Path, address: Ipv4Addr, mtu: u32) -> anyhow::Result<Boot> {
    match Guest::find()?.boot(Some(address), &format!("vmtu={mtu}")) {
        Boot::Kernel { kernel, command_line, .. } => {
            Ok(Boot::Kernel { kernel, initrd: Some(initrd.to_owned()), command_line })
        }
        _ => bail!("the guest has no kernel: run `cargo xtask guest`"),
    }
}

/// What the guest's shell is told to run a rank of the application.
pub(super) fn run_in_background(arguments: &str) -> String {
    format!("VIRTUOSO_ROLE=patterns /{PROGRAM} {arguments} > /tmp/patterns.log 2>&1 &")
}

/// The libraries that a program needs, the one that loads them included.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("could not start `ldd`")?;
    if !output.status.success() {
        // Linked statically, it needs none.
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display())).map(drop)
}
