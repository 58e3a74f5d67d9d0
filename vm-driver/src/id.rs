//! The names of VMs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const MAX_ID: usize = 64;

/// The identifier of a VM: 1 to [`MAX_ID`] ASCII letters, digits, `-`, `_` and
/// `.`, not beginning with a dot. A UUID is one. It names a folder, and it is a
/// word of VMMP.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmId(String);

/// Text that is not the name of a VM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` can't name a VM: use 1 to {MAX_ID} letters, digits, `-`, `_` and `.`, no dot first")]
pub struct InvalidId {
    /// What was given, cut to a length that can be shown.
    pub text: String,
}

impl VmId {
    /// Checks a name.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name =
            (1..=MAX_ID).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(allowed);
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId { text: text.chars().take(MAX_ID + 8).collect() })
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl TryFrom<String> for VmId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::new(&text)
    }
}

impl From<VmId> for String {
    fn from(id: VmId) -> Self {
        id.0
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_as_folders_and_words() {
        for good in ["a", "vm-1", "2f1c0c9e-5d6b-4b6a-9b0a-0c8a2b1d9f00", "A_b.c"] {
            assert_eq!(VmId::new(good).unwrap().to_string(), good);
        }
        for bad in ["", ".", "..", ".a", "a b", "a/b", "a\n", "ä", &"x".repeat(65)] {
            assert!(VmId::new(bad).is_err(), "{bad:?}");
        }
    }
}
