//! The system calls that no safe wrapper offers.

use std::io;
use std::sync::atomic::AtomicU32;

use serde::{Deserialize, Serialize};

/// `struct sched_attr` of `sched_setattr(2)`, version 0 (48 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SchedAttr {
    size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

const ATTR_SIZE: u32 = size_of::<SchedAttr>() as u32;

pub(crate) const SCHED_FIFO: u32 = libc::SCHED_FIFO as u32;
pub(crate) const SCHED_DEADLINE: u32 = 6;
const RESET_ON_FORK: u64 = 1;

impl SchedAttr {
    /// Children inherit it.
    pub(crate) fn fifo(priority: u32) -> Self {
        Self { size: ATTR_SIZE, policy: SCHED_FIFO, priority, ..Self::default() }
    }

    /// The kernel lets such threads make others only if these start out ordinary.
    pub(crate) fn deadline(runtime: u64, deadline: u64, period: u64) -> Self {
        Self {
            size: ATTR_SIZE,
            policy: SCHED_DEADLINE,
            flags: RESET_ON_FORK,
            runtime,
            deadline,
            period,
            ..Self::default()
        }
    }
}

/// The scheduling policy of a thread (0: of the calling one).
pub(crate) fn sched_getattr(tid: u32) -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    // SAFETY: the kernel writes at most `ATTR_SIZE` bytes to `attr`, which is that large.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, tid, &raw mut attr, ATTR_SIZE, 0) };
    check(result)?;
    attr.size = ATTR_SIZE;
    Ok(attr)
}

/// Changes the scheduling policy of a thread (0: of the calling one).
pub(crate) fn sched_setattr(tid: u32, attr: &SchedAttr) -> io::Result<()> {
    // SAFETY: `attr` is a valid `struct sched_attr` of the size that it says; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, tid, &raw const *attr, 0) })
}

/// Sends a signal to one thread of a process.
pub(crate) fn tgkill(pid: u32, tid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) })
}

/// Sends a signal to a process.
pub(crate) fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::syscall(libc::SYS_kill, pid, signal) })
}

/// CPU time of all threads of a process, those that have ended included, in ns.
pub(crate) fn process_cpu(pid: u32) -> io::Result<u64> {
    // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of the kernel.
    clock((!pid << 3 | 2).cast_signed())
}

/// CPU time of the calling thread, in ns.
pub(crate) fn own_cpu() -> u64 {
    clock(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

/// The monotonic clock, in ns.
pub(crate) fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// Time since the Unix epoch, in ns.
pub(crate) fn realtime() -> u64 {
    clock(libc::CLOCK_REALTIME).unwrap_or(0)
}

/// Sleeps until `until` of the monotonic clock, or until `word` is not `value` and somebody wakes us.
pub(crate) fn futex_wait_until(word: &AtomicU32, value: u32, until: u64) {
    let time = libc::timespec {
        tv_sec: (until / 1_000_000_000).cast_signed(),
        tv_nsec: (until % 1_000_000_000).cast_signed(),
    };
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` and `time` live through the call; the kernel reads them only.
    // Whatever the result, the caller looks at the clock and the word again.
    unsafe {
        let no_second_word = std::ptr::null::<u32>();
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation,
            value,
            &raw const time,
            no_second_word,
            u32::MAX,
        );
    }
}

/// Wakes the thread that waits for `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the kernel uses the address as a key only.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
}

/// Keeps all memory of this process from being paged out.
pub(crate) fn lock_memory() -> io::Result<()> {
    // SAFETY: only numbers are passed.
    check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) }.into())
}

fn clock(id: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` to `time`.
    check(unsafe { libc::clock_gettime(id, &raw mut time) }.into())?;
    Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
