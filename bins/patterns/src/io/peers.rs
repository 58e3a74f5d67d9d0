//! The connections of a rank to its peers: dialling, greeting, losing, dialling again.
//!
//! The higher rank dials the lower one.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::error::MissingPeer;
use crate::wire::Hello;

use super::connection::{self, Connection};

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// How long a connection may take to be made before another is tried: the
/// kernel's own retries grow far apart while a network comes up.
const FIRST_ATTEMPT: Duration = Duration::from_secs(3);
const LAST_ATTEMPT: Duration = Duration::from_secs(30);

/// A peer and the way to it.
#[derive(Debug)]
pub(super) struct PeerLink {
    pub(super) rank: usize,
    pub(super) address: SocketAddr,
    pub(super) state: LinkState,
    /// Since when a connection that was there is gone.
    pub(super) lost_since: Option<Instant>,
    dials: bool,
    retry: Duration,
    attempt: Duration,
    /// What came of the last try.
    why: String,
}

#[derive(Debug)]
pub(super) enum LinkState {
    /// Nothing under way: the peer is to dial, or isn't needed any more.
    Idle,
    /// To be dialled at this time.
    Waiting(Instant),
    /// Dialled; given up at this time.
    Dialling(TcpStream, Instant),
    /// Connected, the hello sent, the peer's not yet there.
    Greeting(Connection),
    /// Hellos were exchanged.
    Open(Connection),
}

impl PeerLink {
    pub(super) fn new(rank: usize, address: SocketAddr, dials: bool, now: Instant) -> Self {
        let (state, why) = match dials {
            true => (LinkState::Waiting(now), "not tried"),
            false => (LinkState::Idle, "it has not connected"),
        };
        Self {
            rank,
            address,
            state,
            lost_since: None,
            dials,
            retry: FIRST_RETRY,
            attempt: FIRST_ATTEMPT,
            why: why.to_owned(),
        }
    }

    /// Lets go of the connection or the attempt; it is dialled again if `wanted`.
    pub(super) fn drop_connection(&mut self, why: impl ToString, wanted: bool, now: Instant) {
        self.why = why.to_string();
        self.state = match self.dials && wanted {
            true => LinkState::Waiting(now + self.retry),
            false => LinkState::Idle,
        };
        self.retry = (self.retry * 3 / 2).min(LAST_RETRY);
    }

    /// The connection serves: hellos were exchanged over it. For how long was there none?
    pub(super) fn open(&mut self, connection: Connection, now: Instant) -> Option<Duration> {
        self.state = LinkState::Open(connection);
        self.retry = FIRST_RETRY;
        self.attempt = FIRST_ATTEMPT;
        self.why = "connected, but it has not joined the run".to_owned();
        self.lost_since.take().map(|since| now.saturating_duration_since(since))
    }

    /// Dials if it is time to, and gives an attempt up that takes too long.
    pub(super) fn dial(&mut self, wanted: bool, now: Instant) {
        match &self.state {
            LinkState::Waiting(at) if *at <= now => {
                if !wanted {
                    self.state = LinkState::Idle;
                    return;
                }
                match connection::connect(self.address) {
                    Ok(stream) => self.state = LinkState::Dialling(stream, now + self.attempt),
                    Err(e) => self.drop_connection(e, true, now),
                }
            }
            LinkState::Dialling(_, until) if *until <= now => {
                self.attempt = (self.attempt * 2).min(LAST_ATTEMPT);
                self.drop_connection("no answer", wanted, now);
            }
            _ => {}
        }
    }

    /// The attempt has come to its end, good or bad: says hello if good.
    pub(super) fn dialled(&mut self, hello: &Hello, wanted: bool, now: Instant) {
        let LinkState::Dialling(stream, _) = std::mem::replace(&mut self.state, LinkState::Idle) else {
            return;
        };
        match greet(stream, hello) {
            Ok(connection) => {
                self.why = "connected, but it has not said hello".to_owned();
                self.state = LinkState::Greeting(connection);
            }
            Err(e) => self.drop_connection(e, wanted, now),
        }
    }

    /// The peer's hello, once it is there. What isn't from this peer is let go.
    pub(super) fn greeted(&mut self, wanted: bool, now: Instant) -> Option<Hello> {
        let LinkState::Greeting(connection) = &mut self.state else { return None };
        match connection.read_hello() {
            Ok(Some(hello)) if hello.rank as usize == self.rank => return Some(hello),
            Ok(Some(hello)) => {
                self.drop_connection(format!("rank {} answers there", hello.rank), wanted, now);
            }
            Ok(None) => {}
            Err(e) => self.drop_connection(e, wanted, now),
        }
        None
    }

    /// The connection, if it is open.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            LinkState::Open(connection) => Some(connection),
            _ => None,
        }
    }

    /// Were hellos exchanged?
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, LinkState::Open(_))
    }

    /// When [`PeerLink::dial`] has something to do.
    pub(super) fn timer(&self) -> Option<Instant> {
        match self.state {
            LinkState::Waiting(at) | LinkState::Dialling(_, at) => Some(at),
            _ => None,
        }
    }

    /// This peer as one that is waited for.
    pub(super) fn missing(&self) -> MissingPeer {
        MissingPeer { rank: self.rank, address: self.address, why: self.why.clone() }
    }
}

fn greet(stream: TcpStream, hello: &Hello) -> io::Result<Connection> {
    if let Some(e) = stream.take_error()? {
        return Err(e);
    }
    let mut connection = Connection::new(stream)?;
    connection.hello(hello);
    connection.write()?;
    Ok(connection)
}
