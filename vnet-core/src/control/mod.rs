//! The control protocol between daemons, the Proxy and clients.
//!
//! Both ends of a connection send [`Envelope`]s. A request carries a number
//! that the response repeats, so that any number may be under way at once; a
//! request may name a target, and the Proxy hands it on to that daemon.
//! A notice has no response.
//!
//! On the wire an envelope is a record:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | length of what follows, big-endian, at most [`MAX_RECORD`] |
//! | 4 | 1 | protocol version, [`VERSION`] |
//! | 5 | 1 | 1 request, 2 response, 3 notice |
//! | 6 | 2 | which request, reply or notice, big-endian: the tables in [`Request`], [`Reply`] and [`Notice`] |
//! | 8 | 4 | number of the request, big-endian; 0 for a notice |
//! | 12 | | body: target (requests only) and fields, in bincode's standard configuration |
//!
//! An IPv6 address goes without its scope and flow label, which mean nothing
//! to another host.

mod codec;
mod message;
mod status;
#[cfg(test)]
mod tests;

pub use codec::{CodecError, Decoder, MAX_BATCH, MAX_RECORD, VERSION, decode, encode};
pub use message::{
    Body, ControlError, Envelope, ErrorKind, InterfaceSpec, Introduction, LinkSpec, Notice, PROOF,
    PeerAddress, PeerKey, PortKind, ProbeTrain, Reply, Request, Response, RuleEntry,
};
pub use status::{
    DaemonStatus, DropCounter, InterfaceStatus, LinkStatus, OffloadStatus, PathReport, PathStatus, PortState,
    RateEstimate, RuleStatus, TrafficEntry, TrafficReport, TrafficView,
};
