//! The program `vmmp`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use vmmp::io::stream::Address;
use vmmp::{MachineId, MethodName, MigrationId, PeerName};

use super::show::Bar;
use super::{Agent, ClientError, Target, ask_provider};
use crate::config::Key;
use crate::control::{AgentReply, AgentRequest, ProviderReply, ProviderRequest};

/// Move virtual machines between providers.
///
/// Speaks to the migration agent, and for the machines of one provider (`vmmp vm`)
/// to that.
#[derive(Debug, Parser)]
#[command(name = "vmmp", version, after_help = EXAMPLES)]
struct Options {
    #[command(flatten)]
    agent: AgentOptions,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct AgentOptions {
    /// Where the agent listens: its control socket, or host:port
    #[arg(long, global = true, env = "VMMP_AGENT", default_value = "/run/vmmpa/control.sock")]
    agent: Address,
    /// Over the network: the file with your keys; it is made if it isn't there
    #[arg(long, global = true, value_name = "FILE", requires = "agent_key")]
    key: Option<PathBuf>,
    /// Over the network: the agent's public key
    #[arg(long, global = true, value_name = "HEX", value_parser = key)]
    agent_key: Option<Key>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How could a machine move there? The methods, the best first
    Query { machine: MachineId, provider: PeerName },
    /// Move a machine, and show how it goes on until it is there
    Migrate {
        machine: MachineId,
        provider: PeerName,
        /// How: COPY, DELTA, LIVE, or LAZY (it runs there before its disks are there, and needs
        /// both providers until they are); without it the best of the others that both have
        #[arg(long)]
        method: Option<MethodName>,
        /// Don't wait; print the migration's number
        #[arg(long)]
        detach: bool,
    },
    /// Where the machines are, and what is under way
    List,
    /// Show how a migration goes on (all without a number)
    Watch {
        #[arg(value_parser = migration)]
        id: Option<MigrationId>,
    },
    /// Stop a migration; the machine stays where it is
    Cancel {
        #[arg(value_parser = migration)]
        id: MigrationId,
        /// Why, for whoever started it
        #[arg(long, default_value = "cancelled by a user")]
        reason: String,
    },
    /// The machines of the provider on this host
    Vm {
        /// The provider's control socket
        #[arg(long, env = "VMMP_PROVIDER", default_value = "/run/vmmpd/control.sock")]
        provider: PathBuf,
        #[command(subcommand)]
        command: VmCommand,
    },
}

#[derive(Debug, Subcommand)]
enum VmCommand {
    /// Make a machine from a JSON or TOML file, and turn it on
    Create { config: PathBuf },
    /// Turn it on, or let it go on
    Start { machine: MachineId },
    /// Turn it off
    Stop {
        machine: MachineId,
        /// At once, without asking it to shut down
        #[arg(long)]
        force: bool,
        /// How long it may take to shut down, in seconds
        #[arg(long, default_value_t = 60, conflicts_with = "force")]
        within: u64,
        /// What would be lost may be
        #[arg(long)]
        lose: bool,
    },
    /// Remove it and its disks
    Delete {
        machine: MachineId,
        /// What would be lost may be
        #[arg(long)]
        lose: bool,
    },
    /// The machines that are here
    List,
    /// Where a VNC client reaches its screen
    Console { machine: MachineId },
}

const EXAMPLES: &str = "\
Examples:
  vmmp vm create web.toml
  vmmp query web provider-2
  vmmp migrate web provider-2
  vmmp migrate web provider-1 --method DELTA --json
  vmmp list";

fn key(text: &str) -> Result<Key, &'static str> {
    Key::try_from(text.to_owned())
}

fn migration(text: &str) -> Result<MigrationId, String> {
    u64::from_str_radix(text, 16)
        .map(MigrationId)
        .map_err(|_| "a migration's number is hexadecimal, as `vmmp list` shows it".into())
}

/// Runs the program `vmmp` with the arguments of this process.
pub fn main_from_env() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vmmp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), ClientError> {
    if let Command::Vm { provider, command } = &options.command {
        let target = Target { address: Address::Unix(provider.clone()), keys: None };
        return vm(&target, command, options.json);
    }
    let keys = options.agent.key.clone().zip(options.agent.agent_key);
    let agent = Agent::connect(&Target { address: options.agent.agent.clone(), keys })?;
    let json = options.json;
    match &options.command {
        Command::Query { machine, provider } => {
            let request = AgentRequest::Query { machine: machine.clone(), to: provider.clone() };
            let methods = agent.ask(&request, |reply| match reply {
                AgentReply::Methods { methods } => Some(methods),
                _ => None,
            })?;
            if json {
                return print(&methods);
            }
            methods.iter().for_each(|method| println!("{method}"));
            Ok(())
        }
        Command::Migrate { machine, provider, method, detach: true } => {
            let id = agent.begin(machine.clone(), provider.clone(), method.clone())?;
            println!("{id}");
            Ok(())
        }
        Command::Migrate { machine, provider, method, .. } => {
            let request = AgentRequest::Migrate {
                machine: machine.clone(),
                to: provider.clone(),
                method: method.clone(),
            };
            follow(&agent, &request, json)
        }
        Command::Watch { id } => follow(&agent, &AgentRequest::Watch { id: *id }, json),
        Command::Cancel { id, reason } => {
            agent.ask(&AgentRequest::Cancel { id: *id, reason: reason.clone() }, |_| Some(()))
        }
        Command::List => list(&agent, json),
        Command::Vm { .. } => Ok(()),
    }
}

/// Shows how it goes on until it ends.
fn follow(agent: &Agent, request: &AgentRequest, json: bool) -> Result<(), ClientError> {
    let bar = Bar::new();
    let watches_all = matches!(request, AgentRequest::Watch { id: None });
    let result = agent.ask(request, |reply| {
        if json && let Err(error) = print(&reply) {
            eprintln!("vmmp: {error}");
        }
        match reply {
            AgentReply::Progress { progress, .. } if !json => bar.show(progress),
            AgentReply::Ended { id, machine, result } => {
                bar.end();
                if !json && (watches_all || result.is_ok()) {
                    match &result {
                        Ok(version) => println!("{machine} is there, as version {version} (migration {id})"),
                        Err(why) => println!("{machine} is where it was: {why} (migration {id})"),
                    }
                }
                return (!watches_all).then_some(result);
            }
            _ => {}
        }
        None
    })?;
    result.map(drop).map_err(ClientError::Failed)
}

fn list(agent: &Agent, json: bool) -> Result<(), ClientError> {
    let (machines, migrations) = agent.list()?;
    if json {
        return print(&serde_json::json!({"machines": machines, "migrations": migrations}));
    }
    println!("{:<24} {:<24} {:>8}", "machine", "provider", "version");
    for place in machines {
        println!("{:<24} {:<24} {:>8}", place.machine, place.provider, place.version);
    }
    for under_way in migrations {
        let percent = under_way.progress.done * 100 / under_way.progress.total.max(1);
        println!(
            "{}: {} from {} to {} by {}, {percent} %",
            under_way.id, under_way.machine, under_way.from, under_way.to, under_way.method
        );
    }
    Ok(())
}

fn vm(target: &Target, command: &VmCommand, json: bool) -> Result<(), ClientError> {
    let request = match command {
        VmCommand::Create { config } => ProviderRequest::Create { config: Box::new(read(config)?) },
        VmCommand::Start { machine } => ProviderRequest::Start { machine: machine.clone() },
        VmCommand::Stop { machine, force, within, lose } => ProviderRequest::Stop {
            machine: machine.clone(),
            within_s: (!force).then_some(*within),
            consent: *lose,
        },
        VmCommand::Delete { machine, lose } => {
            ProviderRequest::Delete { machine: machine.clone(), consent: *lose }
        }
        VmCommand::List => ProviderRequest::List,
        VmCommand::Console { machine } => ProviderRequest::Console { machine: machine.clone() },
    };
    let reply = ask_provider(target, &request)?;
    if json {
        return print(&reply);
    }
    match reply {
        ProviderReply::Machines { machines } => {
            println!("{:<24} {:>8} {:<12} {:>8}", "machine", "version", "state", "process");
            for machine in machines {
                let pid = machine.pid.map_or_else(String::new, |pid| pid.to_string());
                println!("{:<24} {:>8} {:<12} {pid:>8}", machine.machine, machine.version, machine.state);
                if let Some(ended) = machine.ended {
                    println!("  {ended}");
                }
                if let Some(peer) = machine.coming_from {
                    println!("  its disks are still coming from {peer}");
                }
            }
        }
        ProviderReply::Console { address: Some(address) } => println!("{address}"),
        ProviderReply::Console { address: None } => {
            return Err(ClientError::Refused("it has no screen: make it with console = true".into()));
        }
        _ => {}
    }
    Ok(())
}

fn read(path: &std::path::Path) -> Result<vm_driver::VmConfig, ClientError> {
    let wrong = |why: String| ClientError::Refused(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text).map_err(|error| wrong(error.to_string()));
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string()))
}

fn print(what: &impl Serialize) -> Result<(), ClientError> {
    let line = serde_json::to_string(what).map_err(std::io::Error::from)?;
    println!("{line}");
    Ok(())
}
