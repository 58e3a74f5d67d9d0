//! The thread that forwards frames.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use vnet_core::HostName;
use vnet_core::frame::MAX_FRAME;

use super::arrivals::Arrivals;
use super::bind::bind;
use super::cargo::Cargo;
use super::config::{DataPlaneConfig, Encryption, Event, OffloadSwitches, StartError};
use super::interfaces::Interfaces;
use super::keys;
use super::open::{OpenError, open_elsewhere};
use super::outlets::Outlets;
use super::port::Port;
use super::report::Reporter;
use super::sys::{Epoll, EventFd, Interest, Ready};
use super::tcp::{self, PREFIX, TcpLinks};
use super::token::Token;
use super::train::{self, Train};
use super::udp::{self, Failure, UdpLinks};
use crate::engine::{Forwarder, Ingress};
use crate::link::{Action, ConnectionId, Features, LinkSet, Path};
use crate::port::PortId;
use crate::publish::Reader;
use crate::secure::{Guard, PrivateKey, SecureOptions};
use crate::stats::{DropReason, Drops};
use crate::table::RuleTable;

/// Work for the worker's thread, done between two batches of frames.
pub(crate) type Command = Box<dyn FnOnce(&mut Worker) + Send>;

/// Told of every event.
pub(crate) type Observer = Box<dyn Fn(&Event) + Send>;

/// How many frames are taken from one port before the others have their turn.
const BATCH: usize = 64;

/// After how many bytes from one port the others have their turn.
const BATCH_BYTES: usize = 256 << 10;

/// After how long with datagrams the others have their turn: a handshake takes as long
/// as hundreds of frames, and whoever gives a command waits meanwhile.
const TURN: Duration = Duration::from_millis(2);

/// How long no connection is accepted after the kernel could not give one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Worker {
    pub(super) host: HostName,
    wake: EventFd,
    commands: mpsc::Receiver<Command>,
    /// For the threads that open devices, to report back.
    own: mpsc::Sender<Command>,
    pub(super) observers: Vec<Observer>,
    reporter: Reporter,
    address: Option<SocketAddr>,
    pub(super) forwarder: Forwarder,
    pub(super) outlets: Outlets,
    pub(super) switches: OffloadSwitches,
    /// Room for one frame.
    packet: Box<[u8]>,
    /// Room for datagrams; made when there may be some.
    arrivals: Option<Arrivals>,
    /// The frames that came one after the other.
    train: Train,
    /// Room for what one TCP connection gives at a time; made when there is one.
    stream: Vec<u8>,
    accept_again: Option<Instant>,
    pub(super) stopped: bool,
}

impl Worker {
    pub(crate) fn new(
        config: DataPlaneConfig,
        rules: Reader<RuleTable>,
        commands: mpsc::Receiver<Command>,
        own: mpsc::Sender<Command>,
    ) -> Result<Self, StartError> {
        let failed = |what| move |source| StartError::Worker { what, source };
        let wake = EventFd::new().map_err(failed("making an event counter"))?;
        let poller = Epoll::new().map_err(failed("making a poller"))?;
        let watch = |fd, token: Token| {
            poller.add(fd, token.into(), Interest::Readable).map_err(failed("watching a socket"))
        };
        watch(wake.as_fd(), Token::Wake)?;
        let (mut udp, mut tcp, mut address) = (None, None, None);
        if let Some(wanted) = config.bind {
            let (socket, listener) = bind(wanted)?;
            address = Some(socket.local_addr().map_err(failed("asking for a socket's address"))?);
            let socket = UdpLinks::new(socket, config.offloads, config.measure_paths)
                .map_err(failed("setting up the UDP socket"))?;
            let listener = TcpLinks::new(listener).map_err(failed("setting up the TCP socket"))?;
            watch(socket.as_fd(), Token::Udp)?;
            watch(listener.as_fd(), Token::Listener)?;
            (udp, tcp) = (Some(socket), Some(listener));
        }
        let DataPlaneConfig { host, incarnation, timing, offloads, encryption, .. } = config;
        let now = Instant::now();
        let features = if offloads.links { Features::ALL } else { Features::WIRE_FRAMES };
        let mut links = LinkSet::new(host.clone(), incarnation, timing, now)
            .with_features(features)
            .with_splitting(config.split_frames);
        if let Some(guard) = guard(encryption, now).map_err(failed("getting random numbers"))? {
            links = links.with_guard(guard);
        }
        let forwarder =
            Forwarder::new(rules, config.hop_limit, config.cache_capacity, config.traffic_capacity);
        Ok(Self {
            host,
            wake,
            commands,
            own,
            observers: Vec::new(),
            reporter: Reporter::new(),
            address,
            forwarder,
            arrivals: udp.is_some().then(Arrivals::new),
            outlets: Outlets::new(links, Interfaces::new(config.interface_mtu), udp, tcp, poller, now),
            switches: offloads,
            packet: vec![0; MAX_FRAME].into(),
            train: Train::default(),
            stream: Vec::new(),
            accept_again: None,
            stopped: false,
        })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn waker(&self) -> Result<EventFd, StartError> {
        let failed = |source| StartError::Worker { what: "sharing its event counter", source };
        self.wake.try_clone().map_err(failed)
    }

    /// Works until `Worker::stop`.
    pub(crate) fn run(mut self) {
        let mut ready = Vec::new();
        while !self.stopped {
            let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.outlets.poller.wait(timeout, &mut ready) {
                tracing::error!(%error, "the worker can't wait for its ports, and stops");
                return;
            }
            for ready in &ready {
                self.serve(*ready);
            }
            self.on_time(Instant::now());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let all = [
            self.outlets.links.deadline(),
            self.outlets.interfaces.deadline(),
            self.reporter.deadline(),
            self.accept_again,
        ];
        all.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: Instant) {
        if self.outlets.links.deadline().is_some_and(|at| at <= now) {
            self.outlets.links.on_time(now);
            self.act();
        }
        self.open_due(now);
        if self.accept_again.is_some_and(|at| at <= now)
            && let Some(tcp) = &self.outlets.tcp
        {
            let watched = self.outlets.poller.add(tcp.as_fd(), Token::Listener.into(), Interest::Readable);
            self.accept_again = watched.err().map(|_| now + ACCEPT_PAUSE);
        }
        self.reporter.flush(now);
    }

    fn serve(&mut self, ready: Ready) {
        match Token::from(ready.token) {
            Token::Wake => {
                self.wake.clear();
                while let Ok(command) = self.commands.try_recv() {
                    command(self);
                }
            }
            Token::Interface(index) => self.read_interface(index),
            Token::Udp => self.read_udp(ready.error),
            Token::Listener => self.accept(),
            Token::Connection(id) => self.serve_connection(id, ready),
        }
        self.act();
    }

    fn read_interface(&mut self, index: usize) {
        let mut drops = Drops::default();
        self.outlets.now = Instant::now();
        let mut taken = 0;
        for _ in 0..BATCH {
            let Some((port, counters)) = self.outlets.interfaces.port(index) else { break };
            match port.receive_offloaded(&mut self.packet) {
                Ok((length, header)) => {
                    let ingress = Ingress::Interface(PortId::interface(index));
                    let frame = &mut self.packet[..length];
                    match header.work(frame) {
                        Ok(work) => {
                            let cargo = Cargo::Whole { work, frame };
                            let (frames, bytes) = cargo.frames_and_bytes();
                            counters.received_many(frames, bytes);
                            train::forward(&mut self.forwarder, &mut self.outlets, ingress, &cargo);
                        }
                        Err(error) => {
                            tracing::trace!(%error, "a device hands over a frame that can't be dealt with");
                            counters.received(length);
                            self.forwarder.count_drop(DropReason::Unsegmented);
                        }
                    }
                    taken += length;
                    if taken >= BATCH_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                    self.forwarder.count_drop(DropReason::TooLong);
                }
                Err(error) => {
                    let (now, why) = (Instant::now(), format!("reading failed: {error}"));
                    let Outlets { interfaces, poller, .. } = &mut self.outlets;
                    let event = interfaces.close(index, why, poller, now);
                    self.tell(event, now);
                    break;
                }
            }
        }
        if let Some((port, _)) = self.outlets.interfaces.port(index) {
            port.take_drops(&mut drops);
            self.forwarder.count_all(&drops);
        }
        self.flush();
    }

    fn read_udp(&mut self, mut failures: bool) {
        let Some(arrivals) = &mut self.arrivals else { return };
        self.outlets.now = Instant::now();
        let mut taken = 0;
        for _ in 0..BATCH {
            let Some(udp) = &mut self.outlets.udp else { return };
            if arrivals.is_full(udp.receives_alone()) {
                self.train.leave(&mut self.forwarder, &mut self.outlets, &arrivals.buffer);
                arrivals.clear();
            }
            let Some(udp) = &mut self.outlets.udp else { return };
            match udp.receive(arrivals) {
                Ok(()) if arrivals.messages.is_empty() => break,
                Ok(()) => {}
                Err(_) => {
                    failures = true;
                    continue;
                }
            }
            let Arrivals { buffer, messages, .. } = &mut *arrivals;
            for message in messages.iter() {
                let (mut start, end) = (message.start, message.start + message.length);
                if message.length == 0 {
                    self.forwarder.count_drop(DropReason::TooLong);
                }
                while start < end {
                    let next = end.min(start + message.segment);
                    let (forwarder, outlets) = (&mut self.forwarder, &mut self.outlets);
                    let (path, at) = (Path::Udp(message.from), message.arrived_ns);
                    self.train.add(forwarder, outlets, path, buffer, start..next, at);
                    start = next;
                }
                taken += message.length;
            }
            if taken >= BATCH_BYTES || self.outlets.now.elapsed() >= TURN {
                break;
            }
        }
        self.train.leave(&mut self.forwarder, &mut self.outlets, &arrivals.buffer);
        arrivals.clear();
        if self.outlets.links.has_enough_arrivals()
            && let Some(udp) = &mut self.outlets.udp
        {
            udp.stamp(false);
        }
        while failures
            && let Some(udp) = &self.outlets.udp
            && let Some(failure) = udp.next_failure()
        {
            let Failure { address, why, mtu, is_remote } = failure;
            match mtu {
                Some(mtu) => self.outlets.links.limited(address, mtu, is_remote, self.outlets.now),
                None => self.outlets.links.unreachable(address, &why, self.outlets.now),
            }
        }
        self.flush();
    }

    /// Sends what waits for the end of a batch.
    fn flush(&mut self) {
        self.outlets.flush();
        self.forwarder.count_all(&std::mem::take(&mut self.outlets.drops));
    }

    fn accept(&mut self) {
        let now = Instant::now();
        let Outlets { tcp: Some(tcp), links, poller, .. } = &mut self.outlets else { return };
        for _ in 0..BATCH {
            match tcp.accept() {
                Ok(None) => return,
                Ok(Some((stream, _))) => {
                    let Some(id) = links.accept(now) else { continue };
                    if let Err(error) = tcp.adopt(id, Token::Connection(id).into(), stream, poller) {
                        links.disconnected(id, &error.to_string(), now);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of descriptors, say: asking again at once is no use.
                    tracing::debug!(%error, "a connection can't be accepted");
                    if poller.remove(tcp.as_fd()).is_ok() {
                        self.accept_again = Some(now + ACCEPT_PAUSE);
                    }
                    return;
                }
            }
        }
    }

    fn serve_connection(&mut self, id: ConnectionId, ready: Ready) {
        let now = Instant::now();
        let result = self.write_connection(id, ready, now).and_then(|()| self.read_connection(id, now));
        if let Err(error) = result {
            if let Some(tcp) = &mut self.outlets.tcp {
                tcp.close(id);
            }
            self.outlets.links.disconnected(id, &error.to_string(), now);
        }
    }

    fn write_connection(&mut self, id: ConnectionId, ready: Ready, now: Instant) -> io::Result<()> {
        let Outlets { tcp: Some(tcp), links, poller, .. } = &mut self.outlets else { return Ok(()) };
        if (ready.writable || ready.error) && tcp.writable(id, Token::Connection(id).into(), poller)? {
            links.connected(id, now);
        }
        Ok(())
    }

    fn read_connection(&mut self, id: ConnectionId, now: Instant) -> io::Result<()> {
        if self.stream.is_empty() {
            self.stream = vec![0; tcp::STREAM_BUFFER];
        }
        let Some(tcp) = &mut self.outlets.tcp else { return Ok(()) };
        let Some(length) = tcp.read(id, &mut self.stream)? else { return Ok(()) };
        self.outlets.now = now;
        let mut at = 0;
        while let Some(record) = tcp::first_record(&self.stream[at..length])? {
            let (forwarder, outlets) = (&mut self.forwarder, &mut self.outlets);
            let place = at + PREFIX..at + record;
            self.train.add(forwarder, outlets, Path::Tcp(id), &mut self.stream, place, None);
            at += record;
        }
        self.train.leave(&mut self.forwarder, &mut self.outlets, &self.stream);
        self.flush();
        if let Some(tcp) = &mut self.outlets.tcp {
            tcp.keep(id, &self.stream[at..length]);
        }
        Ok(())
    }

    /// Does what links want done.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        while let Some(action) = self.outlets.links.poll_action() {
            let Outlets { links, udp, tcp, poller, .. } = &mut self.outlets;
            match action {
                Action::Send { path: Path::Udp(address), message } => {
                    match udp.as_ref().map(|udp| udp.send(&message, address)) {
                        None | Some(Ok(())) => {}
                        Some(Err(error)) if udp::is_too_long(&error) => {
                            links.refused(address, message.len(), now);
                        }
                        Some(Err(error)) => links.unreachable(address, &error.to_string(), now),
                    }
                }
                Action::Send { path: Path::Tcp(id), message } => {
                    if let Some(tcp) = tcp
                        && let Err(reason) =
                            tcp.send_control(id, Token::Connection(id).into(), &message, poller)
                    {
                        self.forwarder.count_drop(reason);
                    }
                }
                Action::Dial { connection: id, address } => {
                    let dialled =
                        tcp.as_mut().map(|tcp| tcp.dial(id, Token::Connection(id).into(), address, poller));
                    if let Some(Err(error)) = dialled {
                        links.disconnected(id, &error.to_string(), now);
                    }
                }
                Action::HangUp { connection } => {
                    if let Some(tcp) = tcp {
                        tcp.close(connection);
                    }
                }
                Action::Up { link } => self.tell(Some(Event::LinkUp { link }), now),
                Action::Down { link, why } => self.tell(Some(Event::LinkDown { link, why }), now),
            }
        }
        if let Some(mtu) = self.outlets.links.take_interface_mtu() {
            self.outlets.interfaces.follow(mtu);
        }
    }

    /// Has threads open the devices whose time has come.
    pub(super) fn open_due(&mut self, now: Instant) {
        if self.outlets.interfaces.deadline().is_none_or(|at| at > now) {
            return;
        }
        for (serial, kind) in self.outlets.interfaces.due(now) {
            let own = self.own.clone();
            let done = self.wake.try_clone().map(|wake| {
                move |port: Result<Box<dyn Port>, OpenError>| {
                    let port = port.map_err(|error| error.to_string());
                    // The worker may have stopped since.
                    let _ = own.send(Box::new(move |worker| worker.opened(serial, port)));
                    wake.notify();
                }
            });
            let started = match done {
                Ok(done) => open_elsewhere(kind, self.switches.ports, done),
                Err(source) => Err(OpenError::Thread { source }),
            };
            if let Err(error) = started {
                self.opened(serial, Err(error.to_string()));
            }
        }
    }

    fn opened(&mut self, serial: u64, port: Result<Box<dyn Port>, String>) {
        let now = Instant::now();
        // The interface may have been removed since.
        if let Some(index) = self.outlets.interfaces.index_of_serial(serial) {
            let event = self.outlets.interfaces.opened(index, port, &self.outlets.poller, now);
            self.tell(event, now);
        }
    }

    pub(super) fn tell(&mut self, event: Option<Event>, now: Instant) {
        if let Some(event) = event {
            for observer in &self.observers {
                observer(&event);
            }
            self.reporter.add(&event, now);
        }
    }
}

fn guard(encryption: Encryption, now: Instant) -> io::Result<Option<Guard>> {
    let (key, options) = match encryption {
        Encryption::None => return Ok(None),
        Encryption::NewKey => (PrivateKey::generate()?, SecureOptions::default()),
        Encryption::Key(key, options) => (key, options),
    };
    // A clock before 1970 is wrong anyway.
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Some(Guard::new(&key, options, keys::random()?, wall, now)))
}
