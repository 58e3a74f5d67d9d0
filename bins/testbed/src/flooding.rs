//! A flood between all VMs of a test bed, from outside.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Stdio};

use vlab::{Machine, Process};
use vnet_core::InterfaceName;

use crate::bed::Testbed;
use crate::error::Error;
use crate::flood::{Flood, FloodReport};
use crate::role::Role;

const PORT: u16 = 9009;

/// A flood that runs in VMs of a test bed.
pub struct Flooding {
    members: Vec<Member>,
}

struct Member {
    vm: InterfaceName,
    // Ends the process when dropped.
    process: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Flooding {
    /// Starts the members in `vms`, which wait for [`Flooding::go`]. Each
    /// will send `rate` datagrams per second, to the others in turn.
    pub fn prepare(bed: &Testbed, vms: &[InterfaceName], rate: u32) -> Result<Self, Error> {
        let mut peers: Vec<SocketAddr> = Vec::new();
        for vm in vms {
            peers.push((bed.lab().vm(vm)?.ip(), PORT).into());
        }
        let mut members = Vec::new();
        for (index, vm) in vms.iter().enumerate() {
            let flood = Flood { index: index as u32, peers: peers.clone(), rate };
            let mut command = Role::Flood.command(flood.arguments());
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut process = bed.lab().vm(vm)?.spawn(&mut command)?;
            let pipes = (process.child().stdin.take(), process.child().stdout.take());
            let (Some(input), Some(output)) = pipes else { unreachable!("both were asked for as pipes") };
            members.push(Member {
                vm: vm.clone(),
                process,
                input: Some(input),
                output: BufReader::new(output),
            });
        }
        for member in &mut members {
            let line = member.line()?;
            if line.trim() != "ready" {
                return Err(member.error(format!("said `{}` instead of `ready`", line.trim())));
            }
        }
        Ok(Self { members })
    }

    /// Starts sending.
    pub fn go(&mut self) -> Result<(), Error> {
        self.members.iter_mut().try_for_each(|member| member.say("go"))
    }

    /// Stops sending; receiving goes on.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.members.iter_mut().try_for_each(|member| member.say("stop"))
    }

    /// Ends the flood and collects what its members have to say. To be called
    /// some time after [`Flooding::stop`], when nothing is under way any more.
    pub fn finish(mut self) -> Result<Vec<FloodReport>, Error> {
        for member in &mut self.members {
            drop(member.input.take());
        }
        self.members.iter_mut().map(Member::report).collect()
    }
}

impl Member {
    fn say(&mut self, word: &str) -> Result<(), Error> {
        let what = format!("tell the flood in {} to {word}", self.vm);
        match &mut self.input {
            Some(input) => writeln!(input, "{word}").map_err(Error::io(what)),
            None => Err(self.error("has ended".into())),
        }
    }

    fn line(&mut self) -> Result<String, Error> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(Error::io(format!("read from the flood in {}", self.vm)))?;
        Ok(line)
    }

    fn report(&mut self) -> Result<FloodReport, Error> {
        let line = self.line()?;
        let report =
            serde_json::from_str(&line).map_err(|error| self.error(format!("said `{line}`: {error}")))?;
        self.process.wait().map_err(Error::io(format!("wait for the flood in {}", self.vm)))?;
        Ok(report)
    }

    fn error(&self, what: String) -> Error {
        Error::Process { who: format!("the flood in {}", self.vm), what }
    }
}
