//! Starting this program again as a child of the first process of new
//! namespaces.
//!
//! ```text
//! outer ──clone3(new namespaces)──> init (PID 1) ──clone3──> the program, again
//! waits, passes signals on          reaps, passes signals on
//! ```
//!
//! Init is a copy of the outer process that only makes system calls, so it
//! may be made from a program with any number of threads. When any of the
//! three dies, all do: init and the program get SIGKILL at their parent's
//! death, and the kernel ends every process of a namespace whose init dies.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::event::{PollFd, PollFlags};

use super::last_error;

/// Signals that are passed on to the program when a process sent them.
const FORWARDED: [libc::c_int; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

const PROGRAM: &CStr = c"/proc/self/exe";

/// Init, waiting to be let go. Dropping it ends init.
pub(crate) struct Launched {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    signals: OwnedFd,
    go: OwnedFd,
    _blocked: Blocked,
}

/// Starts init in new PID, mount and network namespaces, and a new user
/// namespace when `new_user`. It waits for [`Launched::run`].
pub(crate) fn launch(arguments: &[CString], environment: &[CString], new_user: bool) -> io::Result<Launched> {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    let (wait, go) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;

    let blocked = Blocked::new()?;
    let forwarded = signal_set(&FORWARDED);
    // SAFETY: the set is initialised; the call returns a new descriptor or -1.
    let signals = unsafe { libc::signalfd(-1, &raw const forwarded, libc::SFD_CLOEXEC) };
    if signals < 0 {
        return Err(last_error());
    }
    // SAFETY: a descriptor that the successful call above has just opened.
    let signals = unsafe { OwnedFd::from_raw_fd(signals) };

    let mut namespaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
    if new_user {
        namespaces |= libc::CLONE_NEWUSER;
    }
    // SAFETY: no handler is installed. Ignored, as we may have inherited it,
    // it would keep us from learning how init ends.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let mut pidfd = -1;
    // SAFETY: the child runs `init` alone, which makes system calls only and
    // never returns, so that it doesn't matter what other threads were doing.
    match unsafe { clone3(namespaces as u64, Some(&mut pidfd)) }? {
        0 => init(wait.as_raw_fd(), go.as_raw_fd(), &argv, &envp, &blocked),
        pid => {
            // SAFETY: CLONE_PIDFD stored a new descriptor.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Launched { pid, pidfd, signals, go, _blocked: blocked })
        }
    }
}

impl Launched {
    /// The process id of init, in the namespace of the caller.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets init start the program, passes signals on to it, and waits for
    /// its end. Returns its exit code, or 128 and the signal that ended it.
    pub(crate) fn run(self) -> io::Result<i32> {
        rustix::io::write(&self.go, &[1])?;
        loop {
            let mut poll =
                [PollFd::new(&self.pidfd, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            match rustix::event::poll(&mut poll, None) {
                Err(rustix::io::Errno::INTR) => continue,
                result => result?,
            };
            if poll[1].revents().contains(PollFlags::IN) {
                self.forward_signal()?;
            }
            if poll[0].revents().contains(PollFlags::IN) {
                let mut status = 0;
                // SAFETY: the status is a valid place for an integer.
                if unsafe { libc::waitpid(self.pid, &raw mut status, 0) } < 0 {
                    return Err(last_error());
                }
                return Ok(exit_code(status));
            }
        }
    }

    fn forward_signal(&self) -> io::Result<()> {
        // struct signalfd_siginfo (signalfd(2)): ssi_signo, ssi_errno, ssi_code.
        let mut info = [0_u8; 128];
        rustix::io::read(&self.signals, &mut info)?;
        let word = |at: usize| i32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
        if from_process(word(8)) {
            // SAFETY: init is our child and not waited for yet, so the id is its.
            unsafe { libc::kill(self.pid, word(0)) };
        }
        Ok(())
    }
}

/// Did a process send the signal? What the terminal sends goes to the whole
/// foreground group and so has reached the program already.
fn from_process(si_code: i32) -> bool {
    matches!(si_code, libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL)
}

fn exit_code(status: libc::c_int) -> i32 {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

/// The life of PID 1. Only system calls: other threads of the process that
/// this is a copy of may have held locks, of the allocator for one.
fn init(
    wait: libc::c_int,
    go: libc::c_int,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    signals: &Blocked,
) -> ! {
    // SAFETY: plain system calls on values of this stack frame and on C
    // strings that the caller keeps; exec and _exit don't return.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // Ignored, it would not be sent at all; we may have inherited that.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::close(go);
        let mut byte = 0_u8;
        // End of file: the outer process gave up, or died before the line above.
        if libc::read(wait, (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(1);
        }
        libc::prctl(libc::PR_SET_NAME, c"vlab-init".as_ptr());
        let program = match clone3(0, None) {
            Ok(0) => {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const signals.before, ptr::null_mut());
                libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), envp.as_ptr());
                libc::_exit(127)
            }
            Ok(pid) => pid,
            Err(_) => libc::_exit(126),
        };
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
        loop {
            let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
            let signal = libc::sigwaitinfo(&raw const signals.set, info.as_mut_ptr());
            if signal == libc::SIGCHLD {
                let mut status = 0;
                loop {
                    let pid = libc::waitpid(-1, &raw mut status, libc::WNOHANG);
                    if pid == program {
                        libc::_exit(exit_code(status));
                    }
                    if pid <= 0 {
                        break;
                    }
                }
            } else if signal > 0 && from_process(info.assume_init().si_code) {
                libc::kill(program, signal);
            }
        }
    }
}

/// clone3(2) as a fork: a copy of this process with the calling thread alone.
///
/// # Safety
/// Until it execs or exits, the child may only make system calls when this
/// process has other threads.
unsafe fn clone3(namespaces: u64, pidfd: Option<&mut libc::c_int>) -> io::Result<libc::pid_t> {
    // SAFETY: all zero is a valid value: everything optional is absent.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(pidfd) = pidfd {
        arguments.flags |= libc::CLONE_PIDFD as u64;
        arguments.pidfd = ptr::from_mut(pidfd) as u64;
    }
    // SAFETY: the arguments are valid, of the given size, and ask for a copy
    // of memory and stack (no CLONE_VM); the caller keeps the child's rules.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    if result < 0 { Err(last_error()) } else { Ok(result as libc::pid_t) }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Keeps the signals that we take ourselves from having their effect on this
/// thread and what it starts, until dropped.
struct Blocked {
    set: libc::sigset_t,
    before: libc::sigset_t,
}

impl Blocked {
    fn new() -> io::Result<Self> {
        let set = signal_set(&[&FORWARDED[..], &[libc::SIGCHLD]].concat());
        let mut before = MaybeUninit::uninit();
        // SAFETY: the set is initialised, and the call writes the one before.
        if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, before.as_mut_ptr()) } != 0 {
            return Err(last_error());
        }
        // SAFETY: written by the successful call above.
        Ok(Self { set, before: unsafe { before.assume_init() } })
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is initialised.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

fn signal_set(signals: &[libc::c_int]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset changes it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}
