//! What the tests share.

use std::error::Error;
use std::time::Duration;

use testbed::{NETWORK, Testbed};
use vlab::LabSpec;
use vnet_core::shape::Shape;
use vnet_core::{Bandwidth, HostName, InterfaceName, Topology};
use vnetd::client::{Applied, ApplyOptions, Overlay, apply};

pub(crate) type TestResult = Result<(), Box<dyn Error>>;

/// A fast LAN with the Proxy `h1`, and a VM at each of the hosts `h2`, `h3`, ...
pub(crate) fn lan(vms: u32) -> LabSpec {
    let mut spec =
        LabSpec::lan(vms + 1, Bandwidth::from_mbit(1000), Duration::from_micros(100)).with_vms(vms);
    let hosts: Vec<HostName> = spec.hosts.iter().map(|host| host.name.clone()).collect();
    for (vm, host) in spec.vms.iter_mut().zip(&hosts[1..]) {
        vm.host = Some(host.clone());
    }
    spec
}

/// A test bed on that LAN whose VMs are joined by the star, and know each
/// other's addresses.
pub(crate) fn star(vms: u32) -> Result<(Testbed, Topology), Box<dyn Error>> {
    let mut bed = Testbed::start(&lan(vms))?;
    bed.attach_all()?;
    bed.lab().populate_neighbours()?;
    let star = bed.overlay(Shape::Star)?;
    configure(&bed, &star)?;
    Ok((bed, star))
}

pub(crate) fn configure(bed: &Testbed, topology: &Topology) -> Result<Applied, Box<dyn Error>> {
    let options = ApplyOptions { network: NETWORK, ..ApplyOptions::default() };
    Ok(apply(&mut bed.client()?, topology, &options, |_| {})?)
}

/// The overlay that the daemons have now.
pub(crate) fn present(bed: &Testbed, like: &Topology) -> Result<Topology, Box<dyn Error>> {
    Ok(Overlay::survey(&mut bed.client()?)?.topology(NETWORK, like))
}

pub(crate) fn vm_names(bed: &Testbed) -> Vec<InterfaceName> {
    bed.vms().into_iter().map(|vm| vm.interface).collect()
}
