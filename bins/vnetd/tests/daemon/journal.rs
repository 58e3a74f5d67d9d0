//! The journal under a real daemon: tails that are torn, bytes that rot, disks that are full.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

use proptest::prelude::*;
use vnet_core::control::{ControlError, ErrorKind, LinkSpec, LinkStatus, Reply, Request};
use vnet_core::{Link, LinkKind};
use vnetd::client::{Address, Client, ClientError};

use crate::harness::{Daemon, Overlay};
use crate::primitives::rule;

fn rules(daemon: &Daemon) -> usize {
    daemon.client().rules(None).unwrap().len()
}

fn add(daemon: &Daemon, indices: std::ops::Range<u32>) {
    let mut client = daemon.client();
    for index in indices {
        client.call(None, Request::AddRule(rule("a", index, "b"))).unwrap();
    }
}

#[test]
fn a_torn_tail_is_cut_with_a_warning() {
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 1, &[]);
    add(&daemon, 0..10);
    daemon.kill();
    let path = daemon.state_dir().join("journal");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    daemon.restart();
    assert_eq!(rules(&daemon), 9);
    assert!(daemon.log().contains("ended in half a record"), "{}", daemon.log());
    assert_eq!(daemon.client().status(None).unwrap().degraded, [""; 0]);
    add(&daemon, 100..101);
    daemon.kill();
    daemon.restart();
    assert_eq!(rules(&daemon), 10);
}

#[test]
fn damage_is_told_and_kept() {
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 1, &[]);
    add(&daemon, 0..10);
    daemon.kill();
    let path = daemon.state_dir().join("journal");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&path, &bytes).unwrap();
    daemon.restart();
    assert!(rules(&daemon) < 10);
    let degraded = daemon.client().status(None).unwrap().degraded;
    assert!(degraded[0].contains("was damaged at byte"), "{degraded:?}");
    assert_eq!(fs::read(daemon.state_dir().join("journal.damaged")).unwrap(), bytes);
}

#[test]
fn a_foreign_journal_stops_the_daemon_and_stays() {
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 1, &[]);
    daemon.kill();
    let path = daemon.state_dir().join("journal");
    fs::write(&path, "this is somebody's diary").unwrap();
    let state = daemon.state_dir().display().to_string();
    let out = crate::harness::vnetd().args(["--name", "a", "--state-dir", &state]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("is not a journal of this release"));
    assert_eq!(fs::read(&path).unwrap(), b"this is somebody's diary");
}

/// A daemon whose disk is soon full: a limit on the size of files stands for that.
struct Cramped {
    _overlay: Overlay,
    dir: PathBuf,
    flags: Vec<String>,
    process: Child,
}

impl Cramped {
    fn start() -> Self {
        let overlay = Overlay::new();
        let dir = overlay.dir.path().join("a");
        fs::create_dir_all(&dir).unwrap();
        let path = |name: &str| dir.join(name).display().to_string();
        let bind = format!("{}:7700", overlay.ip(1));
        let (control, state) = (path("control.sock"), path("state"));
        let flags = ["--name", "a", "--bind", &bind, "--control", &control, "--state-dir", &state];
        let flags = flags.map(str::to_owned).to_vec();
        // Blocks of 512 bytes: 16 KiB. The signal that a write beyond the limit
        // sends is ignored, so that the write fails instead. The log is a pipe,
        // which has no size.
        let process = Command::new("sh")
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\" 2>/dev/null",
                env!("CARGO_BIN_EXE_vnetd"),
            ])
            .args(&flags)
            .spawn()
            .unwrap();
        Self { _overlay: overlay, dir, flags, process }
    }

    fn client(&self) -> Client {
        let address = Address::Unix(self.dir.join("control.sock"));
        crate::harness::wait_for("the daemon", || Client::connect(&address).is_ok());
        Client::connect(&address).unwrap()
    }

    /// Kills it, and starts it again where there is room.
    fn make_room(&mut self) -> Daemon {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        Daemon::start("a", self.dir.clone(), self.flags.clone())
    }
}

fn assert_not_kept(error: &ControlError) {
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(error.message.contains("nothing was changed, since it can't be kept"), "{error}");
}

#[test]
fn a_full_disk_refuses_changes_and_loses_none() {
    let mut cramped = Cramped::start();
    let mut client = cramped.client();
    let mut accepted = 0;
    let error = loop {
        match client.call(None, Request::AddRule(rule("a", accepted, "b"))) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 5000, "the disk never fills");
    };
    let ClientError::Refused { source, .. } = error else { panic!("{error}") };
    assert_not_kept(&source);
    let count = client.rules(None).unwrap().len();
    assert_eq!(count, accepted as usize, "the refused rule is not half there");
    let degraded = client.status(None).unwrap().degraded;
    assert!(degraded[0].contains("changes are refused until there is room again"), "{degraded:?}");

    let daemon = cramped.make_room();
    assert_eq!(rules(&daemon), accepted as usize, "every accepted rule is back");
    add(&daemon, 9000..9001);
    assert_eq!(daemon.client().status(None).unwrap().degraded, [""; 0]);
}

/// Links of one batch are made together.
#[test]
fn a_full_disk_in_the_middle_of_a_batch_of_links_keeps_those_that_were_made() {
    let mut cramped = Cramped::start();
    let mut client = cramped.client();
    let names = |links: Vec<LinkStatus>| -> BTreeSet<String> {
        links.iter().map(|link| link.link.b.to_string()).collect()
    };
    let (mut made, mut refused) = (BTreeSet::new(), 0);
    for batch in 0.. {
        let peers: Vec<String> = (0..50).map(|n| format!("peer-{batch}-{n}")).collect();
        let add = |peer: &String| {
            let [a, b] = ["a", peer].map(|name| name.parse().unwrap());
            let link = Link { kind: LinkKind::Udp, opener: b, a, b: peer.parse().unwrap() };
            Request::AddLink(LinkSpec { link, peer: None })
        };
        let reply = client.call(None, Request::Batch(peers.iter().map(add).collect())).unwrap();
        let Reply::Batch(answers) = reply else { panic!("{reply:?}") };
        for (peer, answer) in peers.into_iter().zip(answers) {
            match answer {
                Ok(_) => drop(made.insert(peer)),
                Err(error) => {
                    assert_not_kept(&error);
                    refused += 1;
                }
            }
        }
        if refused > 0 {
            break;
        }
        assert!(batch < 100, "the disk never fills");
    }
    assert_eq!(names(client.links(None).unwrap()), made);

    let daemon = cramped.make_room();
    assert_eq!(names(daemon.client().links(None).unwrap()), made, "every link that was made is back");
}

#[test]
fn a_long_journal_is_compacted() {
    let overlay = Overlay::new();
    let mut daemon = overlay.daemon("a", 1, &[]);
    let mut client = daemon.client();
    let toggle =
        |index| vec![Request::AddRule(rule("a", index, "b")), Request::DeleteRule(rule("a", index, "b"))];
    let length = || fs::metadata(daemon.state_dir().join("journal")).unwrap().len();
    let (mut longest, mut shrunk) = (0, false);
    for round in 0..60 {
        let batch = (0..500).flat_map(|index| toggle(round * 1000 + index)).collect();
        client.call(None, Request::Batch(batch)).unwrap();
        shrunk |= length() < longest;
        longest = longest.max(length());
    }
    assert!(shrunk, "it only grows: {longest}");
    client.call(None, Request::AddRule(rule("a", 7, "b"))).unwrap();
    daemon.kill();
    daemon.restart();
    assert_eq!(rules(&daemon), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Wherever the machine dies, a whole number of changes is there afterwards.
    #[test]
    fn any_cut_leaves_a_beginning(cut in any::<prop::sample::Index>()) {
        let overlay = Overlay::new();
        let mut daemon = overlay.daemon("a", 1, &[]);
        add(&daemon, 0..20);
        daemon.kill();
        let path = daemon.state_dir().join("journal");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..cut.index(bytes.len())]).unwrap();
        daemon.restart();
        let rules = daemon.client().rules(None).unwrap();
        for (index, found) in (0..).zip(&rules) {
            prop_assert_eq!(&found.rule, &rule("a", index, "b").rule);
        }
        prop_assert!(rules.len() <= 20);
    }
}
