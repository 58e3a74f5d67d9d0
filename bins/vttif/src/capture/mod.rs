//! Captures of frames: pcap and pcapng.

mod packet;
mod reader;

pub use packet::Address;
pub use reader::{CaptureError, MAX_RECORD, Packet, Summary, read};

/// What the vertices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Vertices {
    /// Ethernet addresses.
    Ethernet,
    /// IP addresses.
    Ip,
}
