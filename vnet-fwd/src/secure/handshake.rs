//! The handshakes of a [`Guard`].

use std::time::{Duration, Instant};

use rand::RngExt;
use zeroize::Zeroizing;

use super::cookie::{self, Admission};
use super::guard::{Guard, NoKeys, Opened, PeerId, Rejected};
use super::noise::{Claim, Initiator};
use super::peer::{Handshake, Offer, Pending};
use super::session::Session;
use super::wire::{self, FIRST_FRONT, Index, Kind, MAX_PAYLOAD, OFFER, SEAL_BACK, SEAL_FRONT, SECOND_FRONT};
use crate::link::Path;

/// For so long after the first message of a handshake of our own, the peer's is
/// one that crosses it.
const CROSSING: Duration = Duration::from_millis(500);

/// How many forged answers a handshake survives: each costs two key agreements.
const MAX_FORGED: u8 = 16;

impl Guard {
    /// Begins a handshake with `peer`, at `path`, that carries `message` (at
    /// most 1032 bytes, or none) as its first.
    ///
    /// Nobody repeats it if it is lost: the caller greets again, or, while a
    /// session stands, [`Guard::on_time`] does.
    ///
    /// # Errors
    ///
    /// There is no such peer.
    pub fn greet(&mut self, id: PeerId, path: Path, message: &[u8], now: Instant) -> Result<(), NoKeys> {
        debug_assert!(message.len() <= MAX_PAYLOAD);
        let time = self.stamp(now);
        let random = Zeroizing::new(self.rng.random());
        let peer = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut).ok_or(NoKeys)?;
        if let Some(old) = peer.handshake.take() {
            self.indexes.free(old.index);
        }
        let index = self.indexes.take(id).ok_or(NoKeys)?;
        let offer = Offer { time, ciphers: self.options.ciphers };
        let payload = [&offer.encode(), message].concat();
        let mut out = Vec::with_capacity(wire::MAX_FIRST);
        out.push(Kind::First as u8);
        out.extend(index.to_bytes());
        let initiator = Initiator::start(&self.own, &peer.key, &peer.shared, &random, &payload, &mut out);
        let initiator = initiator.map_err(|_| NoKeys)?;
        peer.mac1.append(&mut out);
        let cookie = peer.cookie(now).copied();
        cookie::append_mac2(cookie.as_ref(), &mut out);
        let mut mac1 = [0; wire::MAC];
        mac1.copy_from_slice(cookie::mac1_of(&out));
        peer.handshake = Some(Box::new(Handshake { initiator, index, sent: now, mac1, forged: 0 }));
        self.outgoing.push_back((path, out));
        Ok(())
    }

    /// Answers the handshake that `peer` has begun last, with `message` (at most
    /// 1032 bytes, or none).
    ///
    /// # Errors
    ///
    /// There is no such peer, or it has begun none.
    pub fn respond(&mut self, id: PeerId, message: &[u8], now: Instant) -> Result<(), NoKeys> {
        let random = Zeroizing::new(self.rng.random());
        let peer = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut).ok_or(NoKeys)?;
        let Pending { responder, remote, path, cipher } = *peer.pending.take().ok_or(NoKeys)?;
        let index = self.indexes.take(id).ok_or(NoKeys)?;
        let payload = [&[cipher as u8], message].concat();
        let mut out = Vec::with_capacity(256);
        out.push(Kind::Second as u8);
        out.extend(index.to_bytes());
        out.extend(remote.to_bytes());
        let secrets = responder.respond(&random, &payload, &mut out).map_err(|_| NoKeys)?;
        peer.mac1.append(&mut out);
        let session = Box::new(Session::new((index, remote), cipher, &secrets, false, now));
        if let Some(free) = peer.expect(session) {
            self.indexes.free(free);
        }
        self.outgoing.push_back((path, out));
        self.rearm();
        Ok(())
    }

    pub(super) fn open_first(
        &mut self,
        path: Path,
        packet: &mut [u8],
        now: Instant,
    ) -> Result<Opened, Rejected> {
        let (noise, mac) = wire::first_parts(packet);
        if !self.mac1.is_right(&packet[..mac.start], &packet[mac.clone()]) {
            return Err(Rejected::Stranger);
        }
        match self.gate.admit(path.address(), packet, &mut self.rng, now) {
            Admission::Admit => {}
            Admission::Refuse => return Err(Rejected::Flood),
            Admission::Answer(cookie) => {
                let gift = self.cookie_key.wrap(&cookie, &packet[1..4], &packet[mac], &mut self.rng);
                self.outgoing.push_back((path, gift));
                return Err(Rejected::Flood);
            }
        }
        let remote = Index::read(packet, 1);
        let (claim, rest) = Claim::read(&self.own, &mut packet[noise]).map_err(|_| Rejected::Forged)?;
        let id = self.by_key(&claim.peer).ok_or(Rejected::Stranger)?;
        let (own, ciphers) = (self.own.public, self.options.ciphers);
        let peer = self.get_mut(id).ok_or(Rejected::Stranger)?;
        let (responder, payload) = claim.prove(&peer.shared, rest).map_err(|_| Rejected::Forged)?;
        let offer = Offer::decode(payload).ok_or(Rejected::Malformed)?;
        if offer.time <= peer.newest {
            peer.complaint = Some((now, "its handshake is older than its last: was its clock set back?"));
            return Err(Rejected::Stale);
        }
        peer.newest = offer.time;
        let Some(cipher) = ciphers.choose(offer.ciphers) else {
            peer.complaint = Some((now, "it has no cipher in common with this daemon"));
            return Err(Rejected::NoCipher);
        };
        // Where both have begun, one handshake is enough: that of the lesser key. Not over
        // connections: there the links decide which one stays, perhaps not ours.
        let crossing = |handshake: &Handshake| now.saturating_duration_since(handshake.sent) < CROSSING;
        if own < peer.key
            && path.address().is_some()
            && !peer.insisted
            && peer.handshake.as_deref().is_some_and(crossing)
        {
            peer.insisted = true;
            return Ok(Opened::Handled);
        }
        let start = FIRST_FRONT + wire::FIRST_TEXT;
        let text = start + OFFER..start + payload.len();
        peer.pending = Some(Box::new(Pending { responder, remote, path, cipher }));
        if text.is_empty() {
            // New keys for a session that stands.
            self.respond(id, &[], now).map_err(|_| Rejected::Flood)?;
            return Ok(Opened::Handled);
        }
        Ok(Opened::Message { peer: id, text, newest: false, greeting: true })
    }

    pub(super) fn open_second(
        &mut self,
        path: Path,
        packet: &mut [u8],
        now: Instant,
    ) -> Result<Opened, Rejected> {
        let local = Index::read(packet, 4);
        let id = self.indexes.owner(local).ok_or(Rejected::UnknownSession)?;
        let peer = self.peers.get_mut(id.0 as usize).and_then(Option::as_mut);
        let peer = peer.ok_or(Rejected::UnknownSession)?;
        let handshake = peer.handshake.as_mut().filter(|handshake| handshake.index == local);
        let handshake = handshake.ok_or(Rejected::UnknownSession)?;
        let (noise, mac) = wire::second_parts(packet);
        if !self.mac1.is_right(&packet[..mac.start], &packet[mac]) || handshake.forged >= MAX_FORGED {
            return Err(Rejected::Forged);
        }
        let remote = Index::read(packet, 1);
        let Ok((secrets, payload)) = handshake.initiator.finish(&self.own, &mut packet[noise]) else {
            handshake.forged += 1;
            return Err(Rejected::Forged);
        };
        let length = payload.len();
        let Some(cipher) = payload.first().and_then(|byte| self.options.ciphers.chosen(*byte)) else {
            peer.complaint = Some((now, "it has chosen a cipher that this daemon does not want"));
            return Err(Rejected::NoCipher);
        };
        peer.handshake = None;
        let session = Box::new(Session::new((local, remote), cipher, &secrets, true, now));
        if let Some(free) = peer.promote(session, self.ages) {
            self.indexes.free(free);
        }
        peer.path = Some(path);
        self.rearm();
        // So that the peer knows at once that this end has the new keys.
        let mut proof = vec![0; SEAL_FRONT + SEAL_BACK];
        if self.seal(id, &mut proof).is_ok() {
            self.outgoing.push_back((path, proof));
        }
        let start = SECOND_FRONT + wire::SECOND_TEXT;
        let text = start + 1..start + length;
        if text.is_empty() {
            return Ok(Opened::Handled);
        }
        Ok(Opened::Message { peer: id, text, newest: true, greeting: false })
    }

    pub(super) fn open_cookie(&mut self, packet: &mut [u8], now: Instant) -> Result<Opened, Rejected> {
        let index = Index::read(packet, 1);
        let id = self.indexes.owner(index).ok_or(Rejected::UnknownSession)?;
        let peer = self.get_mut(id).ok_or(Rejected::UnknownSession)?;
        let handshake = peer.handshake.as_ref().filter(|handshake| handshake.index == index);
        let mac1 = handshake.ok_or(Rejected::UnknownSession)?.mac1;
        let cookie = peer.cookie_key.unwrap(packet, &mac1).ok_or(Rejected::Forged)?;
        peer.cookie = Some((cookie, now));
        if let Some((at, _)) = &mut peer.rekey
            && peer.current.is_some()
        {
            *at = now.min(*at);
            self.rearm();
        }
        Ok(Opened::Handled)
    }
}
