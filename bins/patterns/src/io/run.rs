//! One rank at work: a single thread around `poll`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::bsp::{Bsp, Ending, Step};
use crate::error::{Error, MissingPeer};
use crate::options::Options;
use crate::report::{Ended, Summary};
use crate::workload::Workload;

use super::clock::{self, after};
use super::connection::Connection;
use super::peers::{LinkState, PeerLink};
use super::progress::Progress;
use super::sink::Sink;
use super::stop::StopSignal;
use super::worker::Worker;

/// How much of a busy compute phase passes before connections are served.
const BUSY_SLICE: Duration = Duration::from_millis(2);

/// A rank at work.
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    pub(super) listener: &'a TcpListener,
    stop: &'a StopSignal,
    pub(super) bsp: Bsp,
    pub(super) links: Vec<PeerLink>,
    /// Connections that have not said hello yet.
    pub(super) strangers: Vec<Connection>,
    pub(super) progress: Progress<'a>,
    pub(super) buffer: Vec<u8>,
    /// The digest of the workload.
    pub(super) workload: u64,
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
    pub(super) fn new(worker: &'a Worker, stop: &'a StopSignal, sink: &'a mut Sink<'a>) -> Self {
        let Worker { options, pattern, listener } = worker;
        let now = Instant::now();
        let peers = pattern.peers(options.rank);
        let link =
            |&(peer, _): &(usize, _)| PeerLink::new(peer, options.peers[peer], options.rank > peer, now);
        let ranks: Vec<usize> = peers.iter().map(|(rank, _)| *rank).collect();
        let Workload { message, iterations, .. } = options.workload;
        Self {
            options,
            listener,
            stop,
            bsp: Bsp::new(peers.iter().map(|(_, role)| *role), message, iterations),
            links: peers.iter().map(link).collect(),
            strangers: Vec::new(),
            progress: Progress::new(options, &ranks, sink),
            buffer: Connection::buffer(),
            workload: options.workload.digest(),
            begun: now,
            computing: None,
            leaving: None,
        }
    }

    /// Works to the end.
    pub(super) fn run(mut self) -> Result<Summary, Error> {
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
        if self.bsp.is_joining() && after(self.begun, self.options.startup) <= now {
            let absent: Vec<_> = self.links.iter().filter(|l| !l.is_open()).map(PeerLink::missing).collect();
            let all = || self.links.iter().map(PeerLink::missing).collect();
            return fail(self.options.startup, if absent.is_empty() { all() } else { absent });
        }
        for (i, link) in self.links.iter().enumerate() {
            if let Some(since) = link.lost_since
                && after(since, self.options.patience) <= now
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
            self.computing = Some(Computing::Until(after(now, compute.time)));
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant) -> Result<(), Error> {
        self.progress.completed(self.bsp.iterations(), now);
        self.progress.begin(self.bsp.iterations(), now)
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
        (over && written) || (self.bsp.is_stopping() && after(since, self.options.linger) <= now)
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
            Err(e) => return Err(Error::System { what: "can't poll", error: e.into() }),
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
            // At once: any moment that has passed.
            Computing::Busy(_) => self.begun,
        });
        let joining = self.bsp.is_joining().then(|| after(self.begun, self.options.startup));
        let linger = self.leaving.map(|(since, _)| after(since, self.options.linger));
        let linger = linger.filter(|_| self.bsp.is_stopping());
        let duration = self.duration_end().filter(|_| self.leaving.is_none());
        let links = self.links.iter().enumerate().flat_map(|(i, link)| {
            let lost = link.lost_since.filter(|_| self.bsp.expects(i));
            [link.timer(), lost.map(|since| after(since, self.options.patience))]
        });
        let own = [self.progress.timer(), computing, joining, linger, duration];
        own.into_iter().chain(links).flatten().min()
    }

    fn duration_end(&self) -> Option<Instant> {
        Some(after(self.progress.started()?, self.options.duration?))
    }

    fn stop_if_told(&mut self, now: Instant) {
        if self.stop.take() {
            self.leave(Ended::Stopped, now);
            self.bsp.stop();
        }
    }

    /// A peer is connected, hellos were exchanged.
    pub(super) fn open(
        &mut self,
        i: usize,
        connection: Connection,
        joining: bool,
        now: Instant,
    ) -> Result<(), Error> {
        self.bsp.connected(i, joining);
        match self.links[i].open(connection, now) {
            Some(gone) => self.progress.restored(self.links[i].rank, gone),
            None => Ok(()),
        }
    }

    /// Something happened on the way to a peer.
    fn serve(&mut self, i: usize, events: PollFlags, now: Instant) -> Result<(), Error> {
        let wanted = self.bsp.expects(i);
        let link = &mut self.links[i];
        match &mut link.state {
            LinkState::Dialling(..) => {
                let hello = self.hello(self.links[i].rank as u32);
                self.links[i].dialled(&hello, wanted, now);
            }
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
}
