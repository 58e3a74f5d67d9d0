//! What the paths can do, as measured: by the application's traffic where there is
//! some, and by short trains of padding where there is none.

use std::thread;
use std::time::Duration;

use anyhow::Context;
use vadaptd::figures::{Figures, HostFigures};
use vnet_core::HostName;
use vnet_core::control::{PathStatus, ProbeTrain, Request};
use vnetd::client::Client;

/// Packets in each burst: more than one of them fits the shortest queue.
const BURST: u32 = 24;

/// Bursts over each path and direction.
const ROUNDS: usize = 10;

/// From one burst of a host to its next.
const PAUSE: Duration = Duration::from_millis(60);

/// Sends trains over all paths between `hosts`, in turn, so that no two share an
/// access link. Needs links between all of them.
pub(crate) fn probe(client: &mut Client, hosts: &[HostName]) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        for step in 1..hosts.len() {
            let calls = hosts.iter().enumerate().map(|(n, host)| {
                let peer = hosts[(n + step) % hosts.len()].clone();
                let train = ProbeTrain { peer, burst: BURST, rate: None, for_ms: 0 };
                (Some(host.clone()), Request::Probe(train))
            });
            for response in client.call_many(calls.collect())? {
                response.context("a path can't be probed")?;
            }
            thread::sleep(PAUSE);
        }
    }
    // Daemons report every second.
    thread::sleep(Duration::from_millis(1500));
    Ok(())
}

/// What is known without measuring: which hosts there are, and what they have
/// room for; and what the estimates say of the rest.
pub(crate) fn figures(truth: &Figures, paths: &[PathStatus]) -> Figures {
    let hosts = truth.hosts.iter().map(|host| HostFigures { uplink: None, downlink: None, ..host.clone() });
    Figures { hosts: hosts.collect(), paths: Vec::new() }.measured(paths)
}
