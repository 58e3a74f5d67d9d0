//! Fuzzing every parser of untrusted bytes.

use std::fs;

use anyhow::{Context, bail};

use crate::steps::{cargo_command, install, root, run as run_command};

fn fuzz_one(target: &str, seconds: u32) -> anyhow::Result<()> {
    // Coverage instrumentation is an unstable flag of a stable compiler.
    let limit = format!("-max_total_time={seconds}");
    let mut command = cargo_command(&["fuzz", "run", "--sanitizer", "none", target, "--", &limit]);
    command.env("RUSTC_BOOTSTRAP", "1");
    run_command(&mut command)
}

pub(crate) fn run(target: Option<&str>, seconds: u32) -> anyhow::Result<()> {
    install("cargo-fuzz")?;
    let targets = targets()?;
    match target {
        Some(name) if !targets.iter().any(|t| t == name) => {
            bail!("no fuzz target `{name}`; there are {}", targets.join(", "))
        }
        Some(name) => fuzz_one(name, seconds),
        None => targets.iter().try_for_each(|name| fuzz_one(name, seconds)),
    }
}

fn targets() -> anyhow::Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))? {
        let path = entry?.path();
        if let (Some(stem), Some("rs")) = (path.file_stem(), path.extension().and_then(|e| e.to_str())) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
