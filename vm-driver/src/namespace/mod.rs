//! VMs that are isolated sets of processes, with a network of their own.
//!
//! A VM is a PID, mount, network, UTS and IPC namespace, made by unshare(1).
//! Its configuration says what runs in it ([`Boot::Program`]). Its network cards
//! are TAP devices `eth0`, `eth1`, ... whose other ends a daemon opens; what
//! addresses they have is the program's business, as in any machine. It has no
//! disks, suspends in place, and moves live between providers of one machine: it is for
//! density and for laboratories.
//!
//! Needs the rights of root, at least in a user namespace of one's own (as
//! `vlab` has it, or `unshare --user --map-root-user`).

mod live;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::Signal;
use vnet_core::control::PortKind;

use crate::config::{Attachment, Boot, VmConfig};
use crate::driver::{Capabilities, CpuShare, Driver, SuspendKind};
use crate::error::DriverError;
use crate::id::VmId;
use crate::io::process::{is_ours, last_lines, set_nice, signal, spawn, state, wait_until};
use crate::io::tap;
use crate::managed::{Life, Managed, Monitor, PerVm};
use crate::store::Record;

/// Where the output of a VM's program goes, in its folder.
pub const LOG: &str = "program.log";

/// The first process of a VM waits at this FIFO until it is let go.
const GATE: &str = "gate";
const PID: &str = "pid";

/// By which argument the first process is known, if it was started in another folder.
const MARK: &str = "mark";

/// How long namespaces may take to be made or to go away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first process: waits at the gate, runs the program, and hands on that the
/// VM is asked to shut down, which the kernel keeps from a first process that
/// doesn't listen for it.
const FIRST: &str = r#"
trap 'kill -TERM "$child" 2>/dev/null' TERM
read -r _ < "$1" || exit 70
shift
"$@" &
child=$!
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
exit "$code"
"#;

/// A driver of namespaces, which keeps its VMs in the folder `root`.
///
/// # Errors
/// The folder can't be used, or a record in it is damaged.
pub fn open(root: &Path) -> Result<impl Driver + use<>, DriverError> {
    Managed::open(root, Namespaces { children: PerVm::new(), waiting: PerVm::new() })
}

struct Namespaces {
    /// The `unshare` processes that this process has started, to be collected.
    children: PerVm<Child>,
    /// Those that wait for a VM.
    waiting: PerVm<live::Waiting>,
}

impl Namespaces {
    /// The first process of a VM, seen from here.
    fn first_process(&self, folder: &Path) -> Option<u32> {
        process_of(folder, PID)
    }

    fn expect(&self, id: &VmId, folder: &Path) -> Result<u32, DriverError> {
        self.first_process(folder).ok_or_else(|| DriverError::Monitor {
            vm: id.clone(),
            action: "reach its first process".into(),
            answer: "it has ended".into(),
            log: last_lines(&folder.join(LOG)),
        })
    }

    fn try_launch(&self, record: &Record, folder: &Path) -> Result<(), DriverError> {
        let id = &record.config.id;
        let Boot::Program { command } = &record.config.boot else {
            return Err(needs_program(id));
        };
        let gate = folder.join(GATE);
        let make_gate = || -> io::Result<()> {
            remove_if_there(&gate)?;
            remove_if_there(&folder.join(PID))?;
            remove_if_there(&folder.join(MARK))?;
            Ok(rustix::fs::mknodat(
                rustix::fs::CWD,
                &gate,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
                0,
            )?)
        };
        make_gate().map_err(DriverError::io(id, format!("make the FIFO {}", gate.display())))?;
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--net", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", FIRST, "first"])
            .arg(&gate)
            .args(command);
        let child = spawn(&mut unshare, &folder.join(LOG)).map_err(|source| DriverError::Program {
            program: "unshare".into(),
            package: "util-linux",
            source,
        })?;
        let parent = child.id();
        self.children.insert(id, child);
        let mut first = None;
        wait_until(PATIENCE, || {
            first = child_of(parent).filter(|pid| is_ours(*pid, &gate.display().to_string()));
            first.is_some() || state(parent).is_none_or(|state| state == 'Z')
        });
        let Some(first) = first else {
            return Err(DriverError::Monitor {
                vm: id.clone(),
                action: "make its namespaces".into(),
                answer: "unshare(1) has ended; it needs root, or a user namespace of one's own".into(),
                log: last_lines(&folder.join(LOG)),
            });
        };
        fs::write(folder.join(PID), format!("{first}\n"))
            .map_err(DriverError::io(id, "write the id of its first process"))?;
        let namespace = network(first);
        tap::loopback_up(&namespace).map_err(DriverError::io(id, "bring up its `lo`"))?;
        for (number, nic) in record.config.nics.iter().enumerate() {
            let name = format!("eth{number}");
            tap::make(&name, Some(nic.mac), Some(&namespace))
                .map_err(DriverError::io(id, format!("make its network card {name}")))?;
        }
        Ok(())
    }
}

impl Monitor for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            suspend: SuspendKind::InPlace,
            adopts: true,
            cpu_share: true,
            memory: false,
            console: false,
            disks: false,
            graceful_stop: true,
            live: true,
            lazy_disks: false,
        }
    }

    fn check(&self, config: &VmConfig) -> Result<(), DriverError> {
        let wrong = |what: &str| Err(DriverError::Config { vm: config.id.clone(), what: what.into() });
        if !matches!(config.boot, Boot::Program { .. }) {
            return Err(needs_program(&config.id));
        }
        if !config.disks.is_empty() {
            return wrong("disks: a namespace has none; use the qemu driver");
        }
        if config.console {
            return wrong("console = true: a namespace has no screen");
        }
        if config.nics.iter().any(|nic| nic.attachment != Attachment::Tap) {
            return wrong("nics.attachment: a namespace has TAP devices only");
        }
        Ok(())
    }

    fn life(&self, id: &VmId, folder: &Path) -> Result<Life, DriverError> {
        let Some(first) = self.first_process(folder) else {
            if process_of(folder, live::ARRIVED).is_some() {
                return Ok(Life::Still);
            }
            if self.waiting.contains(id) {
                return Ok(Life::Waiting);
            }
            if process_of(folder, live::DEPARTED).is_some() {
                // It lives on, and not here.
                return Ok(Life::Absent);
            }
            if let Some(mut child) = self.children.remove(id) {
                // It has ended, or is about to: its only child has.
                wait_until(PATIENCE, || !matches!(child.try_wait(), Ok(None)));
            }
            return Ok(Life::Absent);
        };
        let is_still = folder.join(GATE).exists() || state(first) == Some('T');
        Ok(if is_still { Life::Still } else { Life::Running })
    }

    fn pid(&self, _: &VmId, folder: &Path) -> Option<u32> {
        self.first_process(folder)
    }

    fn reclaim(&self, folder: &Path) -> io::Result<()> {
        match fs::rename(folder.join(live::DEPARTED), folder.join(PID)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn launch(&self, record: &Record, folder: &Path, _: Option<&Path>) -> Result<(), DriverError> {
        self.try_launch(record, folder)
    }

    fn go(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        let first = self.expect(id, folder)?;
        let gate = folder.join(GATE);
        if gate.exists() {
            // Without a reader the FIFO can't be opened: it is about to be.
            let open = || -> io::Result<()> {
                let flags = libc::O_NONBLOCK;
                fs::File::options().write(true).custom_flags(flags).open(&gate)?.write_all(b"go\n")
            };
            let mut result = Ok(());
            wait_until(PATIENCE, || {
                result = open();
                result.is_ok() || state(first).is_none()
            });
            result.map_err(DriverError::io(id, "let its first process go"))?;
            return remove_if_there(&gate).map_err(DriverError::io(id, "remove the gate"));
        }
        for pid in members(first).map_err(DriverError::io(id, "list its processes"))? {
            signal(pid, Signal::CONT).map_err(DriverError::io(id, "let its processes go on"))?;
        }
        Ok(())
    }

    fn freeze(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        let first = self.expect(id, folder)?;
        if folder.join(GATE).exists() {
            return Ok(());
        }
        // Processes that still run may make others, so look until none does.
        let mut failure = None;
        let mut stopped = BTreeSet::new();
        let is_still = wait_until(PATIENCE, || {
            let mut stop_all = || -> io::Result<bool> {
                let mut is_still = true;
                for pid in members(first)? {
                    match state(pid) {
                        None | Some('T' | 'Z' | 'X') => {}
                        // In the kernel, where it may wait for a child that has
                        // stopped already; it stops before it comes back.
                        Some('D') if stopped.contains(&pid) => {}
                        _ => {
                            is_still = false;
                            signal(pid, Signal::STOP)?;
                            stopped.insert(pid);
                        }
                    }
                }
                Ok(is_still)
            };
            stop_all().unwrap_or_else(|error| {
                failure = Some(error);
                true
            })
        });
        match failure {
            Some(error) => Err(DriverError::io(id, "stop its processes")(error)),
            None if is_still => Ok(()),
            None => Err(DriverError::Monitor {
                vm: id.clone(),
                action: "stop its processes".into(),
                answer: format!("some still run after {PATIENCE:?}"),
                log: last_lines(&folder.join(LOG)),
            }),
        }
    }

    fn save(&self, _: &VmId, _: &Path, _: &Path) -> Result<(), DriverError> {
        Err(DriverError::Unsupported { driver: "namespace", what: "save the memory of processes" })
    }

    fn shut_down(&self, id: &VmId, folder: &Path, patience: Duration) -> Result<bool, DriverError> {
        let first = self.expect(id, folder)?;
        signal(first, Signal::TERM).map_err(DriverError::io(id, "ask it to shut down"))?;
        Ok(wait_until(patience, || self.first_process(folder).is_none()))
    }

    fn end(&self, id: &VmId, folder: &Path) -> Result<(), DriverError> {
        if let Some(first) = self.first_process(folder) {
            // The kernel ends all others with it.
            signal(first, Signal::KILL).map_err(DriverError::io(id, "end its first process"))?;
            wait_until(PATIENCE, || self.first_process(folder).is_none());
        }
        let has_left = folder.join(live::DEPARTED).exists();
        if has_left && let Some(mut child) = self.children.remove(id) {
            // It ends when its VM does, wherever that is.
            let collect = std::thread::Builder::new().name("vm-driver-left".into());
            collect.spawn(move || child.wait()).map_err(DriverError::io(id, "start a thread"))?;
        }
        if let Some(mut child) = self.children.remove(id) {
            // Before it has a child, it is the one to end.
            if state(child.id()).is_some_and(|state| state != 'Z') && child_of(child.id()).is_none() {
                let _ = child.kill();
            }
            child.wait().map_err(DriverError::io(id, "wait for unshare(1)"))?;
        }
        [GATE, PID, MARK, live::DEPARTED]
            .iter()
            .try_for_each(|name| remove_if_there(&folder.join(name)))
            .map_err(DriverError::io(id, "remove what its processes leave"))
    }

    fn epitaph(&self, _: &VmId, folder: &Path) -> String {
        match last_lines(&folder.join(LOG)) {
            log if log.is_empty() => "its program has ended".into(),
            log => format!("its program has ended; the last that it said: {log}"),
        }
    }

    fn set_cpu_share(&self, id: &VmId, folder: &Path, share: CpuShare) -> Result<(), DriverError> {
        let first = self.expect(id, folder)?;
        members(first)
            .and_then(|pids| pids.into_iter().try_for_each(|pid| set_nice(pid, share.nice())))
            .map_err(DriverError::io(id, "set the priority of its processes"))
    }

    fn set_memory(&self, _: &VmId, _: &Path, _: u64) -> Result<(), DriverError> {
        Err(DriverError::Unsupported { driver: "namespace", what: "change how much memory a VM may use" })
    }

    fn memory(&self, _: &VmId, _: &Path) -> Result<Option<u64>, DriverError> {
        Ok(None)
    }

    fn console(&self, _: &VmId, _: &Path) -> Result<Option<SocketAddr>, DriverError> {
        Ok(None)
    }

    fn ports(&self, record: &Record, folder: &Path) -> Result<Vec<Option<PortKind>>, DriverError> {
        let first = match process_of(folder, live::ARRIVED) {
            Some(first) => first,
            None => self.expect(&record.config.id, folder)?,
        };
        let port = |number| PortKind::Tap {
            device: format!("eth{number}"),
            netns: Some(network(first)),
            create: false,
        };
        Ok((0..record.config.nics.len()).map(|number| Some(port(number))).collect())
    }
}

/// The first process that a file of a VM's folder names, if it is there.
fn process_of(folder: &Path, file: &str) -> Option<u32> {
    let pid: u32 = fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()?;
    let mark = fs::read_to_string(folder.join(MARK)).unwrap_or_else(|_| gate(folder));
    is_ours(pid, &mark).then_some(pid)
}

fn needs_program(id: &VmId) -> DriverError {
    let what = "boot: a namespace shares the host's kernel; give it boot.program.command".into();
    DriverError::Config { vm: id.clone(), what }
}

fn gate(folder: &Path) -> String {
    folder.join(GATE).display().to_string()
}

fn network(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// The only child of `unshare --fork`.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// All processes in the PID namespace of `first`.
fn members(first: u32) -> io::Result<Vec<u32>> {
    let namespace = fs::metadata(format!("/proc/{first}/ns/pid"))?.ino();
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if fs::metadata(entry.path().join("ns/pid")).is_ok_and(|m| m.ino() == namespace) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
