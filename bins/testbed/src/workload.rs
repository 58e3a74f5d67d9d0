//! The BSP workload of the papers in the VMs of a test bed.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use patterns::report::{Record, Tail, Throughput};
use rustix::process::Signal;
use vlab::{Machine, Process, STATE_DIR};
use vnet_core::InterfaceName;
use vnet_core::shape::Shape;

use crate::bed::Testbed;
use crate::error::Error;
use crate::role::Role;

const PORT: u16 = 9010;

/// `patterns` with one rank in each of some VMs. Dropping it kills the ranks.
pub struct Application {
    ranks: Vec<Rank>,
    throughput: Throughput,
    started_ns: Option<u64>,
    failures: Vec<String>,
}

struct Rank {
    vm: InterfaceName,
    process: Process,
    tail: Tail,
    started_ns: Option<u64>,
}

impl Application {
    /// Starts a rank in each of `vms`, in their order, which exchange
    /// messages of `message` bytes along the edges of `shape`. `arguments` are
    /// further ones for `patterns`.
    pub fn start(
        bed: &Testbed,
        vms: &[InterfaceName],
        shape: &Shape,
        message: u64,
        arguments: &[&str],
    ) -> Result<Self, Error> {
        let mut peers: Vec<SocketAddr> = Vec::new();
        for vm in vms {
            peers.push((bed.lab().vm(vm)?.ip(), PORT).into());
        }
        let list = peers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let mut ranks = Vec::new();
        for (rank, vm) in vms.iter().enumerate() {
            let report = report_of(vm);
            match fs::remove_file(&report) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io(format!("remove the old report {}", report.display()))(error));
                }
                _ => {}
            }
            let (rank, shape, message) = (rank.to_string(), shape.to_string(), message.to_string());
            let report_arg = report.display().to_string();
            let mut command = Role::Patterns.command([
                "--rank",
                &rank,
                "--peers",
                &list,
                "--shape",
                &shape,
                "--message",
                &message,
                "--report",
                &report_arg,
            ]);
            command.args(arguments);
            let process = bed.lab().vm(vm)?.spawn_logged(&mut command, "patterns")?;
            ranks.push(Rank { vm: vm.clone(), process, tail: Tail::new(report), started_ns: None });
        }
        let throughput = Throughput::new(vms.len());
        Ok(Self { ranks, throughput, started_ns: None, failures: Vec::new() })
    }

    /// Takes in what the ranks have reported since the last call, which is to
    /// be made now and then.
    pub fn poll(&mut self) -> Result<(), Error> {
        for rank in &mut self.ranks {
            let who = || format!("patterns in {}", rank.vm);
            let records = rank.tail.poll().map_err(|e| Error::Process { who: who(), what: e.to_string() })?;
            for record in &records {
                match record {
                    Record::Start(start) => rank.started_ns = Some(start.at.monotonic_ns),
                    Record::ConnectionLost(lost) => {
                        self.failures.push(format!(
                            "{} lost its connection to rank {}: {}",
                            rank.vm, lost.peer, lost.why
                        ));
                    }
                    Record::Sample(_) | Record::Summary(_) | Record::ConnectionRestored(_) => {}
                }
                self.throughput.add_record(record);
            }
            if let Some(status) = rank.process.try_wait().map_err(Error::io(who()))?
                && !status.success()
            {
                let log = rank.process.log().map(fs::read_to_string).and_then(Result::ok).unwrap_or_default();
                return Err(Error::Process {
                    who: who(),
                    what: format!("ended with {status}: {}", log.trim()),
                });
            }
        }
        let starts: Option<Vec<u64>> = self.ranks.iter().map(|rank| rank.started_ns).collect();
        self.started_ns = starts.and_then(|starts| starts.into_iter().max());
        Ok(())
    }

    /// When the last rank had all its connections and began to iterate, by
    /// `CLOCK_MONOTONIC` in nanoseconds; `None` before that.
    pub fn started_ns(&self) -> Option<u64> {
        self.started_ns
    }

    /// When the first rank had all its connections and sent its first message,
    /// by the same clock.
    pub fn first_started_ns(&self) -> Option<u64> {
        self.ranks.iter().filter_map(|rank| rank.started_ns).min()
    }

    /// How fast it has run.
    pub fn throughput(&self) -> &Throughput {
        &self.throughput
    }

    /// Connections that broke, one sentence each.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Asks all ranks to stop, waits for them, and takes their last reports in.
    pub fn stop(&mut self) -> Result<(), Error> {
        for rank in &self.ranks {
            // One that has ended already needs no signal.
            let _ = rank.process.signal(Signal::TERM);
        }
        for rank in &mut self.ranks {
            let who = format!("wait for patterns in {}", rank.vm);
            if rank.process.wait_for(Duration::from_secs(10)).map_err(Error::io(who.clone()))?.is_none() {
                rank.process.kill().map_err(Error::io(who))?;
            }
        }
        self.poll()
    }
}

fn report_of(vm: &InterfaceName) -> PathBuf {
    Path::new(STATE_DIR).join(format!("patterns-{vm}.jsonl"))
}
