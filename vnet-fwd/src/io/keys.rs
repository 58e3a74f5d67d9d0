//! Random keys, and files with keys.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use vnet_core::key::{KEY, KEY_TEXT, KeyError};
use zeroize::{Zeroize, Zeroizing};

use crate::secure::PrivateKey;

/// Why a key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The kernel refused.
    #[error("can't {action} the key file {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("others may use the key file {} (its mode is {mode:03o}): `chmod 600 {}`", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What it holds is no key.
    #[error("the key file {} holds no key: {source}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
}

impl PrivateKey {
    /// A new key, from the kernel's random numbers.
    ///
    /// # Errors
    ///
    /// The kernel has no random numbers to give.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = random()?;
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        Ok(key)
    }

    /// Reads a key file, which nobody but its owner may be permitted to use.
    ///
    /// # Errors
    ///
    /// The file can't be read, others may use it, or it holds no key.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |source| KeyFileError::Io { action: "read", path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        // Enough to see that it is no key.
        file.take(4 * KEY_TEXT as u64).read_to_string(&mut text).map_err(failed)?;
        text.trim().parse().map_err(|source| KeyFileError::NoKey { path: path.to_owned(), source })
    }

    /// Writes the key to a new file that only its owner may use.
    ///
    /// # Errors
    ///
    /// The file is there already or can't be written.
    pub fn store(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io { action: "write", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut line = self.to_text();
        line.push('\n');
        file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Reads the key file, or makes one with a new key if it isn't there.
    ///
    /// # Errors
    ///
    /// As [`PrivateKey::load`] and [`PrivateKey::store`].
    pub fn load_or_make(path: &Path) -> Result<Self, KeyFileError> {
        match Self::load(path) {
            Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let failed =
                    |source| KeyFileError::Io { action: "make a key for", path: path.to_owned(), source };
                let key = Self::generate().map_err(failed)?;
                key.store(path)?;
                Ok(key)
            }
            other => other,
        }
    }
}

/// Bytes that nobody can guess.
pub(super) fn random() -> io::Result<[u8; KEY]> {
    let mut bytes = [0; KEY];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the kernel has no random numbers to give"))?;
    Ok(bytes)
}
