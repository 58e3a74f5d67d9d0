//! The encryption of links, without I/O: packets, times and random bytes go in,
//! packets come out.
//!
//! A [`Guard`] has this daemon's static key and the allow-list: the static keys
//! of the daemons that it may have links with. Two daemons agree on keys by the
//! Noise handshake IK, as WireGuard does (one round trip; the first message
//! already carries the first message of the link, so that encryption costs a
//! link no round trip), and again every two minutes or 2^28 messages. What they
//! then say to each other, frames and keepalives alike, is sealed with AES-256-GCM
//! or ChaCha20-Poly1305, whichever the slower of the two CPUs does better.
//!
//! * Old keys go on opening what is under way when new ones come: no frame is lost.
//! * A message is taken once: numbers seen are kept in RFC 6479's window.
//! * Network, hop limit, sequence number and timestamp of
//!   [`vnet_core::encap`] are encrypted with the frame.
//! * Strangers hear nothing. A flood of handshakes meets a MAC first, then, under
//!   load, a proof of address (WireGuard's cookie).
//!
//! # Messages
//!
#![doc = include_str!("wire.md")]
//! # Why these primitives
//!
//! The primitives are AWS-LC's (through `aws-lc-rs`): on CPUs of today it seals
//! half as much again per second as `ring` does, its X25519 takes half the time of
//! `curve25519-dalek`'s, parts of it are formally verified, and unlike `ring` it
//! has static X25519 keys. The handshake is our own 150 lines on top of these
//! (`noise.rs`): random bytes are arguments, and no second set of
//! primitives is linked in; the tests hold it against the `snow` crate.

mod cipher;
mod cookie;
mod guard;
mod handshake;
mod indexes;
mod introduction;
mod keys;
mod noise;
mod peer;
mod session;
mod window;
mod wire;

pub use cipher::{Cipher, Ciphers};
pub use guard::{Guard, NoKeys, Opened, PeerId, Rejected, SecureOptions, SessionInfo};
pub use introduction::IntroductionKey;
pub use keys::PrivateKey;
pub use wire::{SEAL_BACK, SEAL_FRONT, is_encrypted};
