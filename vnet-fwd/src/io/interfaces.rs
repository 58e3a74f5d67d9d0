//! The interfaces of a worker: opening their devices, again where needed, and
//! delivering to them.

use std::io;
use std::time::{Duration, Instant};

use vnet_core::InterfaceName;
use vnet_core::control::{InterfaceSpec, InterfaceStatus, PortKind, PortState};

use super::cargo::{Cargo, complete};
use super::config::{Event, InterfaceMtu, PlaneError};
use super::mtu::DeviceMtu;
use super::port::Port;
use super::sys::{Epoll, Interest};
use super::token::Token;
use crate::offload::Layout;
use crate::stats::{DropReason, PortCounters};

/// Pauses between tries to open a device: they double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// The longest name of a network device, in bytes (`IFNAMSIZ` less one).
const MAX_DEVICE_NAME: usize = 15;

/// The longest path of a Unix socket, in bytes (`sun_path` less its end).
const MAX_SOCKET_PATH: usize = 107;

struct Interface {
    name: InterfaceName,
    /// Tells it from an earlier one of the same name or index.
    serial: u64,
    /// `None`: the port was given ready made.
    spec: Option<InterfaceSpec>,
    /// `None` while it is down.
    port: Option<Box<dyn Port>>,
    why: String,
    /// A fault that may pass without opening the device again.
    fault: Option<String>,
    changed: Instant,
    counters: PortCounters,
    retry: Option<Retry>,
    mtu: DeviceMtu,
}

/// A device that is to be opened.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    pause: Duration,
    /// A try is on its way.
    under_way: bool,
}

pub(crate) struct Interfaces {
    slots: Vec<Option<Interface>>,
    next_serial: u64,
    mtu: InterfaceMtu,
    /// What all links carry whole.
    links: Option<u32>,
}

impl Interfaces {
    /// None yet; their devices are to have such MTUs.
    pub(crate) fn new(mtu: InterfaceMtu) -> Self {
        Self { slots: Vec::new(), next_serial: 0, mtu, links: None }
    }

    /// The links carry frames of devices with this MTU whole.
    pub(crate) fn follow(&mut self, links: Option<u32>) {
        self.links = links;
        for interface in self.slots.iter_mut().flatten() {
            if let Some(port) = &mut interface.port {
                interface.mtu.apply(&mut **port, self.mtu, links);
            }
        }
    }

    /// The index of an interface.
    pub(crate) fn index_of(&self, name: &InterfaceName) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|i| i.name == *name))
    }

    /// The index of the interface that a try of [`Interfaces::due`] was for.
    pub(crate) fn index_of_serial(&self, serial: u64) -> Option<usize> {
        self.slots.iter().position(|slot| slot.as_ref().is_some_and(|i| i.serial == serial))
    }

    /// Is there an interface of that name? An error if it is not as `spec` says.
    pub(crate) fn has(&self, name: &InterfaceName, spec: Option<&InterfaceSpec>) -> Result<bool, PlaneError> {
        match self.index_of(name).and_then(|index| self.slots[index].as_ref()) {
            None => Ok(false),
            Some(interface) if spec.is_some() && interface.spec.as_ref() == spec => Ok(true),
            Some(_) => Err(PlaneError::InterfaceConflict { name: name.clone() }),
        }
    }

    /// Keeps an interface, whose device is to be opened, under a free index.
    pub(crate) fn insert(
        &mut self,
        index: usize,
        name: InterfaceName,
        spec: Option<InterfaceSpec>,
        now: Instant,
    ) {
        let retry = Retry { at: now, pause: FIRST_PAUSE, under_way: false };
        self.next_serial += 1;
        let interface = Interface {
            name,
            serial: self.next_serial,
            retry: spec.is_some().then_some(retry),
            spec,
            port: None,
            why: "it is being opened".to_owned(),
            fault: None,
            changed: now,
            counters: PortCounters::default(),
            mtu: DeviceMtu::default(),
        };
        self.slots.resize_with(self.slots.len().max(index + 1), || None);
        self.slots[index] = Some(interface);
    }

    pub(crate) fn remove(&mut self, index: usize, poller: &Epoll) {
        if let Some(interface) = self.slots.get_mut(index).and_then(Option::take)
            && let Some(port) = interface.port
        {
            unwatch(&*port, poller);
        }
    }

    /// The devices that are due to be opened, by serial number; each is marked
    /// as under way.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(u64, PortKind)> {
        let mut due = Vec::new();
        for interface in self.slots.iter_mut().flatten() {
            if let (Some(retry), Some(spec)) = (&mut interface.retry, &interface.spec)
                && !retry.under_way
                && retry.at <= now
            {
                retry.under_way = true;
                due.push((interface.serial, spec.port.clone()));
            }
        }
        due
    }

    /// When [`Interfaces::due`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let retries = self.slots.iter().flatten().filter_map(|interface| interface.retry);
        retries.filter(|retry| !retry.under_way).map(|retry| retry.at).min()
    }

    /// A try to open the device at `index` has ended.
    pub(crate) fn opened(
        &mut self,
        index: usize,
        port: Result<Box<dyn Port>, String>,
        poller: &Epoll,
        now: Instant,
    ) -> Option<Event> {
        let interface = self.slots.get_mut(index)?.as_mut()?;
        let watched = port.and_then(|port| {
            let token = Token::Interface(index).into();
            let watched = poller.add(port.readiness(), token, Interest::Readable);
            watched.map(|()| port).map_err(|error| format!("it can't be watched: {error}"))
        });
        match watched {
            Ok(mut port) => {
                interface.mtu = DeviceMtu::default();
                interface.mtu.apply(&mut *port, self.mtu, self.links);
                interface.port = Some(port);
                interface.retry = None;
                interface.fault = None;
                interface.changed = now;
                Some(Event::InterfaceUp { interface: interface.name.clone() })
            }
            Err(why) => {
                // The first failure is news; the same again is not.
                let news = interface.retry.is_none_or(|retry| retry.pause == FIRST_PAUSE);
                interface.why.clone_from(&why);
                let pause = interface.retry.map_or(FIRST_PAUSE, |retry| retry.pause);
                let retry = Retry { at: now + pause, pause: (pause * 2).min(LAST_PAUSE), under_way: false };
                interface.retry = interface.spec.is_some().then_some(retry);
                news.then(|| Event::InterfaceDown { interface: interface.name.clone(), why })
            }
        }
    }

    /// The port at `index` has failed: closes it, to be opened again.
    pub(crate) fn close(&mut self, index: usize, why: String, poller: &Epoll, now: Instant) -> Option<Event> {
        let interface = self.slots.get_mut(index)?.as_mut()?;
        unwatch(&*interface.port.take()?, poller);
        interface.why.clone_from(&why);
        interface.changed = now;
        let retry = Retry { at: now, pause: FIRST_PAUSE * 2, under_way: false };
        interface.retry = interface.spec.is_some().then_some(retry);
        Some(Event::InterfaceDown { interface: interface.name.clone(), why })
    }

    /// The port at `index`, if it is open, with its counters.
    #[inline]
    pub(crate) fn port(&mut self, index: usize) -> Option<(&mut dyn Port, &mut PortCounters)> {
        let interface = self.slots.get_mut(index)?.as_mut()?;
        Some((interface.port.as_deref_mut()?, &mut interface.counters))
    }

    /// Delivers a frame or a super-frame; `scratch` has room for a frame. Fails
    /// if all of it, or the rest, was refused.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        index: usize,
        cargo: &Cargo<'_>,
        scratch: &mut [u8],
    ) -> Result<(), DropReason> {
        let Some(Some(interface)) = self.slots.get_mut(index) else { return Err(DropReason::NoInterface) };
        let Interface { port: Some(port), counters, .. } = interface else {
            interface.counters.send_errors += 1;
            return Err(DropReason::InterfaceDown);
        };
        let work = cargo.work();
        let sent = if port.offloads().cover(&work) {
            let mut headers = [0; Layout::MAX_HEADERS];
            port.send_offloaded(&work.header(), &cargo.parts(&mut headers)).map(|()| {
                let (frames, bytes) = cargo.frames_and_bytes();
                counters.sent_many(frames, bytes);
            })
        } else {
            cargo.each_frame(|length, checksum, write| {
                let frame = &mut scratch[..length];
                write(frame);
                complete(frame, checksum);
                port.send(frame).map(|()| counters.sent(length))
            })
        };
        match sent {
            Ok(()) => {
                interface.fault = None;
                Ok(())
            }
            Err(error) => {
                interface.counters.send_errors += 1;
                Err(interface.blame(&error))
            }
        }
    }

    /// Which of the TAP devices that are open take no super-frames, if there are any.
    pub(crate) fn without_offloads(&self) -> Option<String> {
        let without = |interface: &&Interface| {
            let is_tap = matches!(&interface.spec, Some(InterfaceSpec { port: PortKind::Tap { .. }, .. }));
            is_tap && interface.port.as_ref().is_some_and(|port| !port.offloads().tcp)
        };
        let names: Vec<String> =
            self.slots.iter().flatten().filter(without).map(|interface| interface.name.to_string()).collect();
        (!names.is_empty()).then(|| {
            format!("the devices of these take no super-frames (TUNSETOFFLOAD): {}", names.join(", "))
        })
    }

    /// The interfaces that have a device, ordered by name.
    pub(crate) fn status(&self, now: Instant) -> Vec<InterfaceStatus> {
        let mut all: Vec<InterfaceStatus> =
            self.slots.iter().flatten().filter_map(|interface| interface.status(now)).collect();
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        all
    }
}

impl Interface {
    /// What a failure to deliver counts as. One that is going to last is a fault.
    fn blame(&mut self, error: &io::Error) -> DropReason {
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => DropReason::InterfaceFull,
            // The port itself says why in its status.
            _ if error.kind() == io::ErrorKind::NotConnected => DropReason::InterfaceDown,
            Some(libc::ENOBUFS) => DropReason::InterfaceFull,
            Some(libc::EMSGSIZE | libc::EINVAL) => DropReason::TooLong,
            // What a TAP device and a packet socket say while the device is down.
            Some(libc::EIO | libc::ENETDOWN) => {
                let device = self.spec.as_ref().map_or("its device".to_owned(), |spec| device(&spec.port));
                let fault =
                    format!("{device} is administratively down: `ip link set {device} up` takes it up");
                self.fault = Some(fault);
                DropReason::InterfaceDown
            }
            _ => {
                self.fault = Some(format!("the last frame was refused: {error}"));
                DropReason::SendFailed
            }
        }
    }

    fn status(&self, now: Instant) -> Option<InterfaceStatus> {
        let down = match &self.port {
            None => Some(self.why.clone()),
            Some(port) => self.fault.clone().or_else(|| port.problem()),
        };
        let (mtu, mtu_problem) = self.mtu.status();
        Some(InterfaceStatus {
            spec: self.spec.clone()?,
            state: PortState {
                up: down.is_none(),
                why: down.unwrap_or_default(),
                for_ms: now.saturating_duration_since(self.changed).as_millis() as u64,
            },
            received_frames: self.counters.received_frames,
            received_bytes: self.counters.received_bytes,
            sent_frames: self.counters.sent_frames,
            sent_bytes: self.counters.sent_bytes,
            send_errors: self.counters.send_errors,
            mtu,
            mtu_problem,
        })
    }
}

/// Closing a descriptor does not do this while somebody else has it, too.
fn unwatch(port: &dyn Port, poller: &Epoll) {
    // Fails only where the kernel has stopped watching already.
    let _ = poller.remove(port.readiness());
}

/// Can the kernel have a device of that name, or a socket there?
pub(crate) fn check_device(kind: &PortKind) -> Result<(), PlaneError> {
    let device = match kind {
        PortKind::Tap { device, .. } | PortKind::Packet { device, .. } => device,
        PortKind::Stream { path } => {
            return match path.is_absolute() && path.as_os_str().len() <= MAX_SOCKET_PATH {
                true => Ok(()),
                false => Err(PlaneError::BadSocket { path: path.clone() }),
            };
        }
    };
    let length = (1..=MAX_DEVICE_NAME).contains(&device.len());
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0';
    if length && !device.contains(bad) && device != "." && device != ".." {
        Ok(())
    } else {
        Err(PlaneError::BadDevice { device: device.to_owned() })
    }
}

fn device(kind: &PortKind) -> String {
    match kind {
        PortKind::Tap { device, .. } | PortKind::Packet { device, .. } => device.clone(),
        PortKind::Stream { path } => path.display().to_string(),
    }
}
