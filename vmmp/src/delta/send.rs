//! The sender: finds out what the other side doesn't have, and sends that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;

use rustix::fs::SeekFrom;

use super::awaited::Awaited;
use super::chunks::{Chunks, LEAD, TAIL};
use super::error::DeltaError;
use super::moved::{Place, moved};
use super::piece::{Piece, Stretch, add};
use super::receive::Offer;
use super::table::{
    BLOCK, BLOCKS, BlockHash, Identity, SEGMENT, SegmentHash, Table, hash_block, hash_segment, new_version,
    root,
};
use super::{Further, Report, STRETCH, kind};
use crate::io::channel::{Channel, Reader, Writer};

/// How hard zstd tries: the least, when the wire waits for the processors, and the most, when
/// they wait for the wire. Negative levels are zstd's fast ones.
const LEVELS: (i32, i32) = (-3, 9);

/// Where it begins.
const LEVEL: i32 = 1;

/// Above this part of a stretch that has changed, it is looked for elsewhere in the
/// old version.
const MUCH: usize = STRETCH / 8;

/// Sends the file at `path` to a [`receive`](super::receive()), and keeps a
/// [`Table`] of what was sent beside it. `watch` is told each time that it gets further.
/// The channel is ready for more afterwards, unless this fails.
///
/// # Errors
/// The file can't be read, it changes meanwhile, the connection fails, or the receiver
/// has a reason of its own ([`DeltaError::Peer`]).
pub fn send(
    path: &Path,
    channel: &mut Channel,
    watch: &mut (dyn FnMut(Further) + Send),
) -> Result<Report, DeltaError> {
    let Channel { writer, reader, .. } = channel;
    let before = writer.wire_bytes();
    let reading = || format!("read {}", path.display());
    let file = File::open(path).map_err(DeltaError::io(reading()))?;
    let identity = Identity::of(&file).map_err(DeltaError::io(reading()))?;
    let (kind, offer) = reader.receive()?;
    let offer = Offer::from_bytes(kind, &offer)?;
    let base = Table::load(path).filter(|table| Some(table.version) == offer.version);
    let is_identical = base.as_ref().is_some_and(|table| table.identity == identity);
    let version = match &base {
        Some(table) if is_identical => table.version,
        _ => new_version().map_err(DeltaError::io("make up a name"))?,
    };
    let plan = [&[u8::from(is_identical)], &identity.bytes.to_le_bytes()[..], &version].concat();
    writer.send(kind::PLAN, &plan)?;
    let mut report = Report { file_bytes: identity.bytes, was_identical: is_identical, ..Report::default() };
    if is_identical {
        finished(&reader.receive()?)?;
        report.wire_bytes = writer.wire_bytes() - before;
        return Ok(report);
    }

    let work = Work {
        file: &file,
        path,
        bytes: identity.bytes,
        base: base.as_ref(),
        has_old: offer.bytes > 0,
        next: AtomicU64::new(0),
        level: AtomicI32::new(LEVEL),
        chunks: Awaited::default(),
    };
    let mut table = Table { version, identity, ..Table::default() };
    thread::scope(|scope| -> Result<(), DeltaError> {
        let threads = thread::available_parallelism().map_or(1, |n| n.get().min(8));
        let (results, incoming) = sync_channel(2 * threads);
        let hearing = spawn(scope, "delta-hear", || hear(reader, &work.chunks, offer.bytes))?;
        for _ in 0..threads {
            let results = results.clone();
            let work = &work;
            spawn(scope, "delta-work", move || work.run(&results))?;
        }
        drop(results);
        let sent = send_in_order(&work, &incoming, writer, &mut table, &mut report, watch);
        if sent.is_err() {
            // Nobody waits for them any more, nor they for anybody.
            drop(incoming);
            work.chunks.set(Chunks::default());
            writer.close();
        }
        let heard = hearing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (sent, heard) {
            // When the other side has hung up, it knows why.
            (_, Err(error @ DeltaError::Peer(_))) | (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(())) => Ok(()),
        }
    })?;
    let after = Identity::of(&file).map_err(DeltaError::io(reading()))?;
    if after == identity {
        table.save(path).map_err(DeltaError::io(format!("write the table of {}", path.display())))?;
    }
    report.wire_bytes = writer.wire_bytes() - before;
    Ok(report)
}

/// Hears what the receiver says until it is done.
fn hear(reader: &mut Reader, chunks: &Awaited<Chunks>, old_bytes: u64) -> Result<(), DeltaError> {
    let heard = loop {
        match reader.receive() {
            Ok((kind::CHUNKS, list)) => match Chunks::from_bytes(&list, old_bytes) {
                Some(list) => chunks.set(list),
                // It has none.
                None if list.is_empty() => chunks.set(Chunks::default()),
                None => break Err(DeltaError::protocol("a malformed list of chunks")),
            },
            Ok(record) => break finished(&record),
            Err(error) => break Err(error),
        }
    };
    // Whoever still waits need not any longer.
    chunks.set(Chunks::default());
    heard
}

fn finished((kind, body): &(u8, Vec<u8>)) -> Result<(), DeltaError> {
    match (*kind, body.as_slice()) {
        (kind::DONE, []) => Ok(()),
        (kind::DONE, why) => Err(DeltaError::Peer(String::from_utf8_lossy(why).into_owned())),
        (kind, _) => Err(DeltaError::protocol(format!("record {kind} in place of the end"))),
    }
}

/// Sends what the workers have found, in the order of the file.
fn send_in_order(
    work: &Work<'_>,
    incoming: &Receiver<Result<Found, DeltaError>>,
    writer: &mut Writer,
    table: &mut Table,
    report: &mut Report,
    watch: &mut (dyn FnMut(Further) + Send),
) -> Result<(), DeltaError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    let count = work.bytes.div_ceil(STRETCH as u64);
    while next < count {
        let found = match incoming.try_recv() {
            Ok(found) => found,
            Err(TryRecvError::Empty) => {
                // The wire waits for them: they must not try so hard.
                let level = work.level.load(Relaxed);
                work.level.store((level - 1).max(LEVELS.0), Relaxed);
                match incoming.recv() {
                    Ok(found) => found,
                    Err(_) => return Err(DeltaError::protocol("the workers have ended early")),
                }
            }
            Err(TryRecvError::Disconnected) => {
                return Err(DeltaError::protocol("the workers have ended early"));
            }
        };
        match found? {
            Found::WantsChunks => writer.send(kind::WANT_CHUNKS, &[])?,
            Found::Stretch { number, stretch, segments, blocks } => {
                early.insert(number, (stretch, segments, blocks));
            }
        }
        while let Some((stretch, segments, blocks)) = early.remove(&next) {
            writer.send(kind::STRETCH, &stretch.to_bytes())?;
            report.data_bytes += stretch.data_length as u64;
            table.segments.extend(segments);
            table.blocks.extend(blocks);
            next += 1;
            let done = (next * STRETCH as u64).min(work.bytes);
            watch(Further { done, wire_bytes: writer.wire_bytes() });
        }
    }
    // Where a base without blocks was kept, there are none.
    if table.blocks.len() as u64 != work.bytes.div_ceil(BLOCK as u64) {
        table.blocks.clear();
    }
    writer.send(kind::END, &root(&table.segments))
}

enum Found {
    WantsChunks,
    Stretch { number: u64, stretch: Stretch, segments: Vec<SegmentHash>, blocks: Vec<BlockHash> },
}

/// What the workers share.
struct Work<'a> {
    file: &'a File,
    path: &'a Path,
    bytes: u64,
    base: Option<&'a Table>,
    /// Has the receiver an old version?
    has_old: bool,
    /// The number of the next stretch.
    next: AtomicU64,
    level: AtomicI32,
    chunks: Awaited<Chunks>,
}

impl Work<'_> {
    fn run(&self, results: &SyncSender<Result<Found, DeltaError>>) {
        let mut tools = match Tools::new() {
            Ok(tools) => tools,
            Err(error) => {
                // Whoever waits for results may have gone.
                let _ = results.send(Err(DeltaError::io("compress")(error)));
                return;
            }
        };
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            if number * STRETCH as u64 >= self.bytes {
                return;
            }
            let found = self.stretch(number, &mut tools, results);
            let is_over = found.is_err();
            if !self.hand_on(found, results) || is_over {
                return;
            }
        }
    }

    /// Gives what was found to the sender; `false`: it does not want any more.
    fn hand_on(
        &self,
        found: Result<Found, DeltaError>,
        results: &SyncSender<Result<Found, DeltaError>>,
    ) -> bool {
        match results.try_send(found) {
            Ok(()) => true,
            Err(TrySendError::Full(found)) => {
                // They wait for the wire: they may try harder.
                let level = self.level.load(Relaxed);
                self.level.store((level + 1).min(LEVELS.1), Relaxed);
                results.send(found).is_ok()
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn stretch(
        &self,
        number: u64,
        tools: &mut Tools,
        results: &SyncSender<Result<Found, DeltaError>>,
    ) -> Result<Found, DeltaError> {
        let offset = number * STRETCH as u64;
        let length = (self.bytes - offset).min(STRETCH as u64) as usize;
        let Tools { data, window, packed, compressor } = tools;
        let data = &mut data[..length];
        self.read(data, offset).map_err(DeltaError::io(format!("read {}", self.path.display())))?;
        let mut pieces = Vec::new();
        let (mut segments, mut blocks) = (Vec::new(), Vec::new());
        for (i, segment) in data.chunks(SEGMENT).enumerate() {
            let at = offset as usize / SEGMENT + i;
            self.compare(at, segment, &mut pieces, &mut segments, &mut blocks);
        }
        let changed = |pieces: &[Piece]| -> usize {
            let data = pieces.iter().filter(|piece| matches!(piece, Piece::Data(_)));
            data.map(|piece| piece.length() as usize).sum()
        };
        if self.has_old && (self.base.is_none() || changed(&pieces) > MUCH) && changed(&pieces) > 0 {
            if self.chunks.is_first() {
                // If nobody takes it, nobody waits for us either.
                let _ = results.send(Ok(Found::WantsChunks));
            }
            let lead = offset.min(LEAD as u64) as usize;
            self.read_window(data, offset, lead, window)
                .map_err(DeltaError::io(format!("read {}", self.path.display())))?;
            let found = std::mem::take(&mut pieces);
            let place = Place { offset, lead, length };
            self.chunks.with(|chunks| pieces = moved(&place, window, chunks, found));
        }
        packed.clear();
        let mut at = 0;
        for piece in &pieces {
            let length = piece.length() as usize;
            if matches!(piece, Piece::Data(_)) {
                packed.extend_from_slice(&data[at..at + length]);
            }
            at += length;
        }
        let compressed = match packed.len() {
            0 => Vec::new(),
            _ => {
                let mut compress = || {
                    compressor.set_compression_level(self.level.load(Relaxed))?;
                    compressor.compress(packed)
                };
                compress().map_err(DeltaError::io("compress"))?
            }
        };
        let stretch = Stretch { offset, pieces, data_length: packed.len(), compressed };
        Ok(Found::Stretch { number, stretch, segments, blocks })
    }

    /// Reads a stretch; holes are not looked at.
    fn read(&self, data: &mut [u8], offset: u64) -> io::Result<()> {
        // The position in the file is shared and of no use to anybody.
        let is_hole = match rustix::fs::seek(self.file, SeekFrom::Data(offset)) {
            Ok(next) => next >= offset + data.len() as u64,
            Err(rustix::io::Errno::NXIO) => true,
            // A file system that doesn't tell.
            Err(_) => false,
        };
        if is_hole {
            data.fill(0);
            return Ok(());
        }
        self.file.read_exact_at(data, offset)
    }

    /// Reads what stands around a stretch, as far as chunks need it.
    fn read_window(&self, data: &[u8], offset: u64, lead: usize, window: &mut Vec<u8>) -> io::Result<()> {
        let behind = (self.bytes - offset - data.len() as u64).min(TAIL as u64) as usize;
        window.resize(lead + data.len() + behind, 0);
        let (front, rest) = window.split_at_mut(lead);
        let (middle, back) = rest.split_at_mut(data.len());
        self.read(front, offset - lead as u64)?;
        middle.copy_from_slice(data);
        self.read(back, offset + data.len() as u64)
    }

    /// Compares a segment with the old version.
    fn compare(
        &self,
        at: usize,
        segment: &[u8],
        pieces: &mut Vec<Piece>,
        segments: &mut Vec<SegmentHash>,
        blocks: &mut Vec<BlockHash>,
    ) {
        let hash = hash_segment(segment);
        segments.push(hash);
        let old = self.base.and_then(|table| table.segments.get(at));
        let first = at * BLOCKS;
        if old == Some(&hash) {
            add(pieces, Piece::Keep(segment.len() as u32));
            let last = first + segment.len().div_ceil(BLOCK);
            blocks.extend(self.base.and_then(|table| table.blocks.get(first..last)).unwrap_or_default());
            return;
        }
        for (i, block) in segment.chunks(BLOCK).enumerate() {
            let hash = hash_block(block);
            blocks.push(hash);
            let length = block.len() as u32;
            let old = self.base.and_then(|table| table.blocks.get(first + i));
            let piece = match old {
                Some(old) if *old == hash => Piece::Keep(length),
                _ if is_zero(block) => Piece::Zero(length),
                _ => Piece::Data(length),
            };
            add(pieces, piece);
        }
    }
}

/// What a worker has for itself.
struct Tools {
    /// The stretch.
    data: Vec<u8>,
    /// The stretch and what stands around it.
    window: Vec<u8>,
    /// What of it is sent.
    packed: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Tools {
    fn new() -> io::Result<Self> {
        Ok(Self {
            data: vec![0; STRETCH],
            window: Vec::new(),
            packed: Vec::with_capacity(STRETCH),
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
        })
    }
}

pub(crate) fn is_zero(data: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    data.chunks(BLOCK).all(|block| *block == ZEROS[..block.len()])
}

pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<thread::ScopedJoinHandle<'scope, T>, DeltaError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, work)
        .map_err(DeltaError::io("start a thread"))
}
