//! What a file was at its last visit: hashes of its segments and blocks.
//!
//! It stands beside the file, with the suffix `.table`: [`MAGIC`], the version's name (16
//! octets), the file's identity (size, time of modification in nanoseconds, inode: 8
//! octets each, little endian), one octet that says whether blocks follow, the hashes of
//! the segments (32 octets each) and of the blocks (16 octets each), and BLAKE3 of all
//! that.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A segment, in bytes.
pub const SEGMENT: usize = 64 << 10;

/// A block, in bytes.
pub const BLOCK: usize = 4 << 10;

/// Blocks in a segment.
pub const BLOCKS: usize = SEGMENT / BLOCK;

/// How a table begins: its kind and the version of its form.
pub const MAGIC: &[u8; 8] = b"VMMPtbl\x01";

/// The hash of a segment.
pub type SegmentHash = [u8; 32];

/// The hash of a block, cut to 128 bits.
pub type BlockHash = [u8; 16];

/// The name of a version: made up by whoever has sent it.
pub type VersionName = [u8; 16];

/// By what a file is known to be unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its length, in bytes.
    pub bytes: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified: u64,
    /// Its inode.
    pub inode: u64,
}

impl Identity {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let modified = metadata.mtime().cast_unsigned().wrapping_mul(1_000_000_000);
        Ok(Self {
            bytes: metadata.len(),
            modified: modified.wrapping_add(metadata.mtime_nsec().cast_unsigned()),
            inode: metadata.ino(),
        })
    }
}

/// A version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Table {
    /// Its name.
    pub version: VersionName,
    /// The file that it was of.
    pub identity: Identity,
    /// The hashes of all segments, the last one of what is there.
    pub segments: Vec<SegmentHash>,
    /// The hashes of all blocks; empty: they were not worked out.
    pub blocks: Vec<BlockHash>,
}

impl Table {
    /// Where the table of a file stands.
    pub fn path(file: &Path) -> PathBuf {
        beside(file, ".table")
    }

    /// The table of a file, if there is one that is whole.
    pub fn load(file: &Path) -> Option<Self> {
        Self::from_bytes(&fs::read(Self::path(file)).ok()?)
    }

    /// Writes the table beside its file.
    pub fn save(&self, file: &Path) -> io::Result<()> {
        let path = Self::path(file);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(&self.to_bytes())?;
        temporary.persist(&path)?;
        Ok(())
    }

    /// One hash for all.
    pub fn root(&self) -> SegmentHash {
        root(&self.segments)
    }

    /// As it stands in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.version);
        let Identity { bytes: length, modified, inode } = self.identity;
        for number in [length, modified, inode] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.push(u8::from(!self.blocks.is_empty()));
        bytes.extend(self.segments.as_flattened());
        bytes.extend(self.blocks.as_flattened());
        bytes.extend(blake3::hash(&bytes).as_bytes());
        bytes
    }

    /// Reads what [`Table::to_bytes`] has written; `None`: it is damaged or something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body) != *hash {
            return None;
        }
        let rest = body.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk::<16>()?;
        let (numbers, rest) = rest.split_first_chunk::<24>()?;
        let number = |at: usize| Some(u64::from_le_bytes(*numbers.get(at..)?.first_chunk::<8>()?));
        let identity = Identity { bytes: number(0)?, modified: number(8)?, inode: number(16)? };
        let (has_blocks, rest) = rest.split_first()?;
        let count = |of: usize| usize::try_from(identity.bytes.div_ceil(of as u64)).ok();
        let (segments, blocks) = rest.split_at_checked(count(SEGMENT)?.checked_mul(32)?)?;
        let blocks_wanted = if *has_blocks == 0 { 0 } else { count(BLOCK)? };
        let (blocks, left) = blocks.as_chunks::<16>();
        if blocks.len() != blocks_wanted || !left.is_empty() {
            return None;
        }
        let segments = segments.as_chunks::<32>().0.to_vec();
        Some(Self { version: *version, identity, segments, blocks: blocks.to_vec() })
    }
}

/// One hash for all segments.
pub fn root(segments: &[SegmentHash]) -> SegmentHash {
    *blake3::hash(segments.as_flattened()).as_bytes()
}

/// The hash of a segment.
pub fn hash_segment(data: &[u8]) -> SegmentHash {
    *blake3::hash(data).as_bytes()
}

/// The hash of a block.
pub fn hash_block(data: &[u8]) -> BlockHash {
    let [a, b] = *blake3::hash(data).as_bytes().as_chunks::<16>().0 else { unreachable!("32 is 2 times 16") };
    let _ = b;
    a
}

/// A name for a new version.
pub fn new_version() -> io::Result<VersionName> {
    let mut name = VersionName::default();
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut name)?;
    Ok(name)
}

/// A path with something appended.
pub(crate) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
