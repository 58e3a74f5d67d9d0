//! What the daemons' command lines have in common.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde::Deserialize;
use vmmp::io::channel::{Keys, show_key};

use crate::config::load;
use crate::error::Error;

/// What a daemon's program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run, with this configuration
    Run {
        /// A TOML file; the manual of the library `vmmpd` describes it
        config: PathBuf,
    },
    /// Make keys in this file, unless it is there, and print the public one
    Keygen {
        /// `key` in the daemon's state folder
        file: PathBuf,
    },
}

impl Command {
    /// Does it, and says under the program's name what fails.
    pub(crate) fn carry_out<C: for<'a> Deserialize<'a>>(
        &self,
        program: &str,
        run: impl FnOnce(&C) -> Result<(), Error>,
    ) -> ExitCode {
        crate::log::start();
        let done = match self {
            Self::Run { config } => load(config).and_then(|config| run(&config)),
            Self::Keygen { file } => keygen(file),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{program}: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn keygen(file: &Path) -> Result<(), Error> {
    println!("{}", show_key(&Keys::load_or_make(file)?.public));
    Ok(())
}
