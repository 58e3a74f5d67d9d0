//! The system calls that no safe wrapper offers.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

pub(crate) const SCHED_OTHER: u32 = libc::SCHED_OTHER as u32;
pub(crate) const SCHED_FIFO: u32 = libc::SCHED_FIFO as u32;
pub(crate) const SCHED_DEADLINE: u32 = 6;
const RESET_ON_FORK: u64 = 1;

impl SchedAttr {
    /// Children inherit it.
    pub(crate) fn fifo(priority: u32) -> Self {
        Self { size: ATTR_SIZE, policy: SCHED_FIFO, priority, ..Self::default() }
    }

    /// The most that an ordinary thread may have.
    pub(crate) fn ordinary() -> Self {
        Self { size: ATTR_SIZE, policy: SCHED_OTHER, nice: -20, ..Self::default() }
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

/// `struct perf_event_attr` of `perf_event_open(2)`, version 0 (64 bytes).
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint: u32,
    breakpoint_address: u64,
}

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_TASK_CLOCK: u64 = 1;
const PERF_FLAG_FD_CLOEXEC: u64 = 8;
const PERF_EVENT_IOC_PERIOD: u64 = 0x4008_2404;
const F_SETSIG: i32 = 10;
const F_SETOWN_EX: i32 = 15;
const F_OWNER_TID: i32 = 0;

#[repr(C)]
struct OwnerEx {
    kind: i32,
    tid: i32,
}

/// A counter of a thread's CPU time that sends `signal` to that thread each time another `period`
/// (in ns) of it has been used.
pub(crate) fn signal_after_cpu(tid: u32, signal: i32, period: u64) -> io::Result<OwnedFd> {
    let attr = PerfEventAttr {
        kind: PERF_TYPE_SOFTWARE,
        size: size_of::<PerfEventAttr>() as u32,
        config: PERF_COUNT_SW_TASK_CLOCK,
        sample_period: period,
        wakeup_events: 1,
        ..PerfEventAttr::default()
    };
    let (any_cpu, no_group) = (-1, -1);
    // SAFETY: `attr` is a valid `struct perf_event_attr` of the size that it says; the kernel only reads it.
    let fd = unsafe {
        let attr = &raw const attr;
        libc::syscall(libc::SYS_perf_event_open, attr, tid, any_cpu, no_group, PERF_FLAG_FD_CLOEXEC)
    };
    check(fd)?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
    let event = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let owner = OwnerEx { kind: F_OWNER_TID, tid: tid.cast_signed() };
    let fd = event.as_raw_fd();
    // SAFETY: `fd` is open, and `owner` is a valid `struct f_owner_ex` that the kernel only reads.
    check(unsafe { libc::fcntl(fd, F_SETOWN_EX, &raw const owner) }.into())?;
    // SAFETY: `fd` is open; otherwise only numbers are passed.
    check(unsafe { libc::fcntl(fd, F_SETSIG, signal) }.into())?;
    // SAFETY: as before.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC) }.into())?;
    Ok(event)
}

/// From now on, the counter of [`signal_after_cpu`] counts to `period` (in ns), from 0.
pub(crate) fn count_cpu_to(event: BorrowedFd<'_>, period: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads one `u64` from `period`.
    check(unsafe { libc::ioctl(event.as_raw_fd(), PERF_EVENT_IOC_PERIOD as _, &raw const period) }.into())
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
