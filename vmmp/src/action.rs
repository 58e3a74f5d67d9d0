//! What the state machines ask of whoever drives them.

use crate::message::Message;
use crate::name::{MachineId, MethodName, MigrationId, PeerName, Ticket};
use crate::record::Record;

/// Who is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The migration agent.
    Agent,
    /// A provider.
    Peer(PeerName),
}

/// Something to be done. Actions are carried out in order, each before the next:
/// a record must be on disk before the message after it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Say something. It may get lost; what matters is said again.
    Send {
        /// To whom.
        to: Party,
        /// What.
        message: Message,
    },
    /// Write a record to the journal, and wait until it can't be lost.
    Journal(Record),
    /// Do something with a machine.
    Effect(Effect),
}

/// Something to be done with a machine. Each can be asked for again after a crash,
/// and does no harm then.
///
/// Those whose outcome is awaited are started, and their outcome comes later as
/// an [`Outcome`]; the others are done when the next action begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Origin: get the machine ready to be copied; by methods that don't go live, let
    /// it stand still. Awaited.
    Hold {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// How it will be copied.
        method: MethodName,
    },
    /// Origin: let it be as it was before [`Effect::Hold`] (which ends, if it is under
    /// way); also take it back, if it was handed over.
    Restore {
        /// The machine.
        machine: MachineId,
    },
    /// Origin: make sure that the machine can't run here, whatever happens. Awaited.
    HandOver {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
    },
    /// Origin: let a machine go that was handed over. Its data may be kept for the
    /// next migration back.
    Forget {
        /// The machine.
        machine: MachineId,
    },
    /// Destination: copy the machine. Awaited.
    Fetch {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
        /// The machine.
        machine: MachineId,
        /// From where.
        origin: PeerName,
        /// How.
        method: MethodName,
    },
    /// Destination: end what is under way of copying or completing, and remove what
    /// came.
    Discard {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
    },
    /// Destination: bring in what can only cross after the release (a live machine's
    /// last memory), and see that everything is there. Awaited.
    Complete {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
    },
    /// Destination: the machine is ours; let it be what it was at the origin.
    Own {
        /// Which migration.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// Its version.
        version: u64,
    },
}

/// What became of an effect that is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`Effect::Hold`].
    Held(Result<(), String>),
    /// [`Effect::HandOver`].
    HandedOver(Result<(), String>),
    /// [`Effect::Fetch`].
    Fetched(Result<(), String>),
    /// [`Effect::Complete`].
    Completed(Result<(), String>),
}
