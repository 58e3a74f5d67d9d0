//! Network namespaces with a name, and work inside them.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use crate::enter::NETNS_DIR;
use crate::netlink::Netlink;
use crate::sys;

/// A network namespace, named by a file in `/run/netns` for as long as it lives.
#[derive(Debug)]
pub struct NetNs {
    path: PathBuf,
    namespace: Arc<OwnedFd>,
}

impl NetNs {
    /// Makes one with `lo` up and no address but its own; `ipv6`: devices
    /// that come get a link-local IPv6 address.
    pub(crate) fn create(name: &str, ipv6: bool) -> io::Result<Self> {
        let path = Path::new(NETNS_DIR).join(name);
        File::create_new(&path)?;
        let made = in_thread(|| {
            sys::unshare_network()?;
            if !ipv6 {
                disable_ipv6()?;
            }
            Netlink::open()?.loopback_up()?;
            let own = "/proc/thread-self/ns/net";
            rustix::mount::mount_bind(own, &path)?;
            Ok(rustix::fs::open(own, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
        });
        match made {
            Ok(namespace) => Ok(Self { path, namespace: Arc::new(namespace) }),
            Err(error) => {
                remove(&path);
                Err(error)
            }
        }
    }

    /// The file that names the namespace, for setns(2), `ip netns` and
    /// [`PortKind`](vnet_core::control::PortKind).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The namespace itself.
    pub fn namespace(&self) -> &Arc<OwnedFd> {
        &self.namespace
    }

    /// Runs `work` on a thread inside the namespace. The sockets that it
    /// opens stay in the namespace wherever they are used.
    ///
    /// # Errors
    /// The thread could not be started, or not moved into the namespace.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            sys::enter_network(&*self.namespace)?;
            Ok(work())
        })
    }

    /// Makes `command` run inside the namespace when it is started.
    pub fn place(&self, command: &mut Command) {
        sys::run_in_network(command, Arc::clone(&self.namespace));
    }
}

impl Drop for NetNs {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Keeps devices that come from giving themselves IPv6 addresses, whose
/// discovery would otherwise be the first traffic on every segment.
pub(crate) fn disable_ipv6() -> io::Result<()> {
    match fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Runs `work`, which may change the thread's namespaces, on a thread of its own.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("vlab-netns".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn remove(path: &Path) {
    // The laboratory's mounts go away with it in any case.
    let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
    let _ = fs::remove_file(path);
}
