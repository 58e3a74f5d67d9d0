//! The commands of `vlab`.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use vlab::{Lab, LabSpec, Machine};

use crate::table;

/// A laboratory: hosts as network namespaces, an emulated WAN between them.
///
/// FILE is a description in TOML (see the README of this package), or
/// `papers`, the built-in one. As an ordinary user this needs a kernel that
/// allows unprivileged user namespaces, and uses veth devices where
/// /dev/net/tun can't be opened (VLAB_NICS=tap or veth forces one kind).
/// Everything is removed at the end, however it comes.
#[derive(Debug, Parser)]
#[command(name = "vlab", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Build a laboratory and run a command in it, or wait for Ctrl-C
    Run(Run),
    /// Build a laboratory and open a shell in one of its hosts or VMs
    Shell {
        /// The description
        file: PathBuf,
        /// The host or VM [default: the first host]
        machine: Option<String>,
    },
    /// Check a description and print what it would build
    Check {
        /// The description
        file: PathBuf,
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The description
    file: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// The host or VM to run the command in [default: beside them, with a view of all files]
    #[arg(long, value_name = "HOST|VM", requires = "command")]
    on: Option<String>,
    /// The command and its arguments; its exit code becomes that of vlab
    #[arg(last = true)]
    command: Vec<String>,
}

impl Cli {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Action::Run(run) => run.run(),
            Action::Shell { file, machine } => shell(&file, machine.as_deref()),
            Action::Check { file, json } => {
                print(&table::check(&load(&file)?, json)?)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Run {
    fn run(self) -> Result<ExitCode> {
        let spec = load(&self.file)?;
        vlab::enter()?;
        let lab = Lab::build(&spec)?;
        let Some((program, arguments)) = self.command.split_first() else {
            print(&table::lab(&lab, self.json)?)?;
            eprintln!("Running. Ctrl-C ends it.");
            // Nothing but a signal ends this, and with it the laboratory.
            loop {
                std::thread::park();
            }
        };
        let mut command = match &self.on {
            Some(name) => command_on(&lab, name, program)?,
            None => Command::new(program),
        };
        let status = vlab::run_in_foreground(command.args(arguments));
        let status = status.with_context(|| format!("cannot run {program}"))?;
        Ok(exit_code(status))
    }
}

fn shell(file: &Path, machine: Option<&str>) -> Result<ExitCode> {
    let spec = load(file)?;
    vlab::enter()?;
    let lab = Lab::build(&spec)?;
    let first = lab.hosts().first().map(Machine::label);
    let name = machine.or(first).ok_or_else(|| anyhow!("{} has no host", file.display()))?;
    let program = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut command = command_on(&lab, name, &program)?;
    command.env("VLAB_MACHINE", name).env("PS1", format!("{name}# "));
    let status = vlab::run_in_foreground(&mut command);
    let status = status.with_context(|| format!("cannot run {}", program.display()))?;
    Ok(exit_code(status))
}

fn load(file: &Path) -> Result<LabSpec> {
    if file == Path::new("papers") { Ok(LabSpec::papers()) } else { Ok(LabSpec::load(file)?) }
}

/// A command that will run in the host or VM of this name.
fn command_on(lab: &Lab, name: &str, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    if let Some(host) = lab.hosts().iter().find(|host| host.label() == name) {
        return Ok(host.command(program));
    }
    if let Some(vm) = lab.vms().iter().find(|vm| vm.label() == name) {
        return Ok(vm.command(program));
    }
    let hosts = lab.hosts().iter().map(Machine::label);
    let known: Vec<_> = hosts.chain(lab.vms().iter().map(Machine::label)).collect();
    Err(anyhow!("no host or VM is named `{name}`; there are {}", known.join(", ")))
}

fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}

/// As a shell has it: 128 and the signal for a program that one has ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
