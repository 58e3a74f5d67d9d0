//! The emulated network by the names of the description: figures, cuts, counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use vnet_core::HostName;

use crate::emulator::Shared;
use crate::error::LabError;
use crate::spec::LabSpec;
use crate::wan::{Counters, CrossTraffic, Figures, NicId, PipeId, SiteId, Strays, Wan};

/// A handle on the emulated network. Cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct WanControl {
    shared: Arc<Shared>,
    names: Arc<Names>,
}

/// What the network's parts are called.
pub(crate) struct Names {
    ends: HashMap<String, End>,
    hosts: Vec<String>,
    sites: Vec<String>,
}

#[derive(Clone, Copy)]
enum End {
    Site(SiteId),
    Host(NicId),
}

/// One direction of one part of the network, and what it has seen.
#[derive(Clone, Debug, Serialize)]
pub struct PipeReport {
    /// The host or site that frames come from.
    pub from: String,
    /// The host or site that they go to: for an access link, a host and its
    /// site; for the inside of a site, that site twice.
    pub to: String,
    /// What it has seen.
    #[serde(flatten)]
    pub counters: Counters,
}

impl WanControl {
    pub(crate) fn new(shared: Arc<Shared>, names: Names) -> Self {
        Self { shared, names: Arc::new(names) }
    }

    /// Sets what lies between two sites, or two hosts, in both directions.
    /// Two hosts that shared their sites' path have one of their own from now on.
    pub fn set_path(&self, a: &str, b: &str, figures: Figures) -> Result<(), LabError> {
        let pipes = self.pipes(a, b)?;
        self.shared.change(|wan, now| {
            for pipe in pipes {
                wan.set(now, pipe, figures);
            }
        });
        Ok(())
    }

    /// Sets the traffic of others between two sites, or two hosts with a path of
    /// their own, in each direction.
    pub fn set_cross_traffic(&self, a: &str, b: &str, traffic: Option<CrossTraffic>) -> Result<(), LabError> {
        let pipes = self.pipes(a, b)?;
        self.shared.change(|wan, now| {
            for pipe in pipes {
                wan.set_cross(now, pipe, traffic);
            }
        });
        Ok(())
    }

    /// What lies between two sites, or two hosts with a path of their own,
    /// from the first to the second.
    pub fn path(&self, from: &str, to: &str) -> Result<Option<Figures>, LabError> {
        let [pipe, _] = self.pipes(from, to)?;
        Ok(self.shared.wan().figures(pipe))
    }

    /// Sets what a host's access link does, towards the network and back.
    pub fn set_access(&self, host: &HostName, up: Figures, down: Figures) -> Result<(), LabError> {
        let nic = self.nic(host)?;
        self.shared.change(|wan, now| {
            wan.set(now, PipeId::Up(nic), up);
            wan.set(now, PipeId::Down(nic), down);
        });
        Ok(())
    }

    /// Cuts the path between two sites, or two hosts off from each other:
    /// what is under way is lost, and so is all that comes.
    pub fn cut(&self, a: &str, b: &str) -> Result<(), LabError> {
        self.set_cut(a, b, true)
    }

    /// Undoes [`WanControl::cut`].
    pub fn heal(&self, a: &str, b: &str) -> Result<(), LabError> {
        self.set_cut(a, b, false)
    }

    /// Cuts a host's access link, both ways.
    pub fn cut_host(&self, host: &HostName) -> Result<(), LabError> {
        self.set_host_cut(host, true)
    }

    /// Undoes [`WanControl::cut_host`].
    pub fn heal_host(&self, host: &HostName) -> Result<(), LabError> {
        self.set_host_cut(host, false)
    }

    /// What a host's access link has seen: towards the network, and back.
    pub fn access_counters(&self, host: &HostName) -> Result<(Counters, Counters), LabError> {
        let nic = self.nic(host)?;
        let wan = self.shared.wan();
        // Every NIC has its two pipes.
        let counters = |pipe| wan.counters(pipe).unwrap_or_default();
        Ok((counters(PipeId::Up(nic)), counters(PipeId::Down(nic))))
    }

    /// What the path between two sites, or two hosts with a path of their
    /// own, has seen from the first to the second.
    pub fn path_counters(&self, from: &str, to: &str) -> Result<Option<Counters>, LabError> {
        let [pipe, _] = self.pipes(from, to)?;
        Ok(self.shared.wan().counters(pipe))
    }

    /// What every pipe has seen: access links, then paths.
    pub fn report(&self) -> Vec<PipeReport> {
        let wan = self.shared.wan();
        let mut reports: Vec<_> = wan
            .pipes()
            .map(|(id, site, counters)| {
                let host = |nic: NicId| self.names.hosts[nic.0 as usize].clone();
                let site_name = |site: SiteId| self.names.sites[site.0 as usize].clone();
                let (from, to) = match id {
                    PipeId::Up(nic) => (host(nic), site_name(site)),
                    PipeId::Down(nic) => (site_name(site), host(nic)),
                    PipeId::Sites(a, b) => (site_name(a), site_name(b)),
                    PipeId::Nics(a, b) => (host(a), host(b)),
                };
                (id, PipeReport { from, to, counters })
            })
            .collect();
        reports.sort_by_key(|(id, _)| *id);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// Frames that no pipe has counted.
    pub fn strays(&self) -> Strays {
        self.shared.wan().strays()
    }

    /// Frames that a receiver's NIC did not take, being down or gone.
    pub fn refused(&self) -> u64 {
        self.shared.refused()
    }

    fn set_cut(&self, a: &str, b: &str, cut: bool) -> Result<(), LabError> {
        match (self.end(a)?, self.end(b)?) {
            (End::Site(a), End::Site(b)) => self.shared.change(|wan, _| {
                wan.set_cut(PipeId::Sites(a, b), cut);
                wan.set_cut(PipeId::Sites(b, a), cut);
            }),
            (End::Host(a), End::Host(b)) => self.shared.change(|wan, _| wan.set_pair_cut(a, b, cut)),
            _ => return Err(not_a_path(a, b)),
        }
        Ok(())
    }

    fn set_host_cut(&self, host: &HostName, cut: bool) -> Result<(), LabError> {
        let nic = self.nic(host)?;
        self.shared.change(|wan, _| {
            wan.set_cut(PipeId::Up(nic), cut);
            wan.set_cut(PipeId::Down(nic), cut);
        });
        Ok(())
    }

    /// The two directions between two sites or two hosts.
    fn pipes(&self, a: &str, b: &str) -> Result<[PipeId; 2], LabError> {
        match (self.end(a)?, self.end(b)?) {
            (End::Site(a), End::Site(b)) => Ok([PipeId::Sites(a, b), PipeId::Sites(b, a)]),
            (End::Host(a), End::Host(b)) if a != b => Ok([PipeId::Nics(a, b), PipeId::Nics(b, a)]),
            _ => Err(not_a_path(a, b)),
        }
    }

    fn end(&self, name: &str) -> Result<End, LabError> {
        let known = || self.names.sites.iter().chain(&self.names.hosts);
        self.names.ends.get(name).copied().ok_or_else(|| LabError::unknown("site or host", name, known()))
    }

    fn nic(&self, host: &HostName) -> Result<NicId, LabError> {
        match self.names.ends.get(host.as_str()) {
            Some(End::Host(nic)) => Ok(*nic),
            _ => Err(LabError::unknown("host", host, self.names.hosts.iter())),
        }
    }
}

/// Makes the network of a description that has been checked: host n of it
/// has NIC n.
pub(crate) fn network_of(spec: &LabSpec) -> (Wan, Names) {
    let mut wan = Wan::new(spec.seed);
    let mut ends = HashMap::new();
    for site in &spec.sites {
        ends.insert(site.name.clone(), End::Site(wan.add_site(site.figures())));
    }
    for (host, address) in spec.hosts.iter().zip(spec.host_addresses()) {
        // A checked description has the site of every host.
        let Some(End::Site(site)) = ends.get(&host.site).copied() else { continue };
        let nic = wan.add_nic(site, address.mac, host.up_figures(), host.down_figures());
        ends.insert(host.name.to_string(), End::Host(nic));
    }
    let now = Instant::now();
    for path in &spec.paths {
        let [a, b] = &path.between;
        let pipes = match (ends.get(a), ends.get(b)) {
            (Some(End::Site(a)), Some(End::Site(b))) => [PipeId::Sites(*a, *b), PipeId::Sites(*b, *a)],
            (Some(End::Host(a)), Some(End::Host(b))) => [PipeId::Nics(*a, *b), PipeId::Nics(*b, *a)],
            _ => continue,
        };
        for pipe in pipes {
            wan.set(now, pipe, path.figures());
        }
    }
    let hosts = spec.hosts.iter().map(|host| host.name.to_string()).collect();
    let sites = spec.sites.iter().map(|site| site.name.clone()).collect();
    (wan, Names { ends, hosts, sites })
}

fn not_a_path(a: &str, b: &str) -> LabError {
    LabError::NotAPath { a: a.to_owned(), b: b.to_owned() }
}
