//! Forwards a frame between two ports in memory.

use std::time::Duration;

use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, NetworkId, Rule, Source};
use vnet_fwd::{DataPlane, DataPlaneConfig, channel};

fn main() -> anyhow::Result<()> {
    let plane = DataPlane::start(DataPlaneConfig::new(HostName::new("here")?))?;
    let network = NetworkId(1);
    let (left_port, left) = channel::pair(64)?;
    let (right_port, right) = channel::pair(64)?;
    plane.add_port(InterfaceName::new("left")?, network, Box::new(left_port))?;
    plane.add_port(InterfaceName::new("right")?, network, Box::new(right_port))?;

    let to_right = MacAddr::local(2);
    let action = Action::Interface(InterfaceName::new("right")?);
    plane
        .add_rule(network, Rule { source: Source::Any, destination: Destination::Exact(to_right), action })?;

    let frame = [&to_right.0[..], &MacAddr::local(1).0, &[0x08, 0x00], b"hello"].concat();
    anyhow::ensure!(left.send(&frame), "the cable is full");
    let received = right.receive_within(Duration::from_secs(1));
    println!("{}", if received == Some(frame) { "forwarded" } else { "lost" });
    Ok(())
}
