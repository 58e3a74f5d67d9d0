//! `cargo xtask`: what people and CI run.

mod fuzz;
mod guest;
mod setup;
mod steps;

use clap::{Parser, Subcommand};

/// What people and CI run in this project.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up what the tests need (where it may), then run every test
    Test {
        /// Only say what is missing and what would be done about it
        #[arg(long)]
        check: bool,
    },
    /// Make the guest of the tests that run real VMs (installs QEMU if it is missing)
    Guest,
    /// Build each crate alone, with no features and with all of them
    Alone,
    /// Check licences, bans and sources of all dependencies (installs cargo-deny if it is missing)
    Deny,
    /// Run the benches, or one of them
    Bench {
        /// The bench to run; all of them if not given
        name: Option<String>,
    },
    /// Fuzz every parser of untrusted bytes, or one of them (installs cargo-fuzz if it is missing)
    Fuzz {
        /// The target to run; all of them if not given
        target: Option<String>,
        /// Seconds for each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Test { check: true } => setup::check(),
        Command::Test { check: false } => {
            setup::prepare()?;
            steps::test()
        }
        Command::Guest => setup::prepare_guest(),
        Command::Alone => steps::alone(),
        Command::Deny => steps::deny(),
        Command::Bench { name } => steps::bench(name.as_deref()),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
    }
}
