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
    #[arg(long, global = true, value_name = "ADDRESS", env = "VNET_CONTROL")]
    pub(crate) control: Option<Address>,
    /// The isolated network whose rules and traffic are meant
    #[arg(long, global = true, value_name = "N", default_value = "1", value_parser = parse_network)]
    pub(crate) network: NetworkId,
    /// Print JSON
    #[arg(long, global = true)]
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
    /// Start the daemons of a description and give them its topology
    Up(command::up::Options),
    /// Stop all daemons of the overlay
    Down(command::down::Options),
    /// Show the current topology
    Show(command::show::Options),
    /// Show the way of a frame between two VMs
    Route(command::route::Options),
    /// Show what would have to change to match a description
    Diff(command::diff::Options),
    /// Reconfigure the overlay to match a description, without losing a frame
    Apply(command::apply::Options),
    /// Check a description
    Check(command::check::Options),
    /// Generate the description of an overlay
    Generate(command::generate::Options),
    /// List, add and delete links
    Link(command::link::Options),
    /// List, add and delete forwarding rules
    Rule(command::rule::Options),
    /// List, add and delete interfaces
    Interface(command::interface::Options),
    /// Show or set the upper bound on configuration time
    Bound(command::bound::Options),
    /// Show the state of all daemons, and why what is down is down
    Status(command::status::Options),
    /// Show what the application does: its topology and traffic
    Traffic(command::traffic::Options),
    /// Print a shell's completion script
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
