//! The private key of a daemon.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use vnet_core::PublicKey;
use vnet_core::key::{self, KEY, KeyError};
use zeroize::{Zeroize, Zeroizing};

/// The private key that a daemon proves by who it is: 32 random bytes, base64 as
/// text. It is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Zeroizing<[u8; KEY]>);

impl PrivateKey {
    /// A key of these bytes, which must be random and secret.
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key that others know this daemon by.
    pub fn public(&self) -> PublicKey {
        Pair::new(self).public
    }

    /// The key's text, for a key file.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(key::encode(&self.0))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY] {
        &self.0
    }
}

impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = key::decode(text)?;
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        Ok(key)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public())
    }
}

/// A secret that two key pairs share.
pub(super) type SharedSecret = Zeroizing<[u8; KEY]>;

/// A private key that is ready to be used, and its public key.
pub(super) struct Pair {
    private: agreement::PrivateKey,
    pub(super) public: PublicKey,
}

impl Pair {
    pub(super) fn new(key: &PrivateKey) -> Self {
        Self::from_secret(key.bytes())
    }

    pub(super) fn from_secret(bytes: &[u8; KEY]) -> Self {
        let private = agreement::PrivateKey::from_private_key(&X25519, bytes);
        // Every string of 32 bytes is an X25519 private key (RFC 7748, section 5).
        let private = private.expect("32 bytes are a private key");
        let public = private.compute_public_key().expect("a private key has a public key");
        let mut bytes = [0; KEY];
        bytes.copy_from_slice(public.as_ref());
        Self { private, public: PublicKey(bytes) }
    }

    /// X25519; `None`: the other key is one of the few that share no secret.
    pub(super) fn agree(&self, other: &PublicKey) -> Option<SharedSecret> {
        let other = UnparsedPublicKey::new(&X25519, &other.0);
        let mut shared = Zeroizing::new([0; KEY]);
        agreement::agree(&self.private, other, (), |secret| {
            shared.copy_from_slice(secret);
            Ok(())
        })
        .ok()?;
        Some(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7748, section 6.1.
    #[test]
    fn the_example_of_the_rfc() {
        let hex = |text: &str| -> [u8; 32] {
            std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        };
        let alice =
            Pair::from_secret(&hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let bob = Pair::from_secret(&hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"));
        let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(bob.public.0, hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        assert_eq!(*alice.agree(&bob.public).unwrap(), shared);
        assert_eq!(*bob.agree(&alice.public).unwrap(), shared);
    }

    #[test]
    fn keys_are_not_printed() {
        let key = PrivateKey::from_bytes([7; KEY]);
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
        assert_eq!(key.to_text().parse(), Ok(key));
    }

    #[test]
    fn a_key_of_small_order_shares_nothing() {
        assert!(Pair::from_secret(&[7; KEY]).agree(&PublicKey([0; KEY])).is_none());
    }
}
