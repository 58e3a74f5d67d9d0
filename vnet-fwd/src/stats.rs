//! Counters: of drops by reason, and of ports.

use std::fmt;

use vnet_core::control::DropCounter;

/// Why a frame was dropped, or a message refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// No rule of the frame's network matches it.
    NoRule,
    /// The rules point only back to where the frame came from.
    OnlyBack,
    /// A rule names a link that this daemon doesn't have.
    NoLink,
    /// A rule names an interface that this daemon doesn't have.
    NoInterface,
    /// A rule names an interface of another network.
    WrongNetwork,
    /// The frame has passed as many daemons as it may.
    HopLimit,
    /// The link is down.
    LinkDown,
    /// The link takes no more at the moment.
    LinkFull,
    /// The interface is down.
    InterfaceDown,
    /// The interface takes no more at the moment.
    InterfaceFull,
    /// The frame is longer than the port or the path can carry.
    TooLong,
    /// The port failed in another way; its status says how.
    SendFailed,
    /// Fewer bytes than an Ethernet header.
    Malformed,
    /// The device handed over a frame that still wants segmentation, which
    /// happens where segmentation offload is on under a packet port.
    Unsegmented,
    /// A message from an address that is not an up link's.
    UnknownPeer,
    /// A message that can't be read.
    BadMessage,
    /// A message in plain, where links are encrypted.
    NotEncrypted,
    /// An encrypted message, where links are plain.
    Encrypted,
    /// A message that was not made with the keys that it names.
    Forged,
    /// A message that has been received before, or is too old to tell.
    Replayed,
    /// One of too many handshakes.
    HandshakeFlood,
    /// There are no keys for messages to the peer.
    NoKeys,
    /// The frame is too long for the link's path, and links don't split frames.
    PathMtu,
    /// Pieces of a frame that the peer had split were lost.
    Incomplete,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 24] = [
        Self::NoRule,
        Self::OnlyBack,
        Self::NoLink,
        Self::NoInterface,
        Self::WrongNetwork,
        Self::HopLimit,
        Self::LinkDown,
        Self::LinkFull,
        Self::InterfaceDown,
        Self::InterfaceFull,
        Self::TooLong,
        Self::SendFailed,
        Self::Malformed,
        Self::Unsegmented,
        Self::UnknownPeer,
        Self::BadMessage,
        Self::NotEncrypted,
        Self::Encrypted,
        Self::Forged,
        Self::Replayed,
        Self::HandshakeFlood,
        Self::NoKeys,
        Self::PathMtu,
        Self::Incomplete,
    ];

    /// Its name in status and metrics, in kebab-case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoRule => "no-rule",
            Self::OnlyBack => "only-back",
            Self::NoLink => "no-link",
            Self::NoInterface => "no-interface",
            Self::WrongNetwork => "wrong-network",
            Self::HopLimit => "hop-limit",
            Self::LinkDown => "link-down",
            Self::LinkFull => "link-full",
            Self::InterfaceDown => "interface-down",
            Self::InterfaceFull => "interface-full",
            Self::TooLong => "too-long",
            Self::SendFailed => "send-failed",
            Self::Malformed => "malformed",
            Self::Unsegmented => "unsegmented",
            Self::UnknownPeer => "unknown-peer",
            Self::BadMessage => "bad-message",
            Self::NotEncrypted => "not-encrypted",
            Self::Encrypted => "encrypted",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::HandshakeFlood => "handshake-flood",
            Self::NoKeys => "no-keys",
            Self::PathMtu => "path-mtu",
            Self::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many frames were dropped for each reason. A frame with several outputs
/// counts once for each output that it misses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Counts one drop.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several drops.
    pub fn add(&mut self, reason: DropReason, frames: u64) {
        self.0[reason as usize] += frames;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }

    /// Drops for one reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Drops for all reasons together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// As the control protocol has it: one counter for each reason, zeros included.
    pub fn report(&self) -> Vec<DropCounter> {
        let counter =
            |reason: DropReason| DropCounter { reason: reason.name().to_owned(), frames: self.get(reason) };
        DropReason::ALL.into_iter().map(counter).collect()
    }
}

/// What a port has carried since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames taken from it (for a link: messages).
    pub received_frames: u64,
    /// Their bytes (for a link: with headers).
    pub received_bytes: u64,
    /// Frames delivered to it (for a link: messages).
    pub sent_frames: u64,
    /// Their bytes (for a link: with headers).
    pub sent_bytes: u64,
    /// Frames that it could not take.
    pub send_errors: u64,
}

impl PortCounters {
    /// Counts a frame taken from the port.
    pub fn received(&mut self, bytes: usize) {
        self.received_many(1, bytes);
    }

    /// Counts frames taken from the port, of `bytes` together.
    pub fn received_many(&mut self, frames: usize, bytes: usize) {
        self.received_frames += frames as u64;
        self.received_bytes += bytes as u64;
    }

    /// Counts a frame delivered to the port.
    pub fn sent(&mut self, bytes: usize) {
        self.sent_many(1, bytes);
    }

    /// Counts frames delivered to the port, of `bytes` together.
    pub fn sent_many(&mut self, frames: usize, bytes: usize) {
        self.sent_frames += frames as u64;
        self.sent_bytes += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut drops = Drops::default();
        for (n, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            drops.add(reason, n as u64 + 1);
        }
        let report = drops.report();
        for (n, counter) in report.iter().enumerate() {
            assert_eq!(counter.frames, n as u64 + 1);
            assert_eq!(report.iter().filter(|c| c.reason == counter.reason).count(), 1);
        }
        assert_eq!(drops.total(), (1..=24).sum());
    }
}
