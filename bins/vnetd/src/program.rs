//! The program: flags, the configuration file under them, and the daemon.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vnet_core::{HostName, LinkKind, PublicKey};

use crate::config::{self, ClockError, Config, ConfigError, Encryption, Role};
use crate::io::{log, runtime};

/// Run a VNET daemon
///
/// The daemon carries Ethernet frames between the interfaces of this host and
/// the links to other daemons. It listens for clients (`vnet`) on a Unix
/// socket. One daemon is the Proxy, where the others register.
#[derive(Clone, Debug, Parser)]
#[command(name = "vnetd", version, after_help = EXAMPLES)]
struct Flags {
    /// Read this configuration file; flags outweigh it
    #[arg(short, long, value_name = "FILE", env = "VNETD_CONFIG")]
    config: Option<PathBuf>,
    /// The name of this host in links and rules
    #[arg(short, long, required_unless_present = "config")]
    name: Option<HostName>,
    /// Where links end, UDP and TCP
    #[arg(short, long, value_name = "IP:PORT")]
    bind: Option<SocketAddr>,
    /// The Unix control socket
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Listen for clients and daemons over TCP, too (the Proxy must)
    #[arg(long, value_name = "IP:PORT")]
    control_tcp: Option<SocketAddr>,
    /// Register with the Proxy at this TCP control address; `true`: be the Proxy
    #[arg(short, long, value_name = "HOST:PORT|true", value_parser = parse_proxy)]
    proxy: Option<Role>,
    /// What carries the link to the Proxy
    #[arg(long, value_name = "udp|tcp|none")]
    star_link: Option<StarLink>,
    /// The data address of a daemon (repeat for more)
    #[arg(long = "peer", value_name = "NAME=HOST:PORT", value_parser = parse_peer)]
    peers: Vec<(HostName, String)>,
    /// Encrypt links, or leave them plain
    #[arg(long, value_name = "noise|none")]
    encryption: Option<LinkEncryption>,
    /// The file with this daemon's private key; made if it isn't there
    /// [default: private.key in the state directory]
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The Proxy's public key: believe the Proxy what the keys of others are
    #[arg(long, value_name = "KEY")]
    proxy_key: Option<PublicKey>,
    /// As the Proxy: take in every daemon with a new name, keep to its key, and
    /// tell the daemons each other's keys
    #[arg(long)]
    introduce: bool,
    /// The public key of a daemon that links may be had with (repeat for more)
    #[arg(long = "peer-key", value_name = "NAME=KEY", value_parser = parse_peer_key)]
    peer_keys: Vec<(HostName, PublicKey)>,
    /// Never look up host names in the DNS
    #[arg(long)]
    no_dns: bool,
    /// Keep links, rules and interfaces here across restarts
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Keep nothing across restarts
    #[arg(long, conflicts_with = "state_dir")]
    ephemeral: bool,
    /// Serve Prometheus metrics here, at /metrics
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// How often to report traffic, in Hz
    #[arg(long, value_name = "HZ")]
    traffic_rate: Option<f64>,
    /// Infer neither what the application does nor what the paths can do
    #[arg(long)]
    no_inference: bool,
    /// Read a host's times as if its clock were wrong (for laboratories)
    #[arg(long = "clock-error", value_name = "NAME=SECONDS,PPM", value_parser = parse_clock_error, hide = true)]
    clock_errors: Vec<(HostName, ClockError)>,
    /// Keep what arrived over links in files here (for work on estimators)
    #[arg(long, value_name = "DIR", hide = true)]
    keep_arrivals: Option<PathBuf>,
    /// Check the configuration and the flags, and stop
    #[arg(long)]
    check: bool,
}

const EXAMPLES: &str = "\
Examples:
  vnetd --name proxy --proxy true --control-tcp 0.0.0.0:7701 --introduce
  vnetd --name host-a --proxy proxy.example.org:7701 --proxy-key KEY
  vnetd --config /etc/vnetd.toml --check

Links are encrypted; a daemon makes its key when it starts for the first time.
`vnet peer list proxy` shows the Proxy's KEY. Without --introduce and --proxy-key,
`vnet peer add` tells each daemon the keys of the others.

SIGHUP reads the configuration file again; SIGTERM stops the daemon. RUST_LOG
sets what is logged (error, warn, info, debug, trace).";

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StarLink {
    Udp,
    Tcp,
    None,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LinkEncryption {
    Noise,
    None,
}

/// Runs the program `vnetd` with these arguments, the program's name first.
/// Returns when the daemon stops: 0, or 1 after a failure, or 2 after a
/// mistake in the arguments.
pub fn main_from_args(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::try_parse_from(args) {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing better can be done where even this can't be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let config = match flags.config() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("vnetd: {error}");
            // Without a file, whoever typed the flags made the mistake.
            return ExitCode::from(if flags.config.is_some() { 1 } else { 2 });
        }
    };
    if flags.check {
        println!("the configuration of {} is good", config.name);
        return ExitCode::SUCCESS;
    }
    log::start();
    let reload: crate::Reload = Box::new(move || flags.config());
    match runtime::run(config, Some(reload)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

impl Flags {
    /// The configuration file, if there is one, under the flags.
    fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match (&self.config, &self.name) {
            (Some(path), name) => config::load_as(path, name.clone())?,
            (None, Some(name)) => Config::with_default_paths(name.clone()),
            // clap asks for one of them.
            (None, None) => return Err(ConfigError::flags("--name or --config is needed")),
        };
        let flags = self.clone();
        config.data = flags.bind.unwrap_or(config.data);
        config.control = flags.control.or(config.control);
        config.control_tcp = flags.control_tcp.or(config.control_tcp);
        config.role = flags.proxy.unwrap_or(config.role);
        match flags.star_link {
            Some(StarLink::Udp) => config.star_link = Some(LinkKind::Udp),
            Some(StarLink::Tcp) => config.star_link = Some(LinkKind::Tcp),
            Some(StarLink::None) => config.star_link = None,
            None => {}
        }
        config.peers.extend(flags.peers);
        match flags.encryption {
            Some(LinkEncryption::Noise) => config.encryption = Encryption::Noise,
            Some(LinkEncryption::None) => config.encryption = Encryption::None,
            None => {}
        }
        config.private_key = flags.private_key.or(config.private_key);
        config.proxy_key = flags.proxy_key.or(config.proxy_key);
        config.introduce |= flags.introduce;
        config.peer_keys.extend(flags.peer_keys);
        config.dns &= !flags.no_dns;
        config.state_dir = flags.state_dir.or(config.state_dir).filter(|_| !flags.ephemeral);
        config.metrics = flags.metrics.or(config.metrics);
        config.inference &= !flags.no_inference;
        config.keep_arrivals = flags.keep_arrivals.or(config.keep_arrivals);
        config.clock_errors.extend(flags.clock_errors);
        config.traffic_rate = flags.traffic_rate.or(config.traffic_rate);
        match config.problems() {
            problems if problems.is_empty() => Ok(config),
            problems => Err(ConfigError::flags(&problems.join("; "))),
        }
    }
}

fn parse_proxy(text: &str) -> Result<Role, String> {
    if text == "true" {
        return Ok(Role::Proxy);
    }
    config::check_host_port(text).map(|()| Role::Member { proxy: text.to_owned() })
}

fn parse_clock_error(text: &str) -> Result<(HostName, ClockError), String> {
    let form = "write the error as NAME=SECONDS,PPM";
    let (name, error) = text.split_once('=').ok_or(form)?;
    let (ahead, ppm) = error.split_once(',').ok_or(form)?;
    let ahead = ahead.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let error = ClockError {
        ahead: ahead.ok_or("the seconds are a number of at least 0")?,
        fast_ppm: ppm.parse().map_err(|_| "the drift is a whole number of millionths")?,
    };
    Ok((name.parse().map_err(|error: vnet_core::name::NameError| error.to_string())?, error))
}

fn parse_peer(text: &str) -> Result<(HostName, String), String> {
    let (name, address) = text.split_once('=').ok_or("write the peer as NAME=HOST:PORT")?;
    config::check_host_port(address)?;
    Ok((name.parse().map_err(|error: vnet_core::name::NameError| error.to_string())?, address.to_owned()))
}

fn parse_peer_key(text: &str) -> Result<(HostName, PublicKey), String> {
    // A key may end with `=`, too.
    let (name, key) = text.split_once('=').ok_or("write the key as NAME=KEY")?;
    let name = name.parse().map_err(|error: vnet_core::name::NameError| error.to_string())?;
    Ok((name, key.parse().map_err(|error: vnet_core::key::KeyError| error.to_string())?))
}
