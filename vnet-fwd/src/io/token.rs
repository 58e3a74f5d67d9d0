//! What the poller calls the descriptors that it watches.

use crate::link::ConnectionId;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Commands are waiting.
    Wake,
    /// The socket of all UDP links.
    Udp,
    /// The socket that accepts connections.
    Listener,
    /// A local interface, by its index.
    Interface(usize),
    /// A TCP connection.
    Connection(ConnectionId),
}

impl From<Token> for u64 {
    fn from(token: Token) -> Self {
        let (kind, number) = match token {
            Token::Wake => (0, 0),
            Token::Udp => (1, 0),
            Token::Listener => (2, 0),
            Token::Interface(index) => (3, index as u64),
            Token::Connection(ConnectionId(id)) => (4, id),
        };
        number << 3 | kind
    }
}

impl From<u64> for Token {
    fn from(bits: u64) -> Self {
        match bits & 7 {
            0 => Self::Wake,
            1 => Self::Udp,
            2 => Self::Listener,
            3 => Self::Interface((bits >> 3) as usize),
            _ => Self::Connection(ConnectionId(bits >> 3)),
        }
    }
}
