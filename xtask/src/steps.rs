//! The commands that the tasks are made of.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// Crates whose tests run in release builds: they measure, or they carry real traffic.
const RELEASE_TESTED: &str = "vnet";

pub(crate) fn test() -> anyhow::Result<()> {
    // A bench may have the name of the program that it measures.
    cargo(&["build", "--release", "--workspace", "--exclude", "vnet-benches", "--bins", "--examples"])?;
    cargo(&["test", "--workspace", "--exclude", RELEASE_TESTED])?;
    loom()?;
    cargo(&["test", "--release", "--package", RELEASE_TESTED])
}

// Loom replaces std's atomics, so these tests are a build of their own.
fn loom() -> anyhow::Result<()> {
    let mut command = cargo_command(&["test", "--release", "--package", "vnet-fwd", "--lib", "loom_tests"]);
    // Unbounded, the tests with three threads take hours.
    command.env("LOOM_MAX_PREEMPTIONS", "2");
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", root().join("target/loom"));
    run(&mut command)
}

pub(crate) fn alone() -> anyhow::Result<()> {
    for member in members()? {
        cargo(&["check", "--quiet", "--package", &member, "--no-default-features"])?;
        cargo(&["check", "--quiet", "--package", &member, "--all-features"])?;
    }
    Ok(())
}

pub(crate) fn deny() -> anyhow::Result<()> {
    install("cargo-deny")?;
    // Advisories need a database from the network; those who have it run them too.
    cargo(&["deny", "check", "licenses", "bans", "sources"])
}

pub(crate) fn bench(name: Option<&str>) -> anyhow::Result<()> {
    let all = benches()?;
    match name {
        Some(name) if !all.iter().any(|bench| bench == name) => {
            bail!("no bench `{name}`; there are {}", all.join(", "))
        }
        Some(name) => bench_one(name),
        None => all.iter().try_for_each(|name| bench_one(name)),
    }
}

fn bench_one(name: &str) -> anyhow::Result<()> {
    cargo(&["run", "--release", "--package", "vnet-benches", "--bin", name])
}

/// The names of the benches, which are programs.
fn benches() -> anyhow::Result<Vec<String>> {
    let folder = root().join("benches/src/bin");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Installs a cargo subcommand from crates.io unless it is there.
pub(crate) fn install(name: &str) -> anyhow::Result<()> {
    let subcommand = name.strip_prefix("cargo-").unwrap_or(name);
    let there = cargo_command(&[subcommand, "--version"]).output().is_ok_and(|out| out.status.success());
    if there { Ok(()) } else { cargo(&["install", "--locked", name]) }
}

pub(crate) fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run(&mut cargo_command(arguments))
}

pub(crate) fn cargo_command(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ");
    eprintln!("\n-- {shown}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    eprintln!("-- done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The top of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn members() -> anyhow::Result<Vec<String>> {
    let mut command =
        cargo_command(&["tree", "--workspace", "--depth", "0", "--prefix", "none", "--format", "{p}"]);
    let out = command.output().context("could not start `cargo tree`")?;
    if !out.status.success() {
        bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    let text = String::from_utf8(out.stdout).context("`cargo tree` printed something that is not UTF-8")?;
    Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}
