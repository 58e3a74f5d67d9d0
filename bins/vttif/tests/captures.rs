//! Captures, sound and damaged ones.

#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::prelude::*;
use vttif_cli::capture::{CaptureError, MAX_RECORD, Packet, Summary, Vertices, read};

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const COOKED: u32 = 113;

/// An Ethernet frame with an IPv4 packet from host `a` to host `b`, perhaps in a VLAN.
fn frame(a: u8, b: u8, vlan: bool) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, b, 2, 0, 0, 0, 0, a];
    if vlan {
        frame.extend([0x81, 0, 0, 7]);
    }
    frame.extend([8, 0]);
    frame.extend(ip(a, b));
    frame
}

fn ip(a: u8, b: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, a, 10, 0, 0, b];
    packet.extend([0, 7, 0, 7, 0, 8, 0, 0]);
    packet
}

fn cooked(a: u8, b: u8) -> Vec<u8> {
    [vec![0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, a, 0, 0, 8, 0], ip(a, b)].concat()
}

struct Pcap {
    big_endian: bool,
    nanoseconds: bool,
    link: u32,
}

impl Pcap {
    fn u32(&self, value: u32) -> [u8; 4] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn write(&self, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
        let magic = if self.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
        let mut out = self.u32(magic).to_vec();
        out.extend(self.u16(2));
        out.extend(self.u16(4));
        for field in [0, 0, 262_144, self.link] {
            out.extend(self.u32(field));
        }
        for (time, data) in packets {
            let fraction = if self.nanoseconds { time % 1_000_000_000 } else { time % 1_000_000_000 / 1000 };
            for field in [(time / 1_000_000_000) as u32, fraction as u32, data.len() as u32, 1500] {
                out.extend(self.u32(field));
            }
            out.extend(data);
        }
        out
    }
}

const PCAP: Pcap = Pcap { big_endian: false, nanoseconds: false, link: ETHERNET };

/// A block of a pcapng file.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = (body.len() + 12) as u32;
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), &body, &length.to_le_bytes()].concat()
}

/// A pcapng file with nanosecond timestamps.
fn pcapng(link: u32, packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    // Option 9, if_tsresol: 10^-9.
    let interface =
        [&(link as u16).to_le_bytes()[..], &[0, 0, 0, 0, 4, 0], &[9, 0, 1, 0, 9, 0, 0, 0], &[0; 4]].concat();
    let mut out = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (time, data) in packets {
        let mut body = Vec::new();
        for field in [0, (time >> 32) as u32, *time as u32, data.len() as u32, 1500] {
            body.extend(field.to_le_bytes());
        }
        body.extend(data);
        out.extend(block(6, &body));
    }
    out
}

/// The time, the addresses as text, and the length.
type Seen = (u64, String, String, u32);

fn collect(bytes: &[u8], by: Vertices) -> Result<(Vec<Seen>, Summary), CaptureError> {
    let mut packets = Vec::new();
    let summary = read(bytes, by, |packet: Packet| {
        packets.push((packet.time, packet.source.to_string(), packet.destination.to_string(), packet.bytes));
        Ok::<(), CaptureError>(())
    })?;
    Ok((packets, summary))
}

fn times() -> Vec<(u64, Vec<u8>)> {
    vec![
        (1_700_000_000_000_001_000, frame(1, 2, false)),
        (1_700_000_000_500_000_000, frame(2, 1, true)),
        // Broadcast, and something that is no IP.
        (1_700_000_001_000_000_000, vec![255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1]),
    ]
}

#[test]
fn every_format_tells_the_same() {
    let hosts = |a: &str, b: &str| {
        vec![
            (1_700_000_000_000_001_000, a.to_owned(), b.to_owned(), 1500),
            (1_700_000_000_500_000_000, b.to_owned(), a.to_owned(), 1500),
        ]
    };
    let mut files = vec![pcapng(ETHERNET, &times())];
    for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
        files.push(Pcap { big_endian, nanoseconds, link: ETHERNET }.write(&times()));
    }
    for file in files {
        let (packets, summary) = collect(&file, Vertices::Ethernet).unwrap();
        assert_eq!(packets, hosts("02:00:00:00:00:01", "02:00:00:00:00:02"));
        assert_eq!(summary, Summary { packets: 3, other: 1 });
        let (packets, summary) = collect(&file, Vertices::Ip).unwrap();
        assert_eq!(packets, hosts("10.0.0.1", "10.0.0.2"));
        assert_eq!(summary, Summary { packets: 3, other: 1 });
    }
}

#[test]
fn ip_addresses_of_other_link_types() {
    for (link, packet) in
        [(RAW, ip(1, 2)), (COOKED, cooked(1, 2)), (0, [vec![2, 0, 0, 0], ip(1, 2)].concat())]
    {
        let file = Pcap { link, ..PCAP }.write(&[(0, packet)]);
        let (packets, _) = collect(&file, Vertices::Ip).unwrap();
        assert_eq!((&*packets[0].1, &*packets[0].2), ("10.0.0.1", "10.0.0.2"), "link type {link}");
        let error = collect(&file, Vertices::Ethernet).unwrap_err().to_string();
        assert_eq!(error, format!("the capture's link type {link} has no Ethernet addresses; try `--by ip`"));
    }
    let wireless = Pcap { link: 105, ..PCAP }.write(&[]);
    let error = collect(&wireless, Vertices::Ip).unwrap_err().to_string();
    assert!(error.starts_with("the capture's link type 105 is not supported; these are: "), "{error}");
}

#[test]
fn damage_is_named_with_its_place() {
    let error = |bytes: &[u8]| collect(bytes, Vertices::Ethernet).unwrap_err().to_string();
    let not = "the file is neither a pcap nor a pcapng capture; for a matrix, use `vttif infer`";
    assert_eq!(error(b"source,destination,bytes\na,b,1\n"), not);
    assert_eq!(error(b""), not);

    let file = PCAP.write(&times());
    let cut = &file[..file.len() - 1];
    let last = file.len() - 16 - times()[2].1.len();
    assert_eq!(
        error(cut),
        format!("the capture is cut off within the record at byte {last}, after 2 packets")
    );

    // 10 GB claimed, as far as 32 bits go; first with nothing behind it, then with enough to read on.
    let mut huge = PCAP.write(&[(0, frame(1, 2, false))]);
    let record = huge.len();
    huge.extend([0; 8]);
    huge.extend([0xff; 8]);
    let message = format!(
        "the record at byte {record} claims to be longer than 16 MiB: the capture is damaged there, after 1 packets"
    );
    huge.resize(huge.len() + MAX_RECORD + 1, 0);
    assert_eq!(error(&huge), message);

    let mut strange = pcapng(ETHERNET, &[]);
    let record = strange.len();
    strange.extend(block(6, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(
        error(&strange),
        format!("the packet at byte {record} is of interface 9, which the capture doesn't describe")
    );
}

proptest! {
    #[test]
    fn a_capture_cut_anywhere_is_an_error_or_ends_between_packets(cut in 0_usize..400, ng: bool) {
        let file = if ng { pcapng(ETHERNET, &times()) } else { PCAP.write(&times()) };
        let cut = cut.min(file.len());
        let all = collect(&file, Vertices::Ethernet).unwrap().0;
        if let Ok((packets, summary)) = collect(&file[..cut], Vertices::Ethernet) {
            prop_assert_eq!(&packets[..], &all[..packets.len()]);
            // Of the bytes kept, each belongs to a packet that was told of.
            prop_assert!(cut == file.len() || summary.packets < 3);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..400,
        ng: bool,
        by_ip: bool,
    ) {
        let mut file = if ng { pcapng(ETHERNET, &times()) } else { PCAP.write(&times()) };
        let at = at.min(file.len());
        let end = (at + bytes.len()).min(file.len());
        file.splice(at..end, bytes);
        let _ = collect(&file, if by_ip { Vertices::Ip } else { Vertices::Ethernet });
    }
}
