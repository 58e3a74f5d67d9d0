//! One rank at work: a single thread around `poll`.

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::bsp::{Bsp, Ending, Step};
use crate::error::{Error, MissingPeer, Violation};
use crate::options::Options;
use crate::pattern::Pattern;
use crate::payload::{Mismatch, Payload};
use crate::report::{Ended, Summary};
use crate::wire::{Event, Header, Hello, Refusal, WireError};
use crate::workload::Workload;

use super::clock;
use super::connection::Connection;
use super::peers::{LinkState, PeerLink};
use super::progress::Progress;
use super::sink::Sink;
use super::stop::StopSignal;

/// Runs a rank and reports to the place that its options name.
pub(crate) fn run_to_report(options: Options, stop: &StopSignal) -> Result<Summary, Error> {
    let Some(report) = options.report.clone() else {
        return Worker::bind(options)?.run(stop, &mut |_| Ok(()));
    };
    let error = |source| Error::Report { rank: options.rank, to: report.to_string(), source };
    let mut sink = report.open().map_err(error)?;
    Worker::bind(options)?.run(stop, &mut sink)
}

/// Connections that have not said hello yet, at most; the oldest goes first.
const MAX_STRANGERS: usize = 64;
/// How much of a busy compute phase passes before connections are served.
const BUSY_SLICE: Duration = Duration::from_millis(2);

/// A rank that listens and has not started yet.
#[derive(Debug)]
pub struct Worker {
    options: Options,
    pattern: Pattern,
    listener: TcpListener,
}

impl Worker {
    /// Listens at the rank's own address.
    ///
    /// # Errors
    ///
    /// The options don't fit together or the address can't be listened on.
    pub fn bind(options: Options) -> Result<Self, Error> {
        options.pattern()?;
        let address = options.listen.unwrap_or(options.peers[options.rank]);
        let error = |source| Error::Listen { rank: options.rank, address, source };
        let listener = TcpListener::bind(address).map_err(error)?;
        Self::with_listener(options, listener)
    }

    /// Uses a socket that listens already.
    ///
    /// # Errors
    ///
    /// The options don't fit together or the socket can't be used.
    pub fn with_listener(mut options: Options, listener: TcpListener) -> Result<Self, Error> {
        let pattern = options.pattern()?;
        options.workload.shape = options.workload.shape.resolve(options.peers.len())?;
        let what = "can't make the listening socket non-blocking";
        listener.set_nonblocking(true).map_err(|source| Error::System { what, source })?;
        Ok(Self { options, pattern, listener })
    }

    /// Runs until the workload or the duration ends, `stop` is given, or a peer stops.
    ///
    /// # Errors
    ///
    /// A peer can't be reached or doesn't come back in time, refuses, or breaks
    /// the protocol; a message arrives damaged; `sink` fails.
    pub fn run(self, stop: &StopSignal, sink: &mut Sink<'_>) -> Result<Summary, Error> {
        let mut sink = |record: &_| sink(record);
        Run::new(&self, stop, &mut sink).run()
    }
}

struct Run<'a> {
    options: &'a Options,
    listener: &'a TcpListener,
    stop: &'a StopSignal,
    bsp: Bsp,
    links: Vec<PeerLink>,
    strangers: Vec<Connection>,
    progress: Progress<'a>,
    buffer: Vec<u8>,
    begun: Instant,
    computing: Option<Computing>,
    /// Since when and why no further iteration is done.
    leaving: Option<(Instant, Ended)>,
}

enum Computing {
    Until(Instant),
    Busy(Duration),
}

/// Whose turn a poll says it is.
enum Turn {
    Stop,
    Listener,
    Stranger(usize),
    Peer(usize),
}

impl<'a> Run<'a> {
    fn new(worker: &'a Worker, stop: &'a StopSignal, sink: &'a mut Sink<'a>) -> Self {
        let Worker { options, pattern, listener } = worker;
        let now = Instant::now();
        let peers = pattern.peers(options.rank);
        let link =
            |&(peer, _): &(usize, _)| PeerLink::new(peer, options.peers[peer], options.rank > peer, now);
        let Workload { message, iterations, .. } = options.workload;
        Self {
            options,
            listener,
            stop,
            bsp: Bsp::new(peers.iter().map(|(_, role)| *role), message, iterations),
            links: peers.iter().map(link).collect(),
            strangers: Vec::new(),
            progress: Progress::new(options, sink),
            buffer: Connection::buffer(),
            begun: now,
            computing: None,
            leaving: None,
        }
    }

    fn run(mut self) -> Result<Summary, Error> {
        loop {
            let now = Instant::now();
            self.timers(now)?;
            self.advance(now)?;
            if let Some((since, ended)) = self.leaving
                && self.may_leave(since, now)
            {
                return self.progress.end(ended, since);
            }
            self.wait(now)?;
        }
    }

    /// Does whatever the time has come for.
    fn timers(&mut self, now: Instant) -> Result<(), Error> {
        self.progress.tick(now)?;
        if let Some(end) = self.duration_end()
            && end <= now
            && self.leaving.is_none()
        {
            self.leave(Ended::Duration, now);
            self.bsp.stop();
        }
        match &mut self.computing {
            Some(Computing::Until(end)) if *end <= now => {
                self.computing = None;
                self.bsp.computed();
            }
            Some(Computing::Busy(rest)) => {
                let slice = BUSY_SLICE.min(*rest);
                clock::burn(slice);
                *rest -= slice;
                if rest.is_zero() {
                    self.computing = None;
                    self.bsp.computed();
                }
            }
            _ => {}
        }
        for (i, link) in self.links.iter_mut().enumerate() {
            link.dial(self.bsp.expects(i), now);
        }
        self.check_patience(now)
    }

    fn check_patience(&self, now: Instant) -> Result<(), Error> {
        let fail = |waited, missing: Vec<MissingPeer>| {
            Err(Error::Missing { rank: self.options.rank, waited, missing })
        };
        if self.bsp.is_joining() && self.begun + self.options.startup <= now {
            let absent: Vec<_> = self.links.iter().filter(|l| !l.is_open()).map(PeerLink::missing).collect();
            let all = || self.links.iter().map(PeerLink::missing).collect();
            return fail(self.options.startup, if absent.is_empty() { all() } else { absent });
        }
        for (i, link) in self.links.iter().enumerate() {
            if let Some(since) = link.lost_since
                && since + self.options.patience <= now
                && self.bsp.expects(i)
            {
                return fail(self.options.patience, vec![link.missing()]);
            }
        }
        Ok(())
    }

    /// Takes every step and writes every byte that is possible right now.
    fn advance(&mut self, now: Instant) -> Result<(), Error> {
        loop {
            while let Some(step) = self.bsp.step() {
                match step {
                    Step::Compute => self.compute(now)?,
                    Step::Leave(ending) => {
                        self.finish(ending, now)?;
                        break;
                    }
                }
            }
            self.progress.completed(self.bsp.iterations(), now);
            let mut moved = false;
            for i in 0..self.links.len() {
                moved |= self.write(i, now)?;
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn compute(&mut self, now: Instant) -> Result<(), Error> {
        self.begin(now)?;
        let compute = self.options.workload.compute;
        if compute.time.is_zero() {
            self.bsp.computed();
        } else if compute.busy {
            self.computing = Some(Computing::Busy(compute.time));
        } else {
            self.computing = Some(Computing::Until(now + compute.time));
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) -> Result<(), Error> {
        let peers = self.links.iter().map(|link| link.rank).collect();
        self.progress.completed(self.bsp.iterations(), now);
        self.progress.begin(self.bsp.iterations(), peers, now)
    }

    fn finish(&mut self, ending: Ending, now: Instant) -> Result<(), Error> {
        let ended = match ending {
            Ending::Done => {
                self.begin(now)?;
                Ended::Iterations
            }
            Ending::Stopped => Ended::Stopped,
            Ending::StoppedBy(_) => Ended::Peer,
        };
        self.leave(ended, now);
        Ok(())
    }

    fn leave(&mut self, ended: Ended, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some((now, ended));
            self.computing = None;
        }
    }

    fn may_leave(&self, since: Instant, now: Instant) -> bool {
        let written = self.links.iter().all(|link| match &link.state {
            LinkState::Open(connection) => connection.is_idle(),
            _ => true,
        });
        let never_started = self.progress.started().is_none();
        let over = self.bsp.is_over() || never_started;
        (over && written) || (self.bsp.is_stopping() && since + self.options.linger <= now)
    }

    /// Writes to a peer; has that made another step possible?
    fn write(&mut self, i: usize, now: Instant) -> Result<bool, Error> {
        let rank = self.options.rank;
        let mut moved = false;
        while let Some(connection) = self.links[i].connection() {
            if connection.is_idle() {
                let Some(header) = self.bsp.next_frame(i) else { break };
                let iteration = if let Header::Data { iteration, .. } = header { iteration } else { 0 };
                let payload = Payload::new(rank, self.links[i].rank, iteration);
                let Some(connection) = self.links[i].connection() else { break };
                connection.frame(header, rank, payload);
                continue;
            }
            match connection.write() {
                Ok(written) => {
                    self.progress.bytes_sent += written.payload;
                    if written.message_ended {
                        self.bsp.sent(i);
                        moved = true;
                    }
                    if !self.links[i].connection().is_some_and(|c| c.is_idle()) {
                        break;
                    }
                }
                Err(e) => {
                    self.lose(i, e.raw_os_error(), e, now)?;
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Waits until something happens or it is time for something, and deals with the first.
    fn wait(&mut self, now: Instant) -> Result<(), Error> {
        let timeout = self.next_timer().map(|at| clock::timespec(at.saturating_duration_since(now)));
        let mut turns = Vec::with_capacity(self.links.len() + 2);
        let mut fds = Vec::with_capacity(self.links.len() + 2);
        fds.push(PollFd::new(self.stop, PollFlags::IN));
        turns.push(Turn::Stop);
        fds.push(PollFd::new(self.listener, PollFlags::IN));
        turns.push(Turn::Listener);
        for (i, stranger) in self.strangers.iter().enumerate() {
            fds.push(PollFd::new(stranger, PollFlags::IN));
            turns.push(Turn::Stranger(i));
        }
        for (i, link) in self.links.iter().enumerate() {
            fds.push(match &link.state {
                LinkState::Dialling(stream, _) => PollFd::new(stream, PollFlags::OUT),
                LinkState::Greeting(connection) => PollFd::new(connection, PollFlags::IN),
                LinkState::Open(connection) if connection.is_idle() => PollFd::new(connection, PollFlags::IN),
                LinkState::Open(connection) => PollFd::new(connection, PollFlags::IN | PollFlags::OUT),
                LinkState::Idle | LinkState::Waiting(_) => continue,
            });
            turns.push(Turn::Peer(i));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(e) => return Err(Error::System { what: "can't poll", source: e.into() }),
        }
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let now = Instant::now();
        // Backwards, since a stranger that is dealt with leaves its place.
        for (turn, events) in turns.into_iter().zip(events).rev().filter(|(_, events)| !events.is_empty()) {
            match turn {
                Turn::Stop => self.stop_if_told(now),
                Turn::Listener => self.accept()?,
                Turn::Stranger(i) => self.meet(i, now)?,
                Turn::Peer(i) => self.serve(i, events, now)?,
            }
        }
        Ok(())
    }

    fn next_timer(&self) -> Option<Instant> {
        let computing = self.computing.as_ref().map(|computing| match computing {
            Computing::Until(end) => *end,
            Computing::Busy(_) => self.begun,
        });
        let joining = self.bsp.is_joining().then(|| self.begun + self.options.startup);
        let linger = self.leaving.map(|(since, _)| since + self.options.linger);
        let linger = linger.filter(|_| self.bsp.is_stopping());
        let duration = self.duration_end().filter(|_| self.leaving.is_none());
        let links = self.links.iter().flat_map(|link| {
            let patience = link.lost_since.map(|since| since + self.options.patience);
            [link.timer(), patience]
        });
        let own = [self.progress.timer(), computing, joining, linger, duration];
        own.into_iter().chain(links).flatten().min()
    }

    fn duration_end(&self) -> Option<Instant> {
        Some(self.progress.started()? + self.options.duration?)
    }

    fn stop_if_told(&mut self, now: Instant) {
        if self.stop.take() {
            self.leave(Ended::Stopped, now);
            self.bsp.stop();
        }
    }

    fn accept(&mut self) -> Result<(), Error> {
        loop {
            match self.listener.accept().and_then(|(stream, _)| Connection::new(stream)) {
                Ok(connection) => {
                    if self.strangers.len() == MAX_STRANGERS {
                        self.strangers.remove(0);
                    }
                    self.strangers.push(connection);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The stranger's trouble, not this rank's.
                Err(e) if is_transient(&e) => {}
                Err(source) => return Err(Error::System { what: "can't accept connections", source }),
            }
        }
    }

    /// A stranger has said something.
    fn meet(&mut self, i: usize, now: Instant) -> Result<(), Error> {
        match self.strangers[i].read_hello() {
            Ok(Some(hello)) => {
                let connection = self.strangers.remove(i);
                self.admit(connection, hello, now)
            }
            Ok(None) => Ok(()),
            Err(e) => {
                let connection = self.strangers.remove(i);
                let from = connection.peer_addr().map_or_else(|_| "unknown".to_owned(), |a| a.to_string());
                tracing::debug!(rank = self.options.rank, from, "a connection that is no peer's: {e}");
                Ok(())
            }
        }
    }

    /// Makes a stranger's connection that of the peer it says it is.
    fn admit(&mut self, mut connection: Connection, hello: Hello, now: Instant) -> Result<(), Error> {
        let answer = self.hello(hello.rank);
        connection.hello(&answer);
        let peer = hello.rank as usize;
        let known = self.links.iter().position(|link| link.rank == peer);
        let refusal = if hello.ranks != answer.ranks {
            Some(Refusal::Ranks)
        } else if hello.receiver != answer.rank {
            Some(Refusal::Receiver)
        } else if hello.workload != answer.workload {
            Some(Refusal::Workload)
        } else if known.is_none() || peer < self.options.rank {
            Some(Refusal::NoChannel)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            tracing::warn!(rank = self.options.rank, peer, "refused a connection: {refusal:?}");
            connection.frame(Header::Refusal(refusal), self.options.rank, Payload::new(0, 0, 0));
            if let Err(e) = connection.write() {
                tracing::debug!(peer, "a refusal was not delivered: {e}");
            }
            return Ok(());
        }
        if let Some(i) = known {
            if self.links[i].is_open() {
                self.lose(i, None, "the peer connected anew", now)?;
            }
            self.open(i, connection, hello.joining, now)?;
        }
        Ok(())
    }

    fn open(&mut self, i: usize, connection: Connection, joining: bool, now: Instant) -> Result<(), Error> {
        self.bsp.connected(i, joining);
        match self.links[i].open(connection, now) {
            Some(gone) => self.progress.restored(self.links[i].rank, gone),
            None => Ok(()),
        }
    }

    /// Something happened on the way to a peer.
    fn serve(&mut self, i: usize, events: PollFlags, now: Instant) -> Result<(), Error> {
        let wanted = self.bsp.expects(i);
        let hello = self.hello(self.links[i].rank as u32);
        let link = &mut self.links[i];
        match &mut link.state {
            LinkState::Dialling(..) => link.dialled(&hello, wanted, now),
            LinkState::Greeting(_) => {
                if let Some(hello) = link.greeted(wanted, now)
                    && let LinkState::Greeting(connection) =
                        std::mem::replace(&mut link.state, LinkState::Idle)
                {
                    self.open(i, connection, hello.joining, now)?;
                }
            }
            LinkState::Open(connection) => {
                connection.unblock();
                if events != PollFlags::OUT {
                    self.read(i, now)?;
                }
            }
            LinkState::Idle | LinkState::Waiting(_) => {}
        }
        Ok(())
    }

    fn read(&mut self, i: usize, now: Instant) -> Result<(), Error> {
        let (rank, peer, address) = (self.options.rank, self.links[i].rank, self.links[i].address);
        let Some(connection) = self.links[i].connection() else { return Ok(()) };
        let (bsp, progress) = (&mut self.bsp, &mut self.progress);
        let read = connection.read(&mut self.buffer, |event| -> Result<(), Trouble> {
            match event {
                Event::Hello(_) => return Err(Violation::Order.into()),
                Event::Header(Header::Resume { next }) => bsp.resumed(i, next)?,
                Event::Header(Header::Data { iteration, length }) => bsp.receiving(i, iteration, length)?,
                Event::Header(Header::Goodbye(goodbye)) => bsp.heard_goodbye(i, goodbye),
                Event::Header(Header::Refusal(refusal)) => return Err(Trouble::Refused(refusal)),
                Event::Payload { iteration, offset, bytes, last } => {
                    let payload = Payload::new(peer, rank, iteration);
                    payload.verify(offset, bytes).map_err(|m| Trouble::Damaged(iteration, m))?;
                    progress.bytes_received += bytes.len() as u64;
                    if last {
                        bsp.received(i);
                    }
                }
            }
            Ok(())
        });
        match read {
            Ok(Some(0)) => self.lose(i, None, "closed without a goodbye", now),
            Ok(_) => Ok(()),
            Err(Trouble::Io(e)) => self.lose(i, e.raw_os_error(), e, now),
            Err(Trouble::Violation(what)) => Err(Error::Protocol { rank, peer, what }),
            Err(Trouble::Refused(refusal)) => Err(Error::Refused { rank, peer, address, refusal }),
            Err(Trouble::Damaged(iteration, mismatch)) => {
                Err(Error::Damaged { rank, peer, iteration, mismatch })
            }
        }
    }

    /// The connection to a peer is gone, be that good or bad.
    fn lose(&mut self, i: usize, errno: Option<i32>, why: impl ToString, now: Instant) -> Result<(), Error> {
        let lost = self.bsp.disconnected(i);
        let link = &mut self.links[i];
        let why = why.to_string();
        link.drop_connection(&why, lost, now);
        if lost {
            link.lost_since = Some(now);
            self.progress.lost(link.rank, link.address, errno, why)?;
        }
        Ok(())
    }

    fn hello(&self, receiver: u32) -> Hello {
        Hello {
            joining: self.bsp.is_joining(),
            rank: self.options.rank as u32,
            receiver,
            ranks: self.options.peers.len() as u32,
            workload: self.options.workload.digest(),
        }
    }
}

/// What can go wrong while a connection is read.
enum Trouble {
    Io(io::Error),
    Violation(Violation),
    Refused(Refusal),
    Damaged(u64, Mismatch),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<WireError> for Trouble {
    fn from(e: WireError) -> Self {
        Self::Violation(e.into())
    }
}

impl From<Violation> for Trouble {
    fn from(e: Violation) -> Self {
        Self::Violation(e)
    }
}

/// Errors of `accept` that are those of the connection, not of the listener (accept(2)).
fn is_transient(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted};
    use io::ErrorKind::{InvalidInput, NetworkDown, NetworkUnreachable, NotConnected, TimedOut};
    matches!(
        e.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | InvalidInput
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}
