//! Reading a description, and what makes one wrong.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::hash::Hash;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LabSpec, NicAddress, PathSpec, Subnet};

/// The most hosts and VMs that one laboratory may have.
const MOST: usize = 4096;

/// What is wrong with a description.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file can't be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The text is not TOML, or not a description.
    #[error("{file}: {source}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        source: Box<toml::de::Error>,
    },
    /// The parts don't fit together.
    #[error("{file}: {place}: {problem}")]
    Invalid {
        /// The file, or the laboratory's name.
        file: String,
        /// Which part.
        place: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
}

impl LabSpec {
    /// Reads and checks a description.
    pub fn load(path: &Path) -> Result<Self, SpecError> {
        let text =
            fs::read_to_string(path).map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses and checks a description; `file` stands in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)
            .map_err(|source| SpecError::Syntax { file: file.to_owned(), source: Box::new(source) })?;
        spec.check_as(file)?;
        Ok(spec)
    }

    /// Checks that the parts fit together.
    pub fn check(&self) -> Result<(), SpecError> {
        self.check_as(&self.name)
    }

    fn check_as(&self, file: &str) -> Result<(), SpecError> {
        self.problems().map_err(|Problem { place, problem }| SpecError::Invalid {
            file: file.to_owned(),
            place,
            problem,
        })
    }

    fn problems(&self) -> Result<(), Problem> {
        if self.hosts.len() + self.vms.len() > MOST {
            return wrong("the laboratory", format!("it has more than {MOST} hosts and VMs"));
        }
        for (place, mtu) in [("`mtu`", self.mtu), ("`vm_mtu`", self.vm_mtu)] {
            if !(576..=9000).contains(&mtu) {
                return wrong(place, format!("{mtu} is not from 576 to 9000"));
            }
        }
        let sites = self.check_names()?;
        for host in &self.hosts {
            self.check_host(host, &sites)?;
        }
        if let Some(proxy) = &self.proxy
            && self.host(proxy).is_none()
        {
            return wrong("`proxy`", format!("no host is named `{proxy}`"));
        }
        for vm in &self.vms {
            if let Some(host) = &vm.host
                && self.host(host).is_none()
            {
                return wrong(format!("VM `{}`", vm.name), format!("no host is named `{host}`"));
            }
        }
        self.check_room()?;
        self.check_paths(&sites)?;
        check_addresses("host", self.subnet, self.hosts.iter().map(|h| &h.name), &self.host_addresses())?;
        check_addresses("VM", self.vm_subnet, self.vms.iter().map(|vm| &vm.name), &self.vm_addresses())
    }

    /// Names are unique; those of hosts and sites, too, as a path may join either.
    fn check_names(&self) -> Result<HashSet<&str>, Problem> {
        let mut seen = HashMap::new();
        let sites = self.sites.iter().map(|site| ("site", site.name.as_str()));
        let hosts = self.hosts.iter().map(|host| ("host", host.name.as_str()));
        let vms = self.vms.iter().map(|vm| ("VM", vm.name.as_str()));
        for (kind, name) in sites.chain(hosts).chain(vms) {
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                let problem = "a name is not empty, has no `/` and doesn't begin with `.`";
                return wrong(format!("{kind} `{name}`"), problem);
            }
            if let Some(before) = seen.insert(name, kind) {
                return wrong(format!("{kind} `{name}`"), format!("a {before} has this name already"));
            }
        }
        Ok(self.sites.iter().map(|site| site.name.as_str()).collect())
    }

    fn check_host(&self, host: &super::HostSpec, sites: &HashSet<&str>) -> Result<(), Problem> {
        let place = || format!("host `{}`", host.name);
        if !sites.contains(host.site.as_str()) {
            return wrong(place(), format!("no site is named `{}`; {}", host.site, known(sites)));
        }
        for (what, rate) in [("up", host.up), ("down", host.down)] {
            if rate.bits_per_second() == 0 {
                return wrong(place(), format!("`{what}` is 0 bit/s, at which nothing ever arrives"));
            }
        }
        if !(host.speed.is_finite() && host.speed > 0.0) {
            return wrong(place(), format!("`speed` is {}, not a number above 0", host.speed));
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Problem> {
        for host in &self.hosts {
            let vms = self.vms.iter().filter(|vm| vm.host.as_ref() == Some(&host.name)).count();
            if vms > host.room as usize {
                return wrong(
                    format!("host `{}`", host.name),
                    format!("{vms} VMs start here, but `room` is {}", host.room),
                );
            }
        }
        Ok(())
    }

    fn check_paths(&self, sites: &HashSet<&str>) -> Result<(), Problem> {
        let mut joined = HashSet::new();
        for path in &self.paths {
            let [a, b] = &path.between;
            let place = || format!("path between `{a}` and `{b}`");
            let is_host = |name: &str| self.hosts.iter().any(|host| host.name.as_str() == name);
            for end in [a, b] {
                if !sites.contains(end.as_str()) && !is_host(end) {
                    return wrong(place(), format!("no site or host is named `{end}`; {}", known(sites)));
                }
            }
            if sites.contains(a.as_str()) != sites.contains(b.as_str()) {
                return wrong(place(), "it joins a site and a host; give two sites or two hosts");
            }
            if a == b {
                return wrong(place(), "its ends are the same; a site's inside is given with the site");
            }
            check_figures(path).or_else(|problem| wrong(place(), problem))?;
            if !joined.insert(if a < b { (a, b) } else { (b, a) }) {
                return wrong(place(), "it is given twice");
            }
        }
        self.check_all_joined()
    }

    fn check_all_joined(&self) -> Result<(), Problem> {
        let inhabited = |name: &str| self.hosts.iter().any(|host| host.site == name);
        for (n, a) in self.sites.iter().enumerate() {
            for b in &self.sites[n + 1..] {
                if inhabited(&a.name) && inhabited(&b.name) && self.path_between(&a.name, &b.name).is_none() {
                    return wrong(
                        format!("sites `{}` and `{}`", a.name, b.name),
                        "no [[path]] is between them",
                    );
                }
            }
        }
        Ok(())
    }
}

fn check_figures(path: &PathSpec) -> Result<(), String> {
    if !(0.0..=1.0).contains(&path.loss) {
        return Err(format!("`loss` is {}, not a probability from 0 to 1", path.loss));
    }
    if path.bandwidth.is_some_and(|rate| rate.bits_per_second() == 0) {
        return Err("`bandwidth` is 0 bit/s; leave it out for no limit".to_owned());
    }
    Ok(())
}

fn check_addresses<N: fmt::Display>(
    kind: &str,
    subnet: Subnet,
    names: impl Iterator<Item = N>,
    addresses: &[NicAddress],
) -> Result<(), Problem> {
    let (mut ips, mut macs) = (HashSet::new(), HashSet::new());
    for (name, NicAddress { address, mac, .. }) in names.zip(addresses) {
        let place = || format!("{kind} `{name}`");
        if !subnet.has_host(*address) {
            return wrong(place(), format!("{address} is not an address for a host of {subnet}"));
        }
        if mac.is_multicast() || mac.to_u64() == 0 {
            return wrong(place(), format!("{mac} is not the address of one NIC"));
        }
        unique(&mut ips, *address).or_else(|problem| wrong(place(), problem))?;
        unique(&mut macs, *mac).or_else(|problem| wrong(place(), problem))?;
    }
    Ok(())
}

fn unique<T: Eq + Hash + Copy + fmt::Display>(seen: &mut HashSet<T>, value: T) -> Result<(), String> {
    if seen.insert(value) { Ok(()) } else { Err(format!("another one has the address {value} already")) }
}

fn known(sites: &HashSet<&str>) -> String {
    let mut names: Vec<_> = sites.iter().copied().collect();
    names.sort_unstable();
    if names.is_empty() { "there are none".to_owned() } else { format!("the sites are {}", names.join(", ")) }
}

struct Problem {
    place: String,
    problem: String,
}

fn wrong<T>(place: impl Into<String>, problem: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { place: place.into(), problem: problem.into() })
}

impl Subnet {
    /// Can a host of this subnet have `address`: is it inside, and neither
    /// the first nor the last, which mean all of it?
    pub fn has_host(self, address: Ipv4Addr) -> bool {
        let hosts = u32::MAX.checked_shr(self.prefix.into()).unwrap_or(0);
        let number = u32::from(address) & hosts;
        u32::from(address) & !hosts == u32::from(self.network) && number != 0 && number != hosts
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("`{text}` is not an IPv4 subnet such as `10.77.0.0/16`");
        let (network, prefix) = text.split_once('/').ok_or_else(error)?;
        let (network, prefix) =
            (network.parse::<Ipv4Addr>().map_err(|_| error())?, prefix.parse::<u8>().map_err(|_| error())?);
        if !(8..=30).contains(&prefix) || u32::from(network) & (u32::MAX >> prefix) != 0 {
            return Err(format!("{}, with 8 to 30 bits and nothing after them", error()));
        }
        Ok(Self { network, prefix })
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
