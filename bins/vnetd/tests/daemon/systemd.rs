//! What systemd hears.

use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use crate::harness::{Overlay, PATIENCE, signal, vnetd, wait_for};

#[test]
fn systemd_is_told_of_start_life_reload_and_end() {
    let overlay = Overlay::new();
    let path = |name: &str| overlay.dir.path().join(name).display().to_string();
    let socket = UnixDatagram::bind(path("notify")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    // Reads until a message has this line; life signs may come in between.
    let hear_of = |line: &str| {
        let mut message = hear();
        while !message.lines().any(|heard| heard == line) {
            assert!(message.starts_with("WATCHDOG=1"), "{message} instead of {line}");
            message = hear();
        }
        message
    };
    let bind = format!("{}:7700", overlay.ip(1));
    let mut command: Command = vnetd();
    let mut child = command
        .args(["--name", "a", "--bind", &bind, "--ephemeral", "--control", &path("control")])
        .env("NOTIFY_SOCKET", path("notify"))
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .env("JOURNAL_STREAM", "8:1")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    hear_of("READY=1");
    for _ in 0..3 {
        hear_of("WATCHDOG=1");
    }
    signal(child.id(), "HUP");
    assert!(hear_of("RELOADING=1").contains("MONOTONIC_USEC="));
    hear_of("READY=1");
    signal(child.id(), "TERM");
    hear_of("STOPPING=1");
    let mut code = None;
    wait_for("the end", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.and_then(|status| status.code()), Some(0));
    let mut log = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut log).unwrap();
    // The journal of systemd has times of its own.
    assert!(log.lines().all(|line| line.trim_start().starts_with("INFO")), "{log}");
}
