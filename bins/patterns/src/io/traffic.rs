//! Messages to and from peers, and connections that break under them.

use std::io;
use std::time::Instant;

use crate::error::{Error, Violation};
use crate::payload::{Mismatch, Payload};
use crate::wire::{Event, Header, Refusal, WireError};

use super::run::Run;

impl Run<'_> {
    /// Writes to a peer; has that made another step possible?
    pub(super) fn write(&mut self, i: usize, now: Instant) -> Result<bool, Error> {
        let rank = self.options.rank;
        let mut moved = false;
        while let Some(connection) = self.links[i].connection() {
            if connection.is_idle() {
                let Some(header) = self.bsp.next_frame(i) else { break };
                let iteration = if let Header::Data { iteration, .. } = header { iteration } else { 0 };
                let payload = Payload::new(rank, self.links[i].rank, iteration);
                let Some(connection) = self.links[i].connection() else { break };
                connection.frame(header, rank, payload);
                continue;
            }
            match connection.write() {
                Ok(written) => {
                    self.progress.sent(i, written.payload);
                    if written.message_ended {
                        self.bsp.sent(i);
                        moved = true;
                    }
                    if !self.links[i].connection().is_some_and(|c| c.is_idle()) {
                        break;
                    }
                }
                Err(e) => {
                    // What the peer said before the connection broke may be a goodbye.
                    while self.links[i].is_open() && self.read(i, now)? {}
                    if self.links[i].is_open() {
                        self.lose(i, e.raw_os_error(), e, now)?;
                    }
                    moved = true;
                }
            }
        }
        Ok(moved)
    }

    /// Reads from a peer; was there anything to read?
    pub(super) fn read(&mut self, i: usize, now: Instant) -> Result<bool, Error> {
        let (rank, peer, address) = (self.options.rank, self.links[i].rank, self.links[i].address);
        let Some(connection) = self.links[i].connection() else { return Ok(false) };
        let (bsp, progress) = (&mut self.bsp, &mut self.progress);
        let read = connection.read(&mut self.buffer, |event| -> Result<(), Trouble> {
            match event {
                Event::Hello(_) => return Err(Violation::Order.into()),
                Event::Header(Header::Resume { next }) => bsp.resumed(i, next)?,
                Event::Header(Header::Data { iteration, length }) => bsp.receiving(i, iteration, length)?,
                Event::Header(Header::Goodbye(goodbye)) => bsp.heard_goodbye(i, goodbye),
                Event::Header(Header::Refusal(refusal)) => return Err(Trouble::Refused(refusal)),
                Event::Payload { iteration, offset, bytes, last } => {
                    let payload = Payload::new(peer, rank, iteration);
                    payload.verify(offset, bytes).map_err(|m| Trouble::Damaged(iteration, m))?;
                    progress.received(i, bytes.len() as u64);
                    if last {
                        bsp.received(i);
                    }
                }
            }
            Ok(())
        });
        match read {
            Ok(None) => return Ok(false),
            Ok(Some(0)) => self.lose(i, None, "closed without a goodbye", now)?,
            Ok(Some(_)) => {}
            Err(Trouble::Io(e)) => self.lose(i, e.raw_os_error(), e, now)?,
            Err(Trouble::Violation(what)) => return Err(Error::Protocol { rank, peer, what }),
            Err(Trouble::Refused(refusal)) => return Err(Error::Refused { rank, peer, address, refusal }),
            Err(Trouble::Damaged(iteration, mismatch)) => {
                return Err(Error::Damaged { rank, peer, iteration, mismatch });
            }
        }
        Ok(true)
    }

    /// The connection to a peer is gone, be that good or bad.
    pub(super) fn lose(
        &mut self,
        i: usize,
        errno: Option<i32>,
        why: impl ToString,
        now: Instant,
    ) -> Result<(), Error> {
        let lost = self.bsp.disconnected(i);
        let link = &mut self.links[i];
        let why = why.to_string();
        link.drop_connection(&why, lost, now);
        if lost {
            link.lost_since = Some(now);
            self.progress.lost(link.rank, link.address, errno, why)?;
        }
        Ok(())
    }
}

/// What can go wrong while a connection is read.
enum Trouble {
    Io(io::Error),
    Violation(Violation),
    Refused(Refusal),
    Damaged(u64, Mismatch),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<WireError> for Trouble {
    fn from(e: WireError) -> Self {
        Self::Violation(e.into())
    }
}

impl From<Violation> for Trouble {
    fn from(e: Violation) -> Self {
        Self::Violation(e)
    }
}
