//! The method `COPY`: a straight, encrypted stream, as the papers' scp.
//!
//! Records: data (kind 1), zeros (kind 2: how many, 8 octets, little endian), the end
//! (kind 3: BLAKE3 of the file), and back what became of it (kind 4: nothing, or why it
//! failed). The file is written beside the old one, checked, and then takes its place.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::delta::receive::Durability;
use crate::delta::send::is_zero;
use crate::delta::{DeltaError, Further, Report};
use crate::io::channel::Channel;

const DATA: u8 = 1;
const ZEROS: u8 = 2;
const END: u8 = 3;
const DONE: u8 = 4;

/// How much is read at a time, in bytes.
const PART: usize = 1 << 20;

/// Sends the file at `path` to a [`receive`]. `watch` is told each time that it gets
/// further.
///
/// # Errors
/// The file can't be read, the connection fails, or the receiver has a reason of its own.
pub fn send(
    path: &Path,
    channel: &mut Channel,
    watch: &mut dyn FnMut(Further),
) -> Result<Report, DeltaError> {
    let before = channel.writer.wire_bytes();
    let reading = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(DeltaError::io(reading()))?;
    let mut hasher = blake3::Hasher::new();
    let mut part = vec![0; PART];
    let mut report = Report::default();
    loop {
        let length = read_full(&mut file, &mut part).map_err(DeltaError::io(reading()))?;
        if length == 0 {
            break;
        }
        let part = &part[..length];
        hasher.update(part);
        report.file_bytes += length as u64;
        if is_zero(part) {
            channel.writer.send(ZEROS, &(length as u64).to_le_bytes())?;
        } else {
            channel.writer.send(DATA, part)?;
            report.data_bytes += length as u64;
        }
        watch(Further { done: report.file_bytes, wire_bytes: channel.writer.wire_bytes() });
    }
    channel.writer.send(END, hasher.finalize().as_bytes())?;
    match channel.reader.receive()? {
        (DONE, why) if why.is_empty() => {}
        (DONE, why) => return Err(DeltaError::Peer(String::from_utf8_lossy(&why).into_owned())),
        (kind, _) => return Err(DeltaError::protocol(format!("record {kind} in place of the end"))),
    }
    report.wire_bytes = channel.writer.wire_bytes() - before;
    Ok(report)
}

/// Receives what a [`send`] sends, as the file at `path`.
///
/// # Errors
/// The connection fails, the disk is full, or what has come is not what was sent. What was
/// there before is there then.
pub fn receive(
    path: &Path,
    channel: &mut Channel,
    durability: Durability,
    watch: &mut dyn FnMut(Further),
) -> Result<Report, DeltaError> {
    let before = channel.writer.wire_bytes();
    let received = take(path, channel, durability, watch);
    let answer = received.as_ref().err().map_or_else(String::new, ToString::to_string);
    let told = channel.writer.send(DONE, answer.as_bytes());
    let mut report = received?;
    told?;
    report.wire_bytes = channel.writer.wire_bytes() - before;
    Ok(report)
}

fn take(
    path: &Path,
    channel: &mut Channel,
    durability: Durability,
    watch: &mut dyn FnMut(Further),
) -> Result<Report, DeltaError> {
    let writing = || format!("write the new version of {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = NamedTempFile::new_in(folder).map_err(DeltaError::io("make a temporary file"))?;
    let mut hasher = blake3::Hasher::new();
    let mut report = Report::default();
    loop {
        let (kind, body) = channel.reader.receive()?;
        match (kind, body.as_slice()) {
            (DATA, data) => {
                let at = report.file_bytes;
                temporary.as_file().write_all_at(data, at).map_err(DeltaError::io(writing()))?;
                hasher.update(data);
                report.file_bytes += data.len() as u64;
                report.data_bytes += data.len() as u64;
            }
            (ZEROS, &[a, b, c, d, e, f, g, h]) => {
                let length = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                if length > PART as u64 {
                    return Err(DeltaError::protocol(format!("{length} zeros at once")));
                }
                hasher.update(&vec![0; length as usize]);
                report.file_bytes += length;
            }
            (END, hash) if hash == hasher.finalize().as_bytes() => break,
            (END, _) => return Err(DeltaError::Checksum),
            (kind, _) => return Err(DeltaError::protocol(format!("record {kind} in the file"))),
        }
        watch(Further { done: report.file_bytes, wire_bytes: channel.reader.wire_bytes() });
    }
    let file = temporary.as_file();
    file.set_len(report.file_bytes).map_err(DeltaError::io(writing()))?;
    if durability == Durability::Disk {
        file.sync_all().map_err(DeltaError::io(writing()))?;
    }
    temporary.persist(path).map_err(|error| DeltaError::io(writing())(error.error))?;
    Ok(report)
}

/// Reads until `part` is full or the file ends.
fn read_full(file: &mut File, part: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < part.len() {
        match file.read(&mut part[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}
