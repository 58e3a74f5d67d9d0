//! Daemons of a test, and the waiting for what they do.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vnet_core::HostName;
use vnet_fwd::PrivateKey;
use vnetd::client::{Address, Client};

/// Long enough for a machine that does many other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Daemons that share a directory, and addresses that no other test has.
pub(crate) struct Overlay {
    pub(crate) dir: TempDir,
    net: [u8; 2],
}

/// The key of the Proxies of tests.
pub(crate) fn proxy_key() -> PrivateKey {
    PrivateKey::from_bytes([77; 32])
}

/// A daemon's process; killed when it is dropped.
pub(crate) struct Daemon {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    flags: Vec<String>,
    child: Child,
}

impl Overlay {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // 127.x.y.z is the loopback for every x and y, so that each test may
        // have addresses of its own: one x per process, one y per overlay.
        let process = (std::process::id() % 250) as u8 + 2;
        let overlay = NEXT.fetch_add(1, Ordering::Relaxed) as u8;
        Self { dir: tempfile::tempdir().unwrap(), net: [process, overlay] }
    }

    /// Address number `z` of this overlay.
    pub(crate) fn ip(&self, z: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.net[0], self.net[1], z)
    }

    /// The Proxy's TCP control address.
    pub(crate) fn registration(&self) -> String {
        format!("{}:7701", self.ip(1))
    }

    /// A Proxy named `proxy`.
    pub(crate) fn proxy(&self, more: &[&str]) -> Daemon {
        let registration = self.registration();
        let key = self.dir.path().join("proxy.key");
        if !key.exists() {
            proxy_key().store(&key).unwrap();
        }
        let key = key.display().to_string();
        let flags = ["--proxy", "true", "--control-tcp", &registration];
        let flags = [&flags, &["--introduce", "--private-key", &key][..]].concat();
        self.daemon("proxy", 1, &[&flags, more].concat())
    }

    /// A daemon that registers with the Proxy.
    pub(crate) fn member(&self, name: &str, z: u8, more: &[&str]) -> Daemon {
        let registration = self.registration();
        let key = proxy_key().public().to_string();
        self.daemon(name, z, &[&["--proxy", &registration, "--proxy-key", &key], more].concat())
    }

    /// A daemon with these flags, at address number `z`.
    pub(crate) fn daemon(&self, name: &str, z: u8, more: &[&str]) -> Daemon {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let bind = format!("{}:7700", self.ip(z));
        let path = |file: &str| dir.join(file).display().to_string();
        let mut flags: Vec<String> =
            ["--name", name, "--bind", &bind, "--no-dns"].map(str::to_owned).to_vec();
        flags.extend(["--control".to_owned(), path("control.sock")]);
        if !more.contains(&"--ephemeral") {
            flags.extend(["--state-dir".to_owned(), path("state")]);
        }
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        Daemon::start(name, dir, flags)
    }

    /// A Proxy and `count` members named `h1`, `h2`, ..., all registered.
    pub(crate) fn star(&self, count: u8, more: &[&str]) -> (Daemon, Vec<Daemon>) {
        let proxy = self.proxy(more);
        let members: Vec<_> = (1..=count).map(|n| self.member(&format!("h{n}"), n + 1, more)).collect();
        let mut client = proxy.client();
        wait_for("all daemons to register", || {
            client.status(None).unwrap().daemons.len() == usize::from(count)
        });
        (proxy, members)
    }
}

impl Daemon {
    pub(crate) fn start(name: &str, dir: PathBuf, flags: Vec<String>) -> Self {
        let child = spawn(&dir, &flags);
        let daemon = Self { name: name.to_owned(), dir, flags, child };
        daemon.wait_until_ready();
        daemon
    }

    pub(crate) fn host(&self) -> HostName {
        self.name.parse().unwrap()
    }

    pub(crate) fn control(&self) -> Address {
        Address::Unix(self.dir.join("control.sock"))
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.control()).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What it has logged, in all its runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again with the same flags.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.dir, &self.flags);
        self.wait_until_ready();
    }

    /// Stops it in an orderly way; returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait_for_exit()
    }

    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        let mut code = None;
        wait_for("the daemon to stop", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        code
    }

    fn wait_until_ready(&self) {
        wait_for(&format!("{} to start\n{}", self.name, self.log()), || {
            Client::connect(&self.control()).is_ok()
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of {} ---\n{}", self.name, self.log());
        }
    }
}

fn spawn(dir: &Path, flags: &[String]) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    vnetd().args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The program under test, with nothing in its environment that matters to it.
pub(crate) fn vnetd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vnetd"));
    command.env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG").env_remove("VNETD_CONFIG");
    command
}

/// Sends a signal by name.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().unwrap();
    assert!(status.success());
}

/// Looks again and again until `what` is so; returns how long it took.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    begun.elapsed()
}
