//! Cutting and putting together, against packets that are built one by one.
#![allow(clippy::unwrap_used)] // a test

use proptest::prelude::*;

use super::*;

/// A packet of TCP or UDP, field by field.
#[derive(Clone, Debug)]
struct Packet {
    vlan: bool,
    is_v6: bool,
    protocol: Transport,
    id: u16,
    dont_fragment: bool,
    sequence: u32,
    flags: u8,
    /// Of TCP: words of four bytes.
    options: Vec<[u8; 4]>,
    payload: Vec<u8>,
}

/// The checksum of RFC 1071, word by word.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

impl Packet {
    fn addresses(&self) -> Vec<u8> {
        if self.is_v6 { (1..=32).collect() } else { vec![10, 0, 0, 1, 10, 0, 0, 2] }
    }

    fn pseudo(&self, length: usize) -> Vec<u8> {
        let protocol = self.protocol.protocol();
        [self.addresses(), (length as u32).to_be_bytes().to_vec(), vec![0, protocol]].concat()
    }

    /// TCP or UDP with the checksum 0.
    fn datagram(&self) -> Vec<u8> {
        let ports = [0x12, 0x34, 0x00, 0x50];
        let mut out = ports.to_vec();
        match self.protocol {
            Transport::Tcp => {
                out.extend(self.sequence.to_be_bytes());
                out.extend([
                    0,
                    0,
                    0,
                    9,
                    ((5 + self.options.len()) << 4) as u8,
                    self.flags,
                    0x20,
                    0,
                    0,
                    0,
                    0,
                    0,
                ]);
                out.extend(self.options.concat());
            }
            Transport::Udp => out.extend([((8 + self.payload.len()) as u16).to_be_bytes(), [0, 0]].concat()),
        }
        out.extend(&self.payload);
        out
    }

    /// The frame as on a wire, or with its checksum still to be filled in.
    fn frame(&self, kind: Checksum) -> Vec<u8> {
        let mut datagram = self.datagram();
        let at = self.protocol.checksum_at();
        let pseudo = self.pseudo(datagram.len());
        let field = match kind {
            Checksum::Complete => match checksum(&[&pseudo, &datagram]) {
                0 => 0xffff,
                sum => sum,
            },
            Checksum::Partial => !checksum(&[&pseudo]),
        };
        datagram[at..at + 2].copy_from_slice(&field.to_be_bytes());

        let mut frame: Vec<u8> = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if self.vlan {
            frame.extend([0x81, 0, 0, 7]);
        }
        let protocol = self.protocol.protocol();
        if self.is_v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((datagram.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(self.addresses());
        } else {
            let mut ip = vec![0x45, 0];
            ip.extend((20 + datagram.len() as u16).to_be_bytes());
            ip.extend(self.id.to_be_bytes());
            ip.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, 64, protocol, 0, 0]);
            ip.extend(self.addresses());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([8, 0]);
            frame.extend(ip);
        }
        frame.extend(datagram);
        frame
    }

    /// The packets that it is to be cut into.
    fn cut(&self, size: usize) -> Vec<Self> {
        let chunks = self.payload.chunks(size);
        let count = chunks.len();
        let segment = |(n, chunk): (usize, &[u8])| {
            let mut flags = self.flags;
            if n + 1 < count {
                flags &= !0x09; // FIN and PSH
            }
            if n > 0 {
                flags &= !0x80; // CWR
            }
            Self {
                id: self.id.wrapping_add(n as u16),
                sequence: self.sequence.wrapping_add((n * size) as u32),
                flags,
                payload: chunk.to_vec(),
                ..self.clone()
            }
        };
        chunks.enumerate().map(segment).collect()
    }

    /// As a device hands it over, to be cut into segments of `size`.
    fn offloaded(&self, size: usize) -> (OffloadHeader, Vec<u8>) {
        let frame = self.frame(Checksum::Partial);
        let layout = Layout::of(&frame).unwrap();
        (OffloadHeader::for_segments(&layout, size), frame)
    }
}

fn packet(payload: std::ops::Range<usize>) -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![3 => Just(Transport::Tcp), 1 => Just(Transport::Udp)];
    // ACK always; any of the others.
    let flags = prop_oneof![4 => Just(0x10_u8), 1 => any::<u8>().prop_map(|flags| flags | 0x10)];
    let options = proptest::collection::vec(any::<[u8; 4]>(), 0..=10);
    let payload = proptest::collection::vec(any::<u8>(), payload);
    let head = (any::<bool>(), any::<bool>(), protocol, any::<u16>(), any::<bool>(), any::<u32>());
    (head, flags, options, payload).prop_map(
        |((vlan, is_v6, protocol, id, dont_fragment, sequence), flags, options, payload)| Packet {
            vlan,
            is_v6,
            protocol,
            id,
            dont_fragment,
            sequence,
            flags,
            options,
            payload,
        },
    )
}

/// All segments of a super-frame.
fn segments(header: &OffloadHeader, frame: &mut [u8]) -> Vec<Vec<u8>> {
    match header.work(frame).unwrap() {
        Work::Nothing | Work::Checksum(_) => vec![frame.to_vec()],
        Work::Segments(segments) => (0..segments.count())
            .map(|n| {
                let mut out = vec![0; segments.length(n)];
                segments.write(n, frame, &mut out);
                out
            })
            .collect(),
    }
}

/// Delivers frames as super-frames, with what is to be done to each.
fn gather(frames: &[Vec<u8>], checksum: Checksum) -> Vec<(OffloadHeader, Vec<u8>)> {
    let mut done = Vec::new();
    let mut rest = frames;
    while let Some((first, others)) = rest.split_first() {
        let mut group = Group::start(first, checksum).unwrap();
        let more = others.iter().take_while(|frame| group.push(frame, checksum)).count();
        let mut headers = [0; Layout::MAX_HEADERS];
        let length = group.merged_headers(&mut headers);
        let payloads = rest[..=more].iter().map(|frame| &frame[length..]);
        let whole = std::iter::once(&headers[..length]).chain(payloads).collect::<Vec<_>>().concat();
        assert_eq!(group.frames(), more + 1);
        assert_eq!(group.bytes(), rest[..=more].iter().map(Vec::len).sum::<usize>());
        done.push((group.offload_header(), whole));
        rest = &rest[more + 1..];
    }
    done
}

proptest! {
    #[test]
    fn segments_are_the_packets_built_one_by_one(packet in packet(1..4000), size in 1_usize..1500) {
        let (header, mut frame) = packet.offloaded(size);
        let cut = segments(&header, &mut frame);
        let expected: Vec<_> = packet.cut(size).iter().map(|p| p.frame(Checksum::Partial)).collect();
        prop_assert_eq!(&cut, &expected);
        let total: usize = cut.iter().map(Vec::len).sum();
        let work = header.work(&mut frame).unwrap();
        prop_assert_eq!(work.frames_and_bytes(frame.len()), (cut.len(), total));

        // And with their checksums filled in, as on a wire.
        for (mut segment, packet) in cut.into_iter().zip(packet.cut(size)) {
            let layout = Layout::of(&segment).unwrap();
            prop_assert!(layout.is_exact(&segment));
            layout.complete_checksum(&mut segment);
            prop_assert!(layout.verify_checksum(&segment));
            prop_assert_eq!(segment, packet.frame(Checksum::Complete));
        }
    }

    #[test]
    fn what_was_cut_is_put_together_again(
        packet in packet(2..8000), size in 130_usize..1500, complete: bool,
    ) {
        // SYN, RST, URG and CWR keep segments apart.
        let packet = Packet { flags: packet.flags & 0x59, ..packet };
        let kind = if complete { Checksum::Complete } else { Checksum::Partial };
        let cut: Vec<_> = packet.cut(size).iter().map(|p| p.frame(kind)).collect();
        let whole = gather(&cut, kind);
        // A super-frame ends with the first segment that is pushed.
        let single = cut.len() == 1;
        if single {
            prop_assert_eq!(&whole[0].1, &cut[0]);
        } else {
            let (header, frame) = packet.offloaded(size);
            prop_assert_eq!(whole, vec![(header, frame)]);
        }
    }

    /// Frames of a few flows, with gaps, repetitions and damage: what is
    /// delivered, when it is cut again, is what came.
    #[test]
    fn no_frame_is_changed_on_the_way(
        flows in proptest::collection::vec(packet(1..600), 1..4),
        size in 50_usize..200,
        picks in proptest::collection::vec((0_usize..4, 0_usize..12, any::<u16>(), 0_u8..20), 0..60),
        complete: bool,
    ) {
        let kind = if complete { Checksum::Complete } else { Checksum::Partial };
        let mut frames = Vec::new();
        for (flow, n, place, damage) in picks {
            let cut = flows[flow % flows.len()].cut(size);
            let mut frame = cut[n % cut.len()].frame(kind);
            // In the payload only: headers that differ are other packets.
            let layout = Layout::of(&frame).unwrap();
            if damage == 0 {
                let at = layout.payload + usize::from(place) % (frame.len() - layout.payload);
                frame[at] ^= 1;
            }
            frames.push(frame);
        }
        let mut again = Vec::new();
        for (header, mut whole) in gather(&frames, kind) {
            let was_merged = header.segmentation != 0;
            for mut segment in segments(&header, &mut whole) {
                if was_merged && kind == Checksum::Complete {
                    Layout::of(&segment).unwrap().complete_checksum(&mut segment);
                }
                again.push(segment);
            }
        }
        // The identification of IPv4 packets that mustn't be fragmented may change.
        let without_id = |frame: &Vec<u8>| {
            let layout = Layout::of(frame).unwrap();
            let mut frame = frame.clone();
            if !layout.is_v6 && frame[layout.network + 6] & 0x40 != 0 {
                frame[layout.network + 4..layout.network + 6].fill(0);
                frame[layout.network + 10..layout.network + 12].fill(0);
            }
            frame
        };
        let (again, frames): (Vec<_>, Vec<_>) =
            (again.iter().map(without_id).collect(), frames.iter().map(without_id).collect());
        prop_assert_eq!(again, frames);
    }

    #[test]
    fn offload_headers_survive(bytes: [u8; OFFLOAD_HEADER]) {
        prop_assert_eq!(OffloadHeader::decode(&bytes).encode(), bytes);
        prop_assert_eq!(OffloadHeader::from_device(&bytes).to_device(), bytes);
    }

    /// As a peer might send it.
    #[test]
    fn any_super_frame_is_cut_or_refused_without_panic(
        header: [u8; OFFLOAD_HEADER], packet in packet(0..300), at in 0_usize..80, value: u8, length in 0_usize..400,
        right in proptest::option::of(1_usize..200),
    ) {
        let (offload, mut frame) = packet.offloaded(right.unwrap_or(1));
        let header = if right.is_some() { offload } else { OffloadHeader::decode(&header) };
        frame.truncate(length);
        if let Some(byte) = frame.get_mut(at) {
            *byte = value;
        }
        if let Ok(Work::Segments(segments)) = header.work(&mut frame) {
            let mut total = 0;
            for n in 0..segments.count() {
                let mut out = vec![0; segments.length(n)];
                segments.write(n, &frame, &mut out);
                total += out.len();
            }
            prop_assert_eq!(total, segments.total_bytes());
        }
    }

    #[test]
    fn any_frame_starts_a_group_or_not_without_panic(
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 2),
        partial: bool,
    ) {
        let kind = if partial { Checksum::Partial } else { Checksum::Complete };
        if let Some(mut group) = Group::start(&frames[0], kind) {
            group.push(&frames[1], kind);
            prop_assert!(matches!(group.work(), Work::Nothing | Work::Checksum(_) | Work::Segments(_)));
        }
    }
}

#[test]
fn a_tunnel_inside_gets_its_checksum_here() {
    let packet = Packet {
        vlan: false,
        is_v6: false,
        protocol: Transport::Udp,
        id: 1,
        dont_fragment: true,
        sequence: 0,
        flags: 0,
        options: Vec::new(),
        payload: vec![7; 100],
    };
    let mut frame = packet.frame(Checksum::Complete);
    // A checksum somewhere in the payload.
    let header =
        OffloadHeader { flags: 1, checksum_start: 60, checksum_offset: 2, ..OffloadHeader::default() };
    let before = frame.clone();
    assert_eq!(header.work(&mut frame), Ok(Work::Nothing));
    assert_ne!(frame, before);
    let header = OffloadHeader { checksum_start: 200, ..header };
    assert_eq!(header.work(&mut frame), Err(OffloadError::BadChecksum));
}
