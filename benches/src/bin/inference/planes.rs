//! Two data planes, and a stream of frames from one to the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use vnet_core::control::LinkSpec;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, MacAddr, NetworkId, Rule, Source,
};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, Port};

const NETWORK: NetworkId = NetworkId(1);

/// How many frames may be under way.
const WINDOW: u64 = 512;

/// Two data planes and a UDP link over loopback; the frames that the first makes up
/// come out of the second.
pub(crate) struct Planes {
    from: DataPlane,
    to: DataPlane,
    flow: Arc<Flow>,
    frame: usize,
}

impl Planes {
    pub(crate) fn start(pairs: u32, frame: usize) -> anyhow::Result<Self> {
        let host = |name: &str| HostName::new(name);
        let plane = |name: &str, incarnation| -> anyhow::Result<DataPlane> {
            let config = DataPlaneConfig {
                bind: Some("127.0.0.1:0".parse()?),
                incarnation,
                encryption: Encryption::None,
                ..DataPlaneConfig::new(host(name)?)
            };
            Ok(DataPlane::start(config)?)
        };
        let (from, to) = (plane("a", 1)?, plane("b", 2)?);
        let link = Link { kind: LinkKind::Udp, opener: host("a")?, a: host("a")?, b: host("b")? };
        to.add_link(LinkSpec { link: link.clone(), peer: None })?;
        from.add_link(LinkSpec { link, peer: to.address() })?;
        let name = InterfaceName::new("vm")?;
        let every = |action| Rule { source: Source::Any, destination: Destination::Default, action };
        from.add_rule(NETWORK, every(Action::Edge(EdgeRef { from: host("a")?, to: host("b")? })))?;
        to.add_rule(NETWORK, every(Action::Interface(name.clone())))?;
        let end = Instant::now() + Duration::from_secs(10);
        while !from.links()?.iter().chain(&to.links()?).all(|link| link.state.up) {
            anyhow::ensure!(Instant::now() < end, "the link does not come up");
            thread::sleep(Duration::from_millis(1));
        }
        let flow = Arc::new(Flow::new()?);
        let frame = frame.max(60);
        to.add_port(name.clone(), NETWORK, Box::new(Sink::new(Arc::clone(&flow))?))?;
        from.add_port(name, NETWORK, Box::new(Spring::new(Arc::clone(&flow), pairs, frame)))?;
        Ok(Self { from, to, flow, frame })
    }

    pub(crate) fn both(&self) -> [&DataPlane; 2] {
        [&self.from, &self.to]
    }

    /// Bytes of all frames that have come out.
    pub(crate) fn delivered_bytes(&self) -> f64 {
        self.flow.delivered.0.load(Ordering::Relaxed) as f64 * self.frame as f64
    }
}

/// What the two ports know of each other. No thread lies between them and the planes,
/// whose work is all that is measured.
struct Flow {
    delivered: Padded,
    /// The spring waits for this to be delivered.
    resume_at: Padded,
    wake: OwnedFd,
}

/// Has a line of the processor's caches to itself.
#[repr(align(128))]
struct Padded(AtomicU64);

impl Flow {
    fn new() -> io::Result<Self> {
        Ok(Self {
            delivered: Padded(AtomicU64::new(0)),
            resume_at: Padded(AtomicU64::new(u64::MAX)),
            wake: eventfd(1, EventfdFlags::NONBLOCK)?,
        })
    }
}

/// A port that frames come from: of all pairs in turn, as fast as they come out again.
struct Spring {
    flow: Arc<Flow>,
    pairs: u32,
    frame: usize,
    next: u32,
    sent: u64,
    /// How many had been delivered when it looked last.
    delivered: u64,
}

impl Spring {
    fn new(flow: Arc<Flow>, pairs: u32, frame: usize) -> Self {
        Self { flow, pairs: pairs.max(1), frame, next: 0, sent: 0, delivered: 0 }
    }

    /// May another frame go? If not, it will be told when.
    fn has_room(&mut self) -> bool {
        if self.sent - self.delivered < WINDOW {
            return true;
        }
        let Flow { delivered, resume_at, wake } = &*self.flow;
        self.delivered = delivered.0.load(Ordering::SeqCst);
        if self.sent - self.delivered < WINDOW {
            return true;
        }
        // Cleared before the last look, so that no wake-up is lost.
        let _ = rustix::io::read(wake, &mut [0; 8]);
        resume_at.0.store(self.sent - WINDOW / 2, Ordering::SeqCst);
        self.delivered = delivered.0.load(Ordering::SeqCst);
        self.sent - self.delivered <= WINDOW / 2
    }
}

impl Port for Spring {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.flow.wake.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.has_room() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let pair = self.next;
        self.next = if pair + 1 == self.pairs { 0 } else { pair + 1 };
        let frame = buffer.get_mut(..self.frame).ok_or(io::ErrorKind::InvalidInput)?;
        frame[..6].copy_from_slice(&MacAddr::local(pair / 100 + 1).0);
        frame[6..12].copy_from_slice(&MacAddr::local(100_000 + pair % 100).0);
        frame[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes());
        self.sent += 1;
        Ok(self.frame)
    }

    fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// A port that counts the frames for it.
struct Sink {
    flow: Arc<Flow>,
    delivered: u64,
    /// Never readable.
    silent: OwnedFd,
}

impl Sink {
    fn new(flow: Arc<Flow>) -> io::Result<Self> {
        Ok(Self { flow, delivered: 0, silent: eventfd(0, EventfdFlags::NONBLOCK)? })
    }
}

impl Port for Sink {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.silent.as_fd()
    }

    fn receive(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
        self.delivered += 1;
        let Flow { delivered, resume_at, wake } = &*self.flow;
        delivered.0.store(self.delivered, Ordering::SeqCst);
        if self.delivered >= resume_at.0.load(Ordering::SeqCst) {
            resume_at.0.store(u64::MAX, Ordering::SeqCst);
            rustix::io::write(wake, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    }
}

/// Binds each worker of this process's data planes to a core of its own, as far as there are some.
pub(crate) fn pin_workers() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).cycle();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        // Other threads may end while they are looked at.
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if name.trim() == "vnet-worker"
            && let (Some(core), Ok(number)) = (cores.next(), task.file_name().to_string_lossy().parse())
        {
            let mut one = CpuSet::new();
            one.set(core);
            sched_setaffinity(Pid::from_raw(number), &one)?;
        }
    }
    Ok(())
}
