//! Daemons on the hosts of a laboratory, VMs behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use vlab::{Lab, LabSpec, Machine, Process, STATE_DIR};
use vnet_core::control::{InterfaceSpec, Request};
use vnet_core::generate::{Overlay, VmSpec};
use vnet_core::shape::Shape;
use vnet_core::{Host, HostName, InterfaceName, NetworkId, PublicKey, Topology, UserName};
use vnetd::client::{Address, Client};

use crate::error::Error;
use crate::role::Role;

/// The network that the VMs of a test bed are in.
pub const NETWORK: NetworkId = NetworkId(1);

/// Where daemons end their links, on every host.
pub const DATA_PORT: u16 = 7700;

/// Where the Proxy listens for the other daemons.
pub const CONTROL_PORT: u16 = 7701;

/// How long daemons may take to register with the Proxy, for each of them.
const REGISTRATION: Duration = Duration::from_millis(500);

/// A laboratory with a daemon on every host.
pub struct Testbed {
    // Dropped before the laboratory that they run in.
    daemons: BTreeMap<HostName, Process>,
    lab: Lab,
    proxy: HostName,
    places: BTreeMap<InterfaceName, HostName>,
    /// Further arguments for daemons.
    flags: Vec<String>,
    /// Known once the Proxy runs.
    proxy_key: Option<PublicKey>,
}

impl Testbed {
    /// Builds the laboratory, starts the daemons and waits until all have
    /// registered with the Proxy: the host that the description names, or the first one.
    ///
    /// The program must have called [`dispatch`](crate::dispatch) and
    /// [`vlab::enter`] before.
    pub fn start(spec: &LabSpec) -> Result<Self, Error> {
        Self::start_with_flags(spec, &[])
    }

    /// As [`Testbed::start`], but daemons make no link to the Proxy by themselves.
    pub fn start_unlinked(spec: &LabSpec) -> Result<Self, Error> {
        Self::start_with_flags(spec, &["--star-link", "none"])
    }

    /// As [`Testbed::start`], with further arguments for the daemons.
    pub fn start_with_flags(spec: &LabSpec, flags: &[&str]) -> Result<Self, Error> {
        let lab = Lab::build(spec)?;
        // What the daemons of an earlier test bed of this process left.
        match std::fs::remove_dir_all(state_dir()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", state_dir().display()))(error));
            }
            _ => {}
        }
        let first = lab.hosts().first().map(|host| host.name().clone());
        let Some(proxy) = spec.proxy.clone().or(first) else {
            return Err(Error::Process {
                who: spec.name.clone(),
                what: "the laboratory has no hosts".into(),
            });
        };
        let places = BTreeMap::new();
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut bed =
            Self { daemons: BTreeMap::new(), lab, proxy: proxy.clone(), places, flags, proxy_key: None };
        // The Proxy first, so that the others need not try twice.
        bed.start_daemon(&proxy)?;
        bed.wait_for_socket(&proxy)?;
        bed.proxy_key = bed.client()?.peers(None)?.0;
        let names: Vec<HostName> = bed.lab.hosts().iter().map(|host| host.name().clone()).collect();
        for name in names.iter().filter(|name| **name != proxy) {
            bed.start_daemon(name)?;
        }
        bed.wait_for_registration(REGISTRATION * names.len() as u32 + Duration::from_secs(5))?;
        Ok(bed)
    }

    /// The laboratory.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The Proxy's host.
    pub fn proxy(&self) -> &HostName {
        &self.proxy
    }

    /// The daemon's control socket on `host`, reachable from every host.
    pub fn control(&self, host: &HostName) -> PathBuf {
        Path::new(STATE_DIR).join(format!("{host}.sock"))
    }

    /// A connection to the Proxy, through which all daemons can be reached.
    pub fn client(&self) -> Result<Client, Error> {
        self.client_of(&self.proxy)
    }

    /// A connection to the daemon on `host`.
    pub fn client_of(&self, host: &HostName) -> Result<Client, Error> {
        Ok(Client::connect(&Address::Unix(self.control(host)))?)
    }

    /// The hosts as descriptions have them, the Proxy first.
    pub fn hosts(&self) -> Vec<Host> {
        let host = |name: &HostName| Host {
            username: UserName::new("virtuoso").expect("letters make a name"),
            machine: name.clone(),
            port: DATA_PORT,
            interface: InterfaceName::new("eth0").expect("letters and a digit make a name"),
        };
        let others = self.lab.hosts().iter().map(|host| host.name()).filter(|name| **name != self.proxy);
        std::iter::once(&self.proxy).chain(others).map(host).collect()
    }

    /// The data address of the daemon on `host`.
    pub fn data_address(&self, host: &HostName) -> Result<SocketAddr, Error> {
        Ok((self.lab.host(host)?.ip(), DATA_PORT).into())
    }

    /// The VMs and the hosts that they are at now.
    pub fn vms(&self) -> Vec<VmSpec> {
        let place = |vm: &vlab::Vm| {
            let host = self.places.get(vm.name())?.clone();
            Some(VmSpec { mac: vm.mac(), host, interface: vm.name().clone() })
        };
        self.lab.vms().iter().filter_map(place).collect()
    }

    /// Where a VM is now.
    pub fn place_of(&self, vm: &InterfaceName) -> Option<&HostName> {
        self.places.get(vm)
    }

    /// The overlay of `shape` over all hosts (the Proxy at its hub), with the
    /// VMs where they are.
    pub fn overlay(&self, shape: Shape) -> Result<Topology, Error> {
        let mut overlay = Overlay::new(self.hosts(), self.vms(), shape);
        overlay.hub = Some(self.proxy.clone());
        Ok(overlay.generate()?)
    }

    /// What the daemon of a host must open to have `vm` behind it.
    pub fn interface(&self, vm: &InterfaceName) -> Result<InterfaceSpec, Error> {
        let vm = self.lab.vm(vm)?;
        Ok(InterfaceSpec {
            name: vm.name().clone(),
            network: NETWORK,
            mac: Some(vm.mac()),
            port: vm.attachment(),
        })
    }

    /// Attaches every VM to the daemon of the host that the description gives it.
    pub fn attach_all(&mut self) -> Result<(), Error> {
        let mut calls = Vec::new();
        for vm in self.lab.vms() {
            let Some(host) = vm.spec().host.clone() else {
                return Err(Error::Homeless(vm.name().to_string()));
            };
            calls.push((Some(host.clone()), Request::AddInterface(self.interface(vm.name())?)));
            self.places.insert(vm.name().clone(), host);
        }
        let targets: Vec<_> = calls.iter().map(|(host, _)| host.clone()).collect();
        let responses = self.client()?.call_many(calls)?;
        for (response, host) in responses.into_iter().zip(targets) {
            let target = host.map_or_else(String::new, |host| host.to_string());
            response.map_err(|source| vnetd::client::ClientError::Refused { target, source })?;
        }
        Ok(())
    }

    /// Notes that a VM is at another host now; the daemons have been told already.
    pub fn moved(&mut self, vm: &InterfaceName, host: &HostName) {
        self.places.insert(vm.clone(), host.clone());
    }

    /// `kill -9` of the daemon on `host`.
    pub fn kill_daemon(&mut self, host: &HostName) -> Result<(), Error> {
        if let Some(mut daemon) = self.daemons.remove(host) {
            daemon.kill().map_err(Error::io(format!("kill the daemon of {host}")))?;
        }
        Ok(())
    }

    /// Starts the daemon on `host` (again), with the state that it left.
    pub fn start_daemon(&mut self, host: &HostName) -> Result<(), Error> {
        let machine = self.lab.host(host)?;
        let proxy = self.lab.host(&self.proxy)?.ip();
        let mut arguments: Vec<String> = vec!["--name".into(), host.to_string(), "--no-dns".into()];
        let mut flag = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        flag("--bind", format!("{}:{DATA_PORT}", machine.ip()));
        flag("--control", self.control(host).display().to_string());
        flag("--state-dir", state_dir().join(host.as_str()).display().to_string());
        if *host == self.proxy {
            flag("--proxy", "true".into());
            flag("--control-tcp", format!("{proxy}:{CONTROL_PORT}"));
            arguments.push("--introduce".into());
        } else {
            flag("--proxy", format!("{proxy}:{CONTROL_PORT}"));
            if let Some(key) = self.proxy_key {
                flag("--proxy-key", key.to_string());
            }
        }
        arguments.extend(self.flags.iter().cloned());
        let process = machine.spawn_logged(&mut Role::Daemon.command(arguments), "vnetd")?;
        self.daemons.insert(host.clone(), process);
        Ok(())
    }

    /// The process of the daemon on `host`, while it runs.
    pub fn daemon(&self, host: &HostName) -> Option<&Process> {
        self.daemons.get(host)
    }

    /// What the daemon on `host` has logged so far, in all its runs.
    pub fn log_of(&self, host: &HostName) -> Result<String, Error> {
        let path = self.daemons.get(host).and_then(Process::log).map(Path::to_owned);
        let path = path.ok_or_else(|| Error::Process {
            who: host.to_string(),
            what: "its daemon isn't running".into(),
        })?;
        std::fs::read_to_string(&path).map_err(Error::io(format!("read {}", path.display())))
    }

    fn wait_for_socket(&self, host: &HostName) -> Result<(), Error> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match self.client_of(host) {
                Err(error) if Instant::now() >= end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(2)),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Waits until every daemon that runs is registered with the Proxy.
    pub fn wait_for_registration(&self, patience: Duration) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let known = self.client()?.status(None)?.daemons;
            let is_known = |host: &HostName| known.iter().any(|daemon| daemon.host == *host);
            let missing: Vec<_> =
                self.daemons.keys().filter(|host| **host != self.proxy && !is_known(host)).cloned().collect();
            if missing.is_empty() {
                return Ok(());
            }
            let waited = started.elapsed();
            if waited >= patience {
                return Err(Error::NotRegistered { missing, waited, logs: Path::new(STATE_DIR).join("log") });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where daemons keep their state, each in a folder of its own.
fn state_dir() -> PathBuf {
    Path::new(STATE_DIR).join("state")
}
