//! The thread that carries frames between NICs and the emulated network.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::nic::Nic;
use crate::sys;
use crate::sys::packet::BATCH;
use crate::wan::{NicId, Wan};

/// The shortest time between two wake-ups by the timer in the long run: what
/// is due sooner is done together, which halves the work of a busy network.
const PACE: Duration = Duration::from_micros(50);

/// How far wake-ups may run ahead of that pace. A network with little to do
/// so is on time to the microsecond.
const BURST: Duration = Duration::from_micros(8 * 50);

const WAKE: u64 = u64::MAX;
const TIMER: u64 = u64::MAX - 1;

/// A running network. Dropping it stops the thread.
pub(crate) struct Emulator {
    shared: Arc<Shared>,
    nics: Arc<Vec<Nic>>,
    /// Frames that the kernel had no room for until we took them, as far as asked.
    overruns: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

/// What the thread shares with those who change the network.
pub(crate) struct Shared {
    wan: Mutex<Wan>,
    wake: OwnedFd,
    stop: AtomicBool,
    /// Frames that the receiver's device did not take.
    refused: AtomicU64,
}

impl Emulator {
    /// Starts to carry frames; the NIC at place n of `nics` is NIC n of `wan`.
    pub(crate) fn start(wan: Wan, nics: Vec<Nic>, mtu: u32) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let wake = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let watch = |fd: &dyn AsFd, data| {
            epoll::add(&epoll, fd.as_fd(), epoll::EventData::new_u64(data), epoll::EventFlags::IN)
        };
        watch(&timer, TIMER)?;
        watch(&wake, WAKE)?;
        for (nic, data) in nics.iter().zip(0..) {
            watch(nic, data)?;
        }
        let shared = Arc::new(Shared {
            wan: Mutex::new(wan),
            wake,
            stop: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        });
        let nics = Arc::new(nics);
        let carrier = Carrier {
            shared: Arc::clone(&shared),
            nics: Arc::clone(&nics),
            epoll,
            timer,
            // An Ethernet header, a VLAN tag, and some more to notice what is too long.
            buffers: vec![vec![0; mtu as usize + 64]; BATCH],
            out: Vec::new(),
            armed: None,
            paced: Instant::now(),
        };
        let thread = std::thread::Builder::new().name("vlab-wan".to_owned()).spawn(move || carrier.run())?;
        Ok(Self { shared, nics, overruns: AtomicU64::new(0), thread: Some(thread) })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Frames that packet sockets had no room for.
    pub(crate) fn overruns(&self) -> u64 {
        let new = self.nics.iter().map(Nic::take_overruns).sum();
        self.overruns.fetch_add(new, Ordering::Relaxed) + new
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the emulated network had panicked");
        }
        // The thread has dropped its share.
        close(Arc::get_mut(&mut self.nics).map(std::mem::take).unwrap_or_default());
    }
}

impl Shared {
    /// The network, to look at.
    pub(crate) fn wan(&self) -> MutexGuard<'_, Wan> {
        self.wan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the network; what that makes due is done in time.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Wan, Instant) -> T) -> T {
        let result = change(&mut self.wan(), Instant::now());
        self.wake();
        result
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn wake(&self) {
        // Fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The thread's own.
struct Carrier {
    shared: Arc<Shared>,
    nics: Arc<Vec<Nic>>,
    epoll: OwnedFd,
    timer: OwnedFd,
    buffers: Vec<Vec<u8>>,
    out: Vec<(NicId, Arc<[u8]>)>,
    armed: Option<Instant>,
    /// When the pace of wake-ups allows the next one, `BURST` aside.
    paced: Instant,
}

impl Carrier {
    fn run(mut self) {
        sys::prefer_low_latency();
        let mut events = Vec::with_capacity(64);
        while !self.shared.stop.load(Ordering::Acquire) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the emulated network stops: epoll: {error}");
                    return;
                }
            }
            for event in &events {
                match event.data.u64() {
                    WAKE => drain(&self.shared.wake),
                    TIMER => {
                        drain(&self.timer);
                        self.armed = None;
                        self.paced = self.paced.max(Instant::now()) + PACE;
                    }
                    nic => self.take(nic as usize),
                }
            }
            let next = {
                let mut wan = self.shared.wan();
                wan.advance(Instant::now(), &mut self.out);
                wan.next_deadline()
            };
            self.give();
            self.arm(next);
        }
    }

    /// Takes the frames that wait at a NIC into the network.
    fn take(&mut self, index: usize) {
        let mut lengths = [0; BATCH];
        match self.nics[index].receive(&mut self.buffers, &mut lengths) {
            Ok(count) => {
                let mut wan = self.shared.wan();
                let now = Instant::now();
                // What was due before these frames came happens before them.
                wan.advance(now, &mut self.out);
                for (buffer, length) in self.buffers.iter().zip(&lengths[..count]) {
                    wan.ingest(now, NicId(index as u32), buffer[..*length].into());
                }
            }
            Err(error) => {
                tracing::warn!("a host's NIC is gone ({error}); it stays off the network");
                let _ = epoll::delete(&self.epoll, &self.nics[index]);
            }
        }
    }

    /// Gives the frames that have arrived to their NICs.
    fn give(&mut self) {
        self.out.sort_by_key(|(nic, _)| *nic);
        for frames in self.out.chunk_by(|(a, _), (b, _)| a == b) {
            let bytes: Vec<&[u8]> = frames.iter().map(|(_, frame)| &frame[..]).collect();
            let refused = self.nics[frames[0].0.0 as usize].send(&bytes);
            self.shared.refused.fetch_add(refused, Ordering::Relaxed);
        }
        self.out.clear();
    }

    /// Sets the timer, unless it goes off early enough already.
    fn arm(&mut self, next: Option<Instant>) {
        let Some(next) = next else { return };
        let at = (next + BURST).max(self.paced) - BURST;
        if self.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        // A timer of no time would not go off.
        let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let timespec = |d: Duration| Timespec {
            tv_sec: d.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: d.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
        if let Err(error) = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            tracing::error!("the emulated network's timer: {error}");
        }
        self.armed = Some(at);
    }
}

/// Closes NICs side by side: for each, the kernel waits some 15 ms until nobody
/// uses the device any more.
fn close(mut nics: Vec<Nic>) {
    std::thread::scope(|scope| {
        while !nics.is_empty() {
            let some = nics.split_off(nics.len().saturating_sub(8));
            scope.spawn(|| drop(some));
        }
    });
}

/// Takes the count of an eventfd or timerfd, so that it no longer is ready.
fn drain(fd: &OwnedFd) {
    let mut count = [0_u8; 8];
    let _ = rustix::io::read(fd, &mut count);
}
