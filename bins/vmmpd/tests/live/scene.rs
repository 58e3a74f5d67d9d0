//! The laboratory: `h1` with the Proxy, the agent and a client; `h2` and `h3` with
//! providers; and the guest.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use testbed::{NETWORK, Testbed};
use vlab::{LabSpec, Machine as _, Process, VmSpec};
use vm_driver::qemu::guest::Guest;
use vm_driver::{Attachment, NicConfig, VmConfig};
use vmmp::PeerName;
use vmmp::io::channel::Keys;
use vmmp::io::stream::Address;
use vmmpd::client::{Agent, Target, ask_provider};
use vmmpd::config::{
    AgentAddress, AgentConfig, DriverConfig, DriverKind, Key, OverlayConfig, Peer, ProviderConfig,
    TimingConfig,
};
use vmmpd::control::{Machine, ProviderReply, ProviderRequest};
use vnet_core::generate::Overlay;
use vnet_core::shape::Shape;
use vnet_core::{Bandwidth, MacAddr, Topology};
use vnetd::client::{ApplyOptions, apply};

use crate::common::{self, machine};

pub(crate) const GUEST: &str = "web";
pub(crate) const CLIENT: &str = "client";
pub(crate) const MAC: MacAddr = MacAddr::local(0x77);

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
/// What most tests' guests have.
const DISK: usize = 32 << 20;
const SEED: u64 = 5;

pub(crate) struct Scene {
    // Dropped first: they run in the laboratory.
    daemons: BTreeMap<String, Process>,
    pub(crate) bed: Testbed,
    pub(crate) guest_address: Ipv4Addr,
    folder: TempDir,
    place: usize,
    disk: usize,
}

impl Scene {
    pub(crate) fn build(is_busy: bool) -> Result<Self, Box<dyn std::error::Error>> {
        Self::build_with(is_busy, 1000, DISK)
    }

    /// With links of so many Mbit/s, and a disk of so many bytes.
    pub(crate) fn build_with(
        is_busy: bool,
        mbit: u64,
        disk: usize,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut spec = LabSpec::lan(3, Bandwidth::from_mbit(mbit), Duration::from_micros(100));
        spec.vms =
            vec![VmSpec { name: CLIENT.parse()?, host: Some("h1".parse()?), address: None, mac: None }];
        let mut bed = Testbed::start(&spec)?;
        bed.attach_all()?;
        let [a, b, c, d] = bed.lab().vm(&CLIENT.parse()?)?.ip().octets();
        let guest_address = Ipv4Addr::new(a, b, c, d + 100);
        let folder = tempfile::Builder::new().prefix("vl").tempdir()?;
        let mut scene = Self { daemons: BTreeMap::new(), bed, guest_address, folder, place: 1, disk };
        scene.start_daemons()?;
        scene.create_guest(is_busy)?;
        let options = ApplyOptions { network: NETWORK, ..ApplyOptions::default() };
        apply(&mut scene.bed.client()?, &scene.overlay(Shape::Star, 1)?, &options, |_| {})?;
        Ok(scene)
    }

    /// The overlay of this shape with the guest at that host.
    pub(crate) fn overlay(&self, shape: Shape, place: usize) -> Result<Topology, Box<dyn std::error::Error>> {
        let mut vms = self.bed.vms();
        vms.push(vnet_core::generate::VmSpec {
            mac: MAC,
            host: HOSTS[place].parse()?,
            interface: GUEST.parse()?,
        });
        let mut overlay = Overlay::new(self.bed.hosts(), vms, shape);
        overlay.hub = Some(self.bed.proxy().clone());
        Ok(overlay.generate()?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_daemons(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let key = |name: &str| -> Result<Key, Box<dyn std::error::Error>> {
            fs::create_dir_all(self.path(name))?;
            Ok(Key(Keys::load_or_make(&self.path(name).join("key"))?.public))
        };
        let timing =
            TimingConfig { again_ms: 1000, heartbeat_ms: 500, silence_ms: 30_000, patience_ms: 30_000 };
        let address = |host: &str, port: u16| -> Result<Address, Box<dyn std::error::Error>> {
            let ip = self.bed.lab().host(&host.parse()?)?.ip();
            Ok(Address::Tcp(format!("{ip}:{port}")))
        };
        let mut peers = Vec::new();
        for host in &HOSTS[1..] {
            peers.push(Peer { name: host.parse()?, address: address(host, 7710)?, key: key(host)? });
        }
        let agent = AgentConfig {
            listen: vec![address("h1", 7709)?],
            control: self.path("agent.sock"),
            state: self.path("agent"),
            peers: peers.clone(),
            users: Vec::new(),
            timing,
        };
        let agent_address = AgentAddress { address: address("h1", 7709)?, key: key("agent")? };
        fs::write(self.path("agent.toml"), toml::to_string(&agent)?)?;
        self.spawn("h1", env!("CARGO_BIN_EXE_vmmpa"), "agent.toml")?;
        for peer in &peers {
            let name = peer.name.as_str();
            let config = ProviderConfig {
                name: peer.name.clone(),
                listen: vec![peer.address.clone()],
                control: self.path(&format!("{name}.sock")),
                state: self.path(name),
                driver: DriverConfig { kind: DriverKind::Qemu, root: Some(self.path(&format!("v{name}"))) },
                overlay: Some(OverlayConfig { control: self.bed.control(&name.parse()?) }),
                agent: agent_address.clone(),
                peers: peers.clone(),
                restart: true,
                timing,
            };
            let file = format!("{name}.toml");
            fs::write(self.path(&file), toml::to_string(&config)?)?;
            self.spawn(name, env!("CARGO_BIN_EXE_vmmpd"), &file)?;
        }
        common::wait("the daemons listen", || {
            ["agent.sock", "h2.sock", "h3.sock"].iter().all(|name| self.path(name).exists())
        });
        Ok(())
    }

    fn spawn(&mut self, host: &str, program: &str, config: &str) -> Result<(), Box<dyn std::error::Error>> {
        let mut command = Command::new(program);
        command.arg("run").arg(self.path(config));
        let process = self.bed.lab().host(&host.parse()?)?.spawn_logged(&mut command, "vmmp")?;
        self.daemons.insert(host.to_owned(), process);
        Ok(())
    }

    /// `kill -9` of a provider's daemon, and its next run.
    pub(crate) fn restart(&mut self, number: usize) -> Result<(), Box<dyn std::error::Error>> {
        let name = HOSTS[number];
        if let Some(mut process) = self.daemons.remove(name) {
            process.kill()?;
        }
        self.spawn(name, env!("CARGO_BIN_EXE_vmmpd"), &format!("{name}.toml"))?;
        common::wait("it answers again", || self.shown(number).is_some());
        Ok(())
    }

    /// What a provider says of the guest; `None`: nothing, or it doesn't answer.
    pub(crate) fn shown(&self, number: usize) -> Option<Vec<Machine>> {
        let target = Target::local(self.path(&format!("{}.sock", HOSTS[number])));
        match ask_provider(&target, &ProviderRequest::List) {
            Ok(ProviderReply::Machines { machines }) => Some(machines),
            _ => None,
        }
    }

    /// Is there anything of the guest at a host?
    pub(crate) fn has_files(&self, number: usize) -> bool {
        self.path(&format!("v{}", HOSTS[number])).join(GUEST).exists()
    }

    fn create_guest(&self, is_busy: bool) -> Result<(), Box<dyn std::error::Error>> {
        let more = if is_busy { " dirty=32" } else { "" };
        let mtu = self.bed.lab().spec().vm_mtu;
        let config = VmConfig {
            boot: Guest::find()?.boot(Some(self.guest_address), &format!("vmtu={mtu} scribble=1{more}")),
            memory_bytes: 160 << 20,
            nics: vec![NicConfig { mac: MAC, network: NETWORK, attachment: Attachment::Tap }],
            ..common::config(self.folder.path(), GUEST, SEED, self.disk)
        };
        let target = Target { address: Address::Unix(self.path("h2.sock")), keys: None };
        ask_provider(&target, &ProviderRequest::Create { config: Box::new(config) })
            .map_err(|error| format!("{error}\n{}", self.logs()))?;
        Ok(())
    }

    pub(crate) fn target(&self) -> Target {
        Target::local(self.path("agent.sock"))
    }

    pub(crate) fn agent(&self) -> Agent {
        Agent::connect(&self.target()).expect("the agent runs")
    }

    pub(crate) fn provider(&self, number: usize) -> PeerName {
        HOSTS[number].parse().expect("it is a name")
    }

    /// The host where the guest isn't.
    pub(crate) fn other(&self) -> usize {
        3 - self.place
    }

    pub(crate) fn moved(&mut self, to: usize) {
        self.place = to;
    }

    fn guest_file(&self, name: &str) -> PathBuf {
        self.path(&format!("v{}", HOSTS[self.place])).join(GUEST).join(name)
    }

    /// What the guest has counted to.
    pub(crate) fn ticks(&self) -> u64 {
        let log = fs::read(self.guest_file(vm_driver::qemu::files::CONSOLE_LOG)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().rev().find_map(|line| line.trim().strip_prefix("tick ")?.parse().ok()).unwrap_or(0)
    }

    /// The disk holds what the guest wrote last, and is otherwise what it was.
    pub(crate) fn check_disk(&self) {
        let target =
            Target { address: Address::Unix(self.path(&format!("{}.sock", HOSTS[self.place]))), keys: None };
        let stop = ProviderRequest::Stop { machine: machine(GUEST), within_s: None, consent: true };
        ask_provider(&target, &stop).expect("it can be stopped");
        let qcow2 = self.guest_file("root.qcow2");
        if qcow2.exists() {
            let mut convert = Command::new("qemu-img");
            convert.args(["convert", "-O", "raw"]).arg(&qcow2).arg(self.guest_file("root.raw"));
            assert!(convert.status().expect("qemu-utils is installed").success());
        }
        let found = fs::read(self.guest_file("root.raw")).expect("it is there");
        assert!(
            found[512..] == common::noise(SEED, self.disk)[512..],
            "the disk has changed where nobody writes"
        );
        let text = String::from_utf8_lossy(&found[..32]).into_owned();
        let written: u64 = text.lines().next().and_then(|line| line.parse().ok()).expect("a number");
        let said = self.ticks();
        assert!(said.abs_diff(written) <= 1, "the disk says {written}, the console {said}");
    }

    /// What guest and daemons have said, for a failure.
    pub(crate) fn logs(&self) -> String {
        let read =
            |host: &str| fs::read_to_string(format!("/run/vlab/log/{host}-vmmp.log")).unwrap_or_default();
        let mut all: String = HOSTS.iter().map(|host| format!("== {host}\n{}", read(host))).collect();
        for host in &HOSTS[1..] {
            let console =
                self.path(&format!("v{host}")).join(GUEST).join(vm_driver::qemu::files::CONSOLE_LOG);
            let text = fs::read(&console).unwrap_or_default();
            let text = String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned();
            all += &format!("== the guest's console at {host}\n{text}");
        }
        all
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}
