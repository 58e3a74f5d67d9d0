//! Our overlay as a process of its own in one of the hosts: `overlay plane`.

use std::io::Read;
use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use vnet_core::control::{InterfaceSpec, LinkSpec, PortKind};
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, NetworkId, Rule, Source,
};
use vnet_fwd::secure::SecureOptions;
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, OffloadSwitches, PrivateKey};

/// What a host's data plane is started with.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlaneArgs {
    /// This host.
    #[arg(long)]
    pub(crate) name: String,
    /// The other host.
    #[arg(long)]
    pub(crate) peer: String,
    /// Where links end here.
    #[arg(long)]
    pub(crate) bind: SocketAddr,
    /// Where they end there.
    #[arg(long)]
    pub(crate) peer_address: SocketAddr,
    /// The TAP device to make.
    #[arg(long)]
    pub(crate) tap: String,
    /// The link is over TCP.
    #[arg(long)]
    pub(crate) tcp: bool,
    /// An offload to leave unused: ports, links, udp-segmentation, udp-coalescing, batches.
    #[arg(long)]
    pub(crate) without: Vec<String>,
    /// The link is encrypted, with keys that follow from the names.
    #[arg(long)]
    pub(crate) encrypt: bool,
    /// Flows that the rule cache keeps.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) cache: usize,
}

/// Forwards until the standard input ends.
pub(crate) fn run(args: &PlaneArgs) -> anyhow::Result<()> {
    let (name, peer) = (HostName::new(&args.name)?, HostName::new(&args.peer)?);
    let mut offloads = OffloadSwitches::ON;
    for without in &args.without {
        match without.as_str() {
            "ports" => offloads.ports = false,
            "links" => offloads.links = false,
            "udp-segmentation" => offloads.udp_segmentation = false,
            "udp-coalescing" => offloads.udp_coalescing = false,
            "batches" => offloads.batches = false,
            "all" => offloads = OffloadSwitches::OFF,
            other => anyhow::bail!("there is no offload `{other}`"),
        }
    }
    let plane = DataPlane::start(DataPlaneConfig {
        bind: Some(args.bind),
        incarnation: u64::from(std::process::id()),
        offloads,
        cache_capacity: args.cache,
        encryption: match args.encrypt {
            true => Encryption::Key(key(&args.name), SecureOptions::default()),
            false => Encryption::None,
        },
        ..DataPlaneConfig::new(name.clone())
    })?;
    plane.allow(&peer, key(&args.peer).public())?;
    let network = NetworkId(1);
    let interface = InterfaceName::new("vm")?;
    plane.add_interface(InterfaceSpec {
        name: interface.clone(),
        network,
        mac: None,
        port: PortKind::Tap { device: args.tap.clone(), netns: None, create: true },
    })?;
    let edge = EdgeRef { from: name.clone(), to: peer.clone() };
    for action in [Action::Interface(interface), Action::Edge(edge)] {
        plane.add_rule(network, Rule { source: Source::Any, destination: Destination::Any, action })?;
    }
    let opener = name.clone().min(peer.clone());
    let link = Link { kind: if args.tcp { LinkKind::Tcp } else { LinkKind::Udp }, opener, a: name, b: peer };
    plane.add_link(LinkSpec { link, peer: Some(args.peer_address) })?;
    // The parent holds the other end.
    std::io::stdin().read_to_end(&mut Vec::new()).context("waiting for the end")?;
    for drop in plane.drops()?.iter().filter(|drop| drop.frames > 0) {
        eprintln!("{}: {} frames dropped: {}", args.name, drop.frames, drop.reason);
    }
    Ok(())
}

/// Both processes can tell each other's key: it protects nothing but measurements.
fn key(name: &str) -> PrivateKey {
    PrivateKey::from_bytes([name.bytes().fold(1, u8::wrapping_add); 32])
}
