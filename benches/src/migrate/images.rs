//! The images: packages in an ext4 file system, and its later versions.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use vmmp::delta::receive::index;
use vmmp::delta::table::{Identity, Table};
use vmmp::delta::{chunks, table};

use super::run;

const BLOCK: usize = 4096;

/// What has happened to the file since the destination has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    /// The destination has nothing.
    A,
    /// Only its time of modification differs.
    B,
    /// 1 % of its blocks have other contents, scattered.
    C,
    /// 250 MB have other contents, in 25 runs.
    D,
    /// 50 MB were inserted, at no block's boundary.
    E,
    /// Nothing.
    Same,
}

impl Case {
    /// In words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::A => "nothing there",
            Self::B => "the same, times differ",
            Self::C => "1 % of blocks, scattered",
            Self::D => "250 MB in runs",
            Self::E => "50 MB inserted, the rest shifted",
            Self::Same => "the same, unchanged since the last visit",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::A => "(a)",
            Self::B => "(b')",
            Self::C => "(c)",
            Self::D => "(d)",
            Self::E => "(e)",
            Self::Same => "same",
        })
    }
}

/// Where the images are.
pub struct Images {
    folder: PathBuf,
}

impl Images {
    /// Makes the image, unless it is there.
    pub fn prepare(folder: &Path, content: u64) -> anyhow::Result<Self> {
        let images = Self { folder: folder.to_owned() };
        for name in ["origin", "destination", "base"] {
            fs::create_dir_all(folder.join(name)).with_context(|| format!("make {}", folder.display()))?;
        }
        let base = images.base();
        if !base.exists() {
            eprintln!("making an image of {} MiB of installed packages", content >> 20);
            let tree = folder.join("tree");
            fs::create_dir_all(&tree)?;
            let mut left = content;
            for part in ["/usr/lib/x86_64-linux-gnu", "/usr/bin", "/usr/share", "/usr/lib"] {
                copy_tree(Path::new(part), &tree.join(part.replace('/', "_")), &mut left)?;
            }
            let partial = folder.join("partial.img");
            File::create(&partial)?.set_len((content * 13 / 10).next_multiple_of(1 << 20))?;
            run(Command::new("mkfs.ext4").args(["-q", "-F", "-d"]).arg(&tree).arg(&partial))?;
            fs::remove_dir_all(&tree)?;
            fs::rename(&partial, &base)?;
        }
        if Table::load(&base).is_none_or(|table| table.blocks.is_empty()) {
            let identity = Identity::of(&File::open(&base)?)?;
            let version = table::new_version()?;
            let mut segments = Vec::new();
            let file = File::open(&base)?;
            let mut data = vec![0; table::SEGMENT];
            for offset in (0..identity.bytes).step_by(table::SEGMENT) {
                let length = (identity.bytes - offset).min(table::SEGMENT as u64) as usize;
                file.read_exact_at(&mut data[..length], offset)?;
                segments.push(table::hash_segment(&data[..length]));
            }
            Table { version, identity, segments, blocks: Vec::new() }.save(&base)?;
            index(&base)?;
        }
        Ok(images)
    }

    fn base(&self) -> PathBuf {
        self.folder.join("base/disk.img")
    }

    /// What is sent.
    pub fn origin(&self) -> PathBuf {
        self.folder.join("origin/disk.img")
    }

    /// Where it goes.
    pub fn destination(&self) -> PathBuf {
        self.folder.join("destination/disk.img")
    }

    /// Makes the version that the origin has.
    pub fn make(&self, case: Case) -> anyhow::Result<()> {
        let origin = self.origin();
        if case == Case::E {
            let content = fs::read(self.base())?;
            // Behind a third of the contents, not of the holes after them.
            let at = content.len() / 4 + 1234;
            let inserted: Vec<u8> = content[at..at + 50_000_000].iter().rev().copied().collect();
            fs::write(&origin, [&content[..at], &inserted, &content[at..]].concat())?;
            return Ok(());
        }
        sparse_copy(&self.base(), &origin)?;
        let file = File::options().read(true).write(true).open(&origin)?;
        let length = file.metadata()?.len();
        let mut random = 1_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        match case {
            Case::C => {
                let blocks = length / BLOCK as u64;
                for _ in 0..blocks / 100 {
                    let block: Vec<u8> = (0..BLOCK / 8).flat_map(|_| next().to_le_bytes()).collect();
                    file.write_all_at(&block, next() % blocks * BLOCK as u64)?;
                }
            }
            Case::D => {
                const RUN: usize = 10_000_000;
                for i in 0..25_u64 {
                    let at = i * (length * 3 / 4 / 25) / BLOCK as u64 * BLOCK as u64;
                    let mut data = vec![0; RUN];
                    file.read_exact_at(&mut data, at)?;
                    // Real contents that nobody has seen.
                    data.reverse();
                    file.write_all_at(&data, at)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts both sides into the state before a transfer.
    pub fn reset(&self, case: Case) -> anyhow::Result<()> {
        let (base, origin, destination) = (self.base(), self.origin(), self.destination());
        for path in [&origin, &destination] {
            vmmp::delta::receive::forget(path)?;
        }
        if case == Case::A {
            if destination.exists() {
                fs::remove_file(&destination)?;
            }
            return Ok(());
        }
        sparse_copy(&base, &destination)?;
        let file = File::options().write(true).open(&destination)?;
        match case {
            // As rsync -t leaves it.
            Case::Same => file.set_modified(fs::metadata(&origin)?.modified()?)?,
            _ => file.set_modified(SystemTime::UNIX_EPOCH)?,
        }
        let table = Table::load(&base).context("the base has no table")?;
        // What an earlier transfer of the base to here would have left at both ends.
        Table { identity: Identity::of(&File::open(&destination)?)?, ..table.clone() }.save(&destination)?;
        let list = chunks::list(&base)?;
        let identity = Identity::of(&File::open(&destination)?)?;
        let head = [identity.bytes, identity.modified, identity.inode].map(u64::to_le_bytes);
        fs::write(chunks::path(&destination), [head.as_flattened(), &list].concat())?;
        let identity = match case {
            Case::Same => Identity::of(&File::open(&origin)?)?,
            _ => table.identity,
        };
        Table { identity, ..table }.save(&origin)?;
        Ok(())
    }

    /// Is the destination's file the origin's? Both are read.
    pub fn check(&self) -> anyhow::Result<()> {
        let hash = |path: &Path| -> anyhow::Result<_> {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(File::open(path)?)?;
            Ok(hasher.finalize())
        };
        anyhow::ensure!(
            hash(&self.origin())? == hash(&self.destination())?,
            "the destination has another file"
        );
        Ok(())
    }
}

fn sparse_copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").args(["--sparse=always", "--no-preserve=all"]).arg(from).arg(to))?;
    Ok(())
}

/// Copies files until there are enough.
fn copy_tree(from: &Path, to: &Path, left: &mut u64) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, path) = (entry.file_type()?, entry.path());
        if *left == 0 {
            return Ok(());
        }
        if kind.is_dir() {
            copy_tree(&path, &to.join(entry.file_name()), left)?;
        } else if kind.is_file() {
            *left = left.saturating_sub(fs::copy(&path, to.join(entry.file_name()))?);
        }
    }
    Ok(())
}
