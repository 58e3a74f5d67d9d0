//! The methods by which machines move: plug-ins behind a trait.

use std::sync::Arc;

use vm_driver::{Driver, State};
use vmmp::MethodName;
use vmmp::io::channel::Channel;

use super::files::Files;
use super::host::{Host, Incoming, Outgoing};
use super::live::LiveMethod;
use super::manifest::Manifest;

/// A way to move machines. Calls about one machine come one after the other, but for
/// [`Method::serve`], which runs beside them.
pub(super) trait Method: Send + Sync {
    /// Its name on the wire.
    fn name(&self) -> MethodName;

    /// Can a machine in this state be sent?
    fn can_send(&self, driver: &dyn Driver, state: State) -> bool;

    /// Can a machine be taken?
    fn can_take(&self, driver: &dyn Driver) -> bool;

    /// Origin: gets the machine ready.
    fn hold(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String>;

    /// Origin: gives the destination, at the other end of the channel, what it asks for.
    fn serve(&self, host: &Host, outgoing: &Outgoing, channel: Channel) -> Result<(), String>;

    /// Origin: sees that the machine can't run here any more.
    fn hand_over(&self, host: &Host, outgoing: &Outgoing) -> Result<(), String>;

    /// Does the machine run on while it moves?
    fn is_live(&self) -> bool;

    /// Origin: what becomes of its files when the destination has it.
    fn leaves(&self) -> Leaves;

    /// Destination: fetches the machine over the channel.
    fn fetch(&self, host: &Arc<Host>, incoming: &Incoming, channel: Channel) -> Result<(), String>;

    /// Destination: after the hand-over, sees that everything is there.
    fn complete(&self, host: &Host, incoming: &Incoming) -> Result<(), String>;

    /// Destination: the machine is ours. May come again after a crash.
    fn own(&self, host: &Arc<Host>, manifest: &Manifest) -> Result<(), String>;
}

/// What becomes of a machine's files at the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// They go.
    Nothing,
    /// They stay until the destination has fetched them.
    Disks,
    /// They stay, so that less has to move when the machine comes back.
    OldVersion,
}

/// All of them, the best first. `LAZY` is the last, so that nobody gets it who hasn't asked for
/// it: the machine depends on both providers until all is there.
pub(super) const ALL: [&dyn Method; 4] =
    [&LiveMethod::WithDisks, &Files::Delta, &Files::Copy, &LiveMethod::BeforeDisks];

pub(super) fn find(name: &MethodName) -> Result<&'static dyn Method, String> {
    ALL.into_iter().find(|method| method.name() == *name).ok_or_else(|| {
        let known: Vec<String> = ALL.iter().map(|method| method.name().to_string()).collect();
        format!("there is no method {name}; there are {}", known.join(", "))
    })
}

/// Kinds of records on connections for data. Those of files have lower numbers.
pub(super) mod kind {
    /// Destination: which migration this is about ([`Hello`](super::super::visitors::Hello)).
    pub(in super::super) const HELLO: u8 = 16;
    /// Origin: the machine.
    pub(in super::super) const MANIFEST: u8 = 17;
    /// Destination: this file.
    pub(in super::super) const GET: u8 = 18;
    /// Destination: that was all.
    pub(in super::super) const BYE: u8 = 19;
    /// Destination: the monitor waits for the machine.
    pub(in super::super) const LISTENING: u8 = 20;
    /// Origin: how far it is (sent, left: 8 octets each, most significant first).
    pub(in super::super) const PROGRESS: u8 = 21;
    /// Origin: the machine stands still, and all but the last of it is there.
    pub(in super::super) const STILL: u8 = 22;
    /// Either: it has failed, and why.
    pub(in super::super) const FAILED: u8 = 23;
    /// A part of a monitor's stream.
    pub(in super::super) const STREAM: u8 = 24;
    /// The end of a monitor's stream.
    pub(in super::super) const STREAM_END: u8 = 25;
    /// A part of a monitor's stream, as a frame of zstd.
    pub(in super::super) const STREAM_PACKED: u8 = 26;
}
