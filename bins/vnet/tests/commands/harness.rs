//! Running `vnet`, and an overlay on this machine for it to run on.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use tempfile::TempDir;

/// What a run of `vnet` came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A directory of its own for everything that `vnet` and daemons look for.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vnet"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("STATE_DIRECTORY", self.path("state"))
            .env_remove("VNET_CONTROL")
            .env_remove("RUST_LOG");
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "")
    }

    /// With this on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who fails early doesn't read.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// A run that must succeed; what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.ok_with(args, "")
    }

    pub(crate) fn ok_with(&self, args: &[&str], input: &str) -> String {
        let ran = self.run_with(args, input);
        assert_eq!(ran.code, Some(0), "vnet {args:?}: {}", ran.err);
        ran.out
    }

    /// As [`Place::ok`], with `--json`.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let out = self.ok(&[args, &["--json"]].concat());
        assert_eq!(out.lines().count(), 1, "{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// A run that must fail; its message.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "vnet {args:?}");
        assert!(ran.err.starts_with("vnet: "), "{}", ran.err);
        ran.err
    }
}

/// A port that is free on 127.0.0.1 to 127.0.0.9, with the one after it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 500;
    loop {
        let port = (10_000 + (first * 40 + NEXT.fetch_add(2, Ordering::Relaxed)) % 20_000) as u16;
        let is_free = |ip: String| {
            TcpListener::bind((ip.as_str(), port)).is_ok()
                && TcpListener::bind((ip.as_str(), port + 1)).is_ok()
                && UdpSocket::bind((ip.as_str(), port)).is_ok()
        };
        if (1..10).all(|last| is_free(format!("127.0.0.{last}"))) {
            return port;
        }
    }
}

/// Daemons on this machine, stopped when this is dropped.
pub(crate) struct Local {
    pub(crate) place: Place,
    pub(crate) description: String,
}

impl Local {
    /// Daemons of hosts h1, h2, ... in this shape.
    pub(crate) fn up(hosts: usize, shape: &str) -> Self {
        let place = Place::new();
        let port = free_port();
        let names: Vec<String> = (1..=hosts).map(|n| format!("--host=h{n}:{port}")).collect();
        let mut args = vec!["generate", shape];
        args.extend(names.iter().map(String::as_str));
        let description = place.write("overlay.vnet", &place.ok(&args));
        place.ok(&["up", "--local", &description]);
        Self { place, description }
    }
}

impl std::ops::Deref for Local {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let ran = self.place.run(&["down"]);
        if std::thread::panicking() {
            eprintln!("vnet down: {ran:?}");
            for entry in std::fs::read_dir(self.place.path("vnetd")).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    eprintln!(
                        "{}:\n{}",
                        entry.path().display(),
                        std::fs::read_to_string(entry.path()).unwrap()
                    );
                }
            }
        }
    }
}
