//! Where things are unless somebody says otherwise.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use vnet_core::HostName;

/// Where the control socket of the daemon `name` is by default:
/// `$XDG_RUNTIME_DIR/vnetd/NAME.sock`, or in `/run/vnetd` without that variable.
pub fn default_control_socket(name: &HostName) -> PathBuf {
    runtime_dir().join(format!("{name}.sock"))
}

/// The control sockets in the default directory, in their order by name.
pub fn control_sockets() -> io::Result<Vec<PathBuf>> {
    let mut sockets = Vec::new();
    let entries = match std::fs::read_dir(runtime_dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(sockets),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            sockets.push(path);
        }
    }
    sockets.sort_unstable();
    Ok(sockets)
}

/// Where the daemon `name` keeps its state by default: what systemd says
/// (`$STATE_DIRECTORY`), else `/var/lib/vnetd/NAME` for root, else
/// `$XDG_STATE_HOME/vnetd/NAME`, else `~/.local/state/vnetd/NAME`.
pub fn default_state_dir(name: &HostName) -> PathBuf {
    if let Some(dir) = variable("STATE_DIRECTORY") {
        return dir.join(name.as_str());
    }
    let home = || variable("HOME").map(|home| home.join(".local/state"));
    let personal = if is_root() { None } else { variable("XDG_STATE_HOME").or_else(home) };
    personal.unwrap_or_else(|| "/var/lib".into()).join("vnetd").join(name.as_str())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn runtime_dir() -> PathBuf {
    variable("XDG_RUNTIME_DIR").unwrap_or_else(|| "/run".into()).join("vnetd")
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
