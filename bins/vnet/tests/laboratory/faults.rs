//! Faults with traffic running: service is back soon, nothing is forgotten,
//! and the logs stay short.

use std::collections::BTreeMap;
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use testbed::{Flooding, Testbed};
use vnet_core::shape::Shape;
use vnet_core::{Host, HostName, Topology};

use crate::support::{TestResult, configure, present, star, vm_names};

/// Within this time of the cause going away, service is back.
const BACK_WITHIN: Duration = Duration::from_secs(2);

/// What the log of a daemon may say about one fault.
const LOG_LINES: usize = 10;

const VMS: u32 = 4;

fn host(number: u32) -> Result<HostName, Box<dyn Error>> {
    Ok(HostName::new(&format!("h{number}"))?)
}

/// A test bed under a flood, with the overlay and the logs as they were.
struct Scene {
    bed: Testbed,
    topology: Topology,
    log_lines: BTreeMap<HostName, usize>,
}

impl Scene {
    fn new(shape: Shape) -> Result<Self, Box<dyn Error>> {
        let (bed, _) = star(VMS)?;
        let topology = bed.overlay(shape)?;
        configure(&bed, &topology)?;
        thread::sleep(Duration::from_millis(500));
        let topology = present(&bed, &topology)?;
        let log_lines = log_lines(&bed)?;
        Ok(Self { bed, topology, log_lines })
    }

    /// Causes a fault under traffic, takes its cause away, and checks what is
    /// to hold afterwards.
    fn survive(
        &mut self,
        cause: impl FnOnce(&mut Testbed) -> TestResult,
        lasts: Duration,
        remedy: impl FnOnce(&mut Testbed) -> TestResult,
    ) -> TestResult {
        let vms = vm_names(&self.bed);
        let mut before = Flooding::prepare(&self.bed, &vms, 200)?;
        before.go()?;
        thread::sleep(Duration::from_millis(500));
        cause(&mut self.bed)?;
        thread::sleep(lasts);
        before.stop()?;
        before.finish()?;
        remedy(&mut self.bed)?;
        let gone = Instant::now();
        let back = self.wait_for_service()?;
        let took = gone.elapsed();
        println!("service was back {took:?} after the cause had gone");
        if !back || took > BACK_WITHIN {
            return Err(
                format!("service was not back {took:?} after the cause had gone\n{}", self.logs()?).into()
            );
        }
        self.bed.wait_for_registration(Duration::from_secs(5))?;
        let now = present(&self.bed, &self.topology)?;
        assert_eq!(now.links, self.topology.links, "the links are those from before");
        assert_eq!(now.rules, self.topology.rules, "the rules are those from before");
        let mut lines = log_lines(&self.bed)?;
        lines.iter_mut().for_each(|(host, count)| *count -= self.log_lines[host]);
        println!("lines in the logs about it: {lines:?}");
        if lines.values().any(|count| *count > LOG_LINES) {
            return Err(format!("{lines:?} lines in the logs\n{}", self.logs()?).into());
        }
        Ok(())
    }

    /// Waits until every VM gets datagrams from every other.
    fn wait_for_service(&self) -> Result<bool, Box<dyn Error>> {
        let vms = vm_names(&self.bed);
        let pairs = vms.len() * (vms.len() - 1);
        let end = Instant::now() + 5 * BACK_WITHIN;
        while Instant::now() < end {
            let mut flooding = Flooding::prepare(&self.bed, &vms, 500)?;
            flooding.go()?;
            thread::sleep(Duration::from_millis(50));
            flooding.stop()?;
            thread::sleep(Duration::from_millis(50));
            let reports = flooding.finish()?;
            let heard =
                reports.iter().flat_map(|report| &report.received).filter(|from| from.datagrams > 0).count();
            if heard == pairs {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn logs(&self) -> Result<String, Box<dyn Error>> {
        let mut text = String::new();
        for host in self.bed.hosts() {
            text += &format!("--- {}\n{}", host.machine, self.bed.log_of(&host.machine)?);
        }
        Ok(text)
    }
}

fn log_lines(bed: &Testbed) -> Result<BTreeMap<HostName, usize>, Box<dyn Error>> {
    let count = |host: Host| Ok((host.machine.clone(), bed.log_of(&host.machine)?.lines().count()));
    bed.hosts().into_iter().map(count).collect()
}

pub(crate) fn proxy_killed_and_restarted() -> TestResult {
    let proxy = host(1)?;
    Scene::new(Shape::Star)?.survive(
        |bed| Ok(bed.kill_daemon(&proxy)?),
        Duration::from_secs(3),
        |bed| Ok(bed.start_daemon(&proxy)?),
    )
}

pub(crate) fn daemon_killed_and_restarted() -> TestResult {
    let victim = host(3)?;
    Scene::new(Shape::Ring)?.survive(
        |bed| Ok(bed.kill_daemon(&victim)?),
        Duration::from_secs(3),
        |bed| Ok(bed.start_daemon(&victim)?),
    )
}

pub(crate) fn link_cut_for_ten_seconds() -> TestResult {
    let (proxy, other) = (host(1)?, host(2)?);
    Scene::new(Shape::Star)?.survive(
        |bed| Ok(bed.lab().wan().cut(proxy.as_str(), other.as_str())?),
        Duration::from_secs(10),
        |bed| Ok(bed.lab().wan().heal(proxy.as_str(), other.as_str())?),
    )
}

pub(crate) fn tap_deleted_and_given_back() -> TestResult {
    Scene::new(Shape::Star)?.survive(
        |bed| Ok(bed.lab().vms()[0].unplug()?),
        Duration::from_secs(3),
        |bed| {
            bed.lab().vms()[0].plug()?;
            Ok(bed.lab().populate_neighbours()?)
        },
    )
}
