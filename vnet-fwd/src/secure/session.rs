//! The keys of one handshake at work.

use std::time::Instant;

use super::cipher::{Cipher, Forged, Key};
use super::guard::Rejected;
use super::noise::Secrets;
use super::window::Window;
use super::wire::{Index, SEAL_BACK, SEAL_FRONT, seal_front};

/// One session's keys, the numbers of what was sent, and which were received.
pub(super) struct Session {
    /// What this end calls it.
    pub(super) local: Index,
    /// What the peer calls it.
    remote: Index,
    send: Key,
    receive: Key,
    /// Messages sealed.
    sealed: u32,
    window: Window,
    pub(super) created: Instant,
    /// Did this end begin the handshake?
    pub(super) initiator: bool,
}

/// All numbers of the session have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl Session {
    pub(super) fn new(
        (local, remote): (Index, Index),
        cipher: Cipher,
        secrets: &Secrets,
        initiator: bool,
        now: Instant,
    ) -> Self {
        let (send, receive) = (Key::new(cipher, &secrets.send), Key::new(cipher, &secrets.receive));
        Self { local, remote, send, receive, sealed: 0, window: Window::new(), created: now, initiator }
    }

    pub(super) fn cipher(&self) -> Cipher {
        self.send.cipher()
    }

    /// How many messages have been sealed.
    pub(super) fn sealed(&self) -> u32 {
        self.sealed
    }

    /// Seals what is between the first [`SEAL_FRONT`] and the last
    /// [`SEAL_BACK`] bytes of `packet`, and fills those in.
    #[inline]
    pub(super) fn seal(&mut self, packet: &mut [u8]) -> Result<(), Exhausted> {
        let number = self.sealed;
        self.sealed = number.checked_add(1).ok_or(Exhausted)?;
        let front = seal_front(self.remote, number);
        let (head, rest) = packet.split_at_mut(SEAL_FRONT);
        let (text, tag) = rest.split_at_mut(rest.len() - SEAL_BACK);
        head.copy_from_slice(&front);
        tag.copy_from_slice(&self.send.seal(u64::from(number), &front, text));
        Ok(())
    }

    /// Opens a sealed message of this session in place; `true`: it is the newest.
    #[inline]
    pub(super) fn open(&mut self, packet: &mut [u8]) -> Result<bool, Rejected> {
        let Some((front, sealed)) = packet.split_first_chunk_mut::<SEAL_FRONT>() else {
            return Err(Rejected::Malformed);
        };
        let [.., a, b, c, d] = *front;
        let number = u64::from(u32::from_be_bytes([a, b, c, d]));
        if !self.window.admits(number) {
            return Err(Rejected::Replayed);
        }
        self.receive.open(number, &front[..], sealed).map_err(|Forged| Rejected::Forged)?;
        Ok(self.window.take(number))
    }
}
