//! Who runs a scenario, and on what network cards.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Failed;
use rustix::mount::MountFlags;
use tempfile::TempDir;

use crate::SCENARIO;

/// The user `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// A user and a kind of network card.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    /// Whoever runs the tests, with this kind of NIC.
    Me(&'static str),
    /// A user without privileges, with this kind of NIC.
    Nobody(&'static str),
    /// A user without privileges on a machine without TAP devices.
    NobodyWithoutTun,
}

impl Who {
    /// Those that this machine lets us be.
    pub(crate) fn all() -> Vec<Self> {
        // Others may not open /dev/net/tun.
        let mut all = vec![Self::Me(if root() { "tap" } else { "auto" }), Self::Me("veth")];
        if root() {
            all.extend([Self::Nobody("auto"), Self::NobodyWithoutTun]);
        }
        all
    }

    /// Somebody without privileges.
    pub(crate) fn unprivileged() -> Self {
        if root() { Self::Nobody("auto") } else { Self::Me("auto") }
    }

    /// Runs a scenario and waits for it.
    pub(crate) fn play(self, scenario: &str) -> Result<(), Failed> {
        let output = self.command(scenario).output()?;
        let text = format!(
            "{}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        if output.status.success() {
            // What was measured.
            print!("{}", String::from_utf8_lossy(&output.stdout));
            Ok(())
        } else {
            Err(text.into())
        }
    }

    /// The command that runs a scenario.
    pub(crate) fn command(self, scenario: &str) -> Command {
        let mut command = Command::new(program());
        // The scenario shows the directory that it can't leave a core in.
        command.current_dir("/").env(SCENARIO, scenario).env_remove("VLAB_NICS");
        match self {
            Self::Me(nics) => command.env("VLAB_NICS", nics),
            Self::Nobody(nics) => command.env("VLAB_NICS", nics).uid(NOBODY).gid(NOBODY),
            Self::NobodyWithoutTun => command.env(SCENARIO, "without-tun").env(THEN, scenario),
        };
        command
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Me(nics) => write!(f, "me-{nics}"),
            Self::Nobody(nics) => write!(f, "nobody-{nics}"),
            Self::NobodyWithoutTun => f.write_str("nobody-without-tun"),
        }
    }
}

/// Scenarios that prepare another one.
pub(crate) const STEPS: &[(&str, fn())] = &[("without-tun", without_tun)];

/// Which scenario is prepared.
const THEN: &str = "VLAB_TEST_THEN";

/// Hides `/dev/net` in this laboratory's mounts, and runs the scenario as
/// nobody, in a laboratory inside this one.
fn without_tun() {
    rustix::mount::mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).unwrap();
    let scenario = std::env::var(THEN).unwrap();
    let status =
        Command::new("/proc/self/exe").env(SCENARIO, scenario).uid(NOBODY).gid(NOBODY).status().unwrap();
    // A laboratory always has a code.
    std::process::exit(status.code().unwrap());
}

/// This program, where any user may run it.
fn program() -> PathBuf {
    static COPY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    if !root() {
        return std::env::current_exe().unwrap();
    }
    let (_, path) = COPY.get_or_init(|| public_copy(&std::env::current_exe().unwrap()));
    path.clone()
}

/// A copy of a program where any user may run it, as the build directory may
/// be in somebody's home.
pub(crate) fn public_copy(program: &std::path::Path) -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("vlab-test");
    fs::copy(program, &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    (directory, copy)
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}
