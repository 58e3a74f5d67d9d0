//! The program `vmmpa`.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::Parser;
use vmmp::Party;
use vmmp::io::channel::{Keys, show_key};
use vmmp::io::stream::Address;

use super::node::Node;
use super::users::Users;
use crate::cli::Command;
use crate::config::AgentConfig;
use crate::error::Error;
use crate::links::{Contact, Links};
use crate::server::{Whose, listen, listen_for_users};

/// The migration agent: knows where every virtual machine is, and has providers move
/// them.
#[derive(Debug, Parser)]
#[command(name = "vmmpa", version, after_help = "Its users speak to it with `vmmp`.")]
struct Options {
    #[command(subcommand)]
    command: Command,
}

/// Runs the program `vmmpa` with the arguments of this process.
pub fn main_from_env() -> ExitCode {
    Options::parse().command.carry_out("vmmpa", run)
}

/// Runs an agent, for as long as its journal can be written.
///
/// # Errors
/// It can't start, or can't go on.
pub fn run(config: &AgentConfig) -> Result<(), Error> {
    let make = |source| Error::File { action: "make", path: config.state.clone(), source };
    fs::create_dir_all(&config.state).map_err(make)?;
    let keys = Arc::new(Keys::load_or_make(&config.state.join("key"))?);
    let mut contacts = BTreeMap::new();
    let mut whose = BTreeMap::new();
    for peer in &config.peers {
        let party = Party::Peer(peer.name.clone());
        whose.insert(peer.key.0, Whose::Party(party.clone()));
        contacts.insert(party, Contact { address: peer.address.clone(), key: peer.key.0 });
    }
    for user in &config.users {
        whose.insert(user.key.0, Whose::User(user.name.clone()));
    }
    let links = Links::start(&keys, &contacts)?;
    let node = Node::open(&config.state.join("journal"), config.timing.into(), links)?;
    let (sender, events) = channel();
    let users = Arc::new(Users { events: sender });
    let whose = Arc::new(whose);
    for address in &config.listen {
        listen(address, &keys, &whose, &users)?;
    }
    listen_for_users(&Address::Unix(config.control.clone()), &users)?;
    tracing::info!("the agent runs; its key is {}", show_key(&keys.public));
    node.run(&events)
}
