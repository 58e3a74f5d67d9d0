//! What a daemon has been told and keeps across restarts: interfaces, links,
//! rule sets, the configuration bound and the addresses of its peers.
//!
//! A change is checked first ([`State::check`]) and applied later
//! ([`State::apply`]), so that it can be written to the journal in between.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use vnet_core::control::{
    ControlError, ErrorKind, InterfaceSpec, LinkSpec, PeerAddress, PeerKey, PortKind, Request, RuleEntry,
};
use vnet_core::network::{NetworkId, RuleVersion};
use vnet_core::{Action, HostName, InterfaceName, Link, LinkId, Rule};

use crate::config::link_problem;

/// The longest configuration bound, in milliseconds: an hour.
const MAX_BOUND_MS: u64 = 3_600_000;

/// What a daemon has been told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    host: HostName,
    pub(crate) interfaces: BTreeMap<InterfaceName, InterfaceSpec>,
    pub(crate) links: BTreeMap<LinkId, LinkSpec>,
    pub(crate) networks: BTreeMap<NetworkId, RuleSets>,
    pub(crate) bound_ms: u64,
    pub(crate) peers: BTreeMap<HostName, SocketAddr>,
    pub(crate) keys: BTreeMap<HostName, PeerKey>,
}

/// The rule sets of one network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleSets {
    pub(crate) current: RuleVersion,
    pub(crate) sets: BTreeMap<RuleVersion, BTreeSet<Rule>>,
}

// Every network begins at version 0 without rules.
impl Default for RuleSets {
    fn default() -> Self {
        let current = RuleVersion::default();
        Self { current, sets: BTreeMap::from([(current, BTreeSet::new())]) }
    }
}

/// Whether a request would change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It would.
    Change,
    /// Things are that way already.
    Nothing,
}

impl State {
    pub(crate) fn new(host: HostName, bound_ms: u64) -> Self {
        Self {
            host,
            interfaces: BTreeMap::new(),
            links: BTreeMap::new(),
            networks: BTreeMap::new(),
            bound_ms,
            peers: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Can `request`, one that changes the state, be carried out, and would
    /// it change anything?
    pub(crate) fn check(&self, request: &Request) -> Result<Effect, ControlError> {
        match request {
            Request::AddLink(spec) => self.check_add_link(spec),
            Request::DeleteLink(id) => {
                needs(self.links.contains_key(id), || format!("there is no link {id} at {}", self.host))
            }
            Request::AddRule(entry) => {
                self.check_rule(&entry.rule)?;
                Ok(Effect::of(!self.has_rule(entry)))
            }
            Request::DeleteRule(entry) => needs(self.has_rule(entry), || {
                format!(
                    "the current rules of network {} at {} have no `{}`",
                    entry.network, self.host, entry.rule
                )
            }),
            Request::SetConfigurationBound(ms) => match *ms {
                0 => Err(invalid("the configuration bound must be above zero")),
                ms if ms > MAX_BOUND_MS => Err(invalid(format!(
                    "the configuration bound must be at most {MAX_BOUND_MS} ms, not {ms}"
                ))),
                ms => Ok(Effect::of(ms != self.bound_ms)),
            },
            Request::AddInterface(spec) => self.check_add_interface(spec),
            Request::DeleteInterface(name) => needs(self.interfaces.contains_key(name), || {
                format!("there is no interface {name} at {}", self.host)
            }),
            Request::AllowPeer(peer) => self.check_key(peer),
            Request::ForbidPeer(host) => {
                needs(self.keys.contains_key(host), || format!("{} has no key of {host}", self.host))
            }
            Request::PrepareRules { network, version, rules } => {
                rules.iter().try_for_each(|rule| self.check_rule(rule))?;
                if self.current(*network) != *version {
                    return Ok(Effect::Change);
                }
                // Asked twice, perhaps because the first answer was lost.
                if self.is_current_set(*network, rules) {
                    return Ok(Effect::Nothing);
                }
                Err(conflict(format!(
                    "rule version {version} is in use on network {network} at {} with other rules",
                    self.host
                )))
            }
            Request::CommitRules { network, version } => {
                self.check_version(*network, *version)?;
                Ok(Effect::of(self.current(*network) != *version))
            }
            Request::RetireRules { network, version } => {
                if self.current(*network) == *version {
                    return Err(conflict(format!(
                        "rule version {version} is in use on network {network} at {}; commit another first",
                        self.host
                    )));
                }
                self.check_version(*network, *version)
            }
            _ => Err(invalid("this request changes nothing")),
        }
    }

    /// Carries out a request that [`State::check`] has let through.
    pub(crate) fn apply(&mut self, request: &Request) {
        match request {
            Request::AddLink(spec) => {
                self.links.insert(spec.link.id(), spec.clone());
            }
            Request::DeleteLink(id) => {
                self.links.remove(id);
            }
            Request::AddRule(entry) => {
                self.network(entry.network).current_set().insert(entry.rule.clone());
            }
            Request::DeleteRule(entry) => {
                self.network(entry.network).current_set().remove(&entry.rule);
            }
            Request::SetConfigurationBound(ms) => self.bound_ms = *ms,
            Request::AddInterface(spec) => {
                self.interfaces.insert(spec.name.clone(), spec.clone());
            }
            Request::DeleteInterface(name) => {
                self.interfaces.remove(name);
            }
            Request::AllowPeer(peer) => {
                // A key belongs to one daemon.
                self.keys.retain(|_, other| other.key != peer.key);
                self.keys.insert(peer.host.clone(), peer.clone());
            }
            Request::ForbidPeer(host) => {
                self.keys.remove(host);
            }
            Request::PrepareRules { network, version, rules } => {
                self.network(*network).sets.insert(*version, rules.iter().cloned().collect());
            }
            Request::CommitRules { network, version } => self.network(*network).current = *version,
            Request::RetireRules { network, version } => {
                self.network(*network).sets.remove(version);
            }
            _ => {}
        }
    }

    /// The requests that turn a new state into this one, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mut requests = vec![Request::SetConfigurationBound(self.bound_ms)];
        requests.extend(self.keys.values().cloned().map(Request::AllowPeer));
        requests.extend(self.interfaces.values().cloned().map(Request::AddInterface));
        requests.extend(self.links.values().cloned().map(Request::AddLink));
        for (&network, sets) in &self.networks {
            sets.requests(network, &mut requests);
        }
        requests
    }

    /// The peers whose address is known, for the journal.
    pub(crate) fn peer_addresses(&self) -> impl Iterator<Item = PeerAddress> {
        self.peers.iter().map(|(host, &address)| PeerAddress { host: host.clone(), address })
    }

    /// How many rules the current rule sets have.
    pub(crate) fn current_rules(&self) -> usize {
        self.networks.values().filter_map(|sets| sets.sets.get(&sets.current)).map(BTreeSet::len).sum()
    }

    fn check_add_link(&self, spec: &LinkSpec) -> Result<Effect, ControlError> {
        if let Some(problem) = link_problem(&spec.link, &self.host) {
            return Err(invalid(problem));
        }
        match self.links.get(&spec.link.id()) {
            None => Ok(Effect::Change),
            Some(old) if !is_same_link(&old.link, &spec.link) => Err(conflict(format!(
                "{} has `{}` already; delete it before you add `{}`",
                self.host, old.link, spec.link
            ))),
            // A new address moves the link; no address leaves it where it is.
            Some(old) => Ok(Effect::of(spec.peer.is_some() && spec.peer != old.peer)),
        }
    }

    fn check_key(&self, peer: &PeerKey) -> Result<Effect, ControlError> {
        if peer.host == self.host {
            return Err(invalid(format!("{} needs no key of its own on its list", self.host)));
        }
        match self.keys.get(&peer.host) {
            Some(old) if old == peer => Ok(Effect::Nothing),
            Some(old) if peer.introduced && old.key == peer.key => Ok(Effect::Nothing),
            // The operator's word is stronger than the Proxy's.
            Some(old) if peer.introduced && !old.introduced => Err(conflict(format!(
                "{} has another key of {} from its operator: `vnet peer del {} {}` forgets that",
                self.host, peer.host, self.host, peer.host
            ))),
            _ => Ok(Effect::Change),
        }
    }

    fn check_add_interface(&self, spec: &InterfaceSpec) -> Result<Effect, ControlError> {
        match self.interfaces.get(&spec.name) {
            Some(old) if old == spec => return Ok(Effect::Nothing),
            Some(_) => {
                return Err(conflict(format!(
                    "{} has another interface named {}; delete that first",
                    self.host, spec.name
                )));
            }
            None => {}
        }
        match self.interfaces.values().find(|other| device(&other.port) == device(&spec.port)) {
            Some(other) => Err(conflict(format!(
                "the device {} at {} belongs to interface {} already",
                device(&spec.port).0,
                self.host,
                other.name
            ))),
            None => Ok(Effect::Change),
        }
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), ControlError> {
        match &rule.action {
            Action::Edge(edge) if edge.from == edge.to => {
                Err(invalid(format!("the rule `{rule}` sends from {} to itself", edge.from)))
            }
            Action::Edge(edge) if edge.from != self.host && edge.to != self.host => Err(invalid(format!(
                "the rule `{rule}` is given to {}, which is neither end of its edge",
                self.host
            ))),
            _ => Ok(()),
        }
    }

    fn check_version(&self, network: NetworkId, version: RuleVersion) -> Result<Effect, ControlError> {
        let known = self.networks.get(&network).is_some_and(|sets| sets.sets.contains_key(&version));
        needs(known, || format!("{} has no rule version {version} on network {network}", self.host))
    }

    fn has_rule(&self, entry: &RuleEntry) -> bool {
        self.networks
            .get(&entry.network)
            .and_then(|sets| sets.sets.get(&sets.current))
            .is_some_and(|rules| rules.contains(&entry.rule))
    }

    fn is_current_set(&self, network: NetworkId, rules: &[Rule]) -> bool {
        let rules: BTreeSet<&Rule> = rules.iter().collect();
        match self.networks.get(&network).and_then(|sets| sets.sets.get(&sets.current)) {
            Some(current) => rules.into_iter().eq(current),
            None => rules.is_empty(),
        }
    }

    fn current(&self, network: NetworkId) -> RuleVersion {
        self.networks.get(&network).map_or(RuleVersion::default(), |sets| sets.current)
    }

    fn network(&mut self, network: NetworkId) -> &mut RuleSets {
        self.networks.entry(network).or_default()
    }
}

impl RuleSets {
    fn current_set(&mut self) -> &mut BTreeSet<Rule> {
        self.sets.entry(self.current).or_default()
    }

    // A version in use can't be prepared: rules of version 0 are added one by
    // one, the others as sets.
    fn requests(&self, network: NetworkId, requests: &mut Vec<Request>) {
        let first = RuleVersion::default();
        let set = self.sets.get(&first).into_iter().flatten();
        requests.extend(set.map(|rule| Request::AddRule(RuleEntry { network, rule: rule.clone() })));
        for (&version, rules) in self.sets.iter().filter(|(version, _)| **version != first) {
            let rules = rules.iter().cloned().collect();
            requests.push(Request::PrepareRules { network, version, rules });
        }
        if self.current != first {
            requests.push(Request::CommitRules { network, version: self.current });
        }
        if !self.sets.contains_key(&first) {
            requests.push(Request::RetireRules { network, version: first });
        }
    }
}

impl Effect {
    fn of(changes: bool) -> Self {
        if changes { Self::Change } else { Self::Nothing }
    }
}

// The ends of a link have no order.
fn is_same_link(a: &Link, b: &Link) -> bool {
    a.id() == b.id() && a.kind == b.kind && a.opener == b.opener
}

/// The device and its network namespace, or the path of the socket.
fn device(port: &PortKind) -> (Cow<'_, str>, Option<&Path>) {
    match port {
        PortKind::Tap { device, netns, .. } | PortKind::Packet { device, netns } => {
            (device.into(), netns.as_deref())
        }
        PortKind::Stream { path } => (path.to_string_lossy(), None),
    }
}

fn invalid(message: impl Into<String>) -> ControlError {
    ControlError::new(ErrorKind::Invalid, message)
}

fn conflict(message: impl Into<String>) -> ControlError {
    ControlError::new(ErrorKind::Conflict, message)
}

fn needs(there: bool, message: impl FnOnce() -> String) -> Result<Effect, ControlError> {
    if there { Ok(Effect::Change) } else { Err(ControlError::new(ErrorKind::NotFound, message())) }
}

#[cfg(test)]
mod tests;
