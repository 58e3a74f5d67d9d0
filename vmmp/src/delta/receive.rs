//! The receiver: makes the new version, and keeps the old one until that is whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use tempfile::NamedTempFile;

use super::error::DeltaError;
use super::piece::{Piece, Stretch};
use super::send::{is_zero, spawn};
use super::table::{
    BLOCK, Identity, SEGMENT, SegmentHash, Table, VersionName, hash_block, hash_segment, root,
};
use super::undo::{self, Undo};
use super::{Further, Report, STRETCH, chunks, kind};
use crate::io::channel::Channel;

/// What must be over before the new version counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: it survives a power failure.
    Disk,
    /// It is in the file: it survives the end of this process.
    File,
}

/// What the receiver has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The version that it has, if it knows that it is unchanged.
    pub(super) version: Option<VersionName>,
    /// How long its old version is; 0: it has none.
    pub(super) bytes: u64,
}

impl Offer {
    fn to_bytes(self) -> Vec<u8> {
        let version = self.version.unwrap_or_default();
        [&[u8::from(self.version.is_some())], &version[..], &self.bytes.to_le_bytes()].concat()
    }

    pub(super) fn from_bytes(kind: u8, bytes: &[u8]) -> Result<Self, DeltaError> {
        let read = || {
            let (has_version, rest) = bytes.split_first()?;
            let (version, rest) = rest.split_first_chunk::<16>()?;
            let bytes = u64::from_le_bytes(*rest.first_chunk::<8>().filter(|_| rest.len() == 8)?);
            Some(Self { version: (*has_version == 1).then_some(*version), bytes })
        };
        let offer = if kind == kind::OFFER { read() } else { None };
        offer.ok_or_else(|| DeltaError::protocol("no offer where one is due"))
    }
}

/// Puts right what a transfer to `path` that died has left: the version from before it
/// is there again. Was there anything to do? To be called before the file is used.
///
/// # Errors
/// The file can't be written.
pub fn recover(path: &Path) -> Result<bool, DeltaError> {
    undo::put_back(path).map_err(DeltaError::io(format!("put {} back as it was", path.display())))
}

/// Works out what the next transfers of the file need, behind its arrival: the hashes of
/// its blocks, and its chunks.
///
/// # Errors
/// The file can't be read, or what belongs to it not written.
pub fn index(path: &Path) -> Result<(), DeltaError> {
    let build = || -> io::Result<()> {
        chunks::list(path)?;
        let file = File::open(path)?;
        let identity = Identity::of(&file)?;
        let Some(mut table) = Table::load(path).filter(|table| table.identity == identity) else {
            return Ok(());
        };
        if table.blocks.is_empty() {
            let mut data = vec![0; STRETCH];
            let mut offset = 0;
            while offset < identity.bytes {
                let length = (identity.bytes - offset).min(STRETCH as u64) as usize;
                file.read_exact_at(&mut data[..length], offset)?;
                table.blocks.extend(data[..length].chunks(BLOCK).map(hash_block));
                offset += length as u64;
            }
            table.save(path)?;
        }
        Ok(())
    };
    build().map_err(DeltaError::io(format!("index {}", path.display())))
}

/// Receives what a [`send`](super::send()) sends, as the file at `path`. An older version
/// of it there is made use of, and stays until the new one is whole and checked. `watch`
/// is told each time that it gets further. The channel is ready for more afterwards,
/// unless this fails.
///
/// # Errors
/// The connection fails, the disk is full, or what has come is not what was sent. The old
/// version is there then, as it was.
pub fn receive(
    path: &Path,
    channel: &mut Channel,
    durability: Durability,
    watch: &mut dyn FnMut(Further),
) -> Result<Report, DeltaError> {
    let Channel { writer, reader, .. } = channel;
    let before = writer.wire_bytes();
    recover(path)?;
    let using = || format!("use {}", path.display());
    let old = match File::options().read(true).write(true).open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(DeltaError::io(using())(error)),
    };
    let identity = old.as_ref().map(Identity::of).transpose().map_err(DeltaError::io(using()))?;
    let table = Table::load(path).filter(|table| Some(table.identity) == identity);
    let version = table.as_ref().map(|table| table.version);
    let offer = Offer { version, bytes: identity.unwrap_or_default().bytes };
    writer.send(kind::OFFER, &offer.to_bytes())?;

    let (is_identical, bytes, version) = plan(&reader.receive()?)?;
    let mut report = Report { file_bytes: bytes, was_identical: is_identical, ..Report::default() };
    if is_identical {
        writer.send(kind::DONE, &[])?;
        report.wire_bytes = writer.wire_bytes() - before;
        return Ok(report);
    }
    let in_place = offer.bytes > 0 && offer.bytes == bytes;
    let mut target = Target::new(path, old, table, bytes, in_place, durability)?;
    let made = thread::scope(|scope| -> Result<Vec<SegmentHash>, DeltaError> {
        let (stretches, incoming) = sync_channel::<Stretch>(4);
        let target = &mut target;
        let applying = spawn(scope, "delta-write", move || -> Result<Vec<SegmentHash>, DeltaError> {
            let mut segments = Vec::new();
            for stretch in incoming {
                target.apply(&stretch, &mut segments)?;
            }
            Ok(segments)
        })?;
        let heard = loop {
            match reader.receive()? {
                (kind::STRETCH, body) => {
                    let stretch = Stretch::from_bytes(&body)?;
                    report.data_bytes += stretch.data_length as u64;
                    let done = stretch.offset.saturating_add(stretch.length());
                    watch(Further { done, wire_bytes: reader.wire_bytes() });
                    if stretches.send(stretch).is_err() {
                        // It has failed, and says why below.
                        break None;
                    }
                }
                (kind::WANT_CHUNKS, _) => writer.send(kind::CHUNKS, &list_of_chunks(path, in_place))?,
                (kind::END, body) => break Some(body),
                (kind, _) => return Err(DeltaError::protocol(format!("record {kind} in the file"))),
            }
        };
        drop(stretches);
        let segments = applying.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        match heard {
            Some(wanted) if wanted == root(&segments) => Ok(segments),
            _ => Err(DeltaError::Checksum),
        }
    });
    let kept = made.and_then(|segments| {
        let identity = target.keep(bytes)?;
        let table = Table { version, identity, segments, blocks: Vec::new() };
        table.save(path).map_err(DeltaError::io(format!("write the table of {}", path.display())))
    });
    match kept {
        Ok(()) => writer.send(kind::DONE, &[])?,
        Err(error) => {
            recover(path)?;
            if matches!(error, DeltaError::Checksum) {
                // What is here is not what it is taken for: the next transfer must not rest on it.
                forget(path)?;
            }
            // If it can't be told any more, the connection is what has failed.
            let _ = writer.send(kind::DONE, error.to_string().as_bytes());
            return Err(error);
        }
    }
    report.wire_bytes = writer.wire_bytes() - before;
    Ok(report)
}

/// The chunks of the old version. While that is written in place only those that are
/// known already can be told.
fn list_of_chunks(path: &Path, in_place: bool) -> Vec<u8> {
    if in_place {
        return Vec::new();
    }
    // Without them the transfer is longer, and all the same.
    chunks::list(path).unwrap_or_default()
}

fn plan((kind, body): &(u8, Vec<u8>)) -> Result<(bool, u64, VersionName), DeltaError> {
    let read = || {
        let (is_identical, rest) = body.split_first()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        let version = VersionName::try_from(rest).ok()?;
        Some((*is_identical == 1, u64::from_le_bytes(*bytes), version))
    };
    let plan = if *kind == kind::PLAN { read() } else { None };
    plan.ok_or_else(|| DeltaError::protocol("no plan where one is due"))
}

/// The file that is being made.
struct Target {
    path: PathBuf,
    bytes: u64,
    old: Option<File>,
    table: Option<Table>,
    mode: Mode,
    durability: Durability,
    /// Where the next stretch must begin.
    next: u64,
    data: Vec<u8>,
    segment: Vec<u8>,
    zero: SegmentHash,
}

enum Mode {
    InPlace(Undo),
    Temporary(NamedTempFile),
}

impl Target {
    fn new(
        path: &Path,
        old: Option<File>,
        table: Option<Table>,
        bytes: u64,
        in_place: bool,
        durability: Durability,
    ) -> Result<Self, DeltaError> {
        let mode = if in_place {
            Mode::InPlace(Undo::begin(path).map_err(DeltaError::io("begin an undo log"))?)
        } else {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            Mode::Temporary(NamedTempFile::new_in(folder).map_err(DeltaError::io("make a temporary file"))?)
        };
        Ok(Self {
            path: path.to_owned(),
            bytes,
            old,
            table,
            mode,
            durability,
            next: 0,
            data: Vec::new(),
            segment: Vec::new(),
            zero: hash_segment(&[0; SEGMENT]),
        })
    }

    /// Makes a stretch, and the hashes of its segments.
    fn apply(&mut self, stretch: &Stretch, segments: &mut Vec<SegmentHash>) -> Result<(), DeltaError> {
        let end = stretch.offset.checked_add(stretch.length());
        let is_whole = stretch.length() == (STRETCH as u64).min(self.bytes.saturating_sub(self.next));
        if stretch.offset != self.next || !is_whole || end.is_none_or(|end| end > self.bytes) {
            return Err(DeltaError::protocol(format!(
                "a stretch at {} where {} is due",
                stretch.offset, self.next
            )));
        }
        let has_copies = stretch.pieces.iter().any(|piece| matches!(piece, Piece::Copy(..)));
        if has_copies && matches!(self.mode, Mode::InPlace(_)) {
            return Err(DeltaError::protocol("a moved piece of a file that is written in place"));
        }
        self.data.clear();
        if stretch.data_length > 0 {
            self.data = zstd::bulk::decompress(&stretch.compressed, stretch.data_length)
                .map_err(DeltaError::io("decompress what has come"))?;
        }
        if self.data.len() != stretch.data_length {
            return Err(DeltaError::protocol("data of another length than was said"));
        }
        let writing = format!("write the new version of {}", self.path.display());
        self.make(stretch, segments).map_err(DeltaError::io(writing))?;
        if let (Mode::InPlace(undo), Durability::Disk) = (&self.mode, self.durability) {
            undo.sync().map_err(DeltaError::io("write the undo log"))?;
        }
        self.next += stretch.length();
        Ok(())
    }

    fn make(&mut self, stretch: &Stretch, segments: &mut Vec<SegmentHash>) -> io::Result<()> {
        let mut pieces = stretch.pieces.iter().copied();
        let mut piece = pieces.next();
        let (mut in_piece, mut in_data) = (0_u32, 0_usize);
        let mut offset = stretch.offset;
        let end = offset + stretch.length();
        while offset < end {
            let length = (end - offset).min(SEGMENT as u64) as usize;
            self.segment.resize(length, 0);
            // What of the segment is new, as ranges in it.
            let mut fresh: Vec<(usize, usize)> = Vec::new();
            let mut is_kept = true;
            let mut at = 0;
            while at < length {
                let Some(current) = piece else { return Err(io::ErrorKind::InvalidData.into()) };
                let count = ((current.length() - in_piece) as usize).min(length - at);
                let part = &mut self.segment[at..at + count];
                match current {
                    Piece::Keep(_) if is_kept && self.table.is_some() && at == 0 && count == length => {}
                    Piece::Keep(_) => read_old(self.old.as_ref(), part, offset + at as u64)?,
                    Piece::Zero(_) => part.fill(0),
                    Piece::Copy(_, from) => read_old(self.old.as_ref(), part, from + u64::from(in_piece))?,
                    Piece::Data(_) => {
                        part.copy_from_slice(&self.data[in_data..in_data + count]);
                        in_data += count;
                    }
                }
                if !matches!(current, Piece::Keep(_)) {
                    is_kept = false;
                    match fresh.last_mut() {
                        Some((_, end)) if *end == at => *end = at + count,
                        _ => fresh.push((at, at + count)),
                    }
                }
                at += count;
                in_piece += count as u32;
                if in_piece == current.length() {
                    piece = pieces.next();
                    in_piece = 0;
                }
            }
            let known = self.table.as_ref().and_then(|table| table.segments.get(offset as usize / SEGMENT));
            let hash = match known {
                Some(known) if is_kept => *known,
                _ if length == SEGMENT && is_zero(&self.segment) => self.zero,
                _ => hash_segment(&self.segment),
            };
            segments.push(hash);
            self.write(offset, &fresh, is_kept)?;
            offset += length as u64;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, fresh: &[(usize, usize)], is_kept: bool) -> io::Result<()> {
        match &mut self.mode {
            Mode::Temporary(file) => {
                if is_kept {
                    read_old(self.old.as_ref(), &mut self.segment, offset)?;
                }
                if !is_zero(&self.segment) {
                    file.as_file().write_all_at(&self.segment, offset)?;
                }
                Ok(())
            }
            Mode::InPlace(undo) => {
                let Some(file) = &self.old else { return Err(io::ErrorKind::NotFound.into()) };
                for (begin, end) in fresh {
                    let mut before = vec![0; end - begin];
                    file.read_exact_at(&mut before, offset + *begin as u64)?;
                    undo.note(offset + *begin as u64, &before)?;
                }
                for (begin, end) in fresh {
                    file.write_all_at(&self.segment[*begin..*end], offset + *begin as u64)?;
                }
                Ok(())
            }
        }
    }

    /// The new version is whole: it takes the place of the old one.
    fn keep(self, bytes: u64) -> Result<Identity, DeltaError> {
        let keeping = DeltaError::io(format!("keep the new version of {}", self.path.display()));
        let keep = || -> io::Result<Identity> {
            match self.mode {
                Mode::Temporary(temporary) => {
                    temporary.as_file().set_len(bytes)?;
                    if self.durability == Durability::Disk {
                        temporary.as_file().sync_all()?;
                    }
                    let identity = Identity::of(&temporary.persist(&self.path)?)?;
                    if self.durability == Durability::Disk {
                        File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
                    }
                    Ok(identity)
                }
                Mode::InPlace(undo) => {
                    let Some(file) = self.old else { return Err(io::ErrorKind::NotFound.into()) };
                    if self.durability == Durability::Disk {
                        file.sync_data()?;
                    }
                    undo.end()?;
                    Identity::of(&file)
                }
            }
        };
        keep().map_err(keeping)
    }
}

fn read_old(old: Option<&File>, part: &mut [u8], offset: u64) -> io::Result<()> {
    match old {
        Some(old) => old.read_exact_at(part, offset),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "there is no old version to keep a piece of")),
    }
}

/// Removes what belongs to a file: its table and its chunks.
///
/// # Errors
/// It can't be removed.
pub fn forget(path: &Path) -> Result<(), DeltaError> {
    for belonging in [Table::path(path), chunks::path(path)] {
        match fs::remove_file(&belonging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DeltaError::io(format!("remove {}", belonging.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}
