//! The VNET daemon of this host: a machine's network cards are opened there while it is
//! here, and the overlay's rules follow it.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use vm_driver::{Driver, VmConfig, VmId};
use vnet_core::control::{InterfaceSpec, Request, RuleEntry};
use vnet_core::rule::{Action, Destination, EdgeRef, Rule, Source};
use vnet_core::{HostName, InterfaceName, MacAddr, NetworkId, Topology};
use vnetd::client::{self, Address, Client};

use super::files::said;

/// The VNET daemon of this host.
pub(super) struct Overlay {
    control: Address,
}

impl Overlay {
    pub(super) fn new(control: PathBuf) -> Self {
        Self { control: Address::Unix(control) }
    }

    /// Opens a machine's network cards.
    pub(super) fn attach(&self, driver: &dyn Driver, vm: &VmId) -> Result<(), String> {
        let config = driver.status(vm).map_err(said)?.config;
        let ports = driver.ports(vm).map_err(said)?;
        let mut client = Client::connect(&self.control).map_err(said)?;
        for (number, (nic, port)) in config.nics.iter().zip(ports).enumerate() {
            // What goes through a stream socket the monitor opens itself.
            let Some(port) = port else { continue };
            let spec = InterfaceSpec {
                name: interface(&config, number)?,
                network: nic.network,
                mac: Some(nic.mac),
                port,
            };
            client.call(None, Request::AddInterface(spec)).map_err(said)?;
        }
        Ok(())
    }

    /// Closes a machine's network cards: it is not here any more.
    pub(super) fn detach(&self, config: &VmConfig) {
        let close = || -> Result<(), String> {
            if config.nics.is_empty() {
                return Ok(());
            }
            let mut client = Client::connect(&self.control).map_err(said)?;
            let calls = (0..config.nics.len())
                .map(|number| Ok((None, Request::DeleteInterface(interface(config, number)?))))
                .collect::<Result<Vec<_>, String>>()?;
            // One that isn't open need not be closed.
            client.call_many(calls).map_err(said).map(drop)
        };
        if let Err(why) = close() {
            tracing::warn!("machine {} has left, and its network cards are still open: {why}", config.id);
        }
    }

    /// Points the rules of all daemons to this host, where they have rules for the machine.
    pub(super) fn follow(&self, config: &VmConfig) {
        if let Err(why) = self.switch(config).and_then(|mut switch| switch.carry_out()) {
            tracing::warn!("machine {} is here, and not every daemon's rules point to it: {why}", config.id);
        }
    }

    /// Works out what every daemon has to change when the machine is here.
    pub(super) fn switch(&self, config: &VmConfig) -> Result<Switch, String> {
        let mut client = Client::connect(&self.control).map_err(said)?;
        let mut calls: BTreeMap<HostName, Vec<Request>> = BTreeMap::new();
        if !config.nics.is_empty() {
            let overlay = client::Overlay::survey(&mut client).map_err(said)?;
            for (number, nic) in config.nics.iter().enumerate() {
                let way = Way {
                    here: &overlay.here,
                    network: nic.network,
                    mac: nic.mac,
                    interface: interface(config, number)?,
                };
                let topology = overlay.topology(nic.network, &Topology::default());
                way.changes(&topology, &mut calls);
            }
        }
        Ok(Switch { client, calls })
    }
}

/// What every daemon has to change, and the connection to say so at the instant of hand-over.
pub(super) struct Switch {
    client: Client,
    calls: BTreeMap<HostName, Vec<Request>>,
}

impl Switch {
    /// Changes over, all daemons at once.
    pub(super) fn carry_out(&mut self) -> Result<(), String> {
        let calls = std::mem::take(&mut self.calls);
        let (hosts, requests): (Vec<_>, Vec<_>) = calls
            .into_iter()
            .map(|(host, requests)| (host.clone(), (Some(host), Request::Batch(requests))))
            .unzip();
        for (answer, host) in self.client.call_many(requests).map_err(said)?.into_iter().zip(hosts) {
            answer.map_err(|error| format!("{host}: {error}"))?;
        }
        Ok(())
    }
}

/// A network card's name at daemons, the same at every host.
fn interface(config: &VmConfig, number: usize) -> Result<InterfaceName, String> {
    let id = &config.id;
    let name = if number == 0 { id.to_string() } else { format!("{id}-{number}") };
    InterfaceName::new(&name).map_err(|error| format!("`{name}` can't name an interface: {error}"))
}

/// Where the frames to a network card should go.
struct Way<'a> {
    here: &'a HostName,
    network: NetworkId,
    mac: MacAddr,
    interface: InterfaceName,
}

impl Way<'_> {
    /// What each daemon has to change. Where no daemon has a rule for this card, nobody
    /// wants any.
    fn changes(&self, topology: &Topology, calls: &mut BTreeMap<HostName, Vec<Request>>) {
        let rules = &topology.rules;
        if !rules.values().flatten().any(|rule| self.concerns(rule)) {
            return;
        }
        let flood = Rule {
            source: Source::Any,
            destination: Destination::Default,
            action: Action::Interface(self.interface.clone()),
        };
        let is_flooded = rules.values().flatten().any(|rule| *rule == flood);
        let next = next_hops(topology, self.here);
        for host in topology.hosts.iter().map(|host| &host.machine) {
            let to_it =
                |action| Rule { source: Source::Any, destination: Destination::Exact(self.mac), action };
            let wanted: Vec<Rule> = if host == self.here {
                let local = to_it(Action::Interface(self.interface.clone()));
                std::iter::once(local).chain(is_flooded.then(|| flood.clone())).collect()
            } else {
                let edge = |to: &HostName| EdgeRef { from: host.clone(), to: to.clone() };
                next.get(host).map(|to| to_it(Action::Edge(edge(to)))).into_iter().collect()
            };
            let old: Vec<&Rule> = topology.rules_of(host).filter(|rule| self.concerns(rule)).collect();
            let entry = |rule: &Rule| RuleEntry { network: self.network, rule: rule.clone() };
            let deleted = old.iter().filter(|rule| !wanted.contains(rule)).map(|rule| entry(rule));
            let added = wanted.iter().filter(|rule| !old.contains(rule)).map(entry);
            // No frame goes two ways: the old rule goes before the new one comes.
            let requests: Vec<Request> =
                deleted.map(Request::DeleteRule).chain(added.map(Request::AddRule)).collect();
            if !requests.is_empty() {
                calls.entry(host.clone()).or_default().extend(requests);
            }
        }
    }

    /// Is it a rule of this card?
    fn concerns(&self, rule: &Rule) -> bool {
        rule.destination == Destination::Exact(self.mac)
            || rule.source == Source::Exact(self.mac)
            || rule.action == Action::Interface(self.interface.clone())
    }
}

/// From each host the neighbour on a shortest way to `to`.
fn next_hops(topology: &Topology, to: &HostName) -> BTreeMap<HostName, HostName> {
    let mut next = BTreeMap::new();
    let mut queue = VecDeque::from([to.clone()]);
    while let Some(at) = queue.pop_front() {
        for id in topology.links.keys() {
            let (a, b) = id.ends();
            let from = match (a == &at, b == &at) {
                (true, false) => b,
                (false, true) => a,
                _ => continue,
            };
            if from != to && !next.contains_key(from) {
                next.insert(from.clone(), at.clone());
                queue.push_back(from.clone());
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use vnet_core::generate::{Overlay as Generated, add_forwarding_rules};
    use vnet_core::shape::Shape;

    use super::*;

    /// The rules after a move are those of an overlay that was made with the machine there.
    #[test]
    fn rules_follow_a_machine() {
        for shape in [Shape::Star, Shape::Ring, Shape::AllToAll] {
            let generated = Generated::numbered(5, shape.clone());
            let before = generated.generate().unwrap();
            let vm = &generated.vms[4];
            let here = &generated.hosts[2].machine;
            let way = Way { here, network: NetworkId(1), mac: vm.mac, interface: vm.interface.clone() };
            let mut calls = BTreeMap::new();
            way.changes(&before, &mut calls);
            let mut found = before.clone();
            for (host, requests) in calls {
                let rules = found.rules.entry(host).or_default();
                for request in requests {
                    match request {
                        Request::AddRule(entry) => assert!(rules.insert(entry.rule)),
                        Request::DeleteRule(entry) => assert!(rules.remove(&entry.rule)),
                        other => panic!("{other:?}"),
                    }
                }
            }
            let mut moved = generated.vms.clone();
            moved[4].host = here.clone();
            let mut wanted = before.clone();
            wanted.rules.clear();
            add_forwarding_rules(&mut wanted, &moved, &generated.hosts[0].machine).unwrap();
            for host in &wanted.hosts {
                let rules = |topology: &Topology, of_it: bool| -> Vec<Rule> {
                    let rules = topology.rules_of(&host.machine);
                    rules.filter(|rule| way.concerns(rule) == of_it).cloned().collect()
                };
                assert_eq!(rules(&found, false), rules(&wanted, false), "{shape} {}", host.machine);
                // Where two ways are as short, either will do.
                let (found, wanted) = (rules(&found, true), rules(&wanted, true));
                assert_eq!(found.len(), wanted.len(), "{shape} {}: {found:?} {wanted:?}", host.machine);
            }
        }
    }
}
