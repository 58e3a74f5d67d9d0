//! Joins a QEMU guest to the overlay without any privilege:
//!
//! ```console
//! $ cargo run -p vnet-examples --example virtual_machine -- left 127.0.0.1:7801 right 127.0.0.1:7802
//! $ cargo run -p vnet-examples --example virtual_machine -- right 127.0.0.1:7802 left 127.0.0.1:7801
//! $ qemu-system-x86_64 ... -device virtio-net,netdev=n \
//!     -netdev stream,id=n,server=off,addr.type=unix,addr.path=/tmp/left.sock
//! ```
use vnet_core::control::LinkSpec;
use vnet_core::{
    Action, Destination, EdgeRef, HostName, InterfaceName, Link, LinkKind, NetworkId, Rule, Source,
};
use vnet_fwd::{DataPlane, DataPlaneConfig, Encryption, StreamPort};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [own, bind, peer, address] = &arguments[..] else { anyhow::bail!("wanted: OWN BIND PEER ADDRESS") };
    let (own, peer, network) = (HostName::new(own)?, HostName::new(peer)?, NetworkId(1));
    let config = DataPlaneConfig { bind: Some(bind.parse()?), ..DataPlaneConfig::new(own.clone()) };
    let plane = DataPlane::start(DataPlaneConfig { encryption: Encryption::None, ..config })?;

    let (vm, socket) = (InterfaceName::new("vm")?, format!("/tmp/{own}.sock"));
    plane.add_port(vm.clone(), network, Box::new(StreamPort::listen(socket.as_ref())?))?;
    let opener = own.clone().min(peer.clone());
    let link = Link { kind: LinkKind::Udp, opener, a: own.clone(), b: peer.clone() };
    plane.add_link(LinkSpec { link, peer: Some(address.parse()?) })?;
    for action in [Action::Interface(vm), Action::Edge(EdgeRef { from: own, to: peer })] {
        plane.add_rule(network, Rule { source: Source::Any, destination: Destination::Any, action })?;
    }
    println!("a virtual machine can connect to {socket}");
    std::io::stdin().lines().for_each(drop);
    Ok(())
}
