//! A minimal daemon put together from the crates: two hosts on this machine's
//! loopback, a link between them, and a frame that crosses it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use vnet_core::control::LinkSpec;
use vnet_core::generate::Overlay;
use vnet_core::shape::Shape;
use vnet_core::{HostName, MacAddr, NetworkId, Topology};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::secure::SecureOptions;
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, PrivateKey};

const NETWORK: NetworkId = NetworkId(1);

/// A data plane that does its part of a description.
struct Daemon {
    host: HostName,
    plane: DataPlane,
    vm: ChannelEnd,
}

impl Daemon {
    fn start(topology: &Topology, number: usize) -> anyhow::Result<Self> {
        let host = &topology.hosts[number];
        let bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let encryption = Encryption::Key(key(number), SecureOptions::default());
        let config = DataPlaneConfig { bind, encryption, ..DataPlaneConfig::new(host.machine.clone()) };
        let plane = DataPlane::start(config)?;
        let (port, vm) = channel::pair(64)?;
        plane.add_port(host.interface.clone(), NETWORK, Box::new(port))?;
        // The keys of the others come by a way that can be trusted; here, all are in one hand.
        for (number, other) in topology.hosts.iter().enumerate() {
            plane.allow(&other.machine, key(number).public())?;
        }
        for rule in topology.rules_of(&host.machine) {
            plane.add_rule(NETWORK, rule.clone())?;
        }
        Ok(Self { host: host.machine.clone(), plane, vm })
    }

    fn connect(&self, topology: &Topology, peer: &Self) -> anyhow::Result<()> {
        for link in topology.links.values().filter(|link| link.id().peer_of(&self.host) == Some(&peer.host)) {
            self.plane.add_link(LinkSpec { link: link.clone(), peer: peer.plane.address() })?;
        }
        Ok(())
    }
}

/// A key for an example: real ones come from [`PrivateKey::generate`].
fn key(number: usize) -> PrivateKey {
    PrivateKey::from_bytes([number as u8 + 1; 32])
}

fn main() -> anyhow::Result<()> {
    let topology = Overlay::numbered(2, Shape::Star).generate()?;
    print!("{topology}");
    let (a, b) = (Daemon::start(&topology, 0)?, Daemon::start(&topology, 1)?);
    a.connect(&topology, &b)?;
    b.connect(&topology, &a)?;

    let frame = [&MacAddr::local(2).0[..], &MacAddr::local(1).0, &[0x08, 0x00], b"hello"].concat();
    // Frames that come before the link is up are lost, as on any Ethernet.
    for _ in 0..100 {
        let _ = a.vm.send(&frame);
        if b.vm.receive_within(Duration::from_millis(50)).is_some() {
            let links = a.plane.links()?;
            let link = links.first().context("there is one link")?;
            println!("the frame crossed {} to {:?}", link.link, link.peer);
            return Ok(());
        }
    }
    anyhow::bail!("nothing crossed the link: {:?}", a.plane.links()?)
}
