//! Entering the laboratory: this program again, in namespaces of its own.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::netlink::Netlink;
use crate::sys::launch;

/// Where the laboratory keeps its files: a tmpfs that goes away with it.
pub const STATE_DIR: &str = "/run/vlab";

/// Where network namespaces have a name, as `ip netns` has it.
pub(crate) const NETNS_DIR: &str = "/run/netns";

/// The name of the laboratory's own network namespace.
pub(crate) const NETWORK: &str = "/run/vlab/netns";

/// Where the output of processes is kept.
pub(crate) const LOG_DIR: &str = "/run/vlab/log";

const STAGE: &str = "VLAB_STAGE";
const INSIDE: &str = "inside";

static ENTERED: OnceLock<Inside> = OnceLock::new();

/// Why the laboratory could not be entered, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The kernel refused new namespaces.
    #[error("the kernel refuses the namespaces that the laboratory lives in ({source}): {remedy}")]
    Namespaces {
        /// What it answered.
        source: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The user ids of the new user namespace could not be set.
    #[error("cannot write {path} ({source}): {remedy}")]
    Mapping {
        /// The file under /proc.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The namespaces are there but can't be furnished.
    #[error("cannot {action} inside the laboratory's namespaces ({source}): {remedy}")]
    Furnish {
        /// What was tried.
        action: String,
        /// What the kernel answered.
        source: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The program in the laboratory could not be waited for.
    #[error("lost the program in the laboratory: {0}")]
    Wait(#[source] io::Error),
}

/// Proof that this program runs in a laboratory of its own.
#[derive(Clone, Debug)]
pub struct Inside {
    network: Arc<OwnedFd>,
}

impl Inside {
    /// The proof, if [`enter`] has succeeded.
    pub fn get() -> Option<&'static Self> {
        ENTERED.get()
    }

    /// The laboratory's own network namespace, where veth NICs end.
    pub(crate) fn network(&self) -> &Arc<OwnedFd> {
        &self.network
    }
}

/// Makes this program go on in new PID, mount and network namespaces (and a
/// new user namespace, as its root, when the caller isn't root), with `lo` up,
/// its own `/proc`, and a private tmpfs at [`STATE_DIR`].
///
/// To be called once, as early in `main` as possible: the program is started
/// again, with the same arguments, environment and standard streams, and only
/// in that second run does `enter` return. The first run waits for the second,
/// hands it the signals that it gets, and exits with its exit code.
///
/// When either run ends, in whatever way (`kill -9`, a panic, Ctrl-C), every
/// process, namespace, device and mount of the laboratory is gone.
pub fn enter() -> Result<&'static Inside, EnterError> {
    if let Some(inside) = ENTERED.get() {
        return Ok(inside);
    }
    // A program that the laboratory runs may inherit the mark, but only the
    // first child of init is this program again.
    let first = rustix::process::getpid().as_raw_nonzero().get() == 2
        && rustix::process::getppid().is_some_and(rustix::process::Pid::is_init);
    if first && std::env::var_os(STAGE).is_some_and(|stage| stage == INSIDE) {
        let inside = furnish()?;
        return Ok(ENTERED.get_or_init(|| inside));
    }
    std::process::exit(wait_outside()?)
}

/// The first run: starts the second and waits for its end.
fn wait_outside() -> Result<i32, EnterError> {
    let arguments: Vec<CString> = std::env::args_os().filter_map(|a| c_string(&a)).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .filter(|(key, _)| key != STAGE)
        .chain([(STAGE.into(), INSIDE.into())])
        .filter_map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            c_string(&key)
        })
        .collect();

    let root = rustix::process::geteuid().is_root();
    let launched = match launch::launch(&arguments, &environment, !root) {
        // Root of a container, without CAP_SYS_ADMIN: as anybody else.
        Err(error) if root && error.raw_os_error() == Some(libc::EPERM) => {
            launch::launch(&arguments, &environment, true).map(|launched| (launched, true))
        }
        result => result.map(|launched| (launched, !root)),
    };
    let (launched, new_user) = launched.map_err(|source| {
        let remedy = remedy(&source);
        EnterError::Namespaces { source, remedy }
    })?;
    if new_user {
        map_ids(launched.pid())?;
    }
    // Standard output may hold text that the second run's would otherwise overtake.
    io::stdout().flush().map_err(EnterError::Wait)?;
    launched.run().map_err(EnterError::Wait)
}

/// Makes the caller root of the user namespace of `pid`.
fn map_ids(pid: i32) -> Result<(), EnterError> {
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        fs::write(&path, text).map_err(|source| {
            let remedy = remedy(&source);
            EnterError::Mapping { path, source, remedy }
        })?;
    }
    Ok(())
}

/// The second run: mounts and `lo`.
fn furnish() -> Result<Inside, EnterError> {
    // The kernel calls us `exe`, from /proc/self/exe; be found under our name.
    if let Some(name) = std::env::args_os().next()
        && let Some(name) = Path::new(&name).file_name().and_then(c_string)
    {
        let _ = rustix::thread::set_name(&name);
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("make the mounts private", rustix::mount::mount_change("/", private))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    step("mount /proc", rustix::mount::mount("proc", "/proc", "proc", flags, None))?;
    lay_run()?;
    step("make the directories of its state", make_directories())?;

    let path = "/proc/self/ns/net";
    step("name its network namespace", rustix::mount::mount_bind(path, NETWORK))?;
    let network = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let network = step("open its network namespace", network)?;
    step("bring up `lo`", Netlink::open().and_then(|mut netlink| netlink.loopback_up()))?;
    step("turn off IPv6", crate::netns::disable_ipv6())?;
    Ok(Inside { network: Arc::new(network) })
}

fn make_directories() -> io::Result<()> {
    for directory in [STATE_DIR, NETNS_DIR, LOG_DIR] {
        fs::create_dir(directory)?;
    }
    fs::File::create_new(NETWORK)?;
    Ok(())
}

/// Lays a tmpfs over `/run` and puts back what was there, so that nothing but
/// the laboratory's own directories is private.
fn lay_run() -> Result<(), EnterError> {
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = step("open /run", rustix::fs::open("/run", path, Mode::empty()))?;
    let entries = step("list /run", fs::read_dir("/run").and_then(Iterator::collect::<io::Result<Vec<_>>>))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    step("mount a tmpfs on /run", rustix::mount::mount("vlab", "/run", "tmpfs", flags, Some(c"mode=0755")))?;
    for entry in entries {
        let name = entry.file_name();
        if [STATE_DIR, NETNS_DIR].contains(&&*Path::new("/run").join(&name).to_string_lossy()) {
            continue;
        }
        let from = Path::new("/proc/self/fd").join(old.as_raw_fd().to_string()).join(&name);
        // What can't be put back is not ours to see, or gone in the meantime.
        if let Err(error) = put_back(&from, &Path::new("/run").join(&name)) {
            tracing::debug!("{} is not visible in the laboratory: {error}", from.display());
        }
    }
    Ok(())
}

fn put_back(from: &Path, to: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(from)?.file_type();
    if kind.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(from)?, to);
    }
    if kind.is_dir() {
        fs::create_dir(to)?;
    } else {
        fs::File::create_new(to)?;
    }
    Ok(rustix::mount::mount_bind_recursive(from, to)?)
}

fn step<T, E: Into<io::Error>>(action: &str, result: Result<T, E>) -> Result<T, EnterError> {
    result.map_err(|error| {
        let source = error.into();
        let remedy = remedy(&source);
        EnterError::Furnish { action: action.to_owned(), source, remedy }
    })
}

/// What somebody can do about namespaces that the kernel refuses.
fn remedy(error: &io::Error) -> String {
    let is = |name: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|text| text.trim() == value)
    };
    let off = |setting: &str| {
        format!("unprivileged user namespaces are off; run `sudo sysctl {setting}`, or run this as root")
    };
    if let Some(kind) =
        ["user", "net", "pid", "mnt"].iter().find(|kind| is(&format!("user/max_{kind}_namespaces"), "0"))
    {
        return format!("no {kind} namespace is allowed; run `sudo sysctl user.max_{kind}_namespaces=15000`");
    }
    match error.raw_os_error() {
        Some(libc::ENOSPC) => "there are too many namespaces already, or they are nested too deeply; \
             see `sysctl -a --pattern user.max_.*_namespaces`, and raise what is reached"
            .to_owned(),
        Some(libc::EINVAL) => "it was built without PID, mount, network or user namespaces \
             (CONFIG_PID_NS, CONFIG_NET_NS, CONFIG_USER_NS); use one that has them"
            .to_owned(),
        Some(libc::ENOSYS) => "clone3(2) is missing; use Linux 5.3 or later, and in a container a \
             seccomp profile that allows it (docker: --security-opt seccomp=unconfined)"
            .to_owned(),
        _ if is("kernel/unprivileged_userns_clone", "0") => off("kernel.unprivileged_userns_clone=1"),
        _ if is("kernel/apparmor_restrict_unprivileged_userns", "1") => {
            off("kernel.apparmor_restrict_unprivileged_userns=0")
        }
        _ => "a container's policy (seccomp, AppArmor, a read-only or masked /proc) forbids it; \
             run outside the container, or in one with --privileged"
            .to_owned(),
    }
}

/// `None`: has a zero byte, which no argument or variable can have.
fn c_string(text: impl AsRef<OsStr>) -> Option<CString> {
    CString::new(text.as_ref().as_bytes()).ok()
}
