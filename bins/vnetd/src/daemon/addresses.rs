//! Where the peers of links are: what the link says, else the configuration,
//! else the Proxy, else the DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vnet_core::control::LinkSpec;
use vnet_core::{HostName, LinkId};

use super::{Daemon, Event};

// An answer of the DNS is asked for again after this long if the link is still down.
const STALE: Duration = Duration::from_secs(30);

/// What is known of addresses besides the state and the configuration.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// The peer address that the data plane has of each link.
    given: BTreeMap<LinkId, Option<SocketAddr>>,
    up: BTreeSet<LinkId>,
    names: BTreeMap<HostName, Name>,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Name {
    /// `None` while somebody looks it up for the first time.
    answer: Option<Result<SocketAddr, String>>,
    asked: Instant,
    under_way: bool,
}

/// The answer to a question for an address.
#[derive(Debug)]
pub(crate) struct LookedUp {
    host: HostName,
    answer: Result<SocketAddr, String>,
}

impl Addresses {
    pub(super) fn linked(&mut self, link: LinkId, peer: Option<SocketAddr>) {
        self.given.insert(link, peer);
        if peer.is_none() {
            self.next = Some(Instant::now());
        }
    }

    pub(super) fn unlinked(&mut self, link: &LinkId) {
        self.given.remove(link);
        self.up.remove(link);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn link_up(&mut self, link: LinkId) {
        self.up.insert(link);
    }

    pub(super) fn link_down(&mut self, link: &LinkId, now: Instant) {
        self.up.remove(link);
        self.next = Some(now);
    }

    fn answer(&self, host: &HostName) -> Option<&Result<SocketAddr, String>> {
        self.names.get(host)?.answer.as_ref()
    }

    fn is_due(&self, host: &HostName, interval: Duration, now: Instant) -> bool {
        self.names.get(host).is_none_or(|name| {
            let patience = if matches!(name.answer, Some(Ok(_))) { STALE } else { interval };
            !name.under_way && now.saturating_duration_since(name.asked) >= patience
        })
    }
}

impl Daemon {
    /// Where the other end of a link is, as far as anybody knows.
    pub(super) fn link_peer(&self, spec: &LinkSpec) -> Option<SocketAddr> {
        spec.peer.or_else(|| {
            let id = spec.link.id();
            let host = id.peer_of(&self.config.name)?;
            let configured = self.config.peers.get(host).and_then(|address| address.parse().ok());
            let directory = || match self.config.peers.contains_key(host) {
                true => None,
                false => self.state.peers.get(host).copied(),
            };
            let dns = || self.addresses.answer(host).and_then(|answer| answer.as_ref().ok()).copied();
            configured.or_else(directory).or_else(dns)
        })
    }

    /// Why nobody knows where the other end of a link is; `None` if somebody does.
    pub(super) fn why_nowhere(&self, spec: &LinkSpec) -> Option<String> {
        if self.link_peer(spec).is_some() || spec.link.opener != self.config.name {
            return None;
        }
        let id = spec.link.id();
        let host = id.peer_of(&self.config.name)?;
        let dns = match (self.lookup_name(host), self.addresses.answer(host)) {
            (None, _) => "the DNS is not asked".to_owned(),
            (Some(name), Some(Err(error))) => format!("looking up {name}: {error}"),
            (Some(name), _) => format!("{name} is being looked up"),
        };
        Some(format!(
            "no address is known for {host}: it is not registered with the Proxy and not in `peers`, and {dns}"
        ))
    }

    /// Tells the data plane of addresses that have changed.
    pub(super) fn refresh_links(&mut self, now: Instant) {
        let moved: Vec<LinkSpec> = self
            .state
            .links
            .values()
            .filter_map(|spec| {
                let peer = self.link_peer(spec)?;
                let given = self.addresses.given.get(&spec.link.id()).copied().flatten();
                (given != Some(peer)).then(|| LinkSpec { link: spec.link.clone(), peer: Some(peer) })
            })
            .collect();
        for spec in moved {
            let (id, peer) = (spec.link.id(), spec.peer);
            match self.plane.add_link(spec) {
                Ok(()) => self.addresses.linked(id, peer),
                Err(error) => self.warn("link", format!("can't move the link {id}: {error}")),
            }
        }
        self.addresses.next.get_or_insert(now);
    }

    /// Asks for the addresses that links wait for.
    pub(super) fn poll_addresses(&mut self, now: Instant) {
        if self.addresses.next.is_none_or(|next| next > now) {
            return;
        }
        let interval = self.config.timing.resolve_interval;
        let wanted: BTreeSet<(HostName, String)> = self
            .state
            .links
            .values()
            .filter(|spec| spec.peer.is_none() && spec.link.opener == self.config.name)
            .filter(|spec| !self.addresses.up.contains(&spec.link.id()))
            .filter_map(|spec| {
                let host = spec.link.id().peer_of(&self.config.name)?.clone();
                let name = self.lookup_name(&host)?;
                Some((host, name))
            })
            .collect();
        self.addresses.next = (!wanted.is_empty()).then(|| now + interval);
        for (host, name) in wanted {
            if self.addresses.is_due(&host, interval, now) {
                self.look_up(host, name, now);
            }
        }
    }

    pub(super) fn looked_up(&mut self, LookedUp { host, answer }: LookedUp, now: Instant) {
        if let Some(name) = self.addresses.names.get_mut(&host) {
            name.answer = Some(answer);
            name.under_way = false;
        }
        self.refresh_links(now);
    }

    /// What the DNS has to be asked to find `host`; `None` if it needn't.
    fn lookup_name(&self, host: &HostName) -> Option<String> {
        match self.config.peers.get(host) {
            Some(address) if address.parse::<SocketAddr>().is_ok() => None,
            Some(address) => Some(address.clone()),
            None if !self.config.dns || self.state.peers.contains_key(host) => None,
            // Daemons share a port unless somebody says otherwise.
            None => Some(format!("{host}:{}", self.plane.address()?.port())),
        }
    }

    fn look_up(&mut self, host: HostName, name: String, now: Instant) {
        let known = self.addresses.names.remove(&host).and_then(|name| name.answer);
        self.addresses.names.insert(host.clone(), Name { answer: known, asked: now, under_way: true });
        let events = self.events.clone();
        // The resolver of the C library blocks; tokio gives it a thread.
        tokio::spawn(async move {
            let answer = match tokio::net::lookup_host(&name).await {
                Ok(mut addresses) => addresses.next().ok_or_else(|| "it has no address".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            // The daemon has stopped if it doesn't listen.
            let _ = events.send(Event::LookedUp(LookedUp { host, answer }));
        });
    }
}
