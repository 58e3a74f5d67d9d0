//! The overlay as its daemons describe it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use vnet_core::control::{DaemonStatus, Reply, Request, Response, RuleStatus};
use vnet_core::network::{NetworkId, RuleVersion};
use vnet_core::{Host, HostName, InterfaceName, Link, LinkId, Topology, UserName};

use super::{Call, Client, ClientError};

// What the language wants of a host and nobody knows of a daemon.
const SOME_USER: &str = "vnet";
const NO_INTERFACE: &str = "none";

/// All daemons of an overlay, as they were when asked.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The daemon at the other end of the client's connection.
    pub here: HostName,
    /// The Proxy, if the overlay has one and it answers.
    pub proxy: Option<HostName>,
    /// The daemons that answered, by name.
    pub daemons: BTreeMap<HostName, Daemon>,
    /// The daemons that did not, and why.
    pub silent: BTreeMap<HostName, String>,
}

/// A daemon and its rules.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Its state, with its links and interfaces.
    pub status: DaemonStatus,
    /// Its rules in all versions.
    pub rules: Vec<RuleStatus>,
    /// Its data address, as the Proxy tells it.
    pub address: Option<SocketAddr>,
}

/// One link as each of its ends has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LinkEnds {
    pub(super) ends: BTreeMap<HostName, Link>,
}

impl Overlay {
    /// Asks the daemon that `client` is connected to, and through it all others.
    pub fn survey(client: &mut Client) -> Result<Self, ClientError> {
        let first = client.status(None)?;
        let here = first.host.clone();
        // A daemon names its Proxy alone, and the Proxy names all daemons.
        let center = match first.daemons.first() {
            Some(proxy) if !first.is_proxy => client.status(Some(&proxy.host))?,
            _ => first,
        };
        let mut addresses = BTreeMap::new();
        let mut targets = vec![center.host];
        for daemon in center.daemons {
            addresses.insert(daemon.host.clone(), daemon.address);
            targets.push(daemon.host);
        }
        let question = || Request::Batch(vec![Request::Status, Request::ListRules]);
        let calls: Vec<Call> = targets.iter().map(|host| (Some(host.clone()), question())).collect();
        let answers = client.call_many(calls)?;
        let mut overlay = Self { here, proxy: None, daemons: BTreeMap::new(), silent: BTreeMap::new() };
        for (host, answer) in targets.into_iter().zip(answers) {
            match daemon(answer) {
                Ok((status, rules)) => {
                    if status.is_proxy {
                        overlay.proxy = Some(host.clone());
                    }
                    let address = addresses.get(&host).copied();
                    overlay.daemons.insert(host, Daemon { status, rules, address });
                }
                Err(why) => {
                    overlay.silent.insert(host, why);
                }
            }
        }
        Ok(overlay)
    }

    /// The topology of `network`: links that exist at both ends, and the
    /// current rules. Hosts are described as `like` has them where it does.
    pub fn topology(&self, network: NetworkId, like: &Topology) -> Topology {
        let mut topology = Topology::default();
        let known =
            like.hosts.iter().map(|host| &host.machine).filter(|name| self.daemons.contains_key(name));
        let others = self.daemons.keys().filter(|name| like.host(name).is_none());
        for name in known.chain(others) {
            topology.hosts.extend(like.host(name).cloned().or_else(|| self.host(name)));
        }
        for ends in self.links().into_values() {
            if let Some(link) = ends.agreed() {
                topology.add_link(link.clone());
            }
        }
        for (host, daemon) in &self.daemons {
            let current = self.version(host, network);
            let rules = daemon.rules.iter().filter(|rule| rule.network == network && rule.version == current);
            for rule in rules {
                topology.add_rule(host, rule.rule.clone());
            }
        }
        topology
    }

    /// The rule version in use at `host`.
    pub fn version(&self, host: &HostName, network: NetworkId) -> RuleVersion {
        let versions = self.daemons.get(host).map(|daemon| &daemon.status.versions);
        let version = versions.into_iter().flatten().find(|(of, _)| *of == network);
        version.map_or(RuleVersion::default(), |(_, version)| *version)
    }

    /// All rule versions that `host` has rules of, the one in use among them.
    pub(super) fn versions(&self, host: &HostName, network: NetworkId) -> BTreeSet<RuleVersion> {
        let rules = self.daemons.get(host).map(|daemon| &daemon.rules);
        let of_network = rules.into_iter().flatten().filter(|rule| rule.network == network);
        of_network.map(|rule| rule.version).chain([self.version(host, network)]).collect()
    }

    /// Each link as its ends have it.
    pub(super) fn links(&self) -> BTreeMap<LinkId, LinkEnds> {
        let mut links: BTreeMap<LinkId, LinkEnds> = BTreeMap::new();
        for (host, daemon) in &self.daemons {
            for status in &daemon.status.links {
                let ends = links.entry(status.link.id()).or_default();
                ends.ends.insert(host.clone(), status.link.clone());
            }
        }
        links
    }

    fn host(&self, name: &HostName) -> Option<Host> {
        let daemon = self.daemons.get(name)?;
        let interface = daemon.status.interfaces.first().map(|interface| interface.spec.name.clone());
        Some(Host {
            username: UserName::new(SOME_USER).ok()?,
            machine: name.clone(),
            port: daemon.address.map_or(crate::config::DEFAULT_DATA_PORT, |address| address.port()),
            interface: interface.or_else(|| InterfaceName::new(NO_INTERFACE).ok())?,
        })
    }
}

impl LinkEnds {
    /// The link, if both its ends have it and have the same.
    pub(super) fn agreed(&self) -> Option<&Link> {
        let mut ends = self.ends.values();
        let (one, other) = (ends.next()?, ends.next()?);
        is_same(one, other).then_some(one)
    }
}

/// Is it one link, whichever end is called `a`?
pub(super) fn is_same(one: &Link, other: &Link) -> bool {
    (one.kind, &one.opener, one.id()) == (other.kind, &other.opener, other.id())
}

fn daemon(answer: Response) -> Result<(DaemonStatus, Vec<RuleStatus>), String> {
    let odd = || "it answered with something else; is it of another release?".to_owned();
    let Reply::Batch(answers) = answer.map_err(|error| error.to_string())? else { return Err(odd()) };
    match <[Response; 2]>::try_from(answers) {
        Ok([Ok(Reply::Status(status)), Ok(Reply::Rules(rules))]) => Ok((*status, rules)),
        Ok([Err(error), _] | [_, Err(error)]) => Err(error.to_string()),
        _ => Err(odd()),
    }
}
