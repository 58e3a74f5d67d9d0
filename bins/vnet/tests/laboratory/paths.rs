//! What Wren infers of the emulated WAN from the workload alone.

use std::thread;
use std::time::{Duration, Instant};

use testbed::{Application, Testbed};
use vlab::LabSpec;
use vlab::wan::{CrossArrivals, CrossTraffic, Figures};
use vnet_core::control::PathStatus;
use vnet_core::shape::Shape;
use vnet_core::{Bandwidth, HostName};

use crate::support::{TestResult, configure, vm_names};

const CAPACITY: f64 = 10.0;
const LATENCY: Duration = Duration::from_millis(10);

/// Two hosts on a path of 10 Mbit/s and 10 ms, others use 40 % of it; a VM at each.
/// The second host's clock is wrong.
fn two_hosts() -> Result<Testbed, Box<dyn std::error::Error>> {
    let mut spec = LabSpec::lan(2, Bandwidth::from_mbit(10_000), Duration::ZERO).with_vms(2);
    let hosts: Vec<HostName> = spec.hosts.iter().map(|host| host.name.clone()).collect();
    for (vm, host) in spec.vms.iter_mut().zip(hosts) {
        vm.host = Some(host);
    }
    let mut bed = Testbed::start_with_flags(&spec, &["--clock-error", "h2=1,50"])?;
    let figures = Figures { latency: LATENCY, ..Figures::rate(Bandwidth::from_mbit(CAPACITY as u64)) };
    bed.lab().wan().set_path("h1", "h2", figures)?;
    let others = CrossTraffic::new(0.4, CrossArrivals::Poisson);
    bed.lab().wan().set_cross_traffic("h1", "h2", Some(others))?;
    bed.attach_all()?;
    bed.lab().populate_neighbours()?;
    let star = bed.overlay(Shape::Star)?;
    configure(&bed, &star)?;
    Ok(bed)
}

pub(crate) fn paths_are_inferred_from_the_workload() -> TestResult {
    let bed = two_hosts()?;
    let mut client = bed.client()?;
    let mut application =
        Application::start(&bed, &vm_names(&bed), &Shape::Bus, 64 << 10, &["--compute", "20ms"])?;
    let fits = |path: &PathStatus| {
        let rate = path.available.map_or(0.0, |rate| rate.value.mbit());
        let capacity = path.capacity.map_or(0.0, |rate| rate.value.mbit());
        let latency = path.latency_us.unwrap_or(0) as f64 / 1e3;
        (capacity / CAPACITY - 1.0).abs() < 0.15
            && (rate / (CAPACITY * 0.6) - 1.0).abs() < 0.25
            && (latency - 10.0).abs() < 1.0
    };
    // A busy machine needs longer to see enough.
    let begun = Instant::now();
    loop {
        thread::sleep(Duration::from_secs(1));
        application.poll()?;
        let paths = client.paths(None)?;
        if paths.len() == 2 && paths.iter().all(fits) {
            println!("after {:.0} s: {paths:?}", begun.elapsed().as_secs_f64());
            break;
        }
        if begun.elapsed() > Duration::from_secs(60) {
            return Err(format!("after a minute there is {paths:#?}").into());
        }
    }
    application.stop()?;
    Ok(())
}

pub(crate) fn paths_with_little_traffic_stay_unknown() -> TestResult {
    let bed = two_hosts()?;
    let arguments = ["--compute", "100ms"];
    let mut application = Application::start(&bed, &vm_names(&bed), &Shape::Bus, 500, &arguments)?;
    thread::sleep(Duration::from_secs(8));
    application.poll()?;
    let paths = bed.client()?.paths(None)?;
    println!("{paths:?}");
    if paths.len() != 2 || paths.iter().any(|path| path.available.is_some()) {
        return Err(format!("nobody can know what is available, but there is {paths:#?}").into());
    }
    if paths.iter().any(|path| path.latency_us.is_none()) {
        return Err(format!("small packets tell the latency, but there is {paths:#?}").into());
    }
    application.stop()?;
    Ok(())
}
