//! Real guests under QEMU: each host of the laboratory has a provider of VMMP, and the plan's
//! migrations are live ones, by way of the migration agent.

mod image;
mod report;

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;
use testbed::{NETWORK, Testbed};
use vadaptd::decide::Decision;
use vadaptd::execute::{Executed, execute};
use vadaptd::inventory::Inventory;
use vadaptd::migrate::Vmmp;
use vlab::{Machine, Process};
use vm_driver::qemu::files;
use vm_driver::{Attachment, NicConfig, VmConfig, VmId};
use vmmp::io::channel::Keys;
use vmmp::io::stream::Address;
use vmmp::{MachineId, PeerName};
use vmmpd::client::{Target, ask_provider};
use vmmpd::config::{
    AgentAddress, AgentConfig, DriverConfig, DriverKind, Key, OverlayConfig, Peer, ProviderConfig,
    TimingConfig,
};
use vmmpd::control::ProviderRequest;
use vnet_core::generate::VmSpec;
use vnet_core::shape::Shape;
use vnet_core::{HostName, InterfaceName, MacAddr};
use vnetd::client::Client;

use super::clock::Clock;
use super::machines::{Machines, Work};
use report::Ranks;

/// By which this program knows that it is to be one of VMMP's daemons.
const DAEMON: &str = "VNET_DEMO_DAEMON";

/// How long guests may take to boot, all together.
const BOOT: Duration = Duration::from_secs(180);

const AGENT_PORT: u16 = 7709;
const PROVIDER_PORT: u16 = 7710;

/// Where the application listens in each guest.
const PORT: u16 = 9010;

/// Runs this process as one of VMMP's daemons, if it was started for that.
pub(crate) fn dispatch() -> Option<ExitCode> {
    match std::env::var(DAEMON).ok()?.as_str() {
        "vmmpa" => Some(vmmpd::agent::main_from_env()),
        "vmmpd" => Some(vmmpd::provider::main_from_env()),
        _ => None,
    }
}

/// The guests, and the daemons that run and move them.
pub(crate) struct Guests {
    // Dropped first: they run in the laboratory.
    _daemons: Vec<Process>,
    folder: TempDir,
    hosts: Vec<HostName>,
    guests: Vec<Guest>,
}

struct Guest {
    spec: VmSpec,
    address: Ipv4Addr,
}

impl Guests {
    /// Starts the daemons of VMMP on all hosts with room, and `count` guests, one at each in
    /// turn; they have booted then.
    pub(crate) fn start(bed: &Testbed, count: u32) -> anyhow::Result<Self> {
        // Sockets in it have room for 107 octets.
        let folder =
            tempfile::Builder::new().prefix("vd").tempdir().context("make a folder for the guests")?;
        let spec = bed.lab().spec();
        let hosts = super::scene::in_turn(spec);
        let subnet = spec.vm_subnet.network.to_bits();
        let mut guests = Vec::new();
        for i in 0..count {
            let vm = VmSpec {
                mac: MacAddr::local(i + 1),
                host: hosts[i as usize % hosts.len()].clone(),
                interface: InterfaceName::new(&format!("vm{}", i + 1)).context("the name of a VM")?,
            };
            guests.push(Guest { spec: vm, address: Ipv4Addr::from_bits(subnet + 11 + i) });
        }
        let mut all = Self { _daemons: Vec::new(), folder, hosts, guests };
        all._daemons = all.start_daemons(bed)?;
        all.create(bed)?;
        Ok(all)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of a guest's files at a host.
    fn files(&self, host: &HostName, guest: &Guest) -> PathBuf {
        self.path(&format!("v{host}")).join(guest.spec.interface.as_str())
    }

    fn provider(&self, host: &HostName) -> Target {
        Target { address: Address::Unix(self.path(&format!("{host}.sock"))), keys: None }
    }

    fn start_daemons(&self, bed: &Testbed) -> anyhow::Result<Vec<Process>> {
        let key = |name: &str| -> anyhow::Result<Key> {
            fs::create_dir_all(self.path(name))?;
            Ok(Key(Keys::load_or_make(&self.path(name).join("key"))?.public))
        };
        let address = |host: &HostName, port: u16| -> anyhow::Result<Address> {
            Ok(Address::Tcp(format!("{}:{port}", bed.lab().host(host)?.ip())))
        };
        // A wide-area network and a machine that translates guests' instructions.
        let timing =
            TimingConfig { again_ms: 2000, heartbeat_ms: 1000, silence_ms: 120_000, patience_ms: 120_000 };
        let mut peers = Vec::new();
        for host in &self.hosts {
            let name: PeerName = host.as_str().parse()?;
            peers.push(Peer { name, address: address(host, PROVIDER_PORT)?, key: key(host.as_str())? });
        }
        let center = bed.proxy();
        let agent = AgentConfig {
            listen: vec![address(center, AGENT_PORT)?],
            control: self.path("agent.sock"),
            state: self.path("agent"),
            peers: peers.clone(),
            users: Vec::new(),
            timing,
        };
        let agent_address = AgentAddress { address: address(center, AGENT_PORT)?, key: key("agent")? };
        let mut daemons = vec![self.spawn(bed, center, "vmmpa", &toml::to_string(&agent)?)?];
        for (host, peer) in self.hosts.iter().zip(&peers) {
            let config = ProviderConfig {
                name: peer.name.clone(),
                listen: vec![peer.address.clone()],
                control: self.path(&format!("{host}.sock")),
                state: self.path(host.as_str()),
                driver: DriverConfig { kind: DriverKind::Qemu, root: Some(self.path(&format!("v{host}"))) },
                overlay: Some(OverlayConfig { control: bed.control(host) }),
                agent: agent_address.clone(),
                peers: peers.clone(),
                restart: false,
                timing,
            };
            daemons.push(self.spawn(bed, host, "vmmpd", &toml::to_string(&config)?)?);
        }
        let sockets = self.hosts.iter().map(|host| self.path(&format!("{host}.sock")));
        let sockets: Vec<PathBuf> = sockets.chain([self.path("agent.sock")]).collect();
        let end = Instant::now() + Duration::from_secs(30);
        while let Some(missing) = sockets.iter().find(|path| !path.exists()) {
            if Instant::now() > end {
                bail!(
                    "a daemon of VMMP does not listen at {}; its log is in /run/vlab/log",
                    missing.display()
                );
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(daemons)
    }

    fn spawn(&self, bed: &Testbed, host: &HostName, program: &str, config: &str) -> anyhow::Result<Process> {
        let path = self.path(&format!("{host}-{program}.toml"));
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let mut command = Command::new("/proc/self/exe");
        command.env(DAEMON, program).arg("run").arg(&path);
        Ok(bed.lab().host(host)?.spawn_logged(&mut command, program)?)
    }

    /// Makes the guests, and waits until all have booted.
    fn create(&self, bed: &Testbed) -> anyhow::Result<()> {
        let initrd = image::with_this_program(self.folder.path())?;
        let memory = image::memory(&initrd)?;
        let mtu = bed.lab().spec().vm_mtu;
        for guest in &self.guests {
            let id = VmId::new(guest.spec.interface.as_str())?;
            let config = VmConfig {
                boot: image::boot(&initrd, guest.address, mtu)?,
                nics: vec![NicConfig { mac: guest.spec.mac, network: NETWORK, attachment: Attachment::Tap }],
                ..VmConfig::new(id, memory)
            };
            let request = ProviderRequest::Create { config: Box::new(config) };
            ask_provider(&self.provider(&guest.spec.host), &request)
                .with_context(|| format!("make {} at {}", guest.spec.interface, guest.spec.host))?;
        }
        let end = Instant::now() + BOOT;
        for guest in &self.guests {
            let console = self.files(&guest.spec.host, guest).join(files::CONSOLE_LOG);
            loop {
                let text = fs::read(&console).unwrap_or_default();
                if contains(&text, image::TOO_LARGE) {
                    bail!("{} has too little memory for its programs", guest.spec.interface);
                }
                if contains(&text, b"USERSPACE") {
                    break;
                }
                if Instant::now() > end {
                    bail!(
                        "{} has not booted within {BOOT:?}: see {}",
                        guest.spec.interface,
                        console.display()
                    );
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Machines for Guests {
    fn vms(&self, _: &Testbed) -> Vec<VmSpec> {
        self.guests.iter().map(|guest| guest.spec.clone()).collect()
    }

    fn start(&self, _: &Testbed, clock: Clock, shape: &Shape, message: u64) -> anyhow::Result<Box<dyn Work>> {
        let peers: Vec<String> =
            self.guests.iter().map(|guest| format!("{}:{PORT}", guest.address)).collect();
        let peers = peers.join(",");
        let mut ranks = Ranks::new(clock);
        for (rank, guest) in self.guests.iter().enumerate() {
            let consoles =
                self.hosts.iter().map(|host| self.files(host, guest).join(files::CONSOLE_LOG)).collect();
            ranks.add(guest.spec.interface.clone(), consoles);
            let arguments = format!(
                "--rank {rank} --peers {peers} --shape {shape} --message {message} --interval 50ms \
                 --report /dev/ttyS0"
            );
            let command = image::run_in_background(&arguments);
            say(&self.files(&guest.spec.host, guest), &command)
                .with_context(|| format!("start the application in {}", guest.spec.interface))?;
        }
        Ok(Box::new(ranks))
    }

    fn execute(
        &mut self,
        _: &mut Testbed,
        client: &mut Client,
        decision: &Decision,
        _: &Inventory,
    ) -> anyhow::Result<Executed> {
        let mut mover = Vmmp::new(Target::local(self.path("agent.sock")));
        let executed = execute(client, NETWORK, decision, &mut mover, |_| {})?;
        for a_move in &decision.moves {
            for guest in self.guests.iter_mut().filter(|guest| guest.spec.mac == a_move.mac) {
                guest.spec.host = a_move.to.clone();
            }
        }
        Ok(executed)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        for guest in &self.guests {
            let machine = MachineId::new(guest.spec.interface.as_str())?;
            let stop = ProviderRequest::Stop { machine, within_s: None, consent: true };
            ask_provider(&self.provider(&guest.spec.host), &stop)
                .with_context(|| format!("turn {} off", guest.spec.interface))?;
        }
        Ok(())
    }
}

/// Says a line to the shell on a guest's serial line, and waits until it was read: QEMU forgets
/// what a client that hangs up has said and the guest has not taken.
fn say(folder: &Path, line: &str) -> std::io::Result<()> {
    let mut serial = UnixStream::connect(folder.join(files::SERIAL))?;
    serial.set_read_timeout(Some(Duration::from_secs(30)))?;
    writeln!(serial, "{line}")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !contains(&answer, b"DONE") {
        match serial.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
