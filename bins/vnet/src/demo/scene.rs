//! The laboratory of the demonstration: hosts, network, and where the VMs start.

use std::collections::BTreeMap;

use anyhow::Context;
use vadaptd::figures::{Figures, HostFigures, PathFigures};
use vlab::{HostSpec, LabSpec, VmSpec};
use vnet_core::{Bandwidth, HostName, InterfaceName};

use super::options::{Options, Vms};

/// What two VMs on one host have between them: about what the memory of a
/// small machine copies.
const INTERNAL: Bandwidth = Bandwidth::from_mbit(10_000);

/// The laboratory that the options ask for.
pub(crate) fn spec(options: &Options) -> anyhow::Result<LabSpec> {
    let mut spec = match &options.wan {
        Some(path) => LabSpec::load(path)?,
        None => LabSpec::papers(),
    };
    match options.vms {
        Vms::Namespaces(count) => place_vms(&mut spec, count)?,
        Vms::Guests(count) => make_room(&mut spec, count, options.wan.is_some()),
    }
    spec.check()?;
    Ok(spec)
}

/// Gives the laboratory `count` VMs with hosts. Those of the description stay if
/// they are as many; otherwise hosts get VMs in turn, site by site, and room
/// for as many times more VMs as there are.
fn place_vms(spec: &mut LabSpec, count: u32) -> anyhow::Result<()> {
    if spec.vms.len() == count as usize && spec.vms.iter().all(|vm| vm.host.is_some()) {
        return Ok(());
    }
    let described = spec.vms.len() as u32;
    let hosts = in_turn(spec);
    anyhow::ensure!(
        !hosts.is_empty(),
        "no host of the network has `room` for a VM; give some to at least one"
    );
    let times = count.div_ceil(described.max(hosts.len() as u32));
    for host in &mut spec.hosts {
        host.room = host.room.saturating_mul(times);
    }
    spec.vms = (0..count as usize)
        .map(|i| {
            let name = InterfaceName::new(&format!("vm{}", i + 1)).context("the name of a VM")?;
            Ok(VmSpec { name, host: Some(hosts[i % hosts.len()].clone()), address: None, mac: None })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(())
}

/// The laboratory has hosts for `count` guests, and no VMs of its own. Of the papers' hosts
/// (if the user has not described others) two of each cluster stay: guests take much of a
/// small machine, and the far host's link takes minutes for the memory of one.
fn make_room(spec: &mut LabSpec, count: u32, is_described: bool) {
    spec.vms.clear();
    if !is_described {
        const KEPT: [&str; 5] = ["proxy", "fast1", "fast2", "slow1", "slow2"];
        spec.hosts.retain(|host| KEPT.contains(&host.name.as_str()));
    }
    let hosts = spec.hosts.iter().filter(|host| host.room > 0).count() as u32;
    let times = count.div_ceil(hosts.max(1));
    for host in &mut spec.hosts {
        host.room = host.room.saturating_mul(times);
    }
}

/// Hosts with room: the first of each site, then the second of each, and so on.
pub(crate) fn in_turn(spec: &LabSpec) -> Vec<HostName> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hosts: Vec<(usize, &HostSpec)> = spec
        .hosts
        .iter()
        .filter(|host| host.room > 0)
        .map(|host| {
            let turn = seen.entry(&host.site).or_default();
            *turn += 1;
            (*turn, host)
        })
        .collect();
    hosts.sort_by_key(|(turn, _)| *turn);
    hosts.into_iter().map(|(_, host)| host.name.clone()).collect()
}

/// The true figures of the network, which VADAPT plans with.
pub(crate) fn figures(spec: &LabSpec) -> anyhow::Result<Figures> {
    let hosts = spec.hosts.iter().map(|host| HostFigures {
        name: host.name.clone(),
        room: host.room,
        speed: host.speed,
        uplink: Some(host.up),
        downlink: Some(host.down),
        internal: INTERNAL,
    });
    let mut paths = Vec::new();
    for (i, a) in spec.hosts.iter().enumerate() {
        for b in &spec.hosts[i + 1..] {
            // Hosts that the description doesn't join can't have a link.
            let (Some(there), Some(back)) = (spec.path(&a.name, &b.name), spec.path(&b.name, &a.name)) else {
                continue;
            };
            paths.push(PathFigures {
                between: (a.name.clone(), b.name.clone()),
                bandwidth: there.bandwidth.min(back.bandwidth),
                latency_us: there.latency.max(back.latency).as_micros() as u64,
            });
        }
    }
    let figures = Figures { hosts: hosts.collect(), paths };
    figures.check()?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_vms_are_spread_over_all_sites_and_find_room() {
        for count in [2, 3, 8, 9, 16, 32] {
            let mut spec = LabSpec::papers();
            place_vms(&mut spec, count).unwrap();
            assert_eq!(spec.vms.len(), count as usize);
            spec.check().unwrap();
            let fast: u32 = spec.hosts.iter().filter(|host| host.site == "fast").map(|host| host.room).sum();
            assert!(fast >= count, "the fast cluster has room for all {count}");
        }
    }

    #[test]
    fn guests_find_room_in_the_fast_cluster() {
        let mut spec = LabSpec::papers();
        make_room(&mut spec, 4, false);
        spec.check().unwrap();
        assert_eq!(spec.hosts.len(), 5);
        let fast: u32 = spec.hosts.iter().filter(|host| host.site == "fast").map(|host| host.room).sum();
        assert!(fast >= 4);
        assert_eq!(in_turn(&spec).len(), 4);
    }

    #[test]
    fn every_pair_of_hosts_has_figures() {
        let spec = LabSpec::papers();
        let figures = figures(&spec).unwrap();
        let hosts = spec.hosts.len();
        assert_eq!(figures.paths.len(), hosts * (hosts - 1) / 2);
    }
}
