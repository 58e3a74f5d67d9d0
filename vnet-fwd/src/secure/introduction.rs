//! Proofs for those who tell others' keys: the Proxy introduces daemons to each
//! other over sessions that are not encrypted, and nobody else may be able to.

use aws_lc_rs::{constant_time, digest, hmac};
use vnet_core::PublicKey;

use super::keys::{Pair, PrivateKey};

/// Length of a proof.
const PROOF: usize = 16;

/// A key that only the owners of two key pairs have, for proofs between them.
#[derive(Debug)]
pub struct IntroductionKey(hmac::Key);

impl IntroductionKey {
    /// The key that the owners of `own` and `other` share. `None`: they can't
    /// share a secret.
    pub fn new(own: &PrivateKey, other: &PublicKey) -> Option<Self> {
        let shared = Pair::new(own).agree(other)?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"virtuoso introduction");
        context.update(&shared[..]);
        Some(Self(hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref())))
    }

    /// A proof that one of the two says all of `parts`: HMAC-SHA256 over each
    /// part behind its length (8 bytes, big-endian), cut to 16 bytes.
    pub fn prove(&self, parts: &[&[u8]]) -> [u8; PROOF] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut proof = [0; PROOF];
        proof.copy_from_slice(&context.sign().as_ref()[..PROOF]);
        proof
    }

    /// Is `proof` the one of `parts`?
    pub fn is_proved(&self, parts: &[&[u8]], proof: &[u8; PROOF]) -> bool {
        constant_time::verify_slices_are_equal(&self.prove(parts), proof).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_ends_can_prove() {
        let [a, b, c] = [1, 2, 3].map(|n| PrivateKey::from_bytes([n; 32]));
        let key = |own: &PrivateKey, other: &PrivateKey| IntroductionKey::new(own, &other.public()).unwrap();
        let proof = key(&a, &b).prove(&[b"host", b"key"]);
        assert!(key(&b, &a).is_proved(&[b"host", b"key"], &proof));
        assert!(!key(&b, &a).is_proved(&[b"hostk", b"ey"], &proof));
        assert!(!key(&b, &c).is_proved(&[b"host", b"key"], &proof));
        assert!(!key(&c, &a).is_proved(&[b"host", b"key"], &proof));
    }
}
