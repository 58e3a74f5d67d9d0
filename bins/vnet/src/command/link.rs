//! `vnet link`: primitives 1, 2 and 6.

use std::net::SocketAddr;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use vnet_core::control::{LinkSpec, LinkStatus, Request};
use vnet_core::{HostName, Link, LinkId, LinkKind};
use vnetd::client::{Call, Client};

use crate::cli::Global;
use crate::connect::connect;
use crate::output::{self, Table};

/// List, add and delete links
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the links of a daemon, or of all
    List {
        /// The daemon
        host: Option<HostName>,
    },
    /// Add a link between two daemons, at both its ends
    #[command(after_help = "Example:\n  vnet link add udp host-a host-b")]
    Add {
        /// What carries it
        #[arg(value_enum)]
        kind: Kind,
        /// One end, which opens the link
        a: HostName,
        /// The other end
        b: HostName,
        /// Let the other end open it
        #[arg(long)]
        opened_by_b: bool,
        /// The data address of the first end, if the Proxy shouldn't be asked
        #[arg(long, value_name = "IP:PORT")]
        a_address: Option<SocketAddr>,
        /// The data address of the other end
        #[arg(long, value_name = "IP:PORT")]
        b_address: Option<SocketAddr>,
    },
    /// Delete a link, at both its ends
    #[command(alias = "delete")]
    Del {
        /// One end
        a: HostName,
        /// The other end
        b: HostName,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Tcp,
    Udp,
}

#[derive(Serialize)]
struct Listed {
    host: HostName,
    #[serde(flatten)]
    link: LinkStatus,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let mut client = connect(global.control.as_ref())?;
    match options.command {
        Command::List { host } => list(global, &mut client, host.as_ref()),
        Command::Add { kind, a, b, opened_by_b, a_address, b_address } => {
            let kind = match kind {
                Kind::Tcp => LinkKind::Tcp,
                Kind::Udp => LinkKind::Udp,
            };
            let opener = if opened_by_b { b.clone() } else { a.clone() };
            let link = Link { kind, opener, a: a.clone(), b: b.clone() };
            add(&mut client, &link, [(a, b_address), (b, a_address)])?;
            output::show(global.json, &link, || format!("added {link}\n"))
        }
        Command::Del { a, b } => {
            let id = LinkId::new(&a, &b);
            let calls = [&a, &b].map(|host| (Some(host.clone()), Request::DeleteLink(id.clone())));
            let failures = failures(&mut client, calls.to_vec())?;
            if !failures.is_empty() {
                bail!("{}", failures.join("; "));
            }
            output::show(global.json, &id, || format!("deleted the link {id}\n"))
        }
    }
}

fn list(global: &Global, client: &mut Client, host: Option<&HostName>) -> Result<()> {
    let mut listed = Vec::new();
    for host in super::targets(client, host)? {
        let links = client.links(Some(&host))?;
        listed.extend(links.into_iter().map(|link| Listed { host: host.clone(), link }));
    }
    output::show(global.json, &listed, || {
        let mut table = Table::new(["HOST", "LINK", "KIND", "OPENER", "PEER", "STATE"]);
        for Listed { host, link } in &listed {
            table.row([
                host.to_string(),
                link.link.id().to_string(),
                link.link.kind.to_string(),
                link.link.opener.to_string(),
                link.peer.map_or_else(|| "-".to_owned(), |peer| peer.to_string()),
                if link.state.up { "up".to_owned() } else { format!("down: {}", link.state.why) },
            ]);
        }
        table.text()
    })
}

/// Adds the link at both ends, or at none.
fn add(client: &mut Client, link: &Link, ends: [(HostName, Option<SocketAddr>); 2]) -> Result<()> {
    let calls: Vec<Call> = ends
        .iter()
        .map(|(host, peer)| {
            (Some(host.clone()), Request::AddLink(LinkSpec { link: link.clone(), peer: *peer }))
        })
        .collect();
    let answers = client.call_many(calls)?;
    let good: Vec<_> = ends.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).collect();
    if good.len() == 1 {
        let undo = good.iter().map(|((host, _), _)| (Some(host.clone()), Request::DeleteLink(link.id())));
        client.call_many(undo.collect())?;
    }
    for ((host, _), answer) in ends.into_iter().zip(answers) {
        answer.map_err(|error| anyhow!("{host}: {error}"))?;
    }
    Ok(())
}

fn failures(client: &mut Client, calls: Vec<Call>) -> Result<Vec<String>> {
    let hosts: Vec<_> = calls.iter().filter_map(|(host, _)| host.clone()).collect();
    let answers = client.call_many(calls)?;
    Ok(hosts
        .iter()
        .zip(answers)
        .filter_map(|(host, answer)| Some(format!("{host}: {}", answer.err()?)))
        .collect())
}
