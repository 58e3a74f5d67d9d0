//! The client of the VNET daemons, and the demonstration.

mod cli;
mod command;
mod connect;
mod demo;
mod drawing;
mod input;
mod output;
mod report;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    // This program again, as a daemon or a VM's application in a laboratory.
    if let Some(code) = testbed::dispatch().or_else(demo::dispatch) {
        return code;
    }
    let Cli { global, command } = Cli::parse();
    let result = match command {
        Command::Demo(options) => {
            vlab::enter().map_err(anyhow::Error::from).and_then(|_| demo::run(&options))
        }
        Command::Up(options) => command::up::run(&global, options),
        Command::Down(options) => command::down::run(&global, &options),
        Command::Show(options) => command::show::run(&global, &options),
        Command::Route(options) => command::route::run(&global, &options),
        Command::Diff(options) => command::diff::run(&global, &options),
        Command::Apply(options) => command::apply::run(&global, &options),
        Command::Check(options) => command::check::run(&global, &options),
        Command::Generate(options) => command::generate::run(&global, options),
        Command::Link(options) => command::link::run(&global, options),
        Command::Rule(options) => command::rule::run(&global, options),
        Command::Interface(options) => command::interface::run(&global, options),
        Command::Peer(options) => command::peer::run(&global, options),
        Command::Keygen(options) => command::keygen::run(&global, options),
        Command::Bound(options) => command::bound::run(&global, &options),
        Command::Status(options) => command::status::run(&global, &options),
        Command::Traffic(options) => command::traffic::run(&global, &options),
        Command::Paths(options) => command::paths::run(&global, &options),
        Command::Completions(options) => command::completions::run(&options),
        Command::Daemon(options) => return command::daemon::run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vnet: {}", output::sentence(&error));
            ExitCode::FAILURE
        }
    }
}
