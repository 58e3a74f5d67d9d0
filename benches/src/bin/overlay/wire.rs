//! A wire that delays packets and loses some: between two TAP devices, through
//! a data plane of ours that hands every frame to this program and back.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vnet_core::control::{InterfaceSpec, PortKind};
use vnet_core::{Action, Destination, HostName, InterfaceName, NetworkId, Rule, Source};
use vnet_fwd::channel::{self, ChannelEnd};
use vnet_fwd::{DataPlane, DataPlaneConfig, OffloadSwitches};

/// Between whom, and how bad it is.
#[derive(Args, Clone, Debug)]
pub(crate) struct WireArgs {
    /// The network namespaces of the two hosts
    #[arg(long, num_args = 2)]
    netns: Vec<PathBuf>,
    /// The device at each end
    #[arg(long)]
    device: String,
    /// How long a packet takes, in milliseconds
    #[arg(long)]
    delay_ms: u64,
    /// The part of the packets that is lost, 0 to 1
    #[arg(long)]
    loss: f64,
}

/// How many frames fit in one direction.
const CABLE: usize = 4096;

/// Carries frames until the process is killed.
pub(crate) fn run(args: &WireArgs) -> anyhow::Result<()> {
    // Packets are to be lost one by one, so no super-frames.
    let plane = DataPlane::start(DataPlaneConfig {
        offloads: OffloadSwitches::OFF,
        ..DataPlaneConfig::new(HostName::new("wire")?)
    })?;
    let mut ends = Vec::new();
    for (n, netns) in args.netns.iter().enumerate() {
        let (network, device) = (NetworkId(n as u32), args.device.clone());
        let port = PortKind::Tap { device, netns: Some(netns.clone()), create: true };
        let (tap, cable) =
            (InterfaceName::new(&format!("tap{n}"))?, InterfaceName::new(&format!("cable{n}"))?);
        plane.add_interface(InterfaceSpec { name: tap.clone(), network, mac: None, port })?;
        let (port, end) = channel::pair(CABLE)?;
        plane.add_port(cable.clone(), network, Box::new(port))?;
        for name in [tap, cable] {
            let action = Action::Interface(name);
            plane.add_rule(network, Rule { source: Source::Any, destination: Destination::Any, action })?;
        }
        ends.push(end);
    }
    let mut random = StdRng::seed_from_u64(1);
    let mut queues = [VecDeque::new(), VecDeque::new()];
    loop {
        let now = Instant::now();
        let mut moved = false;
        for (n, queue) in queues.iter_mut().enumerate() {
            moved |= carry(&ends[n], &ends[1 - n], queue, args, &mut random, now);
        }
        if !moved {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

fn carry(
    from: &ChannelEnd,
    to: &ChannelEnd,
    queue: &mut VecDeque<(Instant, Vec<u8>)>,
    args: &WireArgs,
    random: &mut StdRng,
    now: Instant,
) -> bool {
    let mut moved = false;
    while let Some(frame) = from.receive() {
        moved = true;
        if !random.random_bool(args.loss) {
            queue.push_back((now + Duration::from_millis(args.delay_ms), frame));
        }
    }
    while let Some((_, frame)) = queue.pop_front_if(|(at, _)| *at <= now) {
        moved = true;
        // A cable that is full loses it, as a real one does.
        let _ = to.send(&frame);
    }
    moved
}
