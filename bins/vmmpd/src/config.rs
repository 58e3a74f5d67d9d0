//! The configuration of `vmmpd` and `vmmpa`, in TOML.
//!
//! A provider:
//!
//! ```toml
//! name = "provider-1"
//! listen = ["0.0.0.0:7710"]             # other providers and the agent
//! control = "/run/vmmpd/control.sock"   # its own users
//! state = "/var/lib/vmmpd"              # keys, journal, machines
//!
//! [driver]
//! kind = "qemu"                         # or namespace, simulated
//!
//! [overlay]                             # the VNET daemon of this host
//! control = "/run/vnetd/host.sock"
//!
//! [agent]
//! address = "central.example.org:7709"
//! key = "<64 hexadecimal digits, as `vmmpa keygen FILE` prints them>"
//!
//! [[peer]]
//! name = "provider-2"
//! address = "provider-2.example.org:7710"
//! key = "..."
//! ```
//!
//! The agent has `listen`, `control`, `state`, its providers as `[[peer]]`, and users who
//! may come over the network as `[[user]]` with a name and a key.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vmmp::io::channel::parse_key;
use vmmp::io::stream::Address;
use vmmp::{PeerName, Timing};

use crate::error::Error;

/// The configuration of a provider.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its name, as others have it.
    pub name: PeerName,
    /// Where it listens for other providers and the agent.
    pub listen: Vec<Address>,
    /// The Unix socket of its own users.
    pub control: PathBuf,
    /// The folder of its keys, journal and machines.
    pub state: PathBuf,
    /// Its monitor.
    #[serde(default)]
    pub driver: DriverConfig,
    /// The VNET daemon of this host, which follows migrations.
    #[serde(default)]
    pub overlay: Option<OverlayConfig>,
    /// The migration agent.
    pub agent: AgentAddress,
    /// The other providers.
    #[serde(rename = "peer", default)]
    pub peers: Vec<Peer>,
    /// Start a machine again that has ended by itself. Default: yes.
    #[serde(default = "yes")]
    pub restart: bool,
    /// How long parties wait for each other.
    #[serde(default)]
    pub timing: TimingConfig,
}

/// The configuration of the agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where it listens for providers and users.
    pub listen: Vec<Address>,
    /// The Unix socket of its users.
    pub control: PathBuf,
    /// The folder of its keys and journal.
    pub state: PathBuf,
    /// The providers.
    #[serde(rename = "peer", default)]
    pub peers: Vec<Peer>,
    /// Users who may come over the network.
    #[serde(rename = "user", default)]
    pub users: Vec<User>,
    /// How long parties wait for each other.
    #[serde(default)]
    pub timing: TimingConfig,
}

/// A monitor.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriverConfig {
    /// Which.
    #[serde(default)]
    pub kind: DriverKind,
    /// The folder of its machines; absent: `vms` in the state's. Short: Unix sockets
    /// in it have room for 107 octets.
    #[serde(default)]
    pub root: Option<PathBuf>,
}

/// Which monitor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriverKind {
    /// QEMU, with KVM where that works.
    #[default]
    Qemu,
    /// Isolated sets of processes.
    Namespace,
    /// Nothing runs; disks are real.
    Simulated,
}

/// The VNET daemon of a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OverlayConfig {
    /// Its control socket.
    pub control: PathBuf,
}

/// The migration agent, as providers know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentAddress {
    /// Where it listens.
    pub address: Address,
    /// Its public key.
    pub key: Key,
}

/// A provider, as others know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its name.
    pub name: PeerName,
    /// Where it listens.
    pub address: Address,
    /// Its public key.
    pub key: Key,
}

/// Somebody who may ask the agent over the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Their name, for the log.
    pub name: String,
    /// Their public key.
    pub key: Key,
}

/// How long parties wait for each other, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// What isn't answered is said again after this.
    pub again_ms: u64,
    /// Destinations send heartbeats so often.
    pub heartbeat_ms: u64,
    /// The agent gives up a destination that is silent for so long.
    pub silence_ms: u64,
    /// Destination and origin give each other up after so long.
    pub patience_ms: u64,
}

impl Default for TimingConfig {
    fn default() -> Self {
        let Timing { again, heartbeat, silence, patience } = Timing::default();
        let ms = |time: Duration| time.as_millis() as u64;
        Self {
            again_ms: ms(again),
            heartbeat_ms: ms(heartbeat),
            silence_ms: ms(silence),
            patience_ms: ms(patience),
        }
    }
}

impl From<TimingConfig> for Timing {
    fn from(config: TimingConfig) -> Self {
        Self {
            again: Duration::from_millis(config.again_ms.max(1)),
            heartbeat: Duration::from_millis(config.heartbeat_ms.max(1)),
            silence: Duration::from_millis(config.silence_ms.max(1)),
            patience: Duration::from_millis(config.patience_ms.max(1)),
        }
    }
}

/// A public key: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(pub [u8; 32]);

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_key(&text).map(Self).ok_or("a key has 64 hexadecimal digits")
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        vmmp::io::channel::show_key(&key.0)
    }
}

/// Reads a configuration.
///
/// # Errors
/// The file can't be read, or says something that can't be.
pub fn load<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text)
        .map_err(|error| Error::Config { path: path.to_owned(), what: error.to_string().trim().to_owned() })
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vmmpd.toml");
        let good = r#"
            name = "p1"
            listen = ["127.0.0.1:7710", "/run/vmmpd/wire.sock"]
            control = "/run/vmmpd/control.sock"
            state = "/var/lib/vmmpd"
            [agent]
            address = "127.0.0.1:7709"
            key = "KEY"
        "#;
        let key = "0a".repeat(32);
        fs::write(&path, good.replace("KEY", &key)).unwrap();
        let config: ProviderConfig = load(&path).unwrap();
        assert_eq!(config.agent.key, Key([10; 32]));
        assert!(config.restart && config.driver.kind == DriverKind::Qemu);
        for (from, to, wanted) in [
            ("KEY", "0a", "a key has 64 hexadecimal digits"),
            ("name = \"p1\"", "name = \"p 1\"", "a provider's name"),
            ("state", "estate", "estate"),
        ] {
            let bad = good.replace(from, to).replace("KEY", &key);
            fs::write(&path, bad).unwrap();
            let error = load::<ProviderConfig>(&path).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("line"), "{error}");
        }
    }
}
