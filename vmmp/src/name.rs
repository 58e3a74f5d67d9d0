//! The words of the protocol.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that can't stand for what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is 1 to {most} {allowed}")]
pub struct NameError {
    what: &'static str,
    most: usize,
    allowed: &'static str,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal, $most:literal, $allowed:literal, $is_allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a word.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let is_allowed: fn(u8) -> bool = $is_allowed;
                let is_word = (1..=$most).contains(&text.len())
                    && !text.starts_with('.')
                    && text.bytes().all(is_allowed);
                if is_word {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, most: $most, allowed: $allowed })
                }
            }

            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

word!(
    /// The identifier of a machine, a UUID for instance; the `VmId` of `vm-driver`.
    MachineId, "a machine's identifier", 64, "letters, digits, `-`, `_` and `.`, no dot first",
    |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
);

word!(
    /// The name of a migration method: `RSYNC` and `SCP` in the papers, `COPY`,
    /// `DELTA` and `LIVE` here.
    MethodName, "a method's name", 32, "capital letters, digits, `-` and `_`",
    |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
);

word!(
    /// The name of a provider, as its configuration and the agent's have it.
    PeerName, "a provider's name", 64, "letters, digits, `-`, `_` and `.`, no dot first",
    |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
);

/// A migration: made up by the agent, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub u64);

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a destination makes up for each attempt at a migration, and what an origin
/// that releases the machine must name: a release of an earlier attempt, however
/// late it arrives, releases nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ticket(pub u64);
