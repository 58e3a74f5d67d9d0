//! The program `vmmpd`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::Parser;
use vm_driver::{Driver, DriverError, namespace, qemu, simulated};
use vmmp::Party;
use vmmp::io::channel::{Keys, show_key};
use vmmp::io::stream::Address;

use super::behind;
use super::host::Host;
use super::node::Node;
use super::overlay::Overlay;
use super::running::Running;
use super::visitors::Visitors;
use crate::cli::Command;
use crate::config::{DriverKind, ProviderConfig};
use crate::error::Error;
use crate::links::{Contact, Links};
use crate::server::{Whose, listen, listen_for_users};

/// A provider of virtual machines: runs them, and moves them to and from other providers
/// when the migration agent asks for it.
#[derive(Debug, Parser)]
#[command(name = "vmmpd", version, after_help = "Its users speak to it with `vmmp vm`.")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

/// Runs the program `vmmpd` with the arguments of this process.
pub fn main_from_env() -> ExitCode {
    Options::parse().command.carry_out("vmmpd", run)
}

/// Runs a provider, for as long as its journal can be written. Machines that run here
/// already, from an earlier run, are adopted.
///
/// # Errors
/// It can't start, or can't go on.
pub fn run(config: &ProviderConfig) -> Result<(), Error> {
    let file = |action, path: &PathBuf| {
        let path = path.clone();
        move |source| Error::File { action, path, source }
    };
    fs::create_dir_all(&config.state).map_err(file("make", &config.state))?;
    let keys = Arc::new(Keys::load_or_make(&config.state.join("key"))?);
    let agent = Contact { address: config.agent.address.clone(), key: config.agent.key.0 };
    let mut whose = BTreeMap::from([(agent.key, Whose::Party(Party::Agent))]);
    let mut contacts = BTreeMap::from([(Party::Agent, agent)]);
    for peer in config.peers.iter().filter(|peer| peer.name != config.name) {
        let party = Party::Peer(peer.name.clone());
        whose.insert(peer.key.0, Whose::Party(party.clone()));
        contacts.insert(party, Contact { address: peer.address.clone(), key: peer.key.0 });
    }
    let links = Links::start(&keys, &contacts)?;
    let wanted = config.state.join("running");
    let running = Running::open(&wanted).map_err(file("use", &wanted))?;
    let overlay = config.overlay.as_ref().map(|overlay| Overlay::new(overlay.control.clone()));
    let (sender, events) = channel();
    let root = config.driver.root.clone().unwrap_or_else(|| config.state.join("vms"));
    let opened = behind::reopen(&root, &keys, &contacts);
    let host = Arc::new(Host::new(
        open_driver(config, &root)?,
        Arc::clone(&keys),
        contacts,
        sender,
        running,
        overlay,
        config.state.join("live"),
        config.restart,
    ));
    behind::see_to_all(&host, opened);
    let node = Node::open(&config.state.join("journal"), config.timing.into(), links, &host)?;
    let visitors = Arc::new(Visitors(host));
    let whose = Arc::new(whose);
    for address in &config.listen {
        listen(address, &keys, &whose, &visitors)?;
    }
    listen_for_users(&Address::Unix(config.control.clone()), &visitors)?;
    tracing::info!("provider {} runs; its key is {}", config.name, show_key(&keys.public));
    node.run(&events)
}

fn open_driver(config: &ProviderConfig, root: &Path) -> Result<Box<dyn Driver>, DriverError> {
    Ok(match config.driver.kind {
        DriverKind::Qemu => Box::new(qemu::open(root, qemu::Options::default())?),
        DriverKind::Namespace => Box::new(namespace::open(root)?),
        DriverKind::Simulated => Box::new(simulated::open(root, &simulated::Machine::new())?),
    })
}
