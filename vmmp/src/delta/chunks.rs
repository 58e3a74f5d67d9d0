//! The content-defined chunks of a file, by which its parts are found elsewhere.
//!
//! FastCDC (Xia et al., FastCDC: a fast and efficient content-defined chunking approach
//! for data deduplication, ATC 2016) with chunks of [`AVERAGE`] bytes, named by BLAKE3 cut to
//! 128 bits. Where a chunk ends depends on nothing but what it holds, so that whoever begins
//! [`LEAD`] bytes before a stretch has cut as the whole file is cut when they come to it, and
//! stretches can be worked on at once. On the wire and beside the file (`.chunks`): for each chunk its length (4
//! octets, little endian) and its name, in the order of the file; zeros have the name
//! of zeros.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fastcdc::v2020::FastCDC;

use super::STRETCH;
use super::table::{BlockHash, Identity, beside, hash_block};

/// How long chunks are, in bytes: at least, on average, at most.
pub const SIZES: (u32, u32, u32) = (4 << 10, 16 << 10, 64 << 10);

/// How long chunks are on average.
pub const AVERAGE: u32 = SIZES.1;

const ENTRY: usize = 20;

/// Where the chunks of a file stand.
#[derive(Debug, Default)]
pub struct Chunks {
    places: HashMap<BlockHash, (u64, u32)>,
}

impl Chunks {
    /// Where a chunk is, and how long it is.
    pub fn find(&self, name: &BlockHash) -> Option<(u64, u32)> {
        self.places.get(name).copied()
    }

    /// Reads a list of chunks of a file of `bytes` bytes; `None`: it is not one.
    pub fn from_bytes(list: &[u8], bytes: u64) -> Option<Self> {
        let mut places = HashMap::with_capacity(list.len() / ENTRY);
        let mut offset = 0_u64;
        let (entries, rest) = list.as_chunks::<ENTRY>();
        for entry in entries {
            let (length, name) = entry.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            places.insert(*name.first_chunk::<16>()?, (offset, length));
            offset = offset.checked_add(u64::from(length))?;
        }
        (rest.is_empty() && offset == bytes).then_some(Self { places })
    }
}

/// How far before a stretch to begin, in bytes: sixteen chunks are enough to fall in with the
/// cuts of the whole file, nearly always.
pub const LEAD: usize = 16 * AVERAGE as usize;

/// How far behind a stretch to go on: its last chunk may end there.
pub const TAIL: usize = SIZES.2 as usize;

/// Cuts data into chunks: where each begins and ends. The last one may be cut short.
pub fn cut(data: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let (least, average, most) = SIZES;
    FastCDC::new(data, least as usize, average as usize, most as usize)
        .map(|chunk| chunk.offset..chunk.offset + chunk.length)
}

/// Where the list of a file's chunks is kept.
pub fn path(file: &Path) -> PathBuf {
    beside(file, ".chunks")
}

/// The list of a file's chunks: the one that is kept, if the file has not changed since,
/// or else a new one, which is kept.
pub fn list(file: &Path) -> io::Result<Vec<u8>> {
    let open = File::open(file)?;
    let identity = Identity::of(&open)?;
    let head = [identity.bytes, identity.modified, identity.inode].map(u64::to_le_bytes);
    if let Ok(kept) = std::fs::read(path(file))
        && let Some(list) = kept.strip_prefix(head.as_flattened())
    {
        return Ok(list.to_vec());
    }
    let mut list = Vec::new();
    let mut data = vec![0; STRETCH];
    let mut offset = 0;
    while offset < identity.bytes {
        let length = (identity.bytes - offset).min(STRETCH as u64) as usize;
        let data = &mut data[..length];
        open.read_exact_at(data, offset)?;
        let is_last = offset + length as u64 == identity.bytes;
        for chunk in cut(data) {
            // What the end of the data has cut short begins the next ones.
            if chunk.end == length && !is_last && chunk.start > 0 {
                break;
            }
            list.extend((chunk.len() as u32).to_le_bytes());
            list.extend(hash_block(&data[chunk.clone()]));
            offset += chunk.len() as u64;
        }
    }
    std::fs::write(path(file), [head.as_flattened(), &list].concat())?;
    Ok(list)
}
