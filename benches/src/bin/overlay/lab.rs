//! Two hosts as network namespaces, and a wire between them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The addresses of the two hosts on the wire.
pub(crate) const HOSTS: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// The device at each end of the wire.
pub(crate) const WIRE: &str = "wire0";

/// What the wire carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wire {
    /// Super-frames, as between guests of one machine, or for a network card
    /// that cuts them.
    Offloading,
    /// Packets of at most 1500 bytes.
    MtuSized,
    /// The same, which the device that they arrive at puts together (GRO), as the
    /// drivers of network cards do.
    MtuSizedGro,
    /// Packets of at most 1500 bytes, of which one in a thousand is lost, and which take 10 ms.
    LossyThousandth,
    /// Of which one in a hundred is lost.
    LossyHundredth,
}

impl Wire {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Offloading, Self::MtuSized, Self::MtuSizedGro, Self::LossyThousandth, Self::LossyHundredth];

    /// Does it lose packets?
    pub(crate) fn is_lossy(self) -> bool {
        self.loss() > 0.0
    }

    fn loss(self) -> f64 {
        match self {
            Self::Offloading | Self::MtuSized | Self::MtuSizedGro => 0.0,
            Self::LossyThousandth => 0.001,
            Self::LossyHundredth => 0.01,
        }
    }
}

impl std::fmt::Display for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Offloading => "offloading",
            Self::MtuSized => "MTU-sized packets",
            Self::MtuSizedGro => "MTU-sized packets, put together where they arrive",
            Self::LossyThousandth => "MTU-sized packets, 20 ms round trip, 0.1 % lost",
            Self::LossyHundredth => "MTU-sized packets, 20 ms round trip, 1 % lost",
        })
    }
}

/// The hosts; they and all their processes go when this does.
pub(crate) struct Lab {
    names: [String; 2],
    processes: Vec<Child>,
    /// For configuration files of contenders.
    pub(crate) folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(wire: Wire) -> anyhow::Result<Self> {
        let id = std::process::id();
        let names = [format!("ob{id}a"), format!("ob{id}b")];
        let mut lab = Self { names, processes: Vec::new(), folder: tempfile::tempdir()? };
        for name in &lab.names.clone() {
            run(Command::new("ip").args(["netns", "add", name])).context("these measurements run as root")?;
        }
        let [a, b] = &lab.names;
        if wire.is_lossy() {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["wire", "--device", WIRE, "--delay-ms", "10", "--loss", &wire.loss().to_string()]);
            command.arg("--netns").args(lab.names.iter().map(|name| format!("/run/netns/{name}")));
            lab.start(command)?;
        } else {
            let pair = ["link", "add", WIRE, "netns", a, "type", "veth", "peer", "name", WIRE, "netns", b];
            run(Command::new("ip").args(pair))?;
        }
        for (n, address) in HOSTS.iter().enumerate() {
            lab.ip(n, &["link", "set", "lo", "up"])?;
            lab.wait_up(n, WIRE, 1500)?;
            lab.ip(n, &["addr", "add", &format!("{address}/24"), "dev", WIRE])?;
            if matches!(wire, Wire::MtuSized | Wire::MtuSizedGro) {
                let gro = if wire == Wire::MtuSizedGro { "on" } else { "off" };
                let off = ["-K", WIRE, "tso", "off", "gso", "off", "gro", gro, "tx-udp-segmentation", "off"];
                run(lab.command(n, Path::new("ethtool")).args(off))?;
            }
        }
        Ok(lab)
    }

    /// A command that runs in the host `n`.
    pub(crate) fn command(&self, n: usize, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[n]]).arg(program).stdin(Stdio::null());
        command
    }

    /// `ip` about the host `n`.
    pub(crate) fn ip(&self, n: usize, arguments: &[&str]) -> anyhow::Result<()> {
        run(Command::new("ip").args(["-n", &self.names[n]]).args(arguments)).map(|_| ())
    }

    /// Starts a process that lives as long as the lab; its process id.
    pub(crate) fn start(&mut self, mut command: Command) -> anyhow::Result<u32> {
        let shown = format!("{command:?}");
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {shown}"))?;
        let id = child.id();
        self.processes.push(child);
        Ok(id)
    }

    /// Writes a configuration file.
    pub(crate) fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::File::create(&path)?;
        file.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Gives the device of an overlay on the host `n` its address, once it is there.
    pub(crate) fn configure(&self, n: usize, device: &str, subnet: u8) -> anyhow::Result<()> {
        self.wait_up(n, device, 1400)?;
        let address = format!("{}/24", address(n, subnet));
        // A contender may have done so itself.
        let _ = self.ip(n, &["addr", "add", &address, "dev", device]);
        Ok(())
    }

    /// Waits for a device, and takes it up.
    fn wait_up(&self, n: usize, device: &str, mtu: u32) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        while let Err(error) = self.ip(n, &["link", "set", device, "mtu", &mtu.to_string(), "up"]) {
            if Instant::now() > end {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // It may have ended.
            let _ = process.kill();
            let _ = process.wait();
        }
        for name in &self.names {
            // What daemons have left running goes with its last device.
            if let Ok(ids) = Command::new("ip").args(["netns", "pids", name]).output() {
                for id in String::from_utf8_lossy(&ids.stdout).split_whitespace() {
                    let _ = Command::new("kill").arg(id).output();
                }
            }
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

/// The address of the host `n` in a contender's network.
pub(crate) fn address(n: usize, subnet: u8) -> String {
    format!("10.88.{subnet}.{}", n + 1)
}

/// Runs a command to its end; a failure has what it said.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Output> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("running {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Is there such a program?
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
}
