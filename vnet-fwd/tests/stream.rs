//! Virtual machines on the stream port, played by this test: they speak as QEMU's
//! `-netdev stream` does.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, NetworkId, Rule, Source};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::{DataPlane, DataPlaneConfig, StreamPort};

const NET: NetworkId = NetworkId(0);
const PATIENCE: Duration = Duration::from_secs(20);

/// A data plane between a stream port at `path` and an in-memory end.
fn bridged(path: &Path) -> (DataPlane, ChannelEnd) {
    let plane = DataPlane::start(DataPlaneConfig::new(HostName::new("here").unwrap())).unwrap();
    let (port, end) = channel::pair(1024).unwrap();
    let [vm, memory] = ["vm", "memory"].map(|name| InterfaceName::new(name).unwrap());
    plane.add_port(memory.clone(), NET, Box::new(port)).unwrap();
    plane.add_port(vm.clone(), NET, Box::new(StreamPort::listen(path).unwrap())).unwrap();
    for name in [vm, memory] {
        let action = Action::Interface(name);
        plane.add_rule(NET, Rule { source: Source::Any, destination: Destination::Any, action }).unwrap();
    }
    (plane, end)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&MacAddr::local(2).0[..], &MacAddr::local(1).0, &[0x88, 0xb5], payload].concat()
}

fn record(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_be_bytes()[..], frame].concat()
}

fn read_record(stream: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn frames_cross_in_both_directions_however_they_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.sock");
    let (_plane, end) = bridged(&path);
    let mut vm = connect(&path);
    let frames: Vec<Vec<u8>> = (0..200_usize).map(|n| frame(&vec![n as u8; 46 + n * 300])).collect();
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| record(frame)).collect();
    let (mut at, mut step) = (0, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while at < bytes.len() {
                let next = bytes.len().min(at + step);
                vm.write_all(&bytes[at..next]).unwrap();
                (at, step) = (next, step * 3 % 40_009 + 1);
            }
        });
        for frame in &frames {
            assert!(end.receive_within(PATIENCE).as_ref() == Some(frame));
        }
    });
    for frame in &frames {
        assert!(end.send(frame));
        assert!(read_record(&mut vm) == *frame);
    }
}

#[test]
fn a_slow_virtual_machine_loses_whole_frames_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.sock");
    let (plane, end) = bridged(&path);
    let mut vm = connect(&path);
    vm.write_all(&record(&frame(b"here I am"))).unwrap();
    assert!(end.receive_within(PATIENCE).is_some());
    let long = frame(&[7; 9000]);
    for _ in 0..500 {
        while !end.send(&long) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let start = Instant::now();
    let full = |plane: &DataPlane| {
        plane.drops().unwrap().iter().any(|drop| drop.reason == "interface-full" && drop.frames > 0)
    };
    while !full(&plane) {
        assert!(start.elapsed() < PATIENCE, "nothing is dropped");
        std::thread::sleep(Duration::from_millis(5));
    }
    // It reads again: all that comes is whole, and so is what is sent from now on.
    let last = frame(b"the last");
    let again = last.clone();
    let sender = std::thread::spawn(move || {
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            if !end.send(&again) {
                break;
            }
        }
    });
    loop {
        let next = read_record(&mut vm);
        assert!(next == long || next == last);
        if next == last {
            break;
        }
    }
    sender.join().unwrap();
}

#[test]
fn one_virtual_machine_comes_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm.sock");
    let (plane, end) = bridged(&path);
    for n in 0..5_u8 {
        let mut vm = connect(&path);
        vm.write_all(&record(&frame(&[n; 50]))).unwrap();
        assert_eq!(end.receive_within(PATIENCE), Some(frame(&[n; 50])));
        if n == 3 {
            // One that announces more than any frame has is cut off, and the next may come.
            vm.write_all(&u32::MAX.to_be_bytes()).unwrap();
            assert_eq!(vm.read(&mut [0; 8]).unwrap(), 0);
        }
    }
    drop(plane);
    assert!(!path.exists(), "the socket goes with the port");
    // What a daemon that was killed has left is no obstacle.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (_plane, _end) = bridged(&path);
    assert!(StreamPort::listen(&path).is_err(), "somebody listens there");
}
