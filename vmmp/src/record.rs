//! Records of the journals, and their form on disk.
//!
//! A journal begins with [`HEADER`]. A record is the CRC-32 of its body (4 octets),
//! the body's length (4 octets, at most [`MAX_BODY`]), both most significant first,
//! and the body, JSON. What follows the last whole record is what a crash has cut
//! off, and is dropped.

use serde::{Deserialize, Serialize};

use crate::message::Request;
use crate::name::{MachineId, MigrationId, PeerName, Ticket};

/// How a journal begins: its kind and the version of its form.
pub const HEADER: &[u8; 8] = b"VMMPjnl\x02";

/// The longest body, in bytes.
pub const MAX_BODY: usize = 64 << 10;

/// Something that a party must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Record {
    /// Agent: a machine is there.
    Placed {
        /// The machine.
        machine: MachineId,
        /// Where.
        place: PeerName,
        /// Its version.
        version: u64,
    },
    /// Agent: a migration was begun.
    Requested {
        /// To where.
        destination: PeerName,
        /// What was asked for.
        request: Request,
    },
    /// Agent: a migration that is to be stopped.
    Cancelled {
        /// Which.
        id: MigrationId,
        /// Why.
        reason: String,
    },
    /// Agent: a migration has ended.
    Finished {
        /// Which.
        id: MigrationId,
    },
    /// Provider: this machine is here.
    Holds {
        /// The machine.
        machine: MachineId,
        /// Its version.
        version: u64,
    },
    /// Agent, provider: this machine is no more.
    Removed {
        /// The machine.
        machine: MachineId,
    },
    /// Origin: it is being sent.
    Sending {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// To whom.
        to: PeerName,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Origin: it can't run here any more, unless the destination says that it has
    /// not got it.
    Released {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Origin: the migration is over, and the machine is here.
    Kept {
        /// Which migration.
        id: MigrationId,
    },
    /// Origin: the migration is over, and the machine is not here.
    Gone {
        /// Which migration.
        id: MigrationId,
    },
    /// Destination: it is being fetched.
    Started {
        /// What was asked for.
        request: Request,
        /// This attempt.
        ticket: Ticket,
    },
    /// Destination: it is ours.
    Owned {
        /// Which migration.
        id: MigrationId,
        /// Its version.
        version: u64,
    },
    /// Destination: the monitor has it.
    Settled {
        /// Which migration.
        id: MigrationId,
    },
    /// Destination: it did not come, and won't.
    Aborted {
        /// Which migration.
        id: MigrationId,
        /// Why.
        reason: String,
    },
    /// Destination: everybody knows how it ended.
    Closed {
        /// Which migration.
        id: MigrationId,
    },
}

/// A journal that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// It is something else, or of a later version.
    #[error("it does not begin like a journal of VMMP (version 2)")]
    Header,
    /// A record is whole but makes no sense.
    #[error("record {number}, at byte {at}: {why}")]
    Record {
        /// Which, counted from 1.
        number: usize,
        /// Where it begins.
        at: usize,
        /// What is wrong.
        why: String,
    },
}

impl Record {
    /// The record as it stands in a journal.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Records are made of texts and numbers, which JSON has.
        let body = serde_json::to_vec(self).expect("a record has a JSON form");
        let mut bytes = Vec::with_capacity(body.len() + 8);
        bytes.extend(crc32fast::hash(&body).to_be_bytes());
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
        bytes
    }
}

/// Reads a journal: its records, and how many bytes of it are whole.
///
/// # Errors
/// It is no journal, or a record whose checksum is right is none of ours.
pub fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), JournalError> {
    let Some(mut rest) = bytes.strip_prefix(HEADER) else {
        // A crash may have cut the header itself off.
        return if HEADER.starts_with(bytes) { Ok((Vec::new(), 0)) } else { Err(JournalError::Header) };
    };
    let mut records = Vec::new();
    loop {
        let at = bytes.len() - rest.len();
        let Some((head, behind)) = rest.split_first_chunk::<8>() else { return Ok((records, at)) };
        let [a, b, c, d, e, f, g, h] = *head;
        let length = u32::from_be_bytes([e, f, g, h]) as usize;
        let Some((body, behind)) = behind.split_at_checked(length).filter(|_| length <= MAX_BODY) else {
            return Ok((records, at));
        };
        if crc32fast::hash(body) != u32::from_be_bytes([a, b, c, d]) {
            return Ok((records, at));
        }
        let record = serde_json::from_slice(body).map_err(|error| JournalError::Record {
            number: records.len() + 1,
            at,
            why: error.to_string(),
        })?;
        records.push(record);
        rest = behind;
    }
}
