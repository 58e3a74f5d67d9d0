//! All links of one daemon: whose message it is, whose timer is due.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::control::{LinkStatus, PortState};
use vnet_core::encap::Header;
use vnet_core::{HostName, LinkId, LinkKind};

use super::arrivals::{Arrivals, Balance};
use super::context::{Path, Shared, nanoseconds};
use super::machine::Link;
use super::message::{CloseReason, Features};
use super::status;
use super::timing::LinkTiming;
use crate::limit::RateLimit;

/// How many accepted connections may be waiting to say which link they are of.
const MAX_STRANGERS: usize = 1024;

/// A TCP connection, as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a message.
    Send {
        /// Where to.
        path: Path,
        /// Header and body.
        message: Vec<u8>,
    },
    /// Open a connection, and report with [`LinkSet::connected`] or
    /// [`LinkSet::disconnected`].
    Dial {
        /// What to call it.
        connection: ConnectionId,
        /// Where to.
        address: SocketAddr,
    },
    /// Send what is under way if it goes at once, then close the connection.
    HangUp {
        /// Which.
        connection: ConnectionId,
    },
    /// The link carries frames from now on.
    Up {
        /// Which.
        link: LinkId,
    },
    /// The link carries no frames from now on.
    Down {
        /// Which.
        link: LinkId,
        /// What was seen.
        why: String,
    },
}

pub(super) struct Slot {
    pub(super) link: Link,
    /// The link's entry in `timers`.
    timer: Option<Instant>,
    /// The link's entries in `addresses`.
    addresses: [Option<SocketAddr>; 2],
    /// What the link's path has been found to carry.
    found: Option<usize>,
}

pub(super) struct Connection {
    /// `None` until the connection's `Hello`.
    pub(super) link: Option<usize>,
}

/// The links of one daemon as one state machine without I/O: messages, times and
/// what became of connections go in; [`Action`]s come out of
/// [`LinkSet::poll_action`], to be carried out after every call.
pub struct LinkSet {
    pub(super) shared: Shared,
    pub(super) slots: Vec<Option<Slot>>,
    by_peer: HashMap<HostName, usize>,
    addresses: HashMap<SocketAddr, usize>,
    pub(super) connections: HashMap<ConnectionId, Connection>,
    /// Accepted connections by age; some have found their link since.
    strangers: VecDeque<(Instant, ConnectionId)>,
    timers: BTreeSet<(Instant, usize)>,
    pub(super) refusals: RateLimit,
    /// The links to peers with a key.
    pub(super) by_key: Vec<Option<usize>>,
    balance: Balance,
    /// The path that the last message came by, and its link.
    pub(super) recent: Option<(Path, usize)>,
    /// Frames that are too long for a datagram go in pieces.
    pub(super) split: bool,
    /// What [`LinkSet::take_interface_mtu`] gives may have changed.
    pub(super) sizes_changed: bool,
}

impl LinkSet {
    /// No links yet, for the daemon on `host` in its run `incarnation`, which
    /// also seeds the jitter.
    pub fn new(host: HostName, incarnation: u64, timing: LinkTiming, now: Instant) -> Self {
        Self {
            shared: Shared::new(host, incarnation, timing, now),
            slots: Vec::new(),
            by_peer: HashMap::new(),
            addresses: HashMap::new(),
            connections: HashMap::new(),
            strangers: VecDeque::new(),
            timers: BTreeSet::new(),
            refusals: RateLimit::new(50, Duration::from_millis(20)),
            by_key: Vec::new(),
            balance: Balance::default(),
            recent: None,
            split: true,
            sizes_changed: false,
        }
    }

    /// The same links, which tell their peers that they take `features` (rather
    /// than all of them).
    #[must_use]
    pub fn with_features(mut self, features: Features) -> Self {
        self.shared.features = features;
        self
    }

    /// The link at `index`.
    pub fn get(&self, index: usize) -> Option<&vnet_core::Link> {
        self.slot(index).map(|link| &link.spec)
    }

    /// The index of the link to `peer`.
    pub fn index_of(&self, peer: &HostName) -> Option<usize> {
        self.by_peer.get(peer).copied()
    }

    /// Keeps a link under `index`, which is free. `None` if this host is not
    /// one of its ends.
    pub fn insert(&mut self, index: usize, spec: vnet_core::Link, now: Instant) -> Option<()> {
        let peer = spec.id().peer_of(&self.shared.host)?.clone();
        self.by_peer.insert(peer.clone(), index);
        self.shared.links = self.by_peer.len();
        self.slots.resize_with(self.slots.len().max(index + 1), || None);
        let mut link = Link::new(spec, peer, now);
        link.secure = self.shared.guard.as_ref().and_then(|guard| guard.peer(&link.peer));
        let secure = link.secure;
        self.slots[index] = Some(Slot { link, timer: None, addresses: [None; 2], found: None });
        self.note_key(index, secure);
        Some(())
    }

    /// Says where the peer of a link is.
    pub fn set_target(&mut self, index: usize, target: SocketAddr, now: Instant) {
        self.with(index, now, |link, cx| link.set_target(target, cx));
        self.on_time(now);
    }

    /// Takes this end of a link away, and tells the peer.
    pub fn remove(&mut self, index: usize, now: Instant) {
        self.take_away(index, CloseReason::Removed, now);
    }

    /// Takes all links away, and tells the peers that this daemon is stopping.
    pub fn shut_down(&mut self, now: Instant) {
        for index in 0..self.slots.len() {
            self.take_away(index, CloseReason::Stopping, now);
        }
    }

    /// Keeps the arrival of a message of `bytes` for [`LinkSet::take_arrivals`].
    #[inline]
    pub fn arrived(&mut self, index: usize, header: &Header, bytes: usize, arrived_ns: u64) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            let kept = slot.link.arrivals.add(header, bytes, arrived_ns);
            self.balance.count(kept);
        }
    }

    /// May the stamping of arrivals pause until [`LinkSet::take_arrivals`]? A fast
    /// link has filled its log, and others hardly use theirs; or it did so a moment ago.
    #[inline]
    pub fn has_enough_arrivals(&self) -> bool {
        self.balance.is_wasteful()
    }

    /// What has come over each link since the last call; links without any are
    /// left out. `arrived_ns` of [`LinkSet::arrived`] is by a clock that shows
    /// `arrivals_now_ns` at `now`.
    pub fn take_arrivals(&mut self, now: Instant, arrivals_now_ns: u64) -> Vec<Arrivals> {
        self.balance.begin_anew();
        let shift = arrivals_now_ns.wrapping_sub(nanoseconds(self.shared.origin, now));
        let links = self.slots.iter_mut().flatten().map(|slot| &mut slot.link);
        links
            .filter(|link| !link.arrivals.is_empty())
            .map(|link| Arrivals {
                peer: link.peer.clone(),
                times_up: link.times_up,
                entries: link.arrivals.take(shift),
            })
            .collect()
    }

    /// Names a connection that was accepted; `None`: close it, there are too
    /// many that haven't said what they are for.
    pub fn accept(&mut self, now: Instant) -> Option<ConnectionId> {
        self.expire_strangers(now);
        if self.strangers.len() >= MAX_STRANGERS {
            return None;
        }
        let connection = ConnectionId(self.shared.next_connection);
        self.shared.next_connection += 1;
        self.connections.insert(connection, Connection { link: None });
        self.strangers.push_back((now, connection));
        Some(connection)
    }

    /// A connection that was dialled is open.
    pub fn connected(&mut self, connection: ConnectionId, now: Instant) {
        if let Some(index) = self.index_at(Path::Tcp(connection)) {
            self.with(index, now, |link, cx| link.on_connected(connection, cx));
        }
    }

    /// A connection has ended, or could not be opened.
    pub fn disconnected(&mut self, connection: ConnectionId, why: &str, now: Instant) {
        self.recent = None;
        let link = self.connections.remove(&connection).and_then(|c| c.link);
        if let Some(index) = link {
            self.with(index, now, |link, cx| link.on_disconnected(connection, why, cx));
        }
    }

    /// The kernel says that datagrams to `address` don't arrive.
    pub fn unreachable(&mut self, address: SocketAddr, why: &str, now: Instant) {
        for slot in self.slots.iter_mut().flatten() {
            let link = &mut slot.link;
            let tried = link.session.is_none() && link.spec.kind == LinkKind::Udp;
            if tried && (link.target == Some(address) || link.learned == Some(address)) {
                link.error = Some((now, why.to_owned()));
            }
        }
    }

    /// When [`LinkSet::on_time`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let stranger = self.strangers.front().map(|(since, _)| *since + self.shared.timing.dead_after);
        let timer = self.timers.first().map(|(at, _)| *at);
        let keys = self.shared.guard.as_ref().and_then(|guard| guard.deadline());
        [stranger, timer, keys].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant) {
        while let Some((at, index)) = self.timers.first().copied()
            && at <= now
        {
            self.with(index, now, |link, cx| link.on_time(cx));
        }
        self.expire_strangers(now);
        if let Some(guard) = &mut self.shared.guard {
            guard.on_time(now);
            self.shared.transmit();
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.shared.actions.pop_front()?;
        if let Action::HangUp { connection } = action {
            self.connections.remove(&connection);
            self.recent = None;
        }
        Some(action)
    }

    /// All links, ordered by their ends.
    pub fn status(&self, now: Instant) -> Vec<LinkStatus> {
        let backoff = self.shared.timing.backoff_last;
        let guard = self.shared.guard.as_deref();
        let status = |slot: &Slot| status::of(&slot.link, guard, backoff, now);
        let mut all: Vec<LinkStatus> = self.slots.iter().flatten().map(status).collect();
        all.sort_by_cached_key(|status| status.link.id());
        all
    }

    /// Is the link at `index` up?
    pub fn is_up(&self, index: usize) -> bool {
        self.slot(index).is_some_and(|link| link.session.is_some())
    }

    /// The state of the link at `index`.
    pub fn state(&self, index: usize, now: Instant) -> Option<PortState> {
        let (guard, backoff) = (self.shared.guard.as_deref(), self.shared.timing.backoff_last);
        self.slot(index).map(|link| status::of(link, guard, backoff, now).state)
    }

    fn take_away(&mut self, index: usize, reason: CloseReason, now: Instant) {
        self.with(index, now, |link, cx| link.on_removed(reason, cx));
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
            self.by_peer.remove(&slot.link.peer);
            self.recent = None;
            self.sizes_changed |= slot.found.is_some();
            self.shared.links = self.by_peer.len();
            self.by_key.iter_mut().for_each(|link| {
                link.take_if(|link| *link == index);
            });
        }
    }

    fn expire_strangers(&mut self, now: Instant) {
        let dead_after = self.shared.timing.dead_after;
        let is_stranger = |set: &Self, id| set.connections.get(&id).is_some_and(|c| c.link.is_none());
        while let Some((since, connection)) = self.strangers.front().copied() {
            let stranger = is_stranger(self, connection);
            if stranger && now.saturating_duration_since(since) < dead_after {
                return;
            }
            self.strangers.pop_front();
            if stranger {
                self.shared.context(now).hang_up(Path::Tcp(connection));
            }
        }
    }

    pub(super) fn slot(&self, index: usize) -> Option<&Link> {
        self.slots.get(index)?.as_ref().map(|slot| &slot.link)
    }

    #[inline]
    pub(super) fn index_at(&self, path: Path) -> Option<usize> {
        match path {
            Path::Udp(address) => self.addresses.get(&address).copied(),
            Path::Tcp(connection) => self.connections.get(&connection)?.link,
        }
    }

    /// Has a link handle an event, then brings the indexes up to date with it.
    pub(super) fn with<R>(
        &mut self,
        index: usize,
        now: Instant,
        event: impl FnOnce(&mut Link, &mut super::context::Context<'_>) -> R,
    ) -> Option<R> {
        let slot = self.slots.get_mut(index)?.as_mut()?;
        let mut cx = self.shared.context(now);
        let result = event(&mut slot.link, &mut cx);
        let deadline = slot.link.deadline(&cx);

        if slot.timer != deadline {
            if let Some(old) = slot.timer {
                self.timers.remove(&(old, index));
            }
            slot.timer = deadline;
            self.timers.extend(deadline.map(|at| (at, index)));
        }
        let link = &slot.link;
        if slot.found != link.mtu.found() {
            slot.found = link.mtu.found();
            self.sizes_changed = true;
        }
        let address = |path: Option<Path>| path.and_then(Path::address);
        let addresses = [address(link.path()), address(link.candidate.map(|c| c.path))];
        if slot.addresses != addresses {
            self.recent = None;
            for old in slot.addresses.into_iter().flatten() {
                if self.addresses.get(&old) == Some(&index) {
                    self.addresses.remove(&old);
                }
            }
            slot.addresses = addresses;
            self.addresses.extend(addresses.into_iter().flatten().map(|new| (new, index)));
        }
        if let Some((connection, _)) = link.attempt.and_then(|a| a.connection) {
            self.connections.entry(connection).or_insert(Connection { link: Some(index) });
        }
        Some(result)
    }
}
