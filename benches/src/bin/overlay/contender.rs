//! What is measured: how each overlay is started on the two hosts.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::lab::{HOSTS, Lab, WIRE, find, run};

/// One overlay, or one way to run it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    /// As in the table and for `--only`.
    pub(crate) name: &'static str,
    /// Does it encrypt?
    pub(crate) encrypted: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Wire,
    Vxlan,
    /// With these arguments of `overlay plane`.
    Ours(&'static [&'static str]),
    Tinc,
    Fastd(&'static str),
    N2n,
    OpenVpn(&'static [&'static str]),
    WireGuardGo,
}

/// A contender that is up.
pub(crate) struct Running {
    /// Its network: `10.88.SUBNET.0/24`; `None`: that of the wire itself.
    pub(crate) subnet: Option<u8>,
    /// Its processes on both hosts.
    pub(crate) processes: Vec<u32>,
}

const fn contender(name: &'static str, encrypted: bool, kind: Kind) -> Contender {
    Contender { name, encrypted, kind }
}

/// What every ratio is to.
pub(crate) const BASE: &str = "vxlan";

/// All of them, in the order of the table.
pub(crate) const ALL: &[Contender] = &[
    contender("wire", false, Kind::Wire),
    contender(BASE, false, Kind::Vxlan),
    contender("ours", false, Kind::Ours(&[])),
    contender("ours-encrypted", true, Kind::Ours(&["--encrypt"])),
    contender("ours-tcp-link", false, Kind::Ours(&["--tcp"])),
    contender("ours-no-port-offload", false, Kind::Ours(&["--without", "ports"])),
    contender("ours-no-link-offload", false, Kind::Ours(&["--without", "links"])),
    contender("ours-no-udp-segment", false, Kind::Ours(&["--without", "udp-segmentation"])),
    contender("ours-no-udp-gro", false, Kind::Ours(&["--without", "udp-coalescing"])),
    contender("ours-no-offload", false, Kind::Ours(&["--without", "all"])),
    contender("ours-no-cache", false, Kind::Ours(&["--cache", "1"])),
    contender("tinc", false, Kind::Tinc),
    contender("fastd", false, Kind::Fastd("null")),
    contender("n2n", false, Kind::N2n),
    contender("openvpn", false, Kind::OpenVpn(&["--cipher", "none", "--auth", "none"])),
    contender("fastd-encrypted", true, Kind::Fastd("salsa2012+umac")),
    contender("wireguard-go", true, Kind::WireGuardGo),
];

impl Contender {
    /// The program that it needs and that isn't there, if so.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        let program = match self.kind {
            Kind::Wire | Kind::Vxlan | Kind::Ours(_) => return None,
            Kind::Tinc => "tincd",
            Kind::Fastd(_) => "fastd",
            Kind::N2n => "edge",
            Kind::OpenVpn(_) => "openvpn",
            Kind::WireGuardGo => "wireguard-go",
        };
        find(program).is_none().then_some(program)
    }

    /// Starts it; `subnet` tells it from all others.
    pub(crate) fn start(&self, lab: &mut Lab, subnet: u8) -> anyhow::Result<Running> {
        let port = 7000 + u16::from(subnet);
        let processes = match self.kind {
            Kind::Wire => return Ok(Running { subnet: None, processes: Vec::new() }),
            Kind::Vxlan => vxlan(lab, subnet)?,
            Kind::Ours(arguments) => ours(lab, subnet, port, arguments)?,
            Kind::Tinc => tinc(lab, subnet, port)?,
            Kind::Fastd(method) => fastd(lab, subnet, port, method)?,
            Kind::N2n => n2n(lab, subnet, port)?,
            Kind::OpenVpn(arguments) => openvpn(lab, subnet, port, arguments)?,
            Kind::WireGuardGo => wireguard_go(lab, subnet, port)?,
        };
        for n in 0..2 {
            lab.configure(n, &device(n, subnet), subnet).with_context(|| self.name)?;
        }
        Ok(Running { subnet: Some(subnet), processes })
    }
}

/// The device of a contender; `wireguard-go` wants another name on each host.
fn device(n: usize, subnet: u8) -> String {
    format!("o{subnet}{}", ["a", "b"][n])
}

fn program(name: &'static str) -> anyhow::Result<PathBuf> {
    find(name).with_context(|| format!("{name} is not installed"))
}

fn vxlan(lab: &Lab, subnet: u8) -> anyhow::Result<Vec<u32>> {
    for n in 0..2 {
        let (name, id) = (device(n, subnet), subnet.to_string());
        let (remote, local) = (HOSTS[1 - n], HOSTS[n]);
        let what = ["link", "add", &name, "type", "vxlan", "id", &id, "remote", remote, "local", local];
        lab.ip(n, &[&what[..], &["dstport", "4789", "dev", WIRE]].concat())?;
    }
    Ok(Vec::new())
}

fn ours(lab: &mut Lab, subnet: u8, port: u16, arguments: &[&str]) -> anyhow::Result<Vec<u32>> {
    let program = std::env::current_exe()?;
    let mut processes = Vec::new();
    for n in 0..2 {
        let mut command = lab.command(n, &program);
        command.args(["plane", "--name", ["a", "b"][n], "--peer", ["b", "a"][n]]);
        command.args(["--bind", &format!("{}:{port}", HOSTS[n])]);
        command.args(["--peer-address", &format!("{}:{port}", HOSTS[1 - n])]);
        command.args(["--tap", &device(n, subnet)]).args(arguments);
        // It lives as long as its standard input.
        command.stdin(Stdio::piped());
        processes.push(lab.start(command)?);
    }
    Ok(processes)
}

fn tinc(lab: &mut Lab, subnet: u8, port: u16) -> anyhow::Result<Vec<u32>> {
    let program = program("tincd")?;
    let host = |n: usize| {
        let address = HOSTS[n];
        format!("Address = {address}\nPort = {port}\nCipher = none\nDigest = none\nCompression = 0\n")
    };
    for n in 0..2 {
        let own = ["a", "b"][n];
        let mut text = format!(
            "Name = {own}\nMode = switch\nDeviceType = tap\nInterface = {}\nAddressFamily = ipv4\n\
             BindToAddress = {}\n",
            device(n, subnet),
            HOSTS[n],
        );
        if n == 0 {
            text.push_str("ConnectTo = b\n");
        }
        let file = lab.file(&format!("tinc-{own}/tinc.conf"), &text)?;
        lab.file(&format!("tinc-{own}/hosts/{own}"), &host(n))?;
        let folder = file.parent().context("a file is in a folder")?.to_owned();
        // Asks for places to write the keys to, and takes the usual ones.
        run(Command::new(&program).arg("-c").arg(&folder).args(["-n", "", "-K2048"]).stdin(Stdio::null()))?;
    }
    let mut processes = Vec::new();
    for n in 0..2 {
        let (own, other) = (["a", "b"][n], ["b", "a"][n]);
        let folder = lab.folder.path().join(format!("tinc-{own}"));
        let theirs = lab.folder.path().join(format!("tinc-{other}/hosts/{other}"));
        std::fs::copy(theirs, folder.join("hosts").join(other))?;
        let pid = folder.join("pid");
        let mut command = lab.command(n, &program);
        command.arg("-c").arg(&folder).arg("-D").arg(format!("--pidfile={}", pid.display()));
        processes.push(lab.start(command)?);
    }
    Ok(processes)
}

fn fastd(lab: &mut Lab, subnet: u8, port: u16, method: &str) -> anyhow::Result<Vec<u32>> {
    let program = program("fastd")?;
    let mut secrets = Vec::new();
    let mut publics = Vec::new();
    for n in 0..2 {
        let secret = run(Command::new(&program).args(["--generate-key", "--machine-readable"]))?.stdout;
        let secret = String::from_utf8(secret)?.trim().to_owned();
        let key = lab.file(&format!("fastd-{method}-{n}.key"), &format!("secret \"{secret}\";\n"))?;
        let show = ["--show-key", "--machine-readable", "--config"];
        publics.push(
            String::from_utf8(run(Command::new(&program).args(show).arg(key))?.stdout)?.trim().to_owned(),
        );
        secrets.push(secret);
    }
    let mut processes = Vec::new();
    for n in 0..2 {
        let text = format!(
            "mode tap;\ninterface \"{}\";\nmtu 1400;\nmethod \"{method}\";\nsecret \"{}\";\n\
             bind {}:{port};\npeer \"other\" {{ key \"{}\"; remote {}:{port}; }}\n",
            device(n, subnet),
            secrets[n],
            HOSTS[n],
            publics[1 - n],
            HOSTS[1 - n],
        );
        let file = lab.file(&format!("fastd-{method}-{n}.conf"), &text)?;
        let mut command = lab.command(n, &program);
        command.arg("--config").arg(file);
        processes.push(lab.start(command)?);
    }
    Ok(processes)
}

fn n2n(lab: &mut Lab, subnet: u8, port: u16) -> anyhow::Result<Vec<u32>> {
    let program = program("edge")?;
    let mut node = lab.command(0, &find("supernode").context("supernode is not installed")?);
    node.args(["-l", &port.to_string()]);
    let mut processes = vec![lab.start(node)?];
    for n in 0..2 {
        let mut command = lab.command(n, &program);
        command.args(["-d", &device(n, subnet), "-a", &super::lab::address(n, subnet), "-c", "bench"]);
        command.args(["-l", &format!("{}:{port}", HOSTS[0]), "-p", &(port + 100).to_string()]);
        command.args(["-M", "1400", "-m", &format!("02:00:00:00:0b:0{n}")]);
        processes.push(lab.start(command)?);
    }
    Ok(processes)
}

fn openvpn(lab: &mut Lab, subnet: u8, port: u16, arguments: &[&str]) -> anyhow::Result<Vec<u32>> {
    let program = program("openvpn")?;
    let mut processes = Vec::new();
    for n in 0..2 {
        let mut command = lab.command(n, &program);
        command.args(["--dev-type", "tap", "--dev", &device(n, subnet), "--proto", "udp4", "--mode", "p2p"]);
        command.args(["--local", HOSTS[n], "--remote", HOSTS[1 - n], "--port", &port.to_string()]);
        command.args(["--tun-mtu", "1400", "--mssfix", "0"]).args(arguments);
        processes.push(lab.start(command)?);
    }
    Ok(processes)
}

fn wireguard_go(lab: &mut Lab, subnet: u8, port: u16) -> anyhow::Result<Vec<u32>> {
    let (program, wg) = (program("wireguard-go")?, program("wg")?);
    let mut keys = Vec::new();
    let mut processes = Vec::new();
    for n in 0..2 {
        let secret = run(Command::new(&wg).arg("genkey"))?.stdout;
        let file = lab.file(&format!("wg-{n}.key"), &String::from_utf8(secret)?)?;
        let mut command = Command::new(&wg);
        let public = run(command.arg("pubkey").stdin(std::fs::File::open(&file)?))?.stdout;
        keys.push((file, String::from_utf8(public)?.trim().to_owned()));
        let mut command = lab.command(n, &program);
        command.args(["-f", &device(n, subnet)]);
        processes.push(lab.start(command)?);
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    for n in 0..2 {
        let mut command = lab.command(n, &wg);
        command.args(["set", &device(n, subnet), "listen-port", &port.to_string(), "private-key"]);
        command.arg(&keys[n].0).args(["peer", &keys[1 - n].1, "allowed-ips", "0.0.0.0/0"]);
        run(command.args(["endpoint", &format!("{}:{port}", HOSTS[1 - n])]))?;
    }
    Ok(processes)
}
