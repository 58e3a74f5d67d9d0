//! Reads captures record by record, in constant memory.

use std::io::Read;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError};

use super::{Address, Vertices, packet};

/// The longest record, in bytes. The longest packet that capture programs take
/// is 256 KiB.
pub const MAX_RECORD: usize = 16 << 20;

const FIRST_BUFFER: usize = 1 << 18;

const NANOSECONDS: u128 = 1_000_000_000;

/// A packet that was sent from one vertex to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was seen, in nanoseconds since 1970.
    pub time: u64,
    /// The sender.
    pub source: Address,
    /// The receiver.
    pub destination: Address,
    /// Its length on the wire, in bytes.
    pub bytes: u32,
}

/// What was in a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets, all of them.
    pub packets: u64,
    /// Packets without a sender or receiver of the kind asked for, or to a group.
    pub other: u64,
}

/// A capture that can't be read, or not as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// It is neither pcap nor pcapng.
    #[error("the file is neither a pcap nor a pcapng capture; for a matrix, use `vttif infer`")]
    NotACapture,
    /// It ends within a record.
    #[error("the capture is cut off within the record at byte {offset}, after {packets} packets")]
    Truncated {
        /// Where the record begins.
        offset: u64,
        /// Whole packets before it.
        packets: u64,
    },
    /// A record says that it is longer than [`MAX_RECORD`].
    #[error(
        "the record at byte {offset} claims to be longer than {} MiB: the capture is damaged there, after \
         {packets} packets",
        MAX_RECORD >> 20
    )]
    TooLong {
        /// Where the record begins.
        offset: u64,
        /// Whole packets before it.
        packets: u64,
    },
    /// A record makes no sense.
    #[error("the record at byte {offset} is malformed, after {packets} packets")]
    Malformed {
        /// Where the record begins.
        offset: u64,
        /// Whole packets before it.
        packets: u64,
    },
    /// A packet is of an interface that was never described.
    #[error("the packet at byte {offset} is of interface {interface}, which the capture doesn't describe")]
    NoInterface {
        /// Where the record begins.
        offset: u64,
        /// The number of the interface.
        interface: u32,
    },
    /// Packets of this link type have no such addresses.
    #[error("{}", link_type_message(*.link_type, *.vertices))]
    LinkType {
        /// The number of the link type (see <https://www.tcpdump.org/linktypes.html>).
        link_type: i32,
        /// What was asked for.
        vertices: Vertices,
    },
    /// It can't be read.
    #[error("the capture can't be read at byte {offset}")]
    Io {
        /// How far it could be read.
        offset: u64,
    },
}

fn link_type_message(link_type: i32, vertices: Vertices) -> String {
    match vertices {
        Vertices::Ethernet if packet::is_supported(Linktype(link_type), Vertices::Ip) => {
            format!("the capture's link type {link_type} has no Ethernet addresses; try `--by ip`")
        }
        _ => format!(
            "the capture's link type {link_type} is not supported; these are: Ethernet (1), and for `--by ip` \
             also raw IP (101, 228, 229), loopback (0, 108) and Linux cooked (113, 276)"
        ),
    }
}

/// With this, the type of its first block, a file of pcapng begins.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Reads a capture and hands on every packet between two vertices. Stops at
/// the first error, its own or that of `sink`.
pub fn read<E: From<CaptureError>>(
    input: impl Read + Send,
    vertices: Vertices,
    mut sink: impl FnMut(Packet) -> Result<(), E>,
) -> Result<Summary, E> {
    let mut reader = pcap_parser::create_reader(FIRST_BUFFER, input).map_err(|error| match error {
        PcapError::ReadError => CaptureError::Io { offset: 0 },
        _ => CaptureError::NotACapture,
    })?;
    let mut state = State::new(vertices);
    let mut capacity = FIRST_BUFFER;
    let has_blocks = reader.data().starts_with(&SECTION_HEADER);
    loop {
        let offset = reader.consumed() as u64;
        let packets = state.summary.packets;
        if has_blocks && is_shorter_than_its_frame(reader.data()) {
            return Err(CaptureError::Malformed { offset, packets }.into());
        }
        let needs = match reader.next() {
            Ok((length, record)) => {
                let packet = state.take(record, offset)?;
                reader.consume(length);
                if let Some(packet) = packet {
                    sink(packet)?;
                }
                continue;
            }
            Err(PcapError::Eof) => return Ok(state.summary),
            Err(PcapError::Incomplete(_)) => Needs::Data,
            Err(PcapError::BufferTooSmall) => Needs::Room,
            Err(PcapError::UnexpectedEof) => return Err(CaptureError::Truncated { offset, packets }.into()),
            Err(PcapError::ReadError) => return Err(CaptureError::Io { offset }.into()),
            Err(_) => return Err(CaptureError::Malformed { offset, packets }.into()),
        };
        if matches!(needs, Needs::Room) && !reader.reader_exhausted() {
            capacity *= 2;
            if capacity > MAX_RECORD || !reader.grow(capacity) {
                return Err(CaptureError::TooLong { offset, packets }.into());
            }
        }
        reader.refill().map_err(|_| CaptureError::Io { offset })?;
    }
}

/// Does a block of pcapng say that it is shorter than its type and its two lengths? The
/// parser takes 12 bytes from it unseen (pcap-parser 0.17.0, `ng_block_parser`). Read in
/// the wrong byte order such a length would be [`MAX_RECORD`] at least.
fn is_shorter_than_its_frame(block: &[u8]) -> bool {
    let length = block.get(4..8).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    length.is_some_and(|length| u32::from_le_bytes(length).min(u32::from_be_bytes(length)) < 12)
}

enum Needs {
    Data,
    Room,
}

/// What has been learnt from the records so far.
struct State {
    vertices: Vertices,
    interfaces: Vec<Interface>,
    summary: Summary,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units per second.
    resolution: u64,
    /// In seconds.
    offset: i64,
}

impl State {
    fn new(vertices: Vertices) -> Self {
        Self { vertices, interfaces: Vec::new(), summary: Summary::default() }
    }

    fn take(&mut self, record: PcapBlockOwned<'_>, offset: u64) -> Result<Option<Packet>, CaptureError> {
        match record {
            PcapBlockOwned::LegacyHeader(header) => {
                let resolution = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                self.add_interface(Interface { link: header.network, resolution, offset: 0 })?;
            }
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.interface(0, offset)?;
                let units =
                    u128::from(packet.ts_sec) * u128::from(interface.resolution) + u128::from(packet.ts_usec);
                return Ok(self.packet(interface, units, packet.data, packet.origlen));
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                // A resolution that makes no sense is taken for the default, microseconds.
                let resolution = block.ts_resolution().filter(|units| *units > 0).unwrap_or(1_000_000);
                let (link, offset) = (block.linktype, block.ts_offset());
                self.add_interface(Interface { link, resolution, offset })?;
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interface(packet.if_id, offset)?;
                let units = u128::from(packet.ts_high) << 32 | u128::from(packet.ts_low);
                let length = packet.data.len().min(packet.caplen as usize);
                return Ok(self.packet(interface, units, &packet.data[..length], packet.origlen));
            }
            // Neither a time nor always an interface; not written by any usual program.
            PcapBlockOwned::NG(Block::SimplePacket(_)) => {
                self.summary.packets += 1;
                self.summary.other += 1;
            }
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    fn add_interface(&mut self, interface: Interface) -> Result<(), CaptureError> {
        if !packet::is_supported(interface.link, self.vertices) {
            return Err(CaptureError::LinkType { link_type: interface.link.0, vertices: self.vertices });
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn interface(&self, number: u32, offset: u64) -> Result<Interface, CaptureError> {
        let known = self.interfaces.get(number as usize).copied();
        known.ok_or(CaptureError::NoInterface { offset, interface: number })
    }

    fn packet(&mut self, interface: Interface, units: u128, data: &[u8], length: u32) -> Option<Packet> {
        self.summary.packets += 1;
        let Some((source, destination)) = packet::addresses(data, interface.link, self.vertices) else {
            self.summary.other += 1;
            return None;
        };
        let nanoseconds = units * NANOSECONDS / u128::from(interface.resolution);
        let shift = i128::from(interface.offset) * NANOSECONDS as i128;
        let time = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(shift);
        let time = u64::try_from(time.max(0)).unwrap_or(u64::MAX);
        Some(Packet { time, source, destination, bytes: length })
    }
}
