//! The bandwidth control of control groups: `cpu.max` of version 2, `cpu.cfs_quota_us` of version 1.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::io::journal::{Journal, Record};
use crate::io::sys;
use crate::io::threads::unless_gone;
use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
use crate::monitor::Counters;
use crate::reservation::Reservation;

const KIND: MechanismKind = MechanismKind::Cgroup;

/// The kernel's limits of period and quota.
const PERIODS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(1));
const MIN_QUOTA: Duration = Duration::from_millis(1);

/// Where the controller of CPU time is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Controller {
    /// A hierarchy of version 2 at this folder, with the `cpu` controller.
    V2(PathBuf),
    /// The `cpu` hierarchy of version 1 at this folder.
    V1(PathBuf),
}

/// Processes in control groups; see the [module](self).
#[derive(Debug)]
pub struct CgroupMechanism {
    journal: Arc<Journal>,
    controller: Controller,
    /// Under it are the groups of our tasks.
    home: PathBuf,
    tasks: BTreeMap<TaskId, Task>,
}

#[derive(Debug)]
struct Task {
    path: PathBuf,
    reservation: Reservation,
    members: Vec<Process>,
    since: u64,
}

impl CgroupMechanism {
    /// Changes are written to `journal` before they are made.
    ///
    /// Fails if no hierarchy with the `cpu` controller is mounted, or we may not make groups in it.
    pub fn new(journal: Arc<Journal>) -> Result<Self, MechanismError> {
        let unavailable = |what: &str, source, remedy| MechanismError::Unavailable {
            mechanism: KIND,
            what: what.to_owned(),
            source,
            remedy,
        };
        let controller = find_controller().map_err(|source| {
            unavailable(
                "no control groups with the `cpu` controller",
                source,
                "mount them (cgroup2 at /sys/fs/cgroup), with `cpu` in cgroup.subtree_control",
            )
        })?;
        let home = controller.root().join(format!("vsched-{}", std::process::id()));
        let tried = fs::create_dir(&home).and_then(|()| {
            let tried = try_quota(&controller, &home);
            // Made anew when there is a task.
            fs::remove_dir(&home)?;
            tried
        });
        tried.map_err(|source| {
            unavailable("could not make a control group", source, "run as root, or have the group delegated")
        })?;
        Ok(Self { journal, controller, home, tasks: BTreeMap::new() })
    }

    /// Which version is used, and where.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    fn begin(
        &mut self,
        task: TaskId,
        members: &[Process],
        reservation: &Reservation,
    ) -> Result<Task, MechanismError> {
        check(reservation)?;
        let path = self.home.join(task.to_string());
        let fail = |what: &str| {
            let what = format!("{what} {}", path.display());
            move |source| failed(task, what, source)
        };
        self.journal
            .write(Record::Group { task, path: path.clone() })
            .map_err(fail("could not write down"))?;
        if !self.home.exists() {
            fs::create_dir(&self.home).map_err(fail("could not make the parent of"))?;
            if let Controller::V2(_) = self.controller {
                fs::write(self.home.join("cgroup.subtree_control"), "+cpu")
                    .map_err(fail("no controller for"))?;
            }
        }
        fs::create_dir(&path).map_err(fail("could not make"))?;
        self.controller.set_quota(&path, reservation, true).map_err(fail("could not set the quota of"))?;
        self.take_in(task, &path, members)?;
        Ok(Task { path, reservation: *reservation, members: members.to_vec(), since: sys::monotonic() })
    }

    fn take_in(&self, task: TaskId, path: &Path, members: &[Process]) -> Result<(), MechanismError> {
        for process in members {
            let moved = self.controller.group_of(process.pid).and_then(|from| {
                if from == path {
                    return Ok(());
                }
                self.journal.write(Record::Moved { task, process: *process, from })?;
                fs::write(path.join("cgroup.procs"), process.pid.to_string())
            });
            unless_gone(moved)
                .map_err(|source| failed(task, format!("could not move process {}", process.pid), source))?;
        }
        Ok(())
    }

    fn undo(&mut self, task: TaskId) {
        self.journal.put_back(task);
        if self.tasks.is_empty()
            && self.home.exists()
            && let Err(error) = fs::remove_dir(&self.home)
        {
            tracing::warn!("could not remove {}: {error}", self.home.display());
        }
    }
}

impl Mechanism for CgroupMechanism {
    fn kind(&self) -> MechanismKind {
        KIND
    }

    fn limits(&self) -> Limits {
        let (version, at) = match &self.controller {
            Controller::V2(at) => ("version 2, cpu.max", at),
            Controller::V1(at) => ("version 1, cpu.cfs_quota_us", at),
        };
        Limits {
            smallest_period: Duration::from_millis(50),
            error: 0.01,
            note: format!(
                "control groups of {version}, at {}; an upper bound only: other load may delay a slice",
                at.display()
            ),
        }
    }

    fn attach(
        &mut self,
        task: TaskId,
        members: &[Process],
        _: usize,
        reservation: &Reservation,
    ) -> Result<(), MechanismError> {
        match self.begin(task, members, reservation) {
            Ok(begun) => {
                self.tasks.insert(task, begun);
                Ok(())
            }
            Err(error) => {
                self.undo(task);
                Err(error)
            }
        }
    }

    fn set(&mut self, task: TaskId, _: usize, reservation: &Reservation) -> Result<(), MechanismError> {
        check(reservation)?;
        let known = self.tasks.get_mut(&task).ok_or(MechanismError::Unknown(task))?;
        if let Err(source) = self.controller.set_quota(&known.path, reservation, false) {
            let what = format!("could not set the quota of {}", known.path.display());
            // Period and quota are two files in version 1: both as they were.
            let _ = self.controller.set_quota(&known.path, &known.reservation, false);
            return Err(failed(task, what, source));
        }
        known.reservation = *reservation;
        Ok(())
    }

    fn refresh(&mut self, task: TaskId, members: &[Process]) -> Result<(), MechanismError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let new: Vec<Process> =
            members.iter().filter(|member| !known.members.contains(member)).copied().collect();
        if !new.is_empty() {
            let path = known.path.clone();
            self.take_in(task, &path, &new)?;
        }
        if let Some(known) = self.tasks.get_mut(&task) {
            known.members = members.to_vec();
        }
        Ok(())
    }

    fn release(&mut self, task: TaskId) -> Result<(), MechanismError> {
        self.tasks.remove(&task).ok_or(MechanismError::Unknown(task))?;
        self.undo(task);
        Ok(())
    }

    fn counters(&mut self, task: TaskId) -> Result<Counters, MechanismError> {
        let known = self.tasks.get(&task).ok_or(MechanismError::Unknown(task))?;
        let used = self.controller.used(&known.path).map_err(|source| {
            failed(task, format!("could not read the CPU time of {}", known.path.display()), source)
        })?;
        let elapsed = sys::monotonic().saturating_sub(known.since);
        Ok(Counters { used, periods: elapsed / known.reservation.period_ns(), ..Counters::default() })
    }
}

impl Drop for CgroupMechanism {
    fn drop(&mut self) {
        while let Some((task, _)) = self.tasks.pop_first() {
            self.undo(task);
        }
    }
}

impl Controller {
    fn root(&self) -> &Path {
        match self {
            Self::V2(root) | Self::V1(root) => root,
        }
    }

    fn set_quota(&self, group: &Path, reservation: &Reservation, new: bool) -> io::Result<()> {
        let (quota, period) = (reservation.slice().as_micros(), reservation.period().as_micros());
        match self {
            Self::V2(_) => fs::write(group.join("cpu.max"), format!("{quota} {period}")),
            Self::V1(_) => {
                if !new {
                    // Any quota and period in between must be legal too: none is.
                    fs::write(group.join("cpu.cfs_quota_us"), "-1")?;
                }
                fs::write(group.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(group.join("cpu.cfs_quota_us"), quota.to_string())
            }
        }
    }

    fn used(&self, group: &Path) -> io::Result<Duration> {
        match self {
            Self::V2(_) => {
                let text = fs::read_to_string(group.join("cpu.stat"))?;
                let us = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
                us.map(Duration::from_micros).ok_or_else(|| io::Error::other("cpu.stat has no usage_usec"))
            }
            Self::V1(_) => {
                // The other controller counts; where it is not the same hierarchy, processes are asked.
                let pids = fs::read_to_string(group.join("cgroup.procs"))?;
                let pids = pids.lines().filter_map(|line| line.parse().ok());
                Ok(Duration::from_nanos(pids.filter_map(|pid| sys::process_cpu(pid).ok()).sum()))
            }
        }
    }

    /// The folder of the group that a process is in.
    fn group_of(&self, pid: u32) -> io::Result<PathBuf> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let path = text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let ours = match self {
                Self::V2(_) => id == "0" && controllers.is_empty(),
                Self::V1(_) => controllers.split(',').any(|name| name == "cpu"),
            };
            ours.then(|| path.trim_start_matches('/').to_owned())
        });
        let path =
            path.ok_or_else(|| io::Error::other(format!("/proc/{pid}/cgroup doesn't name our hierarchy")))?;
        Ok(self.root().join(path))
    }
}

fn find_controller() -> io::Result<Controller> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut seen = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(at), Some(kind), Some(options)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let at = PathBuf::from(at);
        match kind {
            "cgroup2" => {
                let controllers = fs::read_to_string(at.join("cgroup.subtree_control")).unwrap_or_default();
                if controllers.split_whitespace().any(|name| name == "cpu") {
                    return Ok(Controller::V2(at));
                }
                seen.push(format!("cgroup2 at {} without `cpu`", at.display()));
            }
            "cgroup" if options.split(',').any(|option| option == "cpu") => return Ok(Controller::V1(at)),
            _ => {}
        }
    }
    let seen = if seen.is_empty() { "none is mounted".to_owned() } else { seen.join(", ") };
    Err(io::Error::new(io::ErrorKind::NotFound, seen))
}

fn try_quota(controller: &Controller, group: &Path) -> io::Result<()> {
    let file = match controller {
        Controller::V2(_) => "cpu.max",
        Controller::V1(_) => "cpu.cfs_quota_us",
    };
    let path = group.join(file);
    let now = fs::read_to_string(&path)?;
    fs::write(&path, now.trim())
}

fn check(reservation: &Reservation) -> Result<(), MechanismError> {
    let unsupported = |why| MechanismError::Unsupported { mechanism: KIND, reservation: *reservation, why };
    if !(PERIODS.0..=PERIODS.1).contains(&reservation.period()) {
        return Err(unsupported("the kernel's periods are 1 ms to 1 s"));
    }
    if reservation.slice() < MIN_QUOTA {
        return Err(unsupported("the kernel's quota is at least 1 ms a period"));
    }
    if reservation.phase().is_some() {
        return Err(unsupported("the kernel chooses when periods start; a phase needs `signal`"));
    }
    if reservation.deadline() != reservation.period() {
        return Err(unsupported("a quota has no deadline but the end of the period"));
    }
    Ok(())
}

fn failed(task: TaskId, what: String, source: io::Error) -> MechanismError {
    MechanismError::Failed { mechanism: KIND, task, what, source }
}
