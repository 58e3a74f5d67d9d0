//! What the handle of a data plane has its worker do.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vnet_core::control::{
    DropCounter, InterfaceSpec, InterfaceStatus, LinkSpec, LinkStatus, OffloadStatus, TrafficEntry,
};
use vnet_core::{HostName, InterfaceName, LinkId, NetworkId, PublicKey};

use super::config::{Event, LinkChange, PlaneError};
use super::interfaces;
use super::port::Port;
use super::udp;
use super::worker::{Observer, Worker};
use crate::link::Arrivals;
use crate::port::PortId;
use crate::traffic::Untracked;

/// Why an offload is not in use that an operator doesn't want.
const SWITCHED_OFF: &str = "switched off in the configuration";

impl Worker {
    pub(crate) fn offloads(&self) -> Vec<OffloadStatus> {
        let udp = self.outlets.udp.as_ref();
        let no_ports = self.outlets.interfaces.without_offloads();
        let no_segmentation = udp.and_then(|udp| udp.no_segmentation()).map(str::to_owned);
        let no_coalescing = udp.and_then(|udp| udp.no_coalescing()).map(str::to_owned);
        let all = [
            ("ports", self.switches.ports, no_ports),
            ("links", self.switches.links, None),
            ("udp-segmentation", self.switches.udp_segmentation, no_segmentation),
            ("udp-coalescing", self.switches.udp_coalescing, no_coalescing),
            ("batches", self.switches.batches, None),
        ];
        let status = |(name, wanted, problem): (&str, bool, Option<String>)| OffloadStatus {
            name: name.to_owned(),
            on: wanted && problem.is_none(),
            why: if wanted { problem.unwrap_or_default() } else { SWITCHED_OFF.to_owned() },
        };
        all.into_iter().map(status).collect()
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.outlets.links.shut_down(Instant::now());
        self.act();
    }

    pub(crate) fn subscribe(&mut self, observer: Observer) {
        self.observers.push(observer);
    }

    pub(crate) fn add_interface(&mut self, spec: InterfaceSpec) -> Result<(), PlaneError> {
        interfaces::check_device(&spec.port)?;
        if self.outlets.interfaces.has(&spec.name, Some(&spec))? {
            return Ok(());
        }
        let now = Instant::now();
        let port = self.forwarder.add_interface(spec.name.clone(), spec.network);
        self.outlets.interfaces.insert(port.index(), spec.name.clone(), Some(spec), now);
        self.open_due(now);
        Ok(())
    }

    pub(crate) fn add_port(
        &mut self,
        name: InterfaceName,
        network: NetworkId,
        port: Box<dyn Port>,
    ) -> Result<(), PlaneError> {
        self.outlets.interfaces.has(&name, None)?;
        let now = Instant::now();
        let index = self.forwarder.add_interface(name.clone(), network).index();
        self.outlets.interfaces.insert(index, name.clone(), None, now);
        match self.outlets.interfaces.opened(index, Ok(port), &self.outlets.poller, now) {
            Some(Event::InterfaceDown { why, .. }) => {
                self.outlets.interfaces.remove(index, &self.outlets.poller);
                self.forwarder.remove_port(PortId::interface(index));
                Err(PlaneError::Watch { name, why })
            }
            event => {
                self.tell(event, now);
                Ok(())
            }
        }
    }

    pub(crate) fn remove_interface(&mut self, name: &InterfaceName) -> Result<(), PlaneError> {
        let index = self.outlets.interfaces.index_of(name);
        let index = index.ok_or_else(|| PlaneError::NoInterface { name: name.clone() })?;
        self.outlets.interfaces.remove(index, &self.outlets.poller);
        self.forwarder.remove_port(PortId::interface(index));
        Ok(())
    }

    pub(crate) fn change_link(&mut self, change: LinkChange) -> Result<(), PlaneError> {
        match change {
            LinkChange::Add(spec) => self.add_link(spec),
            LinkChange::Remove(id) => self.remove_link(&id),
        }
    }

    fn add_link(&mut self, spec: LinkSpec) -> Result<(), PlaneError> {
        let (id, now) = (spec.link.id(), Instant::now());
        let foreign = || PlaneError::ForeignLink { link: id.clone(), host: self.host.clone() };
        let peer = id.peer_of(&self.host).filter(|peer| **peer != self.host).ok_or_else(foreign)?;
        if self.address().is_none() {
            return Err(PlaneError::NoAddress { host: self.host.clone() });
        }
        let index = match self.outlets.links.index_of(peer) {
            Some(index) => {
                let same =
                    |old: &vnet_core::Link| (old.kind, &old.opener) == (spec.link.kind, &spec.link.opener);
                if !self.outlets.links.get(index).is_some_and(same) {
                    return Err(PlaneError::LinkConflict { link: id });
                }
                index
            }
            None => {
                let index = self.forwarder.add_link(id.clone()).index();
                self.outlets.links.insert(index, spec.link, now).ok_or_else(foreign)?;
                index
            }
        };
        if let Some(address) = spec.peer {
            self.outlets.links.set_target(index, udp::canonical(address), now);
            self.act();
        }
        Ok(())
    }

    fn remove_link(&mut self, id: &LinkId) -> Result<(), PlaneError> {
        let index = id.peer_of(&self.host).and_then(|peer| self.outlets.links.index_of(peer));
        let index = index.ok_or_else(|| PlaneError::NoLink { link: id.clone() })?;
        self.outlets.links.remove(index, Instant::now());
        self.forwarder.remove_port(PortId::link(index));
        self.act();
        Ok(())
    }

    pub(crate) fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.outlets.interfaces.status(Instant::now())
    }

    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        self.outlets.links.status(Instant::now())
    }

    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        self.outlets.links.public_key()
    }

    pub(crate) fn allow(&mut self, host: HostName, key: PublicKey) -> Result<(), PlaneError> {
        let allowed = self.outlets.links.allow(&host, key, Instant::now());
        self.act();
        if allowed { Ok(()) } else { Err(PlaneError::BadKey { host, key }) }
    }

    pub(crate) fn forbid(&mut self, host: &HostName) {
        self.outlets.links.forbid(host);
    }

    pub(crate) fn flush_counts(&mut self) {
        self.forwarder.flush_counts();
    }

    pub(crate) fn drops(&self) -> Vec<DropCounter> {
        self.forwarder.drops().report()
    }

    pub(crate) fn traffic(&mut self) -> Vec<TrafficEntry> {
        self.forwarder.traffic()
    }

    pub(crate) fn measure_paths(&mut self, on: bool) {
        if let Some(udp) = &mut self.outlets.udp {
            udp.want_stamps(on);
        }
        if !on {
            self.take_arrivals();
        }
    }

    pub(crate) fn take_arrivals(&mut self) -> Vec<Arrivals> {
        // The kernel stamps by the time of day, which may be set at any time; what
        // has come since the last call was stamped by the present one but for a moment.
        let (now, time_of_day_ns) = both_clocks();
        let arrivals = self.outlets.links.take_arrivals(now, time_of_day_ns);
        if let Some(udp) = &mut self.outlets.udp {
            udp.stamp(!self.outlets.links.has_enough_arrivals());
        }
        arrivals
    }

    pub(crate) fn probe(&mut self, peer: &HostName, count: usize, bytes: usize) -> Result<(), PlaneError> {
        let no_link = || PlaneError::NoLink { link: LinkId::new(&self.host, peer) };
        let index = self.outlets.links.index_of(peer).ok_or_else(no_link)?;
        for _ in 0..count {
            if let Err(reason) = self.outlets.probe(index, bytes) {
                self.forwarder.count_drop(reason);
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn untracked_traffic(&mut self) -> Untracked {
        self.forwarder.untracked_traffic()
    }
}

/// The two clocks at the same moment, the time of day in nanoseconds. This thread
/// may be put aside between two readings, so the best of some is taken.
fn both_clocks() -> (Instant, u64) {
    let read = || {
        let (before, day, after) = (Instant::now(), SystemTime::now(), Instant::now());
        let apart = after - before;
        (apart, before + apart / 2, day.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64)
    };
    let mut best = read();
    for _ in 0..4 {
        let next = read();
        if next.0 < best.0 {
            best = next;
        }
    }
    (best.1, best.2)
}
