//! Clients that misbehave.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vnet_core::control::{Body, Envelope, MAX_RECORD, Request, Response, decode, encode};
use vnetd::client::{Address, Client};

use crate::harness::{Daemon, Overlay, PATIENCE, wait_for};

fn tcp(overlay: &Overlay) -> TcpStream {
    let stream = TcpStream::connect(overlay.registration()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn limited(overlay: &Overlay, limits: &str) -> Daemon {
    let file = overlay.dir.path().join("limits.toml");
    std::fs::write(&file, format!("name = \"proxy\"\n[limits]\n{limits}\n")).unwrap();
    overlay.proxy(&["--config", &file.display().to_string()])
}

/// Is the connection closed? What arrives first is thrown away.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            // Closed with bytes left unread.
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn rubbish_closes_its_connection_and_no_other() {
    let overlay = Overlay::new();
    let proxy = overlay.proxy(&[]);
    let mut good = proxy.client();
    let too_long = u32::try_from(MAX_RECORD + 1).unwrap().to_be_bytes();
    for rubbish in [&[0; 64][..], &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n", &too_long] {
        let mut stream = tcp(&overlay);
        stream.write_all(rubbish).unwrap();
        assert!(is_closed(&mut stream), "{rubbish:?}");
    }
    good.status(None).unwrap();
}

#[test]
fn what_cannot_be_read_is_answered_with_the_reason() {
    let overlay = Overlay::new();
    let _proxy = overlay.proxy(&[]);
    let mut record = encode(&Envelope { id: 77, body: Body::Request(None, Request::Ping) }).unwrap();
    record[7] = 200; // a request that there isn't
    let mut stream = tcp(&overlay);
    stream.write_all(&record).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let (envelope, _) = decode(&answer).unwrap().unwrap();
    let Envelope { id: 77, body: Body::Response(Response::Err(error)) } = envelope else {
        panic!("{envelope:?}")
    };
    assert!(error.message.contains("no request has the number"), "{error}");
}

#[test]
fn half_a_request_and_idleness_have_their_time() {
    let overlay = Overlay::new();
    let _proxy = limited(&overlay, "request = \"300ms\"\nidle = \"600ms\"");
    let mut half = tcp(&overlay);
    half.write_all(&[0, 0, 1, 0, 1]).unwrap();
    let mut idle = tcp(&overlay);
    assert!(is_closed(&mut half));
    assert!(is_closed(&mut idle));
    // A session with its heartbeats is not idle.
    let member = overlay.member("h1", 2, &[]);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(member.client().status(None).unwrap().proxy.unwrap().up);
}

#[test]
fn too_many_connections_are_refused_and_room_is_found_again() {
    let overlay = Overlay::new();
    let proxy = limited(&overlay, "connections = 4");
    let mut clients: Vec<Client> = Vec::new();
    // The connection by which the start was noticed may still be open.
    wait_for("four connections", || {
        let mut client = proxy.client();
        if client.status(None).is_ok() {
            clients.push(client);
        }
        clients.len() == 4
    });
    let refused =
        Client::connect(&Address::Tcp(overlay.registration())).and_then(|mut client| client.status(None));
    assert!(refused.is_err());
    clients.clear();
    wait_for("room", || Client::connect(&proxy.control()).and_then(|mut client| client.status(None)).is_ok());
}

#[test]
fn a_client_that_never_reads_stops_being_served_and_harms_nobody() {
    let overlay = Overlay::new();
    let proxy = limited(&overlay, "unsent = 65536");
    let mut stream = tcp(&overlay);
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let record = encode(&Envelope { id: 1, body: Body::Request(None, Request::Status) }).unwrap();
    let requests = record.repeat(10_000);
    // The answers fill all buffers, after which no more requests are taken.
    let mut sent = 0;
    while let Ok(written) = stream.write(&requests) {
        sent += written;
        assert!(sent < 1 << 30, "requests are taken without end");
    }
    proxy.client().status(None).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 100 << 10, "{kib} KiB");
}

#[test]
fn news_from_strangers_close_their_connection() {
    let overlay = Overlay::new();
    let _proxy = overlay.proxy(&[]);
    let peer = vnet_core::control::PeerAddress {
        host: "x".parse().unwrap(),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let notice = vnet_core::control::Notice::Peer(peer);
    let mut stream = tcp(&overlay);
    stream.write_all(&encode(&Envelope { id: 0, body: Body::Notice(notice) }).unwrap()).unwrap();
    assert!(is_closed(&mut stream));
}
