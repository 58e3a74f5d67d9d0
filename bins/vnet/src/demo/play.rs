//! The course of the demonstration: three phases, and what was found out.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use testbed::{NETWORK, Testbed};
use vadapt::io::WallClock;
use vadaptd::decide::{self, Decision, Situation, decide};
use vadaptd::execute::Executed;
use vadaptd::figures::Figures;
use vadaptd::inventory::Inventory;
use vnet_core::control::{DaemonStatus, Reply, Request, TrafficView};
use vnet_core::generate::{Overlay, VmSpec};
use vnet_core::link::LinkId;
use vnet_core::shape::Shape;
use vnet_core::{HostName, InterfaceName, MacAddr, Topology};
use vnetd::client::{ApplyOptions, Client, apply};

use crate::report::{Event, Live, Moment, Phase, PhaseSpan, Rates, TimelineSample};

use super::clock::Clock;
use super::detector::{Detector, extent, is_a_name};
use super::machines::{Machines, Work};
use super::options::Options;
use super::survey;

/// How often the application and VTTIF are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The step of the throughput over time.
const STEP: Duration = Duration::from_millis(250);

/// How much of the start of a phase its rates leave out: connections speed up.
const WARM_UP: f64 = 0.3;

/// Bytes that each link carried, both ways together.
type LinkBytes = BTreeMap<LinkId, u64>;

/// What was found out.
pub(crate) struct Findings {
    /// What VTTIF saw at the end of the first phase.
    pub(crate) view: TrafficView,
    /// From the application's first message to the report of that topology.
    pub(crate) detect: Duration,
    pub(crate) decide: Duration,
    pub(crate) decision: Decision,
    pub(crate) executed: Executed,
    pub(crate) star: PhaseFindings,
    pub(crate) mesh: PhaseFindings,
    pub(crate) adapted: PhaseFindings,
    pub(crate) connections_lost: u64,
    pub(crate) samples: Vec<TimelineSample>,
    pub(crate) phases: Vec<PhaseSpan>,
    pub(crate) moments: Vec<Moment>,
    pub(crate) events: Vec<Event>,
    /// The Proxy's host.
    pub(crate) proxy: HostName,
    /// The VMs by their addresses.
    pub(crate) names: BTreeMap<MacAddr, InterfaceName>,
}

/// What was found out in one phase.
pub(crate) struct PhaseFindings {
    pub(crate) rates: Rates,
    pub(crate) topology: Topology,
    /// Which VM was at which host.
    pub(crate) placement: Vec<(InterfaceName, HostName)>,
    /// What the links carried, in Mbit/s.
    pub(crate) traffic: BTreeMap<LinkId, f64>,
}

/// The demonstration while it runs.
pub(crate) struct Play<'a> {
    options: &'a Options,
    clock: Clock,
    bed: Testbed,
    machines: Box<dyn Machines>,
    client: Client,
    figures: &'a Figures,
    live: Live<std::io::Stderr>,
    shown_until: Duration,
    detector: Detector,
    /// What the links had carried when the phase began.
    counted: LinkBytes,
    phases: Vec<PhaseSpan>,
    moments: Vec<Moment>,
    events: Vec<Event>,
}

/// What was decided in the first phase, and on what grounds.
struct Decided {
    view: TrafficView,
    /// When VTTIF first reported that topology.
    seen: Duration,
    decision: Decision,
    took: Duration,
}

impl<'a> Play<'a> {
    pub(crate) fn new(
        options: &'a Options,
        clock: Clock,
        bed: Testbed,
        machines: Box<dyn Machines>,
        figures: &'a Figures,
        live: Live<std::io::Stderr>,
    ) -> anyhow::Result<Self> {
        let client = bed.client()?;
        Ok(Self {
            options,
            clock,
            bed,
            machines,
            client,
            figures,
            live,
            shown_until: Duration::ZERO,
            detector: Detector::default(),
            counted: LinkBytes::new(),
            phases: Vec::new(),
            moments: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Plays it to its end.
    pub(crate) fn run(mut self) -> anyhow::Result<Findings> {
        let star = self.overlay(Shape::Star)?;
        self.event(format!(
            "{} daemons are up; {} VMs are joined by a star through the Proxy",
            self.bed.hosts().len(),
            self.vms().len()
        ))?;
        if self.options.measured {
            self.survey(&star)?;
        }
        self.configure(&star).context("could not set the star up")?;

        let Options { shape, message, .. } = self.options;
        let mut application = self.machines.start(&self.bed, self.clock, shape, *message)?;
        let application = &mut *application;
        let launched = self.clock.now();
        self.moment("application started")?;
        self.event(format!("the application starts: {} between {} VMs", shape, self.vms().len()))?;

        // The star: what VTTIF sees of it is what is decided on.
        let begin = self.begin(Phase::Star)?;
        let mut decided: Option<Decided> = None;
        let end = begin + self.options.phase_time();
        while self.clock.now() < end || decided.is_none() {
            self.look(application, true)?;
            // What is reported later is better known: a VM may have been stalled.
            if self.detector.last.as_ref().is_some_and(|last| last.is_due(self.clock.now())) {
                decided = Some(self.decide(&star)?);
            }
            let waited = self.clock.now().saturating_sub(launched);
            anyhow::ensure!(
                decided.is_some() || waited < self.options.phase_time() + Duration::from_secs(20),
                "VTTIF has not named the application's topology after {} s; the rates of the pairs may be too uneven",
                waited.as_secs()
            );
        }
        let star = self.end(Phase::Star, begin, star, application)?;
        let Decided { view, seen, decision, took: decide } =
            decided.context("the loop ends with a decision")?;
        let started = application.first_started_ns().context("the application has not started")?;
        let detect = Duration::from_nanos(self.clock.ns(seen).saturating_sub(started));

        // What other overlays give: direct links, and VMs where they are.
        let mesh = self.overlay(Shape::AllToAll)?;
        self.configure(&mesh).context("could not set the mesh up")?;
        self.event(
            "all daemons have direct links now, as in other overlays; the VMs are where they were".into(),
        )?;
        let begin = self.begin(Phase::Mesh)?;
        self.watch(application, begin)?;
        let mesh = self.end(Phase::Mesh, begin, mesh, application)?;

        let begin = self.begin(Phase::Adapting)?;
        let executed = self.execute(&decision)?;
        self.close(Phase::Adapting, begin);

        let begin = self.begin(Phase::Adapted)?;
        self.watch(application, begin)?;
        let adapted = self.end(Phase::Adapted, begin, decision.desired.clone(), application)?;

        application.stop()?;
        self.machines.end()?;
        for failure in application.failures() {
            self.event(failure.clone())?;
        }
        self.live.finish()?;
        let samples = application.throughput().series(STEP.as_nanos() as u64);
        let samples = samples.into_iter().map(|(ns, rates)| TimelineSample {
            at_s: self.clock.seconds(ns) + STEP.as_secs_f64() / 2.0,
            rates: Rates { iterations_per_s: rates.iterations_per_s, mbit_per_s: rates.mbit_per_s },
        });
        let names = self.vms().into_iter().map(|vm| (vm.mac, vm.interface)).collect();
        Ok(Findings {
            view,
            detect,
            decide,
            decision,
            executed,
            star,
            mesh,
            adapted,
            connections_lost: application.throughput().connections_lost(),
            samples: samples.collect(),
            phases: self.phases,
            moments: self.moments,
            events: self.events,
            proxy: self.bed.proxy().clone(),
            names,
        })
    }

    /// Measures the paths that the star doesn't use.
    fn survey(&mut self, star: &Topology) -> anyhow::Result<()> {
        let mut linked = star.clone();
        linked.links.extend(self.overlay(Shape::AllToAll)?.links);
        self.configure(&linked).context("could not set links up to measure the paths")?;
        let hosts = self.bed.hosts().into_iter().map(|host| host.machine);
        let others: Vec<HostName> = hosts.filter(|host| host != self.bed.proxy()).collect();
        survey::probe(&mut self.client, &others)?;
        let paths = self.client.paths(None)?;
        let known = paths.iter().filter(|path| path.capacity.is_some()).count();
        let count = others.len() * others.len().saturating_sub(1);
        self.event(format!("Wren knows the capacity of {known} of {count} paths that nobody uses yet"))
    }

    fn decide(&mut self, star: &Topology) -> anyhow::Result<Decided> {
        let sighting = self.detector.last.as_mut().context("a decision needs a topology")?;
        sighting.is_decided = true;
        let seen = sighting.first;
        let began = self.clock.now();
        let view = self.client.traffic_view(None, NETWORK)?;
        let daemons = self.daemons()?;
        let inventory = Inventory::of(NETWORK, &daemons)?;
        let figures = match self.options.measured {
            true => survey::figures(self.figures, &self.client.paths(None)?),
            false => self.figures.clone(),
        };
        let situation = Situation {
            view: &view,
            inventory: &inventory,
            figures: &figures,
            hosts: &self.bed.hosts(),
            proxy: self.bed.proxy(),
            topology: star,
        };
        let decision = decide(&situation, &decide::Options::default(), &WallClock::start())?;
        let took = self.clock.now() - began;
        self.moment("decided")?;
        self.event(format!("VADAPT: {}", decision.reason))?;
        anyhow::ensure!(decision.is_worthwhile, "VADAPT sees nothing to gain: {}", decision.reason);
        Ok(Decided { view, seen, decision, took })
    }

    fn execute(&mut self, decision: &Decision) -> anyhow::Result<Executed> {
        let inventory = Inventory::of(NETWORK, &self.daemons()?)?;
        let executed = self.machines.execute(&mut self.bed, &mut self.client, decision, &inventory)?;
        self.moment("adapted")?;
        self.event(format!(
            "adapted in {:.0} ms: {} VMs moved within {:.0} ms, {} links added",
            executed.took.as_secs_f64() * 1e3,
            decision.moves.len(),
            executed.handover.as_secs_f64() * 1e3,
            decision.links.len(),
        ))?;
        Ok(executed)
    }

    fn vms(&self) -> Vec<VmSpec> {
        self.machines.vms(&self.bed)
    }

    /// The overlay of `shape` over all hosts, the Proxy at its hub.
    fn overlay(&self, shape: Shape) -> anyhow::Result<Topology> {
        let mut overlay = Overlay::new(self.bed.hosts(), self.vms(), shape);
        overlay.hub = Some(self.bed.proxy().clone());
        Ok(overlay.generate()?)
    }

    fn configure(&mut self, topology: &Topology) -> anyhow::Result<()> {
        let options = ApplyOptions { network: NETWORK, ..ApplyOptions::default() };
        apply(&mut self.client, topology, &options, |_| {})?;
        Ok(())
    }

    fn daemons(&mut self) -> anyhow::Result<Vec<DaemonStatus>> {
        // All at once: the Proxy is far from most of them.
        let hosts = self.bed.hosts().into_iter().map(|host| host.machine);
        let (targets, calls): (Vec<_>, Vec<_>) =
            hosts.map(|host| (host.clone(), (Some(host), Request::Status))).unzip();
        let responses = self.client.call_many(calls)?;
        let answered = responses.into_iter().zip(targets).map(|(response, host)| match response {
            Ok(Reply::Status(status)) => Ok(*status),
            Ok(_) => Err(anyhow::anyhow!("{host} answered with something else than its status")),
            Err(error) => Err(anyhow::anyhow!("{host} does not tell its status: {error}")),
        });
        answered.collect()
    }

    /// Lets the application run for the time of a phase.
    fn watch(&mut self, application: &mut dyn Work, begin: Duration) -> anyhow::Result<()> {
        let end = begin + self.options.phase_time();
        while self.clock.now() < end {
            self.look(application, false)?;
        }
        Ok(())
    }

    fn look(&mut self, application: &mut dyn Work, infer: bool) -> anyhow::Result<()> {
        thread::sleep(LOOK);
        application.poll()?;
        let now = self.clock.now();
        if infer {
            let view = self.client.traffic_view(None, NETWORK)?;
            if let Some(sighting) = self.detector.see(now, &view) {
                let name = sighting.name().to_owned();
                let (vms, pairs) = extent(&sighting.view);
                self.live.inferred(now, &name)?;
                self.event(format!("VTTIF sees: {name}, {vms} VMs and {pairs} pairs"))?;
                if is_a_name(&name) {
                    self.moment("topology detected")?;
                }
            }
        }
        if now >= self.shown_until + STEP {
            // Samples come a little after the time that they are of.
            let to = now.saturating_sub(Duration::from_millis(100));
            let from = self.clock.ns(to.saturating_sub(2 * STEP));
            if let Some(rates) = application.throughput().rates(from, self.clock.ns(to)) {
                let rates = Rates { iterations_per_s: rates.iterations_per_s, mbit_per_s: rates.mbit_per_s };
                self.live.throughput(now, rates)?;
            }
            self.shown_until = now;
        }
        Ok(())
    }

    fn begin(&mut self, phase: Phase) -> anyhow::Result<Duration> {
        self.counted = self.link_bytes()?;
        let now = self.clock.now();
        self.live.phase(now, phase.label())?;
        Ok(now)
    }

    fn close(&mut self, phase: Phase, begin: Duration) {
        let span = PhaseSpan { phase, from_s: begin.as_secs_f64(), to_s: self.clock.now().as_secs_f64() };
        self.phases.push(span);
    }

    /// Ends a phase that began at `begin` and works its rates out.
    fn end(
        &mut self,
        phase: Phase,
        begin: Duration,
        topology: Topology,
        application: &mut dyn Work,
    ) -> anyhow::Result<PhaseFindings> {
        let end = self.clock.now();
        self.close(phase, begin);
        let started = application.started_ns().context("the application has not started")?;
        let length = end - begin;
        let from = self.clock.ns(begin + length.mul_f64(WARM_UP)).max(started);
        // Let the last samples of the phase arrive.
        thread::sleep(Duration::from_millis(120));
        application.poll()?;
        let rates = application
            .throughput()
            .rates(from, self.clock.ns(end))
            .context("the application has not run")?;
        let bytes = self.link_bytes()?;
        let seconds = length.as_secs_f64();
        let traffic = bytes.iter().map(|(id, bytes)| {
            let before = self.counted.get(id).copied().unwrap_or(0);
            (id.clone(), bytes.saturating_sub(before) as f64 * 8.0 / 1e6 / seconds)
        });
        let traffic = traffic.collect();
        let placement = self.vms().into_iter().map(|vm| (vm.interface, vm.host)).collect();
        let rates = Rates { iterations_per_s: rates.iterations_per_s, mbit_per_s: rates.mbit_per_s };
        self.event(format!(
            "{}: {:.1} iterations/s, {:.1} Mbit/s",
            phase.label(),
            rates.iterations_per_s,
            rates.mbit_per_s
        ))?;
        Ok(PhaseFindings { rates, topology, placement, traffic })
    }

    /// What all links have carried so far. A link is seen from both its ends, and
    /// each counts what it sends.
    fn link_bytes(&mut self) -> anyhow::Result<LinkBytes> {
        let mut bytes = LinkBytes::new();
        for link in self.daemons()?.into_iter().flat_map(|daemon| daemon.links) {
            *bytes.entry(link.link.id()).or_default() += link.sent_bytes;
        }
        Ok(bytes)
    }

    fn moment(&mut self, what: &str) -> anyhow::Result<()> {
        self.moments.push(Moment { at_s: self.clock.now().as_secs_f64(), what: what.to_owned() });
        Ok(())
    }

    fn event(&mut self, text: String) -> anyhow::Result<()> {
        let now = self.clock.now();
        self.live.event(now, &text)?;
        self.events.push(Event { at_s: now.as_secs_f64(), text });
        Ok(())
    }
}
