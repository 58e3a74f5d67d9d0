//! What the hosts and the paths between them can do: VADAPT's picture of the
//! physical network.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vnet_core::control::PathStatus;
use vnet_core::{Bandwidth, HostName};

/// The figures of all hosts and paths, as a file gives them:
///
/// ```toml
/// [[host]]
/// name = "fast1"
/// room = 2                    # VMs it can run; 0 for a host that only forwards
/// uplink = "100 Mbit/s"       # its access link, shared by all its flows
/// downlink = "100 Mbit/s"
///
/// [[path]]                    # each pair once; the same in both directions
/// between = ["fast1", "fast2"]
/// bandwidth = "100 Mbit/s"
/// latency_us = 200
/// ```
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Hosts.
    #[serde(default, rename = "host")]
    pub hosts: Vec<HostFigures>,
    /// Paths between them.
    #[serde(default, rename = "path")]
    pub paths: Vec<PathFigures>,
}

/// What one host can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFigures {
    /// The host.
    pub name: HostName,
    /// How many VMs it can run.
    pub room: u32,
    /// Its speed; 1 is a reference host. A VM gets the speed of its host.
    #[serde(default = "one")]
    pub speed: f64,
    /// What all its flows to the network share; absent: only the paths limit.
    #[serde(default)]
    pub uplink: Option<Bandwidth>,
    /// What all its flows from the network share; absent: only the paths limit.
    #[serde(default)]
    pub downlink: Option<Bandwidth>,
    /// What two VMs on this host have between them.
    #[serde(default = "internal")]
    pub internal: Bandwidth,
}

/// What the path between two hosts can do, in each direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathFigures {
    /// Its ends.
    pub between: (HostName, HostName),
    /// Available bandwidth.
    pub bandwidth: Bandwidth,
    /// One-way latency in microseconds.
    pub latency_us: u64,
}

fn one() -> f64 {
    1.0
}

fn internal() -> Bandwidth {
    Bandwidth::from_mbit(10_000)
}

/// Why figures can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FiguresError {
    /// The file can't be read.
    #[error("could not read the figures in {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has other keys.
    #[error("{}: {message}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// A host is given twice.
    #[error("[[host]] `{0}` is given twice")]
    DuplicateHost(HostName),
    /// A path joins a host that isn't given.
    #[error("[[path]] between `{0}` and `{1}`: there is no [[host]] `{2}`")]
    UnknownHost(HostName, HostName, HostName),
    /// A path joins a host to itself.
    #[error("[[path]] between `{0}` and itself")]
    Loop(HostName),
    /// A path is given twice.
    #[error("[[path]] between `{0}` and `{1}` is given twice")]
    DuplicatePath(HostName, HostName),
    /// A speed is not a positive number.
    #[error("[[host]] `{name}`: speed is {speed}; it must be above 0")]
    Speed {
        /// The host.
        name: HostName,
        /// Its speed.
        speed: f64,
    },
}

/// The longest file of figures, in bytes.
const MAX_FILE: u64 = 64 << 20;

impl Figures {
    /// These figures with what Wren has measured in place of what was configured:
    /// a path carries what others leave of it, or where that is unknown, its
    /// capacity, and is as good as its worse direction. Paths that nothing is known
    /// of stay as they are.
    ///
    /// A host whose access links were not given has those of its fastest paths:
    /// they are at least as fast, and nobody knows that they are faster.
    #[must_use]
    pub fn measured(&self, statuses: &[PathStatus]) -> Self {
        let known: BTreeMap<(&HostName, &HostName), &PathStatus> =
            statuses.iter().map(|status| ((&status.from, &status.to), status)).collect();
        let rate = |status: &PathStatus| status.available.or(status.capacity).map(|rate| rate.value);
        let mut paths: BTreeMap<(HostName, HostName), PathFigures> = BTreeMap::new();
        for path in &self.paths {
            let (a, b) = &path.between;
            paths.insert((a.min(b).clone(), a.max(b).clone()), path.clone());
        }
        for (i, a) in self.hosts.iter().enumerate() {
            for b in &self.hosts[i + 1..] {
                let both = [(&a.name, &b.name), (&b.name, &a.name)];
                let found: Vec<&PathStatus> =
                    both.iter().filter_map(|ends| known.get(ends).copied()).collect();
                let ends = (a.name.clone().min(b.name.clone()), a.name.clone().max(b.name.clone()));
                let bandwidth = found.iter().filter_map(|status| rate(status)).min();
                let latency = found.iter().filter_map(|status| status.latency_us).max();
                let before = paths.get(&ends);
                let (Some(bandwidth), Some(latency_us)) = (
                    bandwidth.or(before.map(|path| path.bandwidth)),
                    latency.or(before.map(|path| path.latency_us)),
                ) else {
                    continue;
                };
                paths.insert(ends.clone(), PathFigures { between: ends, bandwidth, latency_us });
            }
        }
        let fastest = |at: fn(&PathStatus) -> &HostName, host: &HostName| {
            let capacities = statuses.iter().filter(|status| at(status) == host);
            capacities.filter_map(|status| status.capacity).map(|rate| rate.value).max()
        };
        let hosts = self.hosts.iter().map(|host| HostFigures {
            uplink: host.uplink.or_else(|| fastest(|status| &status.from, &host.name)),
            downlink: host.downlink.or_else(|| fastest(|status| &status.to, &host.name)),
            ..host.clone()
        });
        Self { hosts: hosts.collect(), paths: paths.into_values().collect() }
    }

    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, FiguresError> {
        let read = |source| FiguresError::Read { path: path.to_owned(), source };
        let length = std::fs::metadata(path).map_err(read)?.len();
        if length > MAX_FILE {
            let message =
                format!("{length} bytes are more than the {MAX_FILE} that a file of figures may have");
            return Err(FiguresError::Parse { path: path.to_owned(), message });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let figures: Self = toml::from_str(&text)
            .map_err(|error| FiguresError::Parse { path: path.to_owned(), message: error.to_string() })?;
        figures.check()?;
        Ok(figures)
    }

    /// Checks that hosts are given once and paths join them.
    pub fn check(&self) -> Result<(), FiguresError> {
        let mut names = BTreeMap::new();
        for host in &self.hosts {
            if !(host.speed.is_finite() && host.speed > 0.0) {
                return Err(FiguresError::Speed { name: host.name.clone(), speed: host.speed });
            }
            if names.insert(&host.name, ()).is_some() {
                return Err(FiguresError::DuplicateHost(host.name.clone()));
            }
        }
        let mut pairs = BTreeMap::new();
        for PathFigures { between: (a, b), .. } in &self.paths {
            if let Some(unknown) = [a, b].into_iter().find(|name| !names.contains_key(name)) {
                return Err(FiguresError::UnknownHost(a.clone(), b.clone(), unknown.clone()));
            }
            if a == b {
                return Err(FiguresError::Loop(a.clone()));
            }
            if pairs.insert((a.min(b), a.max(b)), ()).is_some() {
                return Err(FiguresError::DuplicatePath(a.clone(), b.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use vnet_core::control::RateEstimate;

    use super::*;

    fn parse(text: &str) -> Result<Figures, String> {
        let figures: Figures = toml::from_str(text).map_err(|e| e.to_string())?;
        figures.check().map_err(|e| e.to_string())?;
        Ok(figures)
    }

    const TWO: &str = "[[host]]\nname = 'a'\nroom = 2\n[[host]]\nname = 'b'\nroom = 0\nuplink = '5 Mbit/s'\n";

    #[test]
    fn a_good_file_is_read() {
        let path = "[[path]]\nbetween = ['a', 'b']\nbandwidth = '100 Mbit/s'\nlatency_us = 200\n";
        let figures = parse(&format!("{TWO}{path}")).unwrap();
        assert_eq!(figures.hosts[1].uplink, Some(Bandwidth::from_mbit(5)));
        assert_eq!(figures.hosts[0].internal, Bandwidth::from_mbit(10_000));
        assert_eq!(figures.paths[0].latency_us, 200);
    }

    #[test]
    fn bad_files_say_where() {
        let path = |a: &str, b: &str| {
            format!("[[path]]\nbetween = ['{a}', '{b}']\nbandwidth = '1 Mbit/s'\nlatency_us = 1\n")
        };
        let error = |text: String| parse(&text).unwrap_err();
        assert!(error(format!("{TWO}{}", path("a", "c"))).contains("no [[host]] `c`"));
        assert!(error(format!("{TWO}{}", path("a", "a"))).contains("itself"));
        assert!(error(format!("{TWO}{}{}", path("a", "b"), path("b", "a"))).contains("given twice"));
        assert!(error(format!("{TWO}{TWO}")).contains("`a` is given twice"));
        assert!(error(format!("{TWO}colour = 1\n")).contains("colour"));
        assert!(error("[[host]]\nname = 'a'\nroom = 1\nspeed = 0.0".into()).contains("above 0"));
    }

    #[test]
    fn what_is_measured_takes_the_place_of_what_is_configured() {
        let configured = "[[host]]\nname = 'c'\nroom = 1\n\
            [[path]]\nbetween = ['a', 'b']\nbandwidth = '1 Mbit/s'\nlatency_us = 9\n\
            [[path]]\nbetween = ['c', 'b']\nbandwidth = '2 Mbit/s'\nlatency_us = 8\n";
        let figures = parse(&format!("{TWO}{configured}")).unwrap();
        let mbit = |mbit| {
            let value = Bandwidth::from_mbit(mbit);
            Some(RateEstimate { low: value, value, high: value })
        };
        let status = |from: &str, to: &str, capacity, available| PathStatus {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            capacity,
            available,
            carried: Bandwidth::default(),
            latency_us: Some(100),
            age_ms: Some(0),
        };
        let measured = figures.measured(&[
            status("a", "b", mbit(100), mbit(60)),
            status("b", "a", mbit(90), mbit(70)),
            status("c", "a", mbit(50), None),
        ]);
        measured.check().unwrap();
        let path = |a: &str, b: &str| {
            let found = measured
                .paths
                .iter()
                .find(|path| path.between.0 == a.parse().unwrap() && path.between.1 == b.parse().unwrap());
            found.map(|path| (path.bandwidth.mbit(), path.latency_us))
        };
        assert_eq!(path("a", "b"), Some((60.0, 100)), "the worse direction, and what others leave");
        assert_eq!(path("a", "c"), Some((50.0, 100)), "the capacity, where nothing else is known");
        assert_eq!(path("b", "c"), Some((2.0, 8)), "nobody knows better");
        let uplinks: Vec<_> = measured.hosts.iter().map(|host| host.uplink.map(Bandwidth::mbit)).collect();
        assert_eq!(uplinks, [Some(100.0), Some(5.0), Some(50.0)], "the one of b is configured");
    }
}
