//! The messages of version 2.

use serde::{Deserialize, Serialize};

use crate::name::{MachineId, MethodName, MigrationId, PeerName, Ticket};

/// What a party says to another about one migration.
///
/// ```text
/// agent          destination             origin
///   |--- Request ---->|                     |
///   |                 |------ Begin ------->|   stands still, unless it goes live
///   |                 |<----- Accept -------|
///   |<-- Heartbeat ---|<===== data ========>|
///   |                 |------ Ready ------->|   all is there, and checked
///   |                 |<----- Release ------|   the machine can't run here any more
///   |                 |------ Taken ------->|   it is mine, and that is on disk
///   |<--- Outcome ----|<----- Gone ---------|
///   |-- Acknowledge ->|                     |
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "message")]
pub enum Message {
    /// Agent to destination: fetch this machine.
    Request(Request),
    /// Agent to destination: don't, if it isn't yours yet.
    Cancel {
        /// Which migration.
        id: MigrationId,
        /// Why, for people.
        reason: String,
    },
    /// Destination to agent: it is still coming.
    Heartbeat {
        /// Which migration.
        id: MigrationId,
        /// How far it is.
        progress: Progress,
    },
    /// Destination to agent: how it ended. Repeated until it is acknowledged.
    Outcome {
        /// Which migration.
        id: MigrationId,
        /// The machine, if that is known.
        machine: Option<MachineId>,
        /// Its new version, or why it is not here.
        result: Result<u64, String>,
    },
    /// Agent to destination: this outcome is known.
    Acknowledge {
        /// Which migration.
        id: MigrationId,
        /// The version that the machine has come as; `None`: it has not. What was said
        /// of an attempt that failed is not taken for an answer to a later one.
        version: Option<u64>,
    },
    /// Destination to origin: I am to fetch this machine.
    Begin {
        /// Which migration.
        id: MigrationId,
        /// This attempt.
        ticket: Ticket,
        /// The machine.
        machine: MachineId,
        /// Its version, as the agent has it.
        version: u64,
        /// How.
        method: MethodName,
    },
    /// Origin to destination: do.
    Accept {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Origin to destination: it is being got ready, which takes its time.
    Wait {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Origin to destination: you don't get it, or not any more.
    Refuse {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
        /// Why.
        reason: String,
    },
    /// Destination to origin: all that can be here before the hand-over is here.
    Ready {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Origin to destination: it is yours, as this version. Repeated until the
    /// destination says what became of it.
    Release {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
        /// The version that it has at the destination.
        version: u64,
    },
    /// Destination to origin: it is mine. Repeated until the origin says that it has
    /// let it go.
    Taken {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
    /// Destination to origin: I don't have it, and this attempt will never get it.
    Aborted {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
        /// Why.
        reason: String,
    },
    /// Provider to agent: this machine is here. Said of all machines when the provider
    /// starts, and of each that is made there.
    Holds {
        /// The machine.
        machine: MachineId,
        /// Its version.
        version: u64,
    },
    /// Provider to agent: this machine is no more.
    Removed {
        /// The machine.
        machine: MachineId,
        /// The version that it had.
        version: u64,
    },
    /// Agent to provider: how could you send, or take, this machine?
    Query {
        /// A number for the answer.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
    },
    /// Provider to agent: the answer.
    Results {
        /// The number of the question.
        id: MigrationId,
        /// The machine.
        machine: MachineId,
        /// The methods, the best first.
        methods: Vec<MethodName>,
    },
    /// Origin to destination: nothing of it is kept here.
    Gone {
        /// Which migration.
        id: MigrationId,
        /// Which attempt.
        ticket: Ticket,
    },
}

/// What the agent asks of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Which migration.
    pub id: MigrationId,
    /// The machine.
    pub machine: MachineId,
    /// Its version.
    pub version: u64,
    /// Where it is.
    pub origin: PeerName,
    /// How.
    pub method: MethodName,
}

/// How far a migration is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is at the destination.
    pub done: u64,
    /// All there is, as known now.
    pub total: u64,
    /// What has crossed the network for it.
    pub sent: u64,
}

impl Message {
    /// The migration that it is about; 0, which none has: it is about a machine.
    pub fn id(&self) -> MigrationId {
        match self {
            Self::Holds { .. } | Self::Removed { .. } => MigrationId(0),
            Self::Query { id, .. } | Self::Results { id, .. } => *id,
            Self::Request(request) => request.id,
            Self::Cancel { id, .. }
            | Self::Heartbeat { id, .. }
            | Self::Outcome { id, .. }
            | Self::Acknowledge { id, .. }
            | Self::Begin { id, .. }
            | Self::Accept { id, .. }
            | Self::Wait { id, .. }
            | Self::Refuse { id, .. }
            | Self::Ready { id, .. }
            | Self::Release { id, .. }
            | Self::Taken { id, .. }
            | Self::Aborted { id, .. }
            | Self::Gone { id, .. } => *id,
        }
    }
}
