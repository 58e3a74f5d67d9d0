//! Links and their [encryption](crate::secure): whose keys are known, and what
//! becomes of messages of the other sort.

use std::time::Instant;

use vnet_core::encap::{Header, Kind};
use vnet_core::{HostName, LinkKind, PublicKey};

use super::context::Path;
use super::machine::Link;
use super::message::{CloseReason, Greeting};
use super::set::LinkSet;
use crate::secure::{Guard, PeerId, Rejected};
use crate::stats::DropReason;

impl LinkSet {
    /// The same links, encrypted. They come up with daemons on the guard's list.
    #[must_use]
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.shared.guard = Some(Box::new(guard));
        self
    }

    /// The key that others know this daemon by, if its links are encrypted.
    pub fn public_key(&self) -> Option<PublicKey> {
        self.shared.guard.as_ref().map(|guard| guard.public_key())
    }

    /// Takes messages of `host` from now on if they are sealed with the keys of
    /// the owner of `key`. `false`: it is none that secrets can be shared with.
    pub fn allow(&mut self, host: &HostName, key: PublicKey, now: Instant) -> bool {
        let Some(guard) = &mut self.shared.guard else { return true };
        let known = guard.peer(host).filter(|peer| guard.key_of(*peer) == Some(key));
        if known.is_some() {
            return true;
        }
        let Some(peer) = guard.allow(host.clone(), key) else { return false };
        if let Some(index) = self.index_of(host) {
            self.note_key(index, Some(peer));
            self.with(index, now, |link, cx| link.on_key(cx));
            self.on_time(now);
        }
        true
    }

    /// Takes no messages of `host` any more.
    pub fn forbid(&mut self, host: &HostName) {
        if let Some(guard) = &mut self.shared.guard {
            guard.forbid(host);
        }
        if let Some(index) = self.index_of(host) {
            self.note_key(index, None);
        }
    }

    /// Keeps which link is the one of a peer's key.
    pub(super) fn note_key(&mut self, index: usize, peer: Option<PeerId>) {
        if let Some(Some(slot)) = self.slots.get_mut(index) {
            slot.link.secure = peer;
        }
        for link in &mut self.by_key {
            link.take_if(|link| *link == index);
        }
        if let Some(peer) = peer {
            self.by_key.resize(self.by_key.len().max(peer.index() + 1), None);
            self.by_key[peer.index()] = Some(index);
        }
    }

    #[inline]
    pub(super) fn index_of_peer(&self, peer: PeerId) -> Option<usize> {
        self.by_key.get(peer.index()).copied().flatten()
    }

    /// A message in plain came, where links are encrypted: whoever it is hears
    /// nothing, but the link's status says so.
    #[cold]
    pub(super) fn plain_message(&mut self, path: Path, message: &[u8], now: Instant) -> DropReason {
        let greeted = match Header::decode(message) {
            Ok((Header { kind: Kind::Hello | Kind::HelloAck, .. }, body)) => {
                Greeting::decode(body).ok().and_then(|greeting| self.index_of(&greeting.from))
            }
            Ok(_) => None,
            Err(_) => return DropReason::BadMessage,
        };
        if let Some(index) = greeted.or_else(|| self.index_at(path)).or_else(|| self.index_by_target(path)) {
            let who = place(path);
            let why = format!(
                "{who} speaks in plain, and this daemon only takes encrypted links: give both daemons the same `encryption`"
            );
            self.note_mismatch(index, why, now);
        }
        DropReason::NotEncrypted
    }

    /// An encrypted message came, where links are plain.
    #[cold]
    pub(super) fn encrypted_message(&mut self, path: Path, now: Instant) -> DropReason {
        let why = format!(
            "{} wants an encrypted link, and this daemon has `encryption = \"none\"`: give both daemons the same `encryption`",
            place(path)
        );
        match self.index_by_target(path) {
            Some(index) => self.note_mismatch(index, why, now),
            // It may be any of those that are waited for.
            None => {
                let kind = if path.address().is_some() { LinkKind::Udp } else { LinkKind::Tcp };
                let waits =
                    |link: &Link| link.spec.kind == kind && (kind == LinkKind::Tcp || link.target.is_none());
                for index in 0..self.slots.len() {
                    if self.slot(index).is_some_and(waits) {
                        self.note_mismatch(index, why.clone(), now);
                    }
                }
            }
        }
        self.refuse((path, None), CloseReason::NotEncrypted, 0, now);
        DropReason::Encrypted
    }

    fn note_mismatch(&mut self, index: usize, why: String, now: Instant) {
        if let Some(Some(slot)) = self.slots.get_mut(index)
            && slot.link.session.is_none()
        {
            slot.link.mismatch = Some((now, why));
        }
    }
}

/// As what a message counts that the encryption has rejected.
pub(super) fn drop_reason(rejected: Rejected) -> DropReason {
    match rejected {
        Rejected::Malformed => DropReason::BadMessage,
        Rejected::Stranger | Rejected::UnknownSession | Rejected::NoCipher => DropReason::UnknownPeer,
        Rejected::Flood => DropReason::HandshakeFlood,
        Rejected::Stale | Rejected::Replayed => DropReason::Replayed,
        Rejected::Forged => DropReason::Forged,
    }
}

fn place(path: Path) -> String {
    path.address().map_or_else(|| "the other end of a connection".to_owned(), |address| address.to_string())
}
