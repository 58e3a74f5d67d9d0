//! One module per command.

pub(crate) mod bound;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod draw;
pub(crate) mod generate;
pub(crate) mod serve;
pub(crate) mod solve;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use vadapt::Problem;

/// The largest file that is read, in bytes: 4,000 hosts in a complete overlay stay below.
const MAX_FILE: u64 = 4 << 30;

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE).read_to_string(&mut text).context("can't read standard input")?;
    } else {
        let file = fs::File::open(path).with_context(|| format!("can't open {}", path.display()))?;
        file.take(MAX_FILE)
            .read_to_string(&mut text)
            .with_context(|| format!("can't read {}", path.display()))?;
    }
    Ok(text)
}

fn read_problem(path: &Path) -> anyhow::Result<Problem> {
    let text = read(path)?;
    Problem::from_json(&text).with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        let written = writeln!(out, "{text}").and_then(|()| out.flush());
        return match written {
            // A reader that has seen enough is no failure.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("can't write to standard output"),
        };
    }
    fs::write(path, format!("{text}\n")).with_context(|| format!("can't write {}", path.display()))
}
