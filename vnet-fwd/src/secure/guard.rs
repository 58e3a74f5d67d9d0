//! All encryption of one daemon: whose message it is, with which keys, and when
//! there have to be new ones.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::{HostName, PublicKey};

use super::cipher::{Cipher, Ciphers};
use super::cookie::{Gate, Mac1};
use super::indexes::Indexes;
use super::keys::{Pair, PrivateKey};
use super::peer::{Ages, Peer};
use super::wire::{Index, Kind, SEAL_BACK, SEAL_FRONT};
use crate::link::Path;

/// What can be set of the encryption of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecureOptions {
    /// Which ciphers may be used, and which is the fastest here.
    pub ciphers: Ciphers,
    /// New keys are agreed on after so long.
    pub rekey_after: Duration,
    /// New keys are agreed on after so many messages in one direction.
    pub rekey_after_messages: u32,
}

impl Default for SecureOptions {
    /// Two minutes, as in WireGuard, and 2^28 messages: with datagrams of 1500
    /// bytes far below what AES-GCM allows under one key (RFC 9147, appendix B).
    fn default() -> Self {
        Self { ciphers: Ciphers::all(), rekey_after: Duration::from_secs(120), rekey_after_messages: 1 << 28 }
    }
}

/// A peer on the allow-list of a [`Guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(super) u32);

impl PeerId {
    /// A small number that no other peer has.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It is none of an encrypted link.
    #[error("it is no message of an encrypted link")]
    Malformed,
    /// Its sender isn't on the allow-list.
    #[error("its sender is not on the allow-list")]
    Stranger,
    /// There are too many handshakes for this one to be looked at.
    #[error("there are too many handshakes")]
    Flood,
    /// It is a handshake that is older than the sender's last.
    #[error("it is older than the last handshake")]
    Stale,
    /// It was not made with the keys of the session that it names.
    #[error("it is forged")]
    Forged,
    /// It has been received before, or is too old to tell.
    #[error("it has been received before")]
    Replayed,
    /// It names no session that this end has.
    #[error("it is of no session")]
    UnknownSession,
    /// The two ends have no cipher in common.
    #[error("the ends have no cipher in common")]
    NoCipher,
}

/// What a message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// A message of a peer: these bytes of the packet, decrypted in place.
    Message {
        /// Whose.
        peer: PeerId,
        /// The bytes.
        text: Range<usize>,
        /// Was nothing newer received from the peer? Then that is where it is now.
        newest: bool,
        /// Did it come inside the first message of a handshake? Then
        /// [`Guard::respond`] carries the answer.
        greeting: bool,
    },
    /// A matter of the encryption itself.
    Handled,
}

/// There are no keys for messages to this peer (yet): [`Guard::greet`] agrees on some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no keys for messages to this peer")]
pub struct NoKeys;

/// What a session is, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The cipher of messages.
    pub cipher: Cipher,
    /// When its keys were agreed on.
    pub since: Instant,
    /// Handshakes with this peer that have led to keys.
    pub handshakes: u64,
}

/// The encryption of one daemon without I/O: packets and times go in; packets to
/// send come out of [`Guard::poll_transmit`].
///
/// Nothing is ever sent in answer to a stranger who doesn't know this daemon's
/// public key.
pub struct Guard {
    pub(super) own: Pair,
    pub(super) mac1: Mac1,
    pub(super) cookie_key: super::cookie::CookieKey,
    pub(super) options: SecureOptions,
    pub(super) ages: Ages,
    pub(super) rng: StdRng,
    pub(super) gate: Gate,
    pub(super) peers: Vec<Option<Peer>>,
    by_key: HashMap<PublicKey, PeerId>,
    by_host: HashMap<HostName, PeerId>,
    pub(super) indexes: Indexes,
    pub(super) outgoing: VecDeque<(Path, Vec<u8>)>,
    /// The wall clock at `origin`, in nanoseconds since 1970.
    wall: u64,
    origin: Instant,
    /// The time in the last handshake that was begun.
    stamped: u64,
    /// The last time that this end was told of.
    clock: Instant,
    /// When the first timer is due; `None`: it has to be worked out.
    deadline: Cell<Option<Option<Instant>>>,
}

impl Guard {
    /// The encryption of the daemon whose key is `key`, with an empty allow-list.
    ///
    /// All randomness comes from `seed`, which must be random and secret. `wall`
    /// is the time since 1970 at `now`: handshakes carry it, so that an old one
    /// can't be sent again.
    pub fn new(
        key: &PrivateKey,
        options: SecureOptions,
        seed: [u8; 32],
        wall: Duration,
        now: Instant,
    ) -> Self {
        let own = Pair::new(key);
        let mut rng = StdRng::from_seed(seed);
        let grace = Duration::from_secs(60).max(options.rekey_after / 2);
        Self {
            mac1: Mac1::new(&own.public),
            cookie_key: super::cookie::CookieKey::new(&own.public),
            own,
            options,
            ages: Ages { rekey: options.rekey_after, reject: options.rekey_after + grace },
            gate: Gate::new(&mut rng, now),
            peers: Vec::new(),
            by_key: HashMap::new(),
            by_host: HashMap::new(),
            indexes: Indexes::new(rng.random()),
            rng,
            outgoing: VecDeque::new(),
            wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            origin: now,
            stamped: 0,
            clock: now,
            deadline: Cell::new(Some(None)),
        }
    }

    /// The key that others know this daemon by.
    pub fn public_key(&self) -> PublicKey {
        self.own.public
    }

    /// Puts a daemon on the allow-list. With another key than before, its
    /// sessions end; with the key of another daemon, that one leaves the list.
    ///
    /// `None`: the key is one of the few with which no secret can be shared.
    pub fn allow(&mut self, host: HostName, key: PublicKey) -> Option<PeerId> {
        if let Some(known) = self.peer(&host) {
            if self.key_of(known) == Some(key) {
                return Some(known);
            }
            self.forbid(&host);
        }
        if let Some(other) = self.by_key.get(&key).and_then(|id| self.host_of(*id)).cloned() {
            self.forbid(&other);
        }
        let peer = Peer::new(&self.own, host.clone(), key)?;
        let free = self.peers.iter().position(Option::is_none).unwrap_or(self.peers.len());
        if free == self.peers.len() {
            self.peers.push(None);
        }
        self.peers[free] = Some(peer);
        let id = PeerId(u32::try_from(free).ok()?);
        self.by_key.insert(key, id);
        self.by_host.insert(host, id);
        Some(id)
    }

    /// Takes a daemon off the allow-list, and destroys the keys shared with it.
    pub fn forbid(&mut self, host: &HostName) {
        if let Some(id) = self.by_host.remove(host)
            && let Some(peer) = self.peers.get_mut(id.0 as usize).and_then(Option::take)
        {
            self.by_key.remove(&peer.key);
            peer.indexes().for_each(|index| self.indexes.free(index));
            self.rearm();
        }
    }

    /// The peer of that name.
    pub fn peer(&self, host: &HostName) -> Option<PeerId> {
        self.by_host.get(host).copied()
    }

    /// The peer's name.
    pub fn host_of(&self, peer: PeerId) -> Option<&HostName> {
        self.get(peer).map(|peer| &peer.host)
    }

    /// The peer's key.
    pub fn key_of(&self, peer: PeerId) -> Option<PublicKey> {
        self.get(peer).map(|peer| peer.key)
    }

    /// The session with a peer, while there is one.
    pub fn session(&self, peer: PeerId) -> Option<SessionInfo> {
        let peer = self.get(peer)?;
        let session = peer.current.as_ref().or(peer.next.as_ref())?;
        let (cipher, since) = (session.cipher(), session.created);
        Some(SessionInfo { cipher, since, handshakes: peer.handshakes })
    }

    /// What is wrong with the handshakes that the peer has begun since the last
    /// one that worked, and since when.
    pub fn complaint(&self, peer: PeerId) -> Option<(Instant, &'static str)> {
        self.get(peer)?.complaint
    }

    /// Are there keys for some thousands of messages to this peer?
    #[inline]
    pub fn is_ready(&self, peer: PeerId) -> bool {
        self.get(peer).is_some_and(Peer::is_ready)
    }

    /// Forgets the handshake that the peer has begun last, if it hasn't been
    /// answered.
    pub fn abandon(&mut self, peer: PeerId) {
        if let Some(peer) = self.get_mut(peer) {
            peer.pending = None;
        }
    }

    /// Seals a message for `peer` in place: what is between the first
    /// [`SEAL_FRONT`] and the last [`SEAL_BACK`] bytes of `packet`, which is at
    /// least that long.
    #[inline]
    pub fn seal(&mut self, peer: PeerId, packet: &mut [u8]) -> Result<(), NoKeys> {
        debug_assert!(packet.len() >= SEAL_FRONT + SEAL_BACK);
        let peer = self.peers.get_mut(peer.0 as usize).and_then(Option::as_mut).ok_or(NoKeys)?;
        let session = peer.sealing().ok_or(NoKeys)?;
        session.seal(packet).map_err(|_| NoKeys)?;
        if session.sealed() == self.options.rekey_after_messages {
            let pause = super::peer::FIRST_PAUSE;
            peer.rekey = Some((self.clock, pause));
            self.rearm();
        }
        Ok(())
    }

    /// Takes a message that came over `path`, and decrypts it in place.
    #[inline]
    pub fn open(&mut self, path: Path, packet: &mut [u8], now: Instant) -> Result<Opened, Rejected> {
        match Kind::of(packet).ok_or(Rejected::Malformed)? {
            Kind::Sealed => self.open_sealed(path, packet),
            Kind::First => self.open_first(path, packet, now),
            Kind::Second => self.open_second(path, packet, now),
            Kind::Cookie => self.open_cookie(packet, now),
        }
    }

    /// The next packet to send, and where.
    pub fn poll_transmit(&mut self) -> Option<(Path, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    /// When [`Guard::on_time`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let ages = self.ages;
        let due = || self.peers.iter().flatten().filter_map(|peer| peer.deadline(ages)).min();
        let deadline = self.deadline.get().unwrap_or_else(due);
        self.deadline.set(Some(deadline));
        deadline
    }

    /// Destroys keys that are too old, and agrees on new ones.
    pub fn on_time(&mut self, now: Instant) {
        self.clock = now;
        if self.deadline().is_none_or(|at| at > now) {
            return;
        }
        for at in 0..self.peers.len() {
            let Some(peer) = &mut self.peers[at] else { continue };
            if peer.deadline(self.ages).is_none_or(|due| due > now) {
                continue;
            }
            for index in peer.expire(self.ages, now) {
                self.indexes.free(index);
            }
            if peer.rekey_is_due(now)
                && let Some(path) = peer.path
            {
                // A peer that is gone can't be told so.
                let _ = self.greet(PeerId(at as u32), path, &[], now);
            }
        }
        self.rearm();
    }

    #[inline]
    fn open_sealed(&mut self, path: Path, packet: &mut [u8]) -> Result<Opened, Rejected> {
        let index = Index::read(packet, 1);
        let id = self.indexes.owner(index).ok_or(Rejected::UnknownSession)?;
        let peer = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut);
        let peer = peer.ok_or(Rejected::UnknownSession)?;
        let newest = peer.session(index).ok_or(Rejected::UnknownSession)?.open(packet)?;
        let is = |session: &Option<Box<super::session::Session>>| {
            session.as_ref().is_some_and(|session| session.local == index)
        };
        if is(&peer.next)
            && let Some(session) = peer.next.take()
        {
            // The peer has the outcome of its handshake.
            let free = peer.promote(session, self.ages);
            let free = free.into_iter().chain(peer.handshake.take().map(|handshake| handshake.index));
            free.for_each(|index| self.indexes.free(index));
            self.deadline.set(None);
        }
        let newest = newest && is(&peer.current);
        if newest {
            peer.path = Some(path);
        }
        let text = SEAL_FRONT..packet.len() - SEAL_BACK;
        if text.is_empty() {
            return Ok(Opened::Handled);
        }
        Ok(Opened::Message { peer: id, text, newest, greeting: false })
    }

    /// The time for a handshake: later than that of every earlier one.
    pub(super) fn stamp(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos() as u64;
        self.stamped = self.wall.saturating_add(elapsed).max(self.stamped + 1);
        self.stamped
    }

    pub(super) fn by_key(&self, key: &PublicKey) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(peer.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(peer.0 as usize)?.as_mut()
    }

    /// Timers have changed.
    pub(super) fn rearm(&mut self) {
        self.deadline.set(None);
    }
}
