//! Where a daemon's control socket is.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a control socket.
///
/// As text: a path (anything with a `/`, or after `unix:`), or `host:port`
/// (also after `tcp:`).
///
/// ```
/// use vnetd::client::Address;
///
/// assert_eq!("/run/vnetd/a.sock".parse(), Ok(Address::Unix("/run/vnetd/a.sock".into())));
/// assert_eq!("proxy.example.org:7701".parse(), Ok(Address::Tcp("proxy.example.org:7701".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address: `host:port`, looked up when the client connects.
    Tcp(String),
}

impl FromStr for Address {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if let Some(path) = text.strip_prefix("unix:") {
            Self::Unix(path.into())
        } else if let Some(address) = text.strip_prefix("tcp:") {
            Self::Tcp(address.into())
        } else if text.contains('/') || !text.contains(':') {
            Self::Unix(text.into())
        } else {
            Self::Tcp(text.into())
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn print_then_parse_is_the_identity() {
        for text in ["/run/a.sock", "./a.sock", "[::1]:7701", "10.0.0.1:7701"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_prefix_decides() {
        assert_eq!("unix:a:b".parse(), Ok(Address::Unix("a:b".into())));
        assert_eq!("tcp:a:1".parse(), Ok(Address::Tcp("a:1".into())));
        assert_eq!("a.sock".parse(), Ok(Address::Unix("a.sock".into())));
    }
}
