//! What peers say that they should not: out of order, malformed, oversized, corrupt. Each is
//! a clear error at both ends, and the machine runs on where it was.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;

use common::fake::{FRAME, FakePeer};
use common::{Cluster, config, machine, method, noise, wait};
use vmmp::io::channel::{Keys, show_key};
use vmmp::io::greeting::Purpose;
use vmmp::io::stream::Address;
use vmmp::{Message, MigrationId, Ticket};
use vmmpd::client::{Agent, Target};
use vmmpd::config::{DriverKind, Key};

const DISK: usize = 1 << 20;

/// Records of connections for data, as the daemons have them.
const HELLO: u8 = 16;
const MANIFEST: u8 = 17;
const FAILED: u8 = 23;

/// One machine at `p1`, and `p2` is played by the test.
fn half_a_cluster() -> (Cluster, FakePeer) {
    let mut cluster = Cluster::start(DriverKind::Simulated, 2);
    cluster.providers[0].create(&config(cluster.folder.path(), "web", 1, DISK));
    cluster.wait_for_place(&machine("web"));
    cluster.kill_provider(1);
    let peer = FakePeer::of(cluster.folder.path(), "p2", "p1");
    (cluster, peer)
}

fn begin(id: u64, version: u64, by: &str) -> Message {
    Message::Begin {
        id: MigrationId(id),
        ticket: Ticket(id),
        machine: machine("web"),
        version,
        method: method(by).unwrap(),
    }
}

fn log_says(cluster: &Cluster, name: &str, wanted: &str) {
    let path = cluster.folder.path().join(format!("{name}.log"));
    wait(wanted, || fs::read_to_string(&path).unwrap().contains(wanted));
}

fn runs(cluster: &Cluster, place: usize) {
    wait("it runs", || {
        let machines = cluster.providers[place].machines();
        machines.len() == 1 && machines[0].state == "running"
    });
}

#[test]
fn messages_out_of_order_move_nothing() {
    let (cluster, peer) = half_a_cluster();
    let (id, ticket) = (MigrationId(7), Ticket(9));
    let refusal = peer.refusal(Message::Ready { id, ticket });
    assert_eq!(refusal, "no such migration is under way here");
    peer.say(Message::Release { id, ticket, version: 5 });
    let reason = peer.hear(|message| match message {
        Message::Aborted { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "this attempt is over");
    peer.say(Message::Taken { id, ticket });
    peer.hear(|message| matches!(message, Message::Gone { .. }).then_some(()));
    for message in [
        Message::Accept { id, ticket },
        Message::Wait { id, ticket },
        Message::Gone { id, ticket },
        Message::Aborted { id, ticket, reason: "for fun".into() },
        // Only the agent may say these.
        Message::Cancel { id, reason: "for fun".into() },
        Message::Removed { machine: machine("web"), version: 99 },
    ] {
        peer.say(message);
    }
    assert_eq!(peer.refusal(begin(10, 9, "COPY")), "machine web is here with version 1, not 9");
    let unknown = peer.refusal(begin(11, 1, "TELEPORT"));
    assert!(unknown.contains("there is no method TELEPORT; there are"), "{unknown}");
    log_says(&cluster, "p1", "p2 does not get the machine: there is no method TELEPORT");
    // One that begins well, says that it has the machine before it was released, and goes.
    peer.say(begin(12, 1, "COPY"));
    peer.hear(|message| matches!(message, Message::Accept { .. }).then_some(()));
    let (id, ticket) = (MigrationId(12), Ticket(12));
    peer.say(Message::Taken { id, ticket });
    assert_eq!(cluster.providers[0].machines().len(), 1);
    peer.say(Message::Aborted { id, ticket, reason: "no room here".into() });
    log_says(&cluster, "p1", "has failed at p2: no room here");
    runs(&cluster, 0);
    // The real one is welcome.
    drop(peer);
    moves(cluster);
}

#[test]
fn nonsense_on_connections_is_named_and_ends_them() {
    let (cluster, peer) = half_a_cluster();
    let mut talk = peer.connect(Purpose::Messages);
    talk.writer.send(FRAME, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    assert!(talk.reader.receive().is_err(), "it hangs up");
    log_says(&cluster, "p1", "a connection was refused: p2: ");
    let mut talk = peer.connect(Purpose::Messages);
    talk.writer.send(77, b"what?").unwrap();
    log_says(&cluster, "p1", "p2 sends record 77 in place of a message");

    peer.say(begin(3, 1, "COPY"));
    peer.hear(|message| matches!(message, Message::Accept { .. }).then_some(()));
    let hello = |ticket: u64| format!(r#"{{"id":3,"ticket":{ticket},"part":"machine"}}"#);
    let mut data = peer.connect(Purpose::Data);
    data.writer.send(HELLO, hello(4).as_bytes()).unwrap();
    let (kind, why) = data.reader.receive().unwrap();
    assert_eq!(kind, FAILED);
    assert!(String::from_utf8_lossy(&why).contains("no such attempt at migration"), "{why:?}");
    let mut data = peer.connect(Purpose::Data);
    data.writer.send(HELLO, hello(3).as_bytes()).unwrap();
    assert_eq!(data.reader.receive().unwrap().0, MANIFEST);
    data.writer.send(78, b"").unwrap();
    assert!(data.reader.receive().is_err(), "it hangs up");
    log_says(&cluster, "p1", "the destination says 78, which makes no sense");
    peer.say(Message::Aborted { id: MigrationId(3), ticket: Ticket(3), reason: "enough".into() });
    runs(&cluster, 0);
    drop(peer);
    moves(cluster);
}

/// A user whose key nobody has noted learns what to look at, and so does whoever reads the log.
#[test]
fn a_stranger_is_told_what_to_look_at() {
    let cluster = Cluster::start(DriverKind::Simulated, 1);
    let folder = cluster.folder.path();
    let agent = Keys::load_or_make(&folder.join("agent/key")).unwrap();
    let address = Address::Unix(folder.join("agent.wire"));
    let target = Target { address, keys: Some((folder.join("stranger"), Key(agent.public))) };
    let why = Agent::connect(&target).unwrap_err().to_string();
    let stranger = show_key(&Keys::load_or_make(&folder.join("stranger")).unwrap().public);
    assert!(why.contains("its configuration must have our key") && why.contains(&stranger), "{why}");
    log_says(&cluster, "agent", &stranger);
}

/// `p2` comes back, and the machine moves there.
fn moves(mut cluster: Cluster) {
    // The one that was played still listens in its thread; a new socket takes its place.
    fs::remove_file(cluster.folder.path().join("p2.wire")).unwrap();
    cluster.start_provider(1);
    assert_eq!(cluster.migrate("web", 1, method("COPY")).unwrap(), 2);
    runs(&cluster, 1);
    assert_eq!(fs::read(cluster.providers[1].file("web", "root.raw")).unwrap(), noise(1, DISK));
}

/// What the destination has kept is not what it takes it for.
#[test]
fn a_wrong_checksum_is_found_and_the_next_transfer_does_not_rest_on_it() {
    let cluster = Cluster::start(DriverKind::Simulated, 2);
    cluster.providers[0].create(&config(cluster.folder.path(), "web", 1, DISK));
    cluster.wait_for_place(&machine("web"));
    for (to, version) in [(1, 2), (0, 3)] {
        assert_eq!(cluster.migrate("web", to, method("DELTA")).unwrap(), version);
        runs(&cluster, to);
        wait("the other one has let it go", || cluster.providers[1 - to].machines().is_empty());
    }
    // As is done behind an arrival.
    vmmp::delta::receive::index(&cluster.providers[0].file("web", "root.raw")).unwrap();
    // One block changes where it is; another one of the same segment is damaged where it was,
    // and nothing shows that.
    let disk = |place: usize| {
        File::options().write(true).open(cluster.providers[place].file("web", "root.raw")).unwrap()
    };
    disk(0).write_all_at(&[5; 4096], 3 * 4096).unwrap();
    let old = disk(1);
    let modified = old.metadata().unwrap().modified().unwrap();
    old.write_all_at(&[6; 10], 7 * 4096).unwrap();
    old.set_times(FileTimes::new().set_modified(modified)).unwrap();
    drop(old);

    let failed = cluster.migrate("web", 1, method("DELTA")).unwrap_err().to_string();
    assert!(failed.contains("the machine is where it was") && failed.contains("checksum"), "{failed}");
    log_says(&cluster, "p1", "has failed at p2");
    log_says(&cluster, "p2", "the machine does not come here");
    runs(&cluster, 0);
    assert_eq!(cluster.migrate("web", 1, method("DELTA")).unwrap(), 4);
    runs(&cluster, 1);
    let mut wanted = noise(1, DISK);
    wanted[3 * 4096..4 * 4096].fill(5);
    assert_eq!(fs::read(cluster.providers[1].file("web", "root.raw")).unwrap(), wanted);
}
