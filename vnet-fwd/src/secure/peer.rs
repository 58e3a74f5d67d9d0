//! What this end keeps of each peer: its sessions and its handshakes.

use std::time::{Duration, Instant};

use vnet_core::{HostName, PublicKey};

use super::cipher::{Cipher, Ciphers};
use super::cookie::{Cookie, CookieKey, Mac1};
use super::keys::{Pair, SharedSecret};
use super::noise::{Initiator, Responder};
use super::session::Session;
use super::wire::{Index, MAC};
use crate::link::Path;

/// A handshake that this end has begun.
pub(super) struct Handshake {
    pub(super) initiator: Initiator,
    pub(super) index: Index,
    pub(super) sent: Instant,
    pub(super) mac1: [u8; MAC],
    /// Second messages that turned out to be forged.
    pub(super) forged: u8,
}

/// A handshake that the peer has begun, before the second message.
pub(super) struct Pending {
    pub(super) responder: Responder,
    pub(super) remote: Index,
    pub(super) path: Path,
    pub(super) cipher: Cipher,
}

/// A daemon on the allow-list.
///
/// Messages are sealed with the keys of `current`, and opened with those of all
/// three: `previous` for what is still under way, `next` for a handshake of
/// the peer's of which it isn't known yet that the peer has its outcome. Where
/// handshakes of both ends have crossed, the two may seal with different keys
/// until the next handshake, so that there is more than one in `previous`.
pub(super) struct Peer {
    pub(super) host: HostName,
    pub(super) key: PublicKey,
    pub(super) shared: SharedSecret,
    pub(super) mac1: Mac1,
    pub(super) cookie_key: CookieKey,
    pub(super) cookie: Option<(Cookie, Instant)>,
    pub(super) current: Option<Box<Session>>,
    pub(super) previous: Vec<Session>,
    pub(super) next: Option<Box<Session>>,
    pub(super) handshake: Option<Box<Handshake>>,
    pub(super) pending: Option<Box<Pending>>,
    /// This end has let a handshake of the peer's go unanswered since both had
    /// begun one; it does so once.
    pub(super) insisted: bool,
    /// The time in the newest handshake of the peer.
    pub(super) newest: u64,
    /// Where the last authentic message came from.
    pub(super) path: Option<Path>,
    /// When to begin the next handshake, and the pause after it.
    pub(super) rekey: Option<(Instant, Duration)>,
    /// Handshakes that have led to a session.
    pub(super) handshakes: u64,
    /// Why the last handshake of the peer was refused.
    pub(super) complaint: Option<(Instant, &'static str)>,
}

/// How old keys may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    pub(super) rekey: Duration,
    /// Keys older than this are destroyed.
    pub(super) reject: Duration,
}

/// The first pause before a handshake for new keys is tried again; it doubles.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// So many messages before the last a session takes no new batch.
const RESERVE: u32 = 1 << 16;

/// How many sessions are kept for what is under way.
const MAX_PREVIOUS: usize = 3;

impl Peer {
    /// `None`: no secret can be shared with the owner of this key.
    pub(super) fn new(own: &Pair, host: HostName, key: PublicKey) -> Option<Self> {
        Some(Self {
            host,
            key,
            shared: own.agree(&key)?,
            mac1: Mac1::new(&key),
            cookie_key: CookieKey::new(&key),
            cookie: None,
            current: None,
            previous: Vec::new(),
            next: None,
            handshake: None,
            pending: None,
            insisted: false,
            newest: 0,
            path: None,
            rekey: None,
            handshakes: 0,
            complaint: None,
        })
    }

    /// The session to seal with. Before the first one is known to stand at both
    /// ends, that is the one of the peer's handshake.
    #[inline]
    pub(super) fn sealing(&mut self) -> Option<&mut Session> {
        match &mut self.current {
            Some(session) => Some(session),
            None => self.next.as_deref_mut(),
        }
    }

    #[inline]
    pub(super) fn is_ready(&self) -> bool {
        let session = self.current.as_ref().or(self.next.as_ref());
        session.is_some_and(|session| session.sealed() < u32::MAX - RESERVE)
    }

    /// The session that this end calls `index`.
    #[inline]
    pub(super) fn session(&mut self, index: Index) -> Option<&mut Session> {
        let all = self.current.iter_mut().chain(&mut self.next).map(|session| &mut **session);
        all.chain(&mut self.previous).find(|session| session.local == index)
    }

    /// All indexes that are in use for this peer.
    pub(super) fn indexes(&self) -> impl Iterator<Item = Index> {
        let sessions = self.sessions().map(|session| session.local);
        sessions.chain(self.handshake.iter().map(|handshake| handshake.index))
    }

    /// Makes `session` the one to seal with. Returns an index that is free now.
    pub(super) fn promote(&mut self, session: Box<Session>, ages: Ages) -> Option<Index> {
        // The end that began the handshake begins the next, so that the two do
        // not cross; the other end does so if that fails.
        let own = if session.initiator { ages.rekey } else { ages.rekey + ages.rekey / 4 };
        self.rekey = Some((session.created + own, FIRST_PAUSE));
        self.handshakes += 1;
        self.insisted = false;
        self.complaint = None;
        let old = self.current.replace(session);
        old.and_then(|old| self.retire(*old))
    }

    /// Makes `session` the one of the peer's last handshake. Returns an index
    /// that is free now.
    pub(super) fn expect(&mut self, session: Box<Session>) -> Option<Index> {
        let old = self.next.replace(session);
        old.and_then(|old| self.retire(*old))
    }

    /// Keeps a session for what is under way.
    fn retire(&mut self, session: Session) -> Option<Index> {
        self.previous.push(session);
        (self.previous.len() > MAX_PREVIOUS).then(|| self.previous.remove(0).local)
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        let boxed = self.current.iter().chain(&self.next).map(|session| &**session);
        boxed.chain(&self.previous)
    }

    /// When [`Peer::expire`] or a handshake is due.
    pub(super) fn deadline(&self, ages: Ages) -> Option<Instant> {
        let expiries = self.sessions().map(|session| session.created + ages.reject);
        let rekey = self.rekey.filter(|_| self.current.is_some()).map(|(at, _)| at);
        expiries.chain(rekey).min()
    }

    /// Destroys keys that are too old. Returns the indexes that are free now.
    pub(super) fn expire(&mut self, ages: Ages, now: Instant) -> Vec<Index> {
        let old = |session: &Session| now >= session.created + ages.reject;
        let current = self.current.take_if(|session| old(session));
        let next = self.next.take_if(|session| old(session));
        let gone = current.into_iter().chain(next).map(|session| session.local);
        gone.chain(self.previous.extract_if(.., |session| old(session)).map(|session| session.local))
            .collect()
    }

    /// Is a handshake for new keys due? If so the next try is put off.
    pub(super) fn rekey_is_due(&mut self, now: Instant) -> bool {
        match &mut self.rekey {
            Some((at, pause)) if self.current.is_some() && *at <= now => {
                *at = now + *pause;
                *pause = (*pause * 2).min(LAST_PAUSE);
                true
            }
            _ => false,
        }
    }

    /// The cookie that the peer has given, while it is worth trying.
    pub(super) fn cookie(&self, now: Instant) -> Option<&Cookie> {
        let fresh = |since: Instant| now.saturating_duration_since(since) < super::cookie::WORTH_TRYING;
        self.cookie.as_ref().filter(|(_, since)| fresh(*since)).map(|(cookie, _)| cookie)
    }
}

/// What the first message of a handshake offers besides.
pub(super) struct Offer {
    pub(super) time: u64,
    pub(super) ciphers: Ciphers,
}

impl Offer {
    pub(super) fn encode(&self) -> [u8; super::wire::OFFER] {
        let mut out = [0; super::wire::OFFER];
        out[..8].copy_from_slice(&self.time.to_be_bytes());
        out[8] = self.ciphers.to_byte();
        out
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (time, rest) = payload.split_first_chunk::<8>()?;
        Some(Self { time: u64::from_be_bytes(*time), ciphers: Ciphers::from_byte(*rest.first()?) })
    }
}
