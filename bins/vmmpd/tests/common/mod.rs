//! An agent and providers as processes, with their sockets in a folder.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

pub mod fake;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vm_driver::qemu::guest::Guest;
use vm_driver::{DiskConfig, DiskFormat, VmConfig, VmId};
use vmmp::io::channel::Keys;
use vmmp::io::stream::Address;
use vmmp::{MachineId, MethodName, PeerName};
use vmmpd::client::{Agent, ClientError, Target, ask_provider};
use vmmpd::config::{
    AgentAddress, AgentConfig, DriverConfig, DriverKind, Key, Peer, ProviderConfig, TimingConfig,
};
use vmmpd::control::{Machine, Place, ProviderReply, ProviderRequest};

/// How long anything may take, on a machine with other work.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Cluster {
    pub folder: TempDir,
    pub providers: Vec<Provider>,
    agent: Option<Child>,
}

pub struct Provider {
    pub name: PeerName,
    pub root: PathBuf,
    control: PathBuf,
    config: PathBuf,
    process: Option<Child>,
}

pub fn machine(name: &str) -> MachineId {
    MachineId::new(name).expect("it is a name")
}

pub fn method(name: &str) -> Option<MethodName> {
    Some(MethodName::new(name).expect("it is a method's name"))
}

impl Cluster {
    /// Starts an agent and `count` providers with a driver of this kind.
    pub fn start(kind: DriverKind, count: usize) -> Self {
        let folder = tempfile::Builder::new().prefix("vp").tempdir().expect("there is room");
        let path = |name: &str| folder.path().join(name);
        let key = |name: &str| {
            fs::create_dir_all(path(name)).expect("there is room");
            Key(Keys::load_or_make(&path(name).join("key")).expect("there is room").public)
        };
        let timing =
            TimingConfig { again_ms: 300, heartbeat_ms: 300, silence_ms: 20_000, patience_ms: 30_000 };
        let agent_key = key("agent");
        let peers: Vec<Peer> = (1..=count)
            .map(|i| Peer {
                name: PeerName::new(&format!("p{i}")).expect("it is a name"),
                address: Address::Unix(path(&format!("p{i}.wire"))),
                key: key(&format!("p{i}")),
            })
            .collect();
        let agent = AgentConfig {
            listen: vec![Address::Unix(path("agent.wire"))],
            control: path("agent.sock"),
            state: path("agent"),
            peers: peers.clone(),
            users: Vec::new(),
            timing,
        };
        fs::write(path("agent.toml"), toml::to_string(&agent).expect("it has a form"))
            .expect("there is room");
        let providers = peers.iter().map(|peer| {
            let name = peer.name.as_str();
            let config = ProviderConfig {
                name: peer.name.clone(),
                listen: vec![peer.address.clone()],
                control: path(&format!("{name}.sock")),
                state: path(name),
                driver: DriverConfig { kind, root: Some(path(&format!("v{name}"))) },
                overlay: None,
                agent: AgentAddress { address: Address::Unix(path("agent.wire")), key: agent_key },
                peers: peers.clone(),
                restart: true,
                timing,
            };
            let file = path(&format!("{name}.toml"));
            fs::write(&file, toml::to_string(&config).expect("it has a form")).expect("there is room");
            Provider {
                name: peer.name.clone(),
                root: path(&format!("v{name}")),
                control: config.control,
                config: file,
                process: None,
            }
        });
        let providers = providers.collect();
        let mut cluster = Self { folder, providers, agent: None };
        cluster.start_agent();
        (0..count).for_each(|i| cluster.start_provider(i));
        cluster
    }

    pub fn start_agent(&mut self) {
        let config = self.folder.path().join("agent.toml");
        self.agent = Some(daemon(env!("CARGO_BIN_EXE_vmmpa"), &config));
        wait("the agent", || Agent::connect(&self.target()).is_ok());
    }

    pub fn start_provider(&mut self, number: usize) {
        let provider = &mut self.providers[number];
        provider.process = Some(daemon(env!("CARGO_BIN_EXE_vmmpd"), &provider.config));
        let provider = &self.providers[number];
        wait("a provider", || provider.try_ask(&ProviderRequest::List).is_ok());
    }

    /// `kill -9`.
    pub fn kill_agent(&mut self) {
        end(&mut self.agent);
    }

    /// `kill -9`.
    pub fn kill_provider(&mut self, number: usize) {
        end(&mut self.providers[number].process);
    }

    pub fn target(&self) -> Target {
        Target { address: Address::Unix(self.folder.path().join("agent.sock")), keys: None }
    }

    pub fn agent(&self) -> Agent {
        Agent::connect(&self.target()).expect("the agent runs")
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().expect("the agent runs").id()
    }

    /// Waits until the agent knows where a machine is.
    pub fn wait_for_place(&self, name: &MachineId) -> Place {
        let mut found = None;
        wait("the agent knows the machine", || {
            let (places, _) = self.agent().list().expect("the agent runs");
            found = places.into_iter().find(|place| place.machine == *name);
            found.is_some()
        });
        found.expect("it was waited for")
    }

    /// Waits until nothing is under way.
    pub fn wait_for_rest(&self) {
        wait("nothing is under way", || {
            self.agent().list().is_ok_and(|(_, migrations)| migrations.is_empty())
        });
    }

    pub fn migrate(&self, name: &str, to: usize, by: Option<MethodName>) -> Result<u64, ClientError> {
        self.agent().migrate(machine(name), self.providers[to].name.clone(), by, |_| {})
    }

    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(self.folder.path()).expect("it is there").flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                all += &format!("== {}\n{text}", entry.path().display());
            }
        }
        all
    }
}

impl Provider {
    pub fn try_ask(&self, request: &ProviderRequest) -> Result<ProviderReply, ClientError> {
        ask_provider(&Target { address: Address::Unix(self.control.clone()), keys: None }, request)
    }

    pub fn create(&self, config: &VmConfig) {
        self.try_ask(&ProviderRequest::Create { config: Box::new(config.clone()) }).expect("it can be made");
    }

    pub fn machines(&self) -> Vec<Machine> {
        match self.try_ask(&ProviderRequest::List).expect("the provider runs") {
            ProviderReply::Machines { machines } => machines,
            other => panic!("{other:?}"),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the provider runs").id()
    }

    /// A file of a machine.
    pub fn file(&self, machine: &str, name: &str) -> PathBuf {
        self.root.join(machine).join(name)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        end(&mut self.agent);
        for provider in &mut self.providers {
            end(&mut provider.process);
            let machines = fs::read_dir(&provider.root).into_iter().flatten().flatten();
            for pid in machines.filter_map(|entry| process(&entry.path().join("pid"))) {
                kill(pid);
            }
        }
    }
}

/// The process that a file names, if it is a monitor in that folder.
pub fn process(file: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let folder = file.parent()?;
    // Processes that have moved are known by where they were started.
    let mark =
        fs::read(folder.join("mark")).unwrap_or_else(|_| folder.as_os_str().as_encoded_bytes().to_vec());
    arguments.windows(mark.len()).any(|part| part == mark).then_some(pid)
}

/// `kill -9` of a process that we have started.
pub fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

pub fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn end(process: &mut Option<Child>) {
    if let Some(mut child) = process.take() {
        let _ = child.kill();
        child.wait().expect("it is ours");
    }
}

fn daemon(program: &str, config: &Path) -> Child {
    let log = File::options().create(true).append(true).open(config.with_extension("log"));
    let log = log.expect("there is room");
    Command::new(program)
        .arg("run")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("it is open"))
        .stderr(log)
        .spawn()
        .expect("it was built")
}

/// Waits until something is so.
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that follow from a seed, and don't compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        state = next(state);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The next number of xorshift64.
pub fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ (state << 17)
}

/// A machine with a disk of noise.
pub fn config(folder: &Path, name: &str, seed: u64, disk: usize) -> VmConfig {
    let image = folder.join(format!("{name}.image"));
    fs::write(&image, noise(seed, disk)).expect("there is room");
    let disk =
        DiskConfig { name: "root".into(), bytes: disk as u64, format: DiskFormat::Raw, image: Some(image) };
    VmConfig { disks: vec![disk], ..VmConfig::new(VmId::new(name).expect("it is a name"), 64 << 20) }
}

/// A machine that boots the guest, which counts on its console and in the first sector.
pub fn guest(folder: &Path, name: &str, seed: u64, disk: usize) -> VmConfig {
    let guest = Guest::find().expect("`cargo xtask guest` has made it");
    VmConfig {
        boot: guest.boot(None, "scribble=1"),
        memory_bytes: 128 << 20,
        ..config(folder, name, seed, disk)
    }
}

/// What a guest has counted to.
pub fn ticks(provider: &Provider, name: &str) -> u64 {
    let text = fs::read(provider.file(name, vm_driver::qemu::files::CONSOLE_LOG)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let count = |line: &str| line.trim().strip_prefix("tick ")?.parse().ok();
    whole.lines().rev().find_map(count).unwrap_or(0)
}

/// Waits until a guest has counted further than `from`.
pub fn wait_for_ticks(provider: &Provider, name: &str, from: u64) -> u64 {
    let mut count = 0;
    wait("the guest counts", || {
        count = ticks(provider, name);
        count > from
    });
    count
}

/// Is the part of a disk that no guest writes what it was?
pub fn disk_is_intact(provider: &Provider, name: &str, seed: u64, disk: usize) -> bool {
    let found = fs::read(provider.file(name, "root.raw")).expect("it is there");
    found.len() == disk && found[512..] == noise(seed, disk)[512..]
}
