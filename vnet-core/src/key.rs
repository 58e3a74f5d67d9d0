//! The public keys that daemons know each other by.

use std::fmt;
use std::str::FromStr;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeSliceError, Engine};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a key in bytes.
pub const KEY: usize = 32;

/// Length of a key as text: 32 bytes in base64 with its padding.
pub const KEY_TEXT: usize = 44;

/// An X25519 public key (RFC 7748), which says who a daemon is.
///
/// As text it is base64 (RFC 4648, section 4), as WireGuard has its keys.
///
/// ```
/// use vnet_core::PublicKey;
///
/// let key: PublicKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse()?;
/// assert_eq!(key, PublicKey([1; 32]));
/// # Ok::<(), vnet_core::key::KeyError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY]);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has another length.
    #[error("a key is {KEY_TEXT} characters of base64, such as `vnet keygen` prints; these are {length}")]
    Length {
        /// How many characters it has.
        length: usize,
    },
    /// It is not base64.
    #[error("a key is base64 (letters, digits, `+`, `/` and a final `=`), such as `vnet keygen` prints")]
    Characters,
}

/// Reads a key from its text.
///
/// # Errors
///
/// The text is not 44 characters of base64.
pub fn decode(text: &str) -> Result<[u8; KEY], KeyError> {
    if text.len() != KEY_TEXT {
        return Err(KeyError::Length { length: text.chars().count() });
    }
    let mut key = [0; KEY];
    match STANDARD.decode_slice(text, &mut key) {
        Ok(KEY) => Ok(key),
        Ok(_) | Err(DecodeSliceError::DecodeError(_) | DecodeSliceError::OutputSliceTooSmall) => {
            Err(KeyError::Characters)
        }
    }
}

/// The text of a key.
pub fn encode(key: &[u8; KEY]) -> String {
    let mut text = String::with_capacity(KEY_TEXT);
    STANDARD.encode_string(key, &mut text);
    text
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decode(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_survive_being_text(bytes: [u8; KEY]) {
            let key = PublicKey(bytes);
            prop_assert_eq!(key.to_string().len(), KEY_TEXT);
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn other_texts_are_no_keys(text in ".{0,60}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }

    #[test]
    fn errors_say_what_a_key_is() {
        assert_eq!("abc".parse::<PublicKey>(), Err(KeyError::Length { length: 3 }));
        assert_eq!("?".repeat(44).parse::<PublicKey>(), Err(KeyError::Characters));
    }
}
