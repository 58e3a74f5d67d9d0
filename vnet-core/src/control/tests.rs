use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::strategies::{destination, host_name, interface, mac, source};
use crate::{
    Action, Bandwidth, EdgeRef, HostName, Link, LinkId, LinkKind, NetworkId, PublicKey, Rule, RuleVersion,
};

fn network() -> impl Strategy<Value = NetworkId> {
    any::<u32>().prop_map(NetworkId)
}

fn version() -> impl Strategy<Value = RuleVersion> {
    any::<u8>().prop_map(RuleVersion)
}

fn link() -> impl Strategy<Value = Link> {
    (select(vec![LinkKind::Tcp, LinkKind::Udp]), host_name(), host_name(), host_name())
        .prop_map(|(kind, opener, a, b)| Link { kind, opener, a, b })
}

fn link_id() -> impl Strategy<Value = LinkId> {
    (host_name(), host_name()).prop_map(|(a, b)| LinkId::new(&a, &b))
}

fn rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![
        (host_name(), host_name()).prop_map(|(from, to)| Action::Edge(EdgeRef { from, to })),
        interface().prop_map(Action::Interface),
    ];
    (source(), destination(), action).prop_map(|(source, destination, action)| Rule {
        source,
        destination,
        action,
    })
}

fn entry() -> impl Strategy<Value = RuleEntry> {
    (network(), rule()).prop_map(|(network, rule)| RuleEntry { network, rule })
}

fn interface_spec() -> impl Strategy<Value = InterfaceSpec> {
    let netns = || option::of("[a-z/]{1,20}".prop_map(PathBuf::from));
    let port = prop_oneof![
        (".{0,20}", netns(), any::<bool>()).prop_map(|(device, netns, create)| PortKind::Tap {
            device,
            netns,
            create
        }),
        (".{0,20}", netns()).prop_map(|(device, netns)| PortKind::Packet { device, netns }),
        "[a-z/]{1,20}".prop_map(|path| PortKind::Stream { path: path.into() }),
    ];
    (interface(), network(), option::of(mac()), port).prop_map(|(name, network, mac, port)| InterfaceSpec {
        name,
        network,
        mac,
        port,
    })
}

/// Without the scope and flow label of IPv6 addresses, which aren't sent.
fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(SocketAddr::from)
}

fn peer() -> impl Strategy<Value = PeerAddress> {
    (host_name(), address()).prop_map(|(host, address)| PeerAddress { host, address })
}

fn state() -> impl Strategy<Value = PortState> {
    (any::<bool>(), ".{0,40}", any::<u64>()).prop_map(|(up, why, for_ms)| PortState { up, why, for_ms })
}

fn interface_status() -> impl Strategy<Value = InterfaceStatus> {
    (interface_spec(), state(), any::<[u64; 5]>()).prop_map(|(spec, state, n)| InterfaceStatus {
        spec,
        state,
        received_frames: n[0],
        received_bytes: n[1],
        sent_frames: n[2],
        sent_bytes: n[3],
        send_errors: n[4],
        mtu: (n[0] % 2 == 0).then_some(n[1] as u32),
        mtu_problem: String::new(),
    })
}

fn link_status() -> impl Strategy<Value = LinkStatus> {
    (link(), state(), option::of(address()), any::<Option<u64>>(), any::<[u64; 6]>()).prop_map(
        |(link, state, peer, round_trip_us, n)| LinkStatus {
            link,
            state,
            peer,
            round_trip_us,
            received_frames: n[0],
            received_bytes: n[1],
            sent_frames: n[2],
            sent_bytes: n[3],
            send_errors: n[4],
            times_up: n[5],
            encryption: "aes-256-gcm".to_owned(),
            path_mtu: (n[0] % 2 == 0).then_some(n[1] as u32),
            path_mtu_search: "complete".to_owned(),
            split_frames: n[2],
            not_fitting: n[3],
            lost: n[4],
            loss_ppm: (n[5] % 2 == 0).then_some(n[4] as u32),
        },
    )
}

fn rule_status() -> impl Strategy<Value = RuleStatus> {
    (entry(), version(), any::<[u64; 2]>()).prop_map(|(RuleEntry { network, rule }, version, n)| RuleStatus {
        network,
        version,
        rule,
        frames: n[0],
        bytes: n[1],
    })
}

fn status() -> impl Strategy<Value = DaemonStatus> {
    let names = (host_name(), ".{0,10}", any::<bool>(), option::of(state()));
    let lists = (vec(peer(), 0..3), vec(interface_status(), 0..3), vec(link_status(), 0..3));
    let drops =
        vec(("[a-z-]{1,12}", any::<u64>()).prop_map(|(reason, frames)| DropCounter { reason, frames }), 0..3);
    let rest =
        (any::<[u64; 3]>(), vec((network(), version()), 0..3), drops, vec(".{0,30}".prop_map_into(), 0..3));
    (names, lists, rest).prop_map(
        |((host, release, is_proxy, proxy), (daemons, interfaces, links), (n, versions, drops, degraded))| {
            DaemonStatus {
                host,
                release,
                uptime_ms: n[0],
                is_proxy,
                proxy,
                daemons,
                interfaces,
                links,
                rules: n[1],
                versions,
                drops,
                configuration_bound_ms: n[2],
                offloads: vec![OffloadStatus { name: "ports".to_owned(), on: false, why: "off".to_owned() }],
                degraded,
            }
        },
    )
}

fn traffic() -> impl Strategy<Value = TrafficReport> {
    let entry = (network(), mac(), mac(), any::<[u64; 4]>()).prop_map(|(network, source, destination, n)| {
        TrafficEntry {
            network,
            source,
            destination,
            sent_frames: n[0],
            sent_bytes: n[1],
            received_frames: n[2],
            received_bytes: n[3],
        }
    });
    (host_name(), any::<u64>(), any::<u64>(), vec(entry, 0..5)).prop_map(
        |(host, incarnation, sequence, entries)| TrafficReport { host, incarnation, sequence, entries },
    )
}

fn view() -> impl Strategy<Value = TrafficView> {
    let rates = vec((any::<u32>(), any::<u32>(), prop::num::f64::NORMAL), 0..5);
    let names = vec("[a-z0-9 -]{1,12}".prop_map_into(), 0..3);
    (
        (network(), vec(mac(), 0..5), rates, names),
        (0.0..1.0, any::<Vec<(u32, u32)>>(), any::<u64>(), any::<Option<u64>>()),
    )
        .prop_map(|((network, vertices, rates, names), (confidence, edges, changes, changed_ms_ago))| {
            TrafficView { network, vertices, rates, names, confidence, edges, changes, changed_ms_ago }
        })
}

fn bandwidth() -> impl Strategy<Value = Bandwidth> {
    (0_u64..1 << 40).prop_map(Bandwidth::from_bits_per_second)
}

fn rate() -> impl Strategy<Value = RateEstimate> {
    (bandwidth(), bandwidth(), bandwidth()).prop_map(|(low, value, high)| RateEstimate { low, value, high })
}

fn path_report() -> impl Strategy<Value = PathReport> {
    let rates = (option::of(rate()), option::of(rate()), bandwidth());
    let rest = (vec(any::<(u64, i64)>(), 0..5), any::<u32>(), any::<Option<u64>>());
    (host_name(), host_name(), rates, rest).prop_map(
        |(from, to, (capacity, available, carried), (envelope, stretches, age_ms))| PathReport {
            from,
            to,
            capacity,
            available,
            carried,
            envelope,
            stretches,
            age_ms,
        },
    )
}

fn path_status() -> impl Strategy<Value = PathStatus> {
    let rates = (option::of(rate()), option::of(rate()), bandwidth());
    (host_name(), host_name(), rates, any::<[Option<u64>; 2]>()).prop_map(
        |(from, to, (capacity, available, carried), [latency_us, age_ms])| PathStatus {
            from,
            to,
            capacity,
            available,
            carried,
            latency_us,
            age_ms,
        },
    )
}

fn probe_train() -> impl Strategy<Value = ProbeTrain> {
    (host_name(), any::<u32>(), option::of(bandwidth()), any::<u32>())
        .prop_map(|(peer, burst, rate, for_ms)| ProbeTrain { peer, burst, rate, for_ms })
}

fn public_key() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 32]>().prop_map(PublicKey)
}

fn peer_key() -> impl Strategy<Value = PeerKey> {
    (host_name(), public_key(), any::<bool>()).prop_map(|(host, key, introduced)| PeerKey {
        host,
        key,
        introduced,
    })
}

fn simple_request() -> impl Strategy<Value = Request> {
    let add_link = (link(), option::of(address())).prop_map(|(link, peer)| LinkSpec { link, peer });
    prop_oneof![
        add_link.prop_map(Request::AddLink),
        link_id().prop_map(Request::DeleteLink),
        entry().prop_map(Request::AddRule),
        entry().prop_map(Request::DeleteRule),
        any::<u64>().prop_map(Request::SetConfigurationBound),
        interface_spec().prop_map(Request::AddInterface),
        interface().prop_map(Request::DeleteInterface),
        network().prop_map(Request::TrafficView),
        (network(), version(), vec(rule(), 0..5))
            .prop_map(|(network, version, rules)| Request::PrepareRules { network, version, rules }),
        (network(), version()).prop_map(|(network, version)| Request::CommitRules { network, version }),
        (network(), version()).prop_map(|(network, version)| Request::RetireRules { network, version }),
        (host_name(), any::<u16>(), any::<u64>()).prop_map(|(host, data_port, incarnation)| {
            Request::Register { host, data_port, incarnation }
        }),
        probe_train().prop_map(Request::Probe),
        peer_key().prop_map(Request::AllowPeer),
        host_name().prop_map(Request::ForbidPeer),
        select(vec![
            Request::Paths,
            Request::ListInterfaces,
            Request::ListLinks,
            Request::ListRules,
            Request::Status,
            Request::Traffic,
            Request::Ping,
            Request::Shutdown,
            Request::ListDownLinks,
            Request::ListPeers,
        ]),
    ]
}

fn simple_response() -> impl Strategy<Value = Response> {
    let kinds = vec![
        ErrorKind::NotFound,
        ErrorKind::Conflict,
        ErrorKind::Invalid,
        ErrorKind::Failed,
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::Unsupported,
    ];
    prop_oneof![
        (select(kinds), ".{0,40}").prop_map(|(kind, message)| Err(ControlError { kind, message })),
        Just(Ok(Reply::Done)),
        vec(interface_status(), 0..3).prop_map(|list| Ok(Reply::Interfaces(list))),
        vec(link_status(), 0..3).prop_map(|list| Ok(Reply::Links(list))),
        vec(rule_status(), 0..3).prop_map(|list| Ok(Reply::Rules(list))),
        status().prop_map(|status| Ok(Reply::Status(Box::new(status)))),
        traffic().prop_map(|report| Ok(Reply::Traffic(report))),
        view().prop_map(|view| Ok(Reply::TrafficView(view))),
        vec(path_status(), 0..3).prop_map(|paths| Ok(Reply::Paths(paths))),
        (host_name(), vec(peer(), 0..3))
            .prop_map(|(proxy, daemons)| Ok(Reply::Registered { proxy, daemons })),
        (option::of(public_key()), vec(peer_key(), 0..3))
            .prop_map(|(own, peers)| Ok(Reply::Peers { own, peers })),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let request = prop_oneof![
        4 => simple_request(),
        1 => vec(simple_request(), 0..5).prop_map(Request::Batch),
    ];
    let response = prop_oneof![
        4 => simple_response(),
        1 => vec(simple_response(), 0..5).prop_map(|responses| Ok(Reply::Batch(responses))),
    ];
    let notice = prop_oneof![
        traffic().prop_map(Notice::Traffic),
        peer().prop_map(Notice::Peer),
        Just(Notice::Heartbeat),
        vec(path_report(), 0..3).prop_map(Notice::Paths),
        (peer_key(), any::<[u8; PROOF]>()).prop_map(|(PeerKey { host, key, .. }, proof)| {
            Notice::Introduce(Introduction { host, key, proof })
        }),
    ];
    let body = prop_oneof![
        (option::of(host_name()), request).prop_map(|(target, request)| Body::Request(target, request)),
        response.prop_map(Body::Response),
        notice.prop_map(Body::Notice),
    ];
    (any::<u32>(), body).prop_map(|(id, body)| Envelope { id, body })
}

proptest! {
    #[test]
    fn encode_then_decode_is_the_identity(
        envelope in envelope(), behind in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = encode(&envelope).unwrap();
        let length = bytes.len();
        bytes.extend(behind);
        prop_assert_eq!(decode(&bytes), Ok(Some((envelope, length))));
    }

    #[test]
    fn a_record_cut_short_is_not_whole_yet(envelope in envelope(), cut in any::<Index>()) {
        let bytes = encode(&envelope).unwrap();
        prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn a_stream_comes_out_as_it_went_in(
        envelopes in vec(envelope(), 0..5), cuts in vec(1_usize..200, 1..20),
    ) {
        let stream: Vec<u8> = envelopes.iter().flat_map(|envelope| encode(envelope).unwrap()).collect();
        let (mut decoder, mut decoded, mut rest) = (Decoder::new(), Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            decoder.extend(now);
            while let Some(envelope) = decoder.next_envelope().unwrap() {
                decoded.push(envelope);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoded, envelopes);
    }

    #[test]
    fn any_bytes_decode_or_fail_without_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_body_decodes_or_fails_without_panic(
        class in 0_u8..5, number in 0_u16..25, body in vec(prop_oneof![any::<u8>(), 0_u8..4], 0..200),
    ) {
        let mut bytes = (8 + body.len() as u32).to_be_bytes().to_vec();
        bytes.extend([VERSION, class, 0, number as u8, 0, 0, 0, 1]);
        bytes.extend(body);
        check_meaning(&bytes)?;
    }

    #[test]
    fn damaged_records_decode_or_fail_without_panic(
        envelope in envelope(), damage in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encode(&envelope).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check_meaning(&bytes)?;
    }
}

/// What can be decoded can be encoded, and means the same then. (Compared as
/// bytes, for a damaged number may be none.)
fn check_meaning(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(Some((envelope, length))) = decode(bytes) else { return Ok(()) };
    prop_assert!(length <= bytes.len());
    let once = encode(&envelope).unwrap();
    let again = decode(&once).unwrap().unwrap().0;
    prop_assert_eq!(encode(&again).unwrap(), once);
    Ok(())
}

fn request(request: Request) -> Envelope {
    Envelope { id: 7, body: Body::Request(None, request) }
}

#[test]
fn records_look_as_documented() {
    let record = encode(&request(Request::SetConfigurationBound(3))).unwrap();
    assert_eq!(record, [0, 0, 0, 10, 1, 1, 0, 8, 0, 0, 0, 7, 0, 3]);
    let record = encode(&Envelope { id: 0, body: Body::Notice(Notice::Heartbeat) }).unwrap();
    assert_eq!(record, [0, 0, 0, 8, 1, 3, 0, 3, 0, 0, 0, 0]);
}

#[test]
fn records_over_the_limit_are_neither_sent_nor_awaited() {
    let message = "x".repeat(MAX_RECORD);
    let long = Envelope { id: 1, body: Body::Response(Err(ControlError::new(ErrorKind::Failed, message))) };
    assert!(matches!(encode(&long), Err(CodecError::TooLong { .. })));

    let length = MAX_RECORD + 1;
    assert_eq!(decode(&(length as u32).to_be_bytes()), Err(CodecError::TooLong { length }));
    assert_eq!(decode(&[0, 0, 0, 7]), Err(CodecError::TooShort { length: 7 }));
    assert_eq!(decode(&(MAX_RECORD as u32).to_be_bytes()), Ok(None));
}

#[test]
fn batches_have_a_limit_and_do_not_nest() {
    let most = request(Request::Batch(vec![Request::Ping; MAX_BATCH]));
    let bytes = encode(&most).unwrap();
    assert_eq!(decode(&bytes).unwrap().unwrap().0, most);

    let why = |envelope: &Envelope| encode(envelope).unwrap_err().to_string();
    assert_eq!(
        why(&request(Request::Batch(vec![Request::Ping; MAX_BATCH + 1]))),
        "the body of request 14 is malformed: a batch of 65537 is longer than 65536; send several"
    );
    assert_eq!(
        why(&request(Request::Batch(vec![Request::Batch(Vec::new())]))),
        "the body of request 14 is malformed: batches do not nest"
    );

    // A count of 2^32 - 1 in a short record, then a batch inside a batch.
    let count = [0, 0, 0, 14, 1, 1, 0, 14, 0, 0, 0, 1, 0, 252, 255, 255, 255, 255];
    let inner = [0, 0, 0, 12, 1, 1, 0, 14, 0, 0, 0, 1, 0, 1, 14, 0];
    assert!(matches!(decode(&count), Err(CodecError::Malformed { number: 14, .. })));
    assert_eq!(decode(&inner), Err(CodecError::UnknownMessage { class: "request", number: 14 }));
}

#[test]
fn errors_say_which_message_and_why() {
    let mut foreign = encode(&request(Request::Ping)).unwrap();
    foreign[4] = 9;
    assert_eq!(decode(&foreign), Err(CodecError::UnknownVersion { version: 9 }));

    let name = HostName::new("a").unwrap();
    let target = Envelope { id: 1, body: Body::Request(Some(name), Request::Ping) };
    let mut bad_name = encode(&target).unwrap();
    let at = bad_name.len() - 1;
    bad_name[at] = b'/';
    assert_eq!(
        decode(&bad_name).unwrap_err().to_string(),
        "the body of request 19 is malformed: OtherString(\"`/` is not a host name: `/` is not a letter, a digit, \
         `.`, `-` or `_`\")"
    );

    let mut longer = encode(&request(Request::Ping)).unwrap();
    longer[3] += 1;
    longer.push(0);
    assert_eq!(
        decode(&longer).unwrap_err().to_string(),
        "the body of request 19 is malformed: 1 bytes follow it"
    );
}
