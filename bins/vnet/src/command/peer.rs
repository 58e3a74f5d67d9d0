//! `vnet peer`: who may have encrypted links with a daemon.

use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use vnet_core::control::{PeerKey, Request};
use vnet_core::{HostName, PublicKey};

use crate::cli::Global;
use crate::connect::connect;
use crate::output::{self, Table};

/// List, add and delete the daemons that may have links with a daemon
///
/// Encrypted links come up with daemons only whose public key is on the list. A
/// Proxy that introduces daemons (`vnetd --introduce`) fills the lists itself.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the keys that a daemon, or each, knows; its own first
    List {
        /// The daemon
        host: Option<HostName>,
    },
    /// Let a daemon with this key have links with a daemon
    #[command(after_help = "\
Example, to be done on both sides:
  vnet peer add host-a host-b $(ssh host-b vnet keygen --show /etc/vnetd/private.key)")]
    Add {
        /// The daemon whose list it is
        host: HostName,
        /// The other daemon
        peer: HostName,
        /// The other daemon's public key
        key: PublicKey,
    },
    /// Take a daemon off a daemon's list: their link goes down and stays down
    #[command(alias = "delete")]
    Del {
        /// The daemon whose list it is
        host: HostName,
        /// The other daemon
        peer: HostName,
    },
}

#[derive(Serialize)]
struct Listed {
    host: HostName,
    public_key: Option<PublicKey>,
    peers: Vec<PeerKey>,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    match options.command {
        Command::List { host } => {
            let mut listed = Vec::new();
            for host in super::targets(&mut client, host.as_ref())? {
                let (public_key, peers) = client.peers(Some(&host))?;
                listed.push(Listed { host, public_key, peers });
            }
            output::show(global.json, &listed, || text(&listed))
        }
        Command::Add { host, peer, key } => {
            let peer = PeerKey { host: peer, key, introduced: false };
            client.call(Some(&host), Request::AllowPeer(peer.clone()))?;
            output::show(global.json, &peer, || format!("{host} takes {} with the key {key}\n", peer.host))
        }
        Command::Del { host, peer } => {
            client.call(Some(&host), Request::ForbidPeer(peer.clone()))?;
            output::show(global.json, &peer, || format!("{host} takes {peer} no longer\n"))
        }
    }
}

fn text(listed: &[Listed]) -> String {
    let mut table = Table::new(["HOST", "PEER", "KEY", "FROM"]);
    for Listed { host, public_key, peers } in listed {
        let own = public_key.map_or_else(|| "links are plain".to_owned(), |key| key.to_string());
        table.row([host.to_string(), "(itself)".to_owned(), own, "-".to_owned()]);
        for PeerKey { host: peer, key, introduced } in peers {
            let from = if *introduced { "the Proxy" } else { "an operator" };
            table.row([host.to_string(), peer.to_string(), key.to_string(), from.to_owned()]);
        }
    }
    table.text()
}
