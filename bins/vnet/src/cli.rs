//! The command line.

use clap::{Args, Parser, Subcommand};
use vnet_core::NetworkId;
use vnetd::client::Address;

use crate::{command, demo};

/// Configure, change and watch an adaptive virtual LAN.
#[derive(Debug, Parser)]
#[command(name = "vnet", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Talk to this daemon: a Unix socket's path or host:port. Any daemon of
    /// the overlay will do [default: the daemon or the Proxy of this machine]
    #[arg(
        long,
        global = true,
        help_heading = "Global options",
        value_name = "ADDRESS",
        env = "VNET_CONTROL"
    )]
    pub(crate) control: Option<Address>,
    /// The isolated network whose rules and traffic are meant
    #[arg(long, global = true, help_heading = "Global options", value_name = "N", default_value = "1", value_parser = parse_network)]
    pub(crate) network: NetworkId,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vnet demo                           the whole idea on this machine, in a minute
  vnet generate ring --host a --host b --host c > ring.vnet
  vnet up --local ring.vnet           start three daemons here, joined in a ring
  vnet status                         what works and what doesn't, and why
  vnet generate star --from ring.vnet | vnet apply -
  vnet route 02:00:00:00:00:01 02:00:00:00:00:02
  vnet show --format svg > overlay.svg
  vnet traffic --watch

Exit codes: 0 done, 1 failed, 2 wrong usage. `vnet COMMAND --help` says more.";

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Options),
    Up(command::up::Options),
    Down(command::down::Options),
    Show(command::show::Options),
    Route(command::route::Options),
    Diff(command::diff::Options),
    Apply(command::apply::Options),
    Check(command::check::Options),
    Generate(command::generate::Options),
    Link(command::link::Options),
    Rule(command::rule::Options),
    Interface(command::interface::Options),
    Peer(command::peer::Options),
    Keygen(command::keygen::Options),
    Bound(command::bound::Options),
    Status(command::status::Options),
    Traffic(command::traffic::Options),
    Paths(command::paths::Options),
    Completions(command::completions::Options),
    /// Be a daemon: the program vnetd
    #[command(hide = true, disable_help_flag = true)]
    Daemon(command::daemon::Options),
}

fn parse_network(text: &str) -> Result<NetworkId, String> {
    text.parse()
        .map(NetworkId)
        .map_err(|error| format!("{error}; networks are numbered from 0 to 4294967295"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
