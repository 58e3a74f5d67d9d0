//! Names of hosts, interfaces and users: checked once, cheap to clone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes: that of a DNS name (RFC 1035, section 2.3.4).
pub const MAX_NAME_LENGTH: usize = 253;

/// Words of the description language, which no name may be.
pub const KEYWORDS: [&str; 14] = [
    "BEGIN",
    "END",
    "HOST",
    "AT",
    "ADD",
    "DELETE",
    "LINK",
    "TCP",
    "UDP",
    "FORWARD",
    "EDGE",
    "INTERFACE",
    "NOT",
    "ANY",
];

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a {kind} name is empty")]
    Empty {
        /// What kind of name was wanted.
        kind: &'static str,
    },
    /// The name is longer than [`MAX_NAME_LENGTH`].
    #[error("a {kind} name of {length} bytes is longer than {MAX_NAME_LENGTH}")]
    TooLong {
        /// What kind of name was wanted.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The name has a character that names can't have.
    #[error("`{name}` is not a {kind} name: `{character}` is not a letter, a digit, `.`, `-` or `_`")]
    BadCharacter {
        /// What kind of name was wanted.
        kind: &'static str,
        /// The name.
        name: String,
        /// The first bad character.
        character: char,
    },
    /// The name is a word of the description language.
    #[error("`{name}` is a word of the description language and can't name a {kind}")]
    Keyword {
        /// What kind of name was wanted.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

fn check(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(NameError::TooLong { kind, length: name.len() });
    }
    let bad = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if let Some(character) = name.chars().find(bad) {
        return Err(NameError::BadCharacter { kind, name: name.to_owned(), character });
    }
    if KEYWORDS.contains(&name) || name == "NONE" {
        return Err(NameError::Keyword { kind, name: name.to_owned() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks `name` and keeps it: 1 to [`MAX_NAME_LENGTH`] letters,
            /// digits, `.`, `-` and `_`, and not a word of the language.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($kind, name)?;
                Ok(Self(name.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = NameError;

            fn try_from(name: &str) -> Result<Self, Self::Error> {
                Self::new(name)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = String::deserialize(deserializer)?;
                Self::new(&name).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a machine that runs a VNET daemon (the language's `machine`).
    HostName,
    "host"
);
name!(
    /// The name of a local port of a daemon (the language's `interface`).
    InterfaceName,
    "interface"
);
name!(
    /// The account under which a daemon runs (the language's `username`).
    UserName,
    "user"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_kept() {
        for name in ["a", "host-1.example.org", "10.0.0.1", "vm_3", "begin"] {
            assert_eq!(HostName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn bad_names_say_why() {
        assert_eq!(HostName::new(""), Err(NameError::Empty { kind: "host" }));
        assert!(matches!(InterfaceName::new("a b"), Err(NameError::BadCharacter { character: ' ', .. })));
        assert!(matches!(HostName::new("LINK"), Err(NameError::Keyword { .. })));
        assert!(matches!(UserName::new(&"x".repeat(254)), Err(NameError::TooLong { length: 254, .. })));
    }
}
