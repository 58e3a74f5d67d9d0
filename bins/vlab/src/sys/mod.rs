//! The kernel interfaces that have no safe wrapper: the only unsafe code here.

pub(crate) mod device;
pub(crate) mod launch;
pub(crate) mod packet;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Gives the calling thread a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: a network namespace belongs to the thread alone; no file
    // descriptor, memory or other thread is touched.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter_network(namespace: impl AsFd) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// Lets `command` run in a network namespace.
pub(crate) fn run_in_network(command: &mut Command, namespace: Arc<OwnedFd>) {
    // SAFETY: the closure makes one system call on a descriptor that it owns;
    // it doesn't allocate or take locks, so it may run between fork and exec.
    unsafe { command.pre_exec(move || enter_network(&*namespace)) };
}

/// Runs `command` and waits for it, as system(3) does: what the terminal's
/// keys send meanwhile is for the command, not for us.
pub(crate) fn run_in_foreground(command: &mut Command) -> io::Result<ExitStatus> {
    const KEYS: [libc::c_int; 2] = [libc::SIGINT, libc::SIGQUIT];
    // SAFETY: no handler is installed; a signal's setting is one word.
    let before = KEYS.map(|key| unsafe { libc::signal(key, libc::SIG_IGN) });
    // SAFETY: the closure makes system calls only, on values that it owns.
    unsafe {
        command.pre_exec(move || {
            for (key, setting) in KEYS.into_iter().zip(before) {
                libc::signal(key, setting);
            }
            Ok(())
        });
    }
    let status = command.status();
    for (key, setting) in KEYS.into_iter().zip(before) {
        // SAFETY: puts back what the call above has returned.
        unsafe { libc::signal(key, setting) };
    }
    status
}

/// Asks for short delays between waking up and running, for a thread that
/// stands in for hardware: a higher priority where that is allowed, and a
/// short time slice (Linux 6.12), which anybody may have.
pub(crate) fn prefer_low_latency() {
    for nice in [-10, 0] {
        let attributes = libc::sched_attr {
            size: size_of::<libc::sched_attr>() as u32,
            sched_policy: libc::SCHED_OTHER as u32,
            sched_flags: 0,
            sched_nice: nice,
            sched_priority: 0,
            sched_runtime: 100_000,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the kernel reads `size` bytes of the attributes, which live
        // until the call returns.
        let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        if result == 0 {
            return;
        }
    }
}

/// The last system call's error.
fn last_error() -> io::Error {
    io::Error::last_os_error()
}
