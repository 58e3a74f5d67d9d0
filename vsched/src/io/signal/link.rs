//! What the rest of the program and the real-time threads share.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::io::signal::alarm::Alarm;
use crate::io::signal::core_loop::CoreLoop;
use crate::io::sys;
use crate::io::threads::Thread;
use crate::mechanism::Process;
use crate::monitor::Counters;
use crate::reservation::Reservation;

/// A removal that takes longer means that the core's thread hangs: then the journal does it all.
const PATIENCE: Duration = Duration::from_secs(1);

/// A task as its scheduler and the rest of the program both see it.
#[derive(Debug, Default)]
pub(crate) struct TaskLink {
    pub(crate) used: AtomicU64,
    pub(crate) periods: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) overruns: AtomicU64,
    pub(crate) overrun: AtomicU64,
    pub(crate) period_start: AtomicU64,
}

impl TaskLink {
    pub(crate) fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            used: Duration::from_nanos(get(&self.used)),
            periods: get(&self.periods),
            misses: get(&self.misses),
            overruns: get(&self.overruns),
            overrun: Duration::from_nanos(get(&self.overrun)),
        }
    }

    pub(crate) fn period_start(&self) -> u64 {
        self.period_start.load(Ordering::Relaxed)
    }
}

/// What is held to a slice.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) threads: Arc<[Thread]>,
    pub(crate) members: Arc<[Process]>,
    /// The kernel stops the task, if it can; see [`Alarm`].
    pub(crate) alarm: Option<Arc<Alarm>>,
}

/// What a core's scheduler is told.
#[derive(Debug)]
pub(crate) enum Command {
    Add { link: Arc<TaskLink>, reservation: Reservation, held: Held },
    Set { link: Arc<TaskLink>, reservation: Reservation },
    Change { link: Arc<TaskLink>, held: Held },
    Remove { link: Arc<TaskLink>, done: SyncSender<()> },
    End,
}

/// What both ends of a core's queue of commands share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Grows with each command; the scheduler sleeps on it.
    pub(crate) word: AtomicU32,
    pub(crate) commands: Mutex<Vec<Command>>,
    /// CPU time of the scheduler, in ns.
    pub(crate) cpu: AtomicU64,
    pub(crate) wakeups: AtomicU64,
}

/// The scheduler of a core, from outside.
#[derive(Debug)]
pub(crate) struct CoreLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl CoreLink {
    /// Starts it; errors of its start are ours.
    pub(crate) fn start(core: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (started, starting): (SyncSender<io::Result<()>>, Receiver<_>) = sync_channel(1);
        let its = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name(format!("vsched-{core}")).spawn(move || {
            let prepared = CoreLoop::prepare(core, its);
            match prepared {
                Ok(mut core_loop) => {
                    let _ = started.send(Ok(()));
                    core_loop.run();
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })?;
        starting.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn send(&self, command: Command) {
        self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.shared.word.fetch_add(1, Ordering::Release);
        sys::futex_wake(&self.shared.word);
    }

    /// When this returns, the scheduler touches the task no more, and it is not stopped.
    pub(crate) fn remove(&self, link: &Arc<TaskLink>) {
        let (done, removed) = sync_channel(1);
        self.send(Command::Remove { link: Arc::clone(link), done });
        if removed.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("a core's scheduler did not answer for {PATIENCE:?}");
        }
    }

    /// CPU time, in ns.
    pub(crate) fn cpu(&self) -> u64 {
        self.shared.cpu.load(Ordering::Relaxed)
    }

    pub(crate) fn wakeups(&self) -> u64 {
        self.shared.wakeups.load(Ordering::Relaxed)
    }
}

impl Drop for CoreLink {
    fn drop(&mut self) {
        self.send(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
