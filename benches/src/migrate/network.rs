//! Two hosts and a link between them.

use std::process::Command;

use super::run;

/// The addresses of the origin and of the destination.
pub const ADDRESSES: [&str; 2] = ["10.79.0.1", "10.79.0.2"];

/// Two network namespaces joined by a link with a rate, by a token bucket of the kernel.
pub struct Network {
    names: [String; 2],
}

impl Network {
    /// Builds it: `rate` in Mbit/s, in each direction.
    pub fn build(rate: u32) -> anyhow::Result<Self> {
        let id = std::process::id();
        let network = Self { names: [format!("mig{id}o"), format!("mig{id}d")] };
        let [origin, destination] = &network.names;
        for name in &network.names {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        let veth = ["link", "add", "eth0", "netns", origin, "type", "veth", "peer", "name", "eth0", "netns"];
        ip(&[&veth[..], &[destination]].concat())?;
        for (name, address) in network.names.iter().zip(ADDRESSES) {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
            ip(&["-n", name, "link", "set", "eth0", "up"])?;
            let rate = format!("{rate}mbit");
            let tc =
                ["netns", "exec", name, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", &rate];
            ip(&[&tc[..], &["burst", "256kb", "latency", "50ms"]].concat())?;
        }
        Ok(network)
    }

    /// A command in the origin (0) or the destination (1).
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host], program]);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    run(Command::new("ip").args(arguments))
}
