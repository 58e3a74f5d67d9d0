//! The ciphers that messages are sealed with.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use vnet_core::key::KEY;

/// Length of the tag at the end of sealed bytes.
pub(super) const TAG: usize = 16;

/// A cipher with authentication. The number in brackets goes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cipher {
    /// \[1\] AES-256-GCM: the fastest where the CPU has instructions for it.
    Aes256Gcm = 1,
    /// \[2\] ChaCha20-Poly1305 (RFC 8439): fast on every CPU.
    ChaCha20Poly1305 = 2,
}

/// Which ciphers an end can use, and which it does fastest: a byte on the wire.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-3 | the number of the cipher that it prefers |
/// | 4 | it can use cipher 1 |
/// | 5 | it can use cipher 2 |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ciphers(u8);

impl Cipher {
    /// The one that this CPU does fastest.
    pub fn fastest() -> Self {
        if has_aes() { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// Its name for people, and in configuration files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Aes256Gcm, Self::ChaCha20Poly1305].into_iter().find(|cipher| *cipher as u8 == code)
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

impl Ciphers {
    /// Both, the fastest first.
    pub fn all() -> Self {
        Self(Cipher::fastest() as u8 | bit(Cipher::Aes256Gcm) | bit(Cipher::ChaCha20Poly1305))
    }

    /// This one and no other.
    pub fn only(cipher: Cipher) -> Self {
        Self(cipher as u8 | bit(cipher))
    }

    /// Both, this one first.
    pub fn preferring(cipher: Cipher) -> Self {
        Self(cipher as u8 | bit(Cipher::Aes256Gcm) | bit(Cipher::ChaCha20Poly1305))
    }

    pub(super) fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    pub(super) fn to_byte(self) -> u8 {
        self.0
    }

    pub(super) fn has(self, cipher: Cipher) -> bool {
        self.0 & bit(cipher) != 0
    }

    /// The one for both ends: the one that both prefer; else ChaCha20-Poly1305,
    /// which no CPU does badly; else whatever both have. `None`: they have none
    /// in common.
    pub(super) fn choose(self, other: Self) -> Option<Cipher> {
        let both = |cipher: &Cipher| self.has(*cipher) && other.has(*cipher);
        let preferred = Cipher::from_code(self.0 & 15).filter(|_| self.0 & 15 == other.0 & 15);
        [preferred, Some(Cipher::ChaCha20Poly1305), Some(Cipher::Aes256Gcm)].into_iter().flatten().find(both)
    }

    /// The cipher that `byte` names, if this end has it.
    pub(super) fn chosen(self, byte: u8) -> Option<Cipher> {
        Cipher::from_code(byte).filter(|cipher| self.has(*cipher))
    }
}

const fn bit(cipher: Cipher) -> u8 {
    8 << cipher as u8
}

/// A key of one direction.
pub(super) struct Key {
    key: LessSafeKey,
    cipher: Cipher,
}

/// The bytes were not sealed with this key, number and associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forged;

impl Key {
    pub(super) fn new(cipher: Cipher, bytes: &[u8; KEY]) -> Self {
        let algorithm = match cipher {
            Cipher::Aes256Gcm => &AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, bytes).expect("both ciphers have keys of 32 bytes");
        Self { key: LessSafeKey::new(key), cipher }
    }

    pub(super) fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Encrypts `text` in place and returns its tag. No number may be used twice.
    #[inline]
    pub(super) fn seal(&self, number: u64, associated: &[u8], text: &mut [u8]) -> [u8; TAG] {
        let tag = self.key.seal_in_place_separate_tag(self.nonce(number), Aad::from(associated), text);
        // Both ciphers take texts of up to 64 GiB.
        let tag = tag.expect("a datagram is not too long for a cipher");
        let mut bytes = [0; TAG];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    /// Decrypts text and tag in place; returns the text.
    #[inline]
    pub(super) fn open<'a>(
        &self,
        number: u64,
        associated: &[u8],
        text_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        self.key.open_in_place(self.nonce(number), Aad::from(associated), text_and_tag).map_err(|_| Forged)
    }

    /// Noise, section 12: 32 zero bits, then the number, little-endian for
    /// ChaChaPoly and big-endian for AESGCM.
    #[inline]
    fn nonce(&self, number: u64) -> Nonce {
        let number = match self.cipher {
            Cipher::Aes256Gcm => number.to_be_bytes(),
            Cipher::ChaCha20Poly1305 => number.to_le_bytes(),
        };
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&number);
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cipher() -> impl Strategy<Value = Cipher> {
        prop_oneof![Just(Cipher::Aes256Gcm), Just(Cipher::ChaCha20Poly1305)]
    }

    fn ciphers() -> impl Strategy<Value = Ciphers> {
        prop_oneof![cipher().prop_map(Ciphers::only), cipher().prop_map(Ciphers::preferring)]
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else(
            cipher in cipher(), key: [u8; 32], number: u64, associated: [u8; 8],
            text in proptest::collection::vec(any::<u8>(), 0..200), flip: prop::sample::Index,
        ) {
            let key = Key::new(cipher, &key);
            let mut sealed = text.clone();
            let tag = key.seal(number, &associated, &mut sealed);
            sealed.extend(tag);
            let open = |number, associated: &[u8], mut sealed: Vec<u8>| {
                key.open(number, associated, &mut sealed).map(|text| text.to_vec())
            };
            prop_assert_eq!(open(number, &associated, sealed.clone()), Ok(text));
            prop_assert_eq!(open(number ^ 1, &associated, sealed.clone()), Err(Forged));
            prop_assert_eq!(open(number, &associated[1..], sealed.clone()), Err(Forged));
            let bit = flip.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(number, &associated, sealed), Err(Forged));
        }

        #[test]
        fn both_ends_choose_the_same(ours in ciphers(), theirs in ciphers()) {
            let choice = ours.choose(theirs);
            prop_assert_eq!(choice, theirs.choose(ours));
            match choice {
                Some(cipher) => prop_assert!(ours.has(cipher) && theirs.has(cipher)),
                None => prop_assert!(ours != theirs),
            }
        }

        #[test]
        fn any_offer_is_read(byte: u8) {
            if let Some(cipher) = Ciphers::all().choose(Ciphers::from_byte(byte)) {
                prop_assert!(Ciphers::from_byte(byte).has(cipher));
            }
        }
    }

    #[test]
    fn a_slow_aes_is_not_forced_on_anybody() {
        let (with, without) = (Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305);
        let choose = |a, b| Ciphers::preferring(a).choose(Ciphers::preferring(b));
        assert_eq!(choose(with, with), Some(Cipher::Aes256Gcm));
        assert_eq!(choose(with, without), Some(Cipher::ChaCha20Poly1305));
        assert_eq!(choose(without, without), Some(Cipher::ChaCha20Poly1305));
        assert_eq!(Ciphers::only(with).choose(Ciphers::only(without)), None);
    }
}
