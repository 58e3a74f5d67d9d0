//! Connections that others make: who they are, and whether they are let in.

use std::io;
use std::time::Instant;

use crate::error::Error;
use crate::payload::Payload;
use crate::wire::{Header, Hello, Refusal};

use super::connection::Connection;
use super::run::Run;

/// Connections that have not said hello yet, at most; the oldest goes first.
const MAX_STRANGERS: usize = 64;

impl Run<'_> {
    /// Takes in whoever has connected.
    pub(super) fn accept(&mut self) -> Result<(), Error> {
        loop {
            match self.listener.accept().and_then(|(stream, _)| Connection::new(stream)) {
                Ok(connection) => {
                    if self.strangers.len() == MAX_STRANGERS {
                        self.strangers.remove(0);
                    }
                    self.strangers.push(connection);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The stranger's trouble, not this rank's.
                Err(e) if is_transient(&e) => {}
                Err(error) => return Err(Error::System { what: "can't accept connections", error }),
            }
        }
    }

    /// A stranger has said something.
    pub(super) fn meet(&mut self, i: usize, now: Instant) -> Result<(), Error> {
        match self.strangers[i].read_hello() {
            Ok(Some(hello)) => {
                let connection = self.strangers.remove(i);
                self.admit(connection, hello, now)
            }
            Ok(None) => Ok(()),
            Err(e) => {
                let connection = self.strangers.remove(i);
                let from = connection.peer_addr().map_or_else(|_| "unknown".to_owned(), |a| a.to_string());
                tracing::debug!(rank = self.options.rank, from, "a connection that is no peer's: {e}");
                Ok(())
            }
        }
    }

    /// Makes a stranger's connection that of the peer it says it is.
    fn admit(&mut self, mut connection: Connection, hello: Hello, now: Instant) -> Result<(), Error> {
        let answer = self.hello(hello.rank);
        connection.hello(&answer);
        let peer = hello.rank as usize;
        let known = self.links.iter().position(|link| link.rank == peer);
        let admitted = if hello.ranks != answer.ranks {
            Err(Refusal::Ranks)
        } else if hello.receiver != answer.rank {
            Err(Refusal::Receiver)
        } else if hello.workload != answer.workload {
            Err(Refusal::Workload)
        } else {
            // The higher rank is the one that connects.
            known.filter(|_| peer > self.options.rank).ok_or(Refusal::NoChannel)
        };
        match admitted {
            Ok(i) => {
                if self.links[i].is_open() {
                    self.lose(i, None, "the peer connected anew", now)?;
                }
                self.open(i, connection, hello.joining, now)
            }
            Err(refusal) => {
                self.refuse(connection, peer, refusal);
                Ok(())
            }
        }
    }

    fn refuse(&self, mut connection: Connection, peer: usize, refusal: Refusal) {
        let rank = self.options.rank;
        tracing::warn!(rank, peer, "refused a connection: {refusal:?}");
        connection.frame(Header::Refusal(refusal), rank, Payload::new(rank, peer, 0));
        if let Err(e) = connection.write() {
            tracing::debug!(rank, peer, "a refusal was not delivered: {e}");
        }
    }

    /// What this rank says first to a peer.
    pub(super) fn hello(&self, receiver: u32) -> Hello {
        Hello {
            joining: self.bsp.is_joining(),
            rank: self.options.rank as u32,
            receiver,
            ranks: self.options.peers.len() as u32,
            workload: self.workload,
        }
    }
}

/// Errors of `accept` that are those of the connection, not of the listener (accept(2)).
fn is_transient(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted};
    use io::ErrorKind::{InvalidInput, NetworkDown, NetworkUnreachable, NotConnected, TimedOut};
    matches!(
        e.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | InvalidInput
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
    )
}
