//! What the daemon says of itself.

use std::time::Instant;

use vnet_core::control::{ControlError, DaemonStatus, LinkStatus, PeerAddress};

use super::Daemon;
use super::requests::refused;
use crate::config::Role;
use crate::metrics;

impl Daemon {
    /// The links; one whose peer is nowhere to be found says so.
    pub(super) fn links(&self) -> Result<Vec<LinkStatus>, ControlError> {
        let mut links = self.plane.links().map_err(refused)?;
        for link in links.iter_mut().filter(|link| !link.state.up) {
            let spec = self.state.links.get(&link.link.id());
            if let Some(why) = spec.and_then(|spec| self.why_nowhere(spec)) {
                link.state.why = why;
            }
        }
        Ok(links)
    }

    pub(super) fn status(&self, now: Instant) -> Result<DaemonStatus, ControlError> {
        let mut status = DaemonStatus {
            host: self.config.name.clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: milliseconds(now.saturating_duration_since(self.started)),
            is_proxy: self.config.role == Role::Proxy,
            proxy: self.uplink.as_ref().map(|uplink| uplink.state(now)),
            daemons: self.known_daemons(),
            interfaces: self.plane.interfaces().map_err(refused)?,
            links: self.links()?,
            rules: self.state.current_rules() as u64,
            versions: self.plane.versions(),
            drops: self.plane.drops().map_err(refused)?,
            configuration_bound_ms: self.state.bound_ms,
            offloads: self.plane.offloads().map_err(refused)?,
            degraded: Vec::new(),
        };
        status.degraded = self.degraded(&status);
        Ok(status)
    }

    /// The Proxy knows all; a daemon with a session knows the Proxy, where the
    /// others can be asked for.
    fn known_daemons(&self) -> Vec<PeerAddress> {
        let session = self.uplink.as_ref().and_then(|uplink| uplink.session());
        match (&self.proxy, session) {
            (Some(host), Some(_)) => {
                let address = self.state.peers.get(host).copied();
                address.into_iter().map(|address| PeerAddress { host: host.clone(), address }).collect()
            }
            _ => self.registry.addresses().collect(),
        }
    }

    pub(super) fn metrics(&self, now: Instant) -> String {
        match self.status(now) {
            Ok(status) => metrics::render(&status, self.connections.len(), self.requests),
            // The data plane has stopped; that is the news.
            Err(error) => format!("# {error}\n"),
        }
    }

    fn degraded(&self, status: &DaemonStatus) -> Vec<String> {
        let mut degraded = self.problems.clone();
        if let Some(journal) = &self.journal {
            degraded.extend(journal.troubles());
        }
        if let (Some(session), Role::Member { proxy }) = (&status.proxy, &self.config.role)
            && !session.up
        {
            degraded.push(format!("not registered with the Proxy at {proxy}: {}", session.why));
        }
        for interface in status.interfaces.iter().filter(|interface| !interface.state.up) {
            degraded.push(format!("interface {} is down: {}", interface.spec.name, interface.state.why));
        }
        for link in status.links.iter().filter(|link| !link.state.up) {
            degraded.push(format!("link {} is down: {}", link.link.id(), link.state.why));
        }
        degraded.extend(size_problems(status));
        degraded
    }

    /// Notes what has come up or gone down; the data plane logs it.
    pub(super) fn plane_news(&mut self, event: &vnet_fwd::Event, now: Instant) {
        match event {
            vnet_fwd::Event::LinkUp { link } => self.addresses.link_up(link.clone()),
            vnet_fwd::Event::LinkDown { link, .. } => self.addresses.link_down(link, now),
            vnet_fwd::Event::InterfaceUp { .. } | vnet_fwd::Event::InterfaceDown { .. } => {}
        }
    }
}

/// What is or was too long for where it should go.
fn size_problems(status: &DaemonStatus) -> Vec<String> {
    let mut problems = Vec::new();
    for interface in status.interfaces.iter().filter(|interface| !interface.mtu_problem.is_empty()) {
        problems.push(format!("interface {}: {}", interface.spec.name, interface.mtu_problem));
    }
    for link in status.links.iter().filter(|link| link.not_fitting > 0) {
        let (id, count) = (link.link.id(), link.not_fitting);
        let path = match link.path_mtu {
            Some(mtu) => format!("packets of up to {mtu} bytes"),
            None => "less".to_owned(),
        };
        problems.push(format!(
            "link {id} has dropped {count} frames for their length: its path carries {path}; give the VMs a smaller MTU, or set `split-frames = true`"
        ));
    }
    if let Some(drop) = status.drops.iter().find(|drop| drop.reason == "too-long" && drop.frames > 0) {
        problems.push(format!(
            "{} frames were dropped because a device or the network took none of their length (`too-long`)",
            drop.frames
        ));
    }
    problems
}

fn milliseconds(time: std::time::Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
