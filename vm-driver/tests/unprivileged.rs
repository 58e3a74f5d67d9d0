//! A real guest joins an overlay without a privilege on its host: QEMU as an ordinary user, its
//! network card on the socket of a data plane that runs as that user, too.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{
    CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use vm_driver::qemu::guest::Guest;
use vm_driver::{Attachment, Consent, Driver, NicConfig, Stop, VmConfig, VmId, qemu};
use vnet_core::control::{InterfaceSpec, PortKind};
use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, NetworkId, Rule, Source};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::{DataPlane, DataPlaneConfig};

const NET: NetworkId = NetworkId(1);
const GUEST: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 7]), Ipv4Addr::new(10, 77, 0, 7));
const PEER: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 9]), Ipv4Addr::new(10, 77, 0, 9));

/// The user `nobody`, everywhere.
const NOBODY: u32 = 65534;

/// Under emulation, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_guest_joins_as_an_ordinary_user() {
    let folder = tempfile::tempdir().unwrap();
    let guest = Guest::find().unwrap();
    let vm_driver::Boot::Kernel { kernel, initrd, .. } = guest.boot(None, "") else { unreachable!() };
    // Where the guest is kept may be closed to others.
    for (from, name) in [(kernel, "vmlinuz"), (initrd.unwrap(), "initrd")] {
        fs::copy(from, folder.path().join(name)).unwrap();
        fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o644)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // Identities are those of threads, and of what these start.
    thread::scope(|scope| {
        let joined = scope.spawn(|| {
            give_up_privileges();
            join(folder.path());
        });
        joined.join().unwrap();
    });
}

fn give_up_privileges() {
    if rustix::process::geteuid().is_root() {
        let (user, group) = (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
        set_thread_groups(&[]).unwrap();
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
    }
    assert_eq!(capabilities(None).unwrap().effective, CapabilitySet::empty());
}

fn join(folder: &Path) {
    let socket = folder.join("vm.sock");
    let (plane, peer) = overlay(&socket);
    assert_eq!(why_down(&plane), format!("no virtual machine is connected to {}", socket.display()));

    let driver = qemu::open(&folder.join("vms"), qemu::Options::default()).unwrap();
    let id = VmId::new("guest").unwrap();
    let attachment = Attachment::Stream { path: socket };
    let nic = NicConfig { mac: GUEST.0, network: NET, attachment };
    let boot = Guest::in_folder(folder).unwrap().boot(Some(GUEST.1), "");
    let config = VmConfig { nics: vec![nic], boot, ..VmConfig::new(id.clone(), 128 << 20) };
    driver.create(&config).unwrap();
    driver.start(&id).unwrap();

    let start = Instant::now();
    let said = b"0123456789 is anybody there?";
    let answer = loop {
        assert!(start.elapsed() < PATIENCE, "the guest doesn't answer");
        assert!(peer.send(&echo_request(said)));
        if let Some(answer) = heard(&peer, |frame| echo_reply(frame) == Some(said)) {
            break answer;
        }
    };
    assert_eq!((&answer[..6], &answer[6..12]), (&PEER.0.0[..], &GUEST.0.0[..]));
    assert_eq!(why_down(&plane), "");

    driver.stop(&id, Stop::Force(Consent::Given)).unwrap();
    let start = Instant::now();
    while why_down(&plane).is_empty() {
        assert!(start.elapsed() < PATIENCE, "the guest is gone, and the port does not say so");
        thread::sleep(Duration::from_millis(10));
    }
}

/// An overlay of the guest's socket and this test.
fn overlay(socket: &Path) -> (DataPlane, ChannelEnd) {
    let plane = DataPlane::start(DataPlaneConfig::new(HostName::new("here").unwrap())).unwrap();
    let (port, peer) = channel::pair(1024).unwrap();
    let [vm, memory] = ["vm", "memory"].map(|name| InterfaceName::new(name).unwrap());
    let port_kind = PortKind::Stream { path: socket.to_owned() };
    let spec = InterfaceSpec { name: vm.clone(), network: NET, mac: Some(GUEST.0), port: port_kind };
    plane.add_interface(spec).unwrap();
    plane.add_port(memory.clone(), NET, Box::new(port)).unwrap();
    for name in [vm, memory] {
        let action = Action::Interface(name);
        plane.add_rule(NET, Rule { source: Source::Any, destination: Destination::Any, action }).unwrap();
    }
    let start = Instant::now();
    while !socket.exists() {
        assert!(start.elapsed() < PATIENCE, "{}", why_down(&plane));
        thread::sleep(Duration::from_millis(1));
    }
    (plane, peer)
}

/// What the guest's interface says of itself; nothing, if it is up.
fn why_down(plane: &DataPlane) -> String {
    plane.interfaces().unwrap().remove(0).state.why
}

/// A frame of the guest, if it comes within a second; the guest's questions are answered meanwhile.
fn heard(peer: &ChannelEnd, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let end = Instant::now() + Duration::from_secs(1);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let Some(frame) = peer.receive_within(left) else { continue };
        if frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&PEER.1.octets()) {
            assert!(peer.send(&arp_reply()));
        } else if wanted(&frame) {
            return Some(frame);
        }
    }
    None
}

/// Whose address is asked for: ours (RFC 826).
fn arp_reply() -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, 2];
    let body = [&PEER.0.0[..], &PEER.1.octets(), &GUEST.0.0, &GUEST.1.octets()].concat();
    [&GUEST.0.0[..], &PEER.0.0, &[8, 6], &header, &body].concat()
}

/// RFC 792 in RFC 791.
fn echo_request(payload: &[u8]) -> Vec<u8> {
    let mut icmp = [&[8, 0, 0, 0, 0, 1, 0, 1][..], payload].concat();
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let length = (20 + icmp.len() as u16).to_be_bytes();
    let mut ip = [&[0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, 1, 0, 0][..]].concat();
    ip.extend([PEER.1.octets(), GUEST.1.octets()].concat());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    [&GUEST.0.0[..], &PEER.0.0, &[8, 0], &ip, &icmp].concat()
}

/// What an echo reply sends back.
fn echo_reply(frame: &[u8]) -> Option<&[u8]> {
    let is_reply = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 1 && *frame.get(34)? == 0;
    let length = usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]));
    is_reply.then(|| frame.get(42..14 + length)).flatten()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |b| u32::from(*b)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}
