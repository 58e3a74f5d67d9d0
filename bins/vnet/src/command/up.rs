//! `vnet up`: daemons where there are none, and their first topology.

mod launch;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use vnet_core::control::{InterfaceSpec, PortKind, Request};
use vnet_core::{Action, Host, HostName, Topology};
use vnetd::client::{Address, ApplyOptions, Call, Client, ClientError, apply};

use super::counted;
use crate::cli::Global;
use crate::{input, output};
use launch::Launcher;

// Daemons register within milliseconds of their start.
const LOOK: Duration = Duration::from_millis(10);

/// Start the daemons of a description and give them its topology
///
/// Daemons that run already are left alone. The others are started by ssh, or
/// on this machine with --local, where host number i listens on 127.0.0.i.
/// The first host is the Proxy unless --proxy says otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet up office.vnet
  vnet up --local office.vnet                 all hosts on this machine
  vnet up office.vnet --command 'ssh -p 2222 {user}@{host} sudo {daemon}'

In a command, {user} and {host} stand for those of the description, and
{daemon} for the shell command that starts vnetd there in the background.
Links are encrypted: each daemon makes a key, and the Proxy introduces them to each
other. On other machines they take the key that the Proxy shows at its control
address for the Proxy's: on a network that isn't trusted, start them by hand.

`vnet down` stops the daemons again.")]
pub(crate) struct Options {
    /// The description; `-` reads standard input
    file: PathBuf,
    /// Start daemons on this machine
    #[arg(long)]
    local: bool,
    /// The host of the Proxy [default: the first]
    #[arg(long, value_name = "HOST")]
    proxy: Option<HostName>,
    /// The TCP port where daemons register with the Proxy [default: the one
    /// after its data port]
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// How to start a daemon on another machine
    #[arg(
        long,
        value_name = "TEMPLATE",
        conflicts_with = "local",
        default_value = "ssh -o BatchMode=yes {user}@{host} {daemon}"
    )]
    command: String,
    /// Directory for control sockets, state and logs of local daemons
    /// [default: the one of the control sockets]
    #[arg(long, value_name = "DIR", requires = "local")]
    dir: Option<PathBuf>,
    /// Add a TAP interface for each one that rules name, and make its device
    #[arg(long)]
    taps: bool,
    /// How long daemons may take to start and register
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = input::parse_duration)]
    within: Duration,
}

#[derive(serde::Serialize)]
struct Up {
    proxy: HostName,
    control: String,
    started: Vec<HostName>,
    #[serde(flatten)]
    applied: vnetd::client::Applied,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let topology = input::read_topology(&options.file)?;
    let proxy = choose_proxy(&topology, options.proxy.as_ref())?;
    let mut launcher = Launcher::new(&options, &topology, proxy)?;
    let deadline = Instant::now() + options.within;

    let mut started = Vec::new();
    let mut client = match Client::connect(&launcher.control) {
        Ok(client) => client,
        Err(_) => {
            launcher.start(proxy)?;
            started.push(proxy.machine.clone());
            connect_by(&launcher.control, deadline).with_context(|| {
                format!("the Proxy on {} did not start; {}", proxy.machine, launcher.log(proxy))
            })?
        }
    };
    let status = client.status(None)?;
    if !status.is_proxy || status.host != proxy.machine {
        bail!("{} is the daemon of {}, not the Proxy {}", launcher.control, status.host, proxy.machine);
    }
    launcher.proxy_key = client.peers(None)?.0;
    let present: Vec<HostName> = status.daemons.into_iter().map(|daemon| daemon.host).collect();
    let absent = topology
        .hosts
        .iter()
        .filter(|host| host.machine != proxy.machine && !present.contains(&host.machine));
    for host in absent {
        launcher.start(host)?;
        started.push(host.machine.clone());
    }
    wait_for_daemons(&mut client, &launcher, &topology, proxy, deadline)?;
    if options.taps {
        add_taps(&mut client, global, &topology)?;
    }
    let apply_options = ApplyOptions { network: global.network, ..ApplyOptions::default() };
    let applied = apply(&mut client, &topology, &apply_options, super::apply::report)?;
    raise_bound(&mut client, &topology, applied.in_force)?;
    let up = Up { proxy: proxy.machine.clone(), control: launcher.control.to_string(), started, applied };
    output::show(global.json, &up, || {
        format!(
            "{} started; {}talk to them with --control {}\n",
            counted(up.started.len(), "daemon"),
            super::apply::summary(&up.applied),
            up.control
        )
    })
}

fn choose_proxy<'a>(topology: &'a Topology, wanted: Option<&HostName>) -> Result<&'a Host> {
    match wanted {
        Some(name) => topology.host(name).with_context(|| format!("the description has no host {name}")),
        None => {
            topology.hosts.first().context("the description has no hosts, so that there is nothing to start")
        }
    }
}

fn connect_by(address: &Address, deadline: Instant) -> Result<Client, ClientError> {
    loop {
        match Client::connect(address) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(LOOK),
            result => return result,
        }
    }
}

fn wait_for_daemons(
    client: &mut Client,
    launcher: &Launcher<'_>,
    topology: &Topology,
    proxy: &Host,
    deadline: Instant,
) -> Result<()> {
    loop {
        let present = client.status(None)?.daemons;
        let is_there = |host: &Host| {
            host.machine == proxy.machine || present.iter().any(|daemon| daemon.host == host.machine)
        };
        let Some(missing) = topology.hosts.iter().find(|host| !is_there(host)) else { return Ok(()) };
        if Instant::now() >= deadline {
            bail!(
                "the daemon of {} did not register with the Proxy in time; {}",
                missing.machine,
                launcher.log(missing)
            );
        }
        std::thread::sleep(LOOK);
    }
}

fn add_taps(client: &mut Client, global: &Global, topology: &Topology) -> Result<()> {
    let mut calls: Vec<Call> = Vec::new();
    for (host, rules) in &topology.rules {
        let mut names: Vec<_> = rules
            .iter()
            .filter_map(|rule| match &rule.action {
                Action::Interface(name) => Some(name),
                Action::Edge(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        calls.extend(names.into_iter().map(|name| {
            let port = PortKind::Tap { device: name.to_string(), netns: None, create: true };
            let spec = InterfaceSpec { name: name.clone(), network: global.network, mac: None, port };
            (Some(host.clone()), Request::AddInterface(spec))
        }));
    }
    let hosts: Vec<_> = calls.iter().filter_map(|(host, _)| host.clone()).collect();
    for (host, answer) in hosts.into_iter().zip(client.call_many(calls)?) {
        answer.map_err(|error| anyhow::anyhow!("{host}: {error}"))?;
    }
    Ok(())
}

/// Raises the configuration bound to twice what configuring has just taken,
/// where that is more: VTTIF goes by it.
fn raise_bound(client: &mut Client, topology: &Topology, took: Duration) -> Result<()> {
    let bound = took * 2;
    if bound > Duration::from_millis(client.status(None)?.configuration_bound_ms) {
        let hosts: Vec<_> = topology.hosts.iter().map(|host| host.machine.clone()).collect();
        super::bound::set(client, &hosts, bound)?;
    }
    Ok(())
}
