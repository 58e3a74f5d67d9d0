//! The method DELTA against what it must do: the file there is the file here, always.
#![allow(clippy::disallowed_methods, reason = "unlike the core, this method has connections")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use vmmp::delta::receive::{Durability, index, recover};
use vmmp::delta::{DeltaError, Report, receive, send};
use vmmp::io::channel::{Channel, Keys};

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it has an address");
    let client = TcpStream::connect(address).expect("somebody listens");
    (client, listener.accept().expect("somebody connects").0)
}

/// Transfers a file; what the receiver says.
fn transfer(from: &Path, to: &Path) -> Result<Report, DeltaError> {
    let (origin, destination) = (Keys::generate()?, Keys::generate()?);
    let (a, b) = connection();
    thread::scope(|scope| {
        let sending =
            scope.spawn(|| send(from, &mut Channel::accept(a, &origin, &[destination.public])?, &mut |_| {}));
        let report = receive(
            to,
            &mut Channel::connect(b, &destination, &origin.public)?,
            Durability::File,
            &mut |_| {},
        );
        let sent = sending.join().expect("it doesn't panic");
        assert_eq!(report.is_ok(), sent.is_ok(), "{report:?} {sent:?}");
        report
    })
}

fn same(a: &Path, b: &Path) -> bool {
    fs::read(a).expect("it is there") == fs::read(b).expect("it is there")
}

/// Bytes that don't compress, and follow from the seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn only_what_is_new_crosses() {
    let folder = tempfile::tempdir().expect("there is room");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let mut content = noise(1, 12 << 20);
    content.extend(vec![0; 8 << 20]);
    content.extend(noise(2, 100_001));
    fs::write(&from, &content).expect("there is room");

    let all = transfer(&from, &to).expect("it works");
    assert!(same(&from, &to));
    assert!(all.wire_bytes < (12 << 20) + 400_000, "zeros don't cross: {all:?}");

    let nothing = transfer(&from, &to).expect("it works");
    assert!(nothing.was_identical && nothing.wire_bytes < 1000, "{nothing:?}");

    // Another time of modification, the same content.
    fs::write(&from, &content).expect("there is room");
    let little = transfer(&from, &to).expect("it works");
    assert!(!little.was_identical && little.wire_bytes < 2000, "{little:?}");

    // Scattered blocks.
    for i in 0..100 {
        content[i * 100_000..i * 100_000 + 100].copy_from_slice(&noise(i as u64, 100));
    }
    fs::write(&from, &content).expect("there is room");
    let blocks = transfer(&from, &to).expect("it works");
    assert!(same(&from, &to) && blocks.data_bytes <= 110 * 4096, "{blocks:?}");

    // An insertion: the rest is found where it was.
    index(&to).expect("it can be read");
    let inserted = [&content[..1_000_003], &noise(3, 50_021), &content[1_000_003..]].concat();
    fs::write(&from, &inserted).expect("there is room");
    let moved = transfer(&from, &to).expect("it works");
    assert!(same(&from, &to) && moved.data_bytes < 600_000, "{moved:?}");

    // And back again, from the other side, which has sent nothing yet.
    index(&to).expect("it can be read");
    let back = transfer(&to, &from).expect("it works");
    assert!(same(&from, &to), "{back:?}");
}

#[test]
fn strangers_are_refused_at_both_ends() {
    let folder = tempfile::tempdir().expect("there is room");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::write(&from, "content").expect("there is room");
    let keys = || Keys::generate().expect("there are random numbers");
    let (origin, destination, other) = (keys(), keys(), keys());
    let (a, b) = connection();
    thread::scope(|scope| {
        let sending = scope.spawn(|| Channel::accept(a, &origin, &[other.public]).err());
        assert!(Channel::connect(b, &destination, &origin.public).is_err());
        let error = sending.join().expect("it doesn't panic").expect("a stranger");
        assert!(error.to_string().contains("unknown key"), "{error}");
    });
    let (a, b) = connection();
    thread::scope(|scope| {
        let sending = scope.spawn(|| Channel::accept(a, &origin, &[destination.public]).is_err());
        // Somebody who claims to be the origin has another key.
        assert!(Channel::connect(b, &destination, &other.public).is_err());
        assert!(sending.join().expect("it doesn't panic"));
    });
    assert!(!to.exists());
}

/// Transfers through a proxy that hangs up after `limit` bytes.
fn cut_off(from: &Path, to: &Path, limit: usize) -> bool {
    use std::io::{Read, Write};
    let (origin, destination) = (Keys::generate().expect("keys"), Keys::generate().expect("keys"));
    let ((a, mut near), (b, mut far)) = (connection(), connection());
    thread::scope(|scope| {
        let sending =
            scope.spawn(|| send(from, &mut Channel::accept(a, &origin, &[destination.public])?, &mut |_| {}));
        let mut back = (far.try_clone().expect("fd"), near.try_clone().expect("fd"));
        scope.spawn(move || {
            let _ = std::io::copy(&mut back.0, &mut back.1);
            let _ = back.1.shutdown(std::net::Shutdown::Both);
        });
        scope.spawn(move || {
            let mut left = limit;
            let mut buffer = vec![0; 4096];
            while left > 0 {
                let most = left.min(buffer.len());
                let Ok(count @ 1..) = near.read(&mut buffer[..most]) else { break };
                if far.write_all(&buffer[..count]).is_err() {
                    break;
                }
                left -= count;
            }
            let _ = near.shutdown(std::net::Shutdown::Both);
            let _ = far.shutdown(std::net::Shutdown::Both);
        });
        let receiving = Channel::connect(b, &destination, &origin.public)
            .and_then(|mut channel| receive(to, &mut channel, Durability::Disk, &mut |_| {}));
        let _ = sending.join().expect("it doesn't panic");
        receiving.is_ok()
    })
}

#[test]
fn a_transfer_that_dies_leaves_the_old_version() {
    let folder = tempfile::tempdir().expect("there is room");
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let first = noise(1, 9 << 20);
    fs::write(&from, &first).expect("there is room");
    transfer(&from, &to).expect("it works");
    for longer in [0, 5000] {
        let second = noise(2, first.len() + longer);
        fs::write(&from, &second).expect("there is room");
        for limit in [10, 200, 100_000, 5 << 20] {
            assert!(!cut_off(&from, &to, limit));
            recover(&to).expect("it can be written");
            assert!(fs::read(&to).expect("it is there") == first, "cut after {limit} bytes");
        }
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).expect("it is there").map(|e| e.expect("entry").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with(".tmp")), "{left:?}");
    transfer(&from, &to).expect("it works");
    assert!(same(&from, &to));
}

#[derive(Clone, Debug)]
enum Edit {
    Overwrite(usize, usize, u64),
    Insert(usize, usize, u64),
    Remove(usize, usize),
    Zero(usize, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let (at, length) = (0..9_000_000_usize, 0..3_000_000_usize);
    let edit = prop_oneof![
        (at.clone(), length.clone(), any::<u64>()).prop_map(|(a, l, s)| Edit::Overwrite(a, l, s)),
        (at.clone(), length.clone(), any::<u64>()).prop_map(|(a, l, s)| Edit::Insert(a, l, s)),
        (at.clone(), length.clone()).prop_map(|(a, l)| Edit::Remove(a, l)),
        (at, length).prop_map(|(a, l)| Edit::Zero(a, l)),
    ];
    prop::collection::vec(edit, 0..4)
}

fn apply(content: &mut Vec<u8>, edit: &Edit) {
    let range = |at: usize, length: usize, most: usize| at.min(most)..(at + length).min(most);
    let most = content.len();
    match edit {
        Edit::Overwrite(at, length, seed) => {
            let range = range(*at, *length, most);
            let new = noise(*seed, range.len());
            content[range].copy_from_slice(&new);
        }
        Edit::Insert(at, length, seed) => {
            let at = (*at).min(most);
            content.splice(at..at, noise(*seed, *length));
        }
        Edit::Remove(at, length) => {
            content.drain(range(*at, *length, most));
        }
        Edit::Zero(at, length) => content[range(*at, *length, most)].fill(0),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn whatever_changes_the_file_there_is_the_file_here(rounds in prop::collection::vec((edits(), any::<bool>()), 1..4)) {
        let folder = tempfile::tempdir().expect("there is room");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let mut content = noise(7, 6_000_000);
        for (edits, is_indexed) in rounds {
            edits.iter().for_each(|edit| apply(&mut content, edit));
            fs::write(&from, &content).expect("there is room");
            if is_indexed && to.exists() {
                index(&to).expect("it can be read");
            }
            transfer(&from, &to).expect("it works");
            prop_assert!(same(&from, &to));
        }
    }
}
