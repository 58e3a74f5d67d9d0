//! The real mechanisms, with real processes. As root, like all tests of this project.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]
#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vsched::io::{Host, HostOptions, Journal, open};
use vsched::{Goal, MechanismKind, Reservation, TaskId};

struct Busy(Child);

impl Busy {
    fn start(script: &str) -> Self {
        let child = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().unwrap();
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One test at a time: a task whose scheduler was just killed keeps others from its core.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const SPIN: &str = "while :; do :; done";

struct Bed {
    _state: tempfile::TempDir,
    host: Host,
}

fn bed(kind: MechanismKind) -> Bed {
    let state = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(state.path(), Duration::ZERO).unwrap();
    let mechanism = open(kind, &Arc::new(journal)).unwrap();
    Bed { _state: state, host: Host::new(mechanism, HostOptions::all_cores().unwrap()) }
}

fn ms(period: u64, slice: u64) -> Reservation {
    Reservation::new(Duration::from_millis(period), Duration::from_millis(slice)).unwrap()
}

/// Scheduling policy, priority and allowed cores of a process's first thread.
fn settings(pid: u32) -> (String, String) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    (format!("priority {} policy {}", fields[37], fields[38]), cpus.to_owned())
}

fn is_stopped(pid: u32) -> bool {
    vsched::io::proc::stat(pid).is_ok_and(|stat| stat.state == 'T')
}

fn run(host: &mut Host, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        host.tick();
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The share of a task over some time, in which the host works.
fn share(host: &mut Host, task: TaskId, time: Duration) -> f64 {
    let used = |host: &mut Host| {
        host.list().into_iter().find(|status| status.task == task).unwrap().counters.used.as_secs_f64()
    };
    let (started, before) = (Instant::now(), used(host));
    run(host, time);
    (used(host) - before) / started.elapsed().as_secs_f64()
}

fn holds_changes_and_puts_back(kind: MechanismKind, error: f64) {
    let busy = Busy::start(SPIN);
    let before = settings(busy.pid());
    let mut bed = bed(kind);
    let task = bed.host.attach("busy", &[busy.pid()], &ms(100, 30)).unwrap();
    run(&mut bed.host, Duration::from_millis(300));
    let found = share(&mut bed.host, task, Duration::from_secs(2));
    assert!((found - 0.3).abs() < error, "{kind}: {found}");
    bed.host.set(task, &ms(100, 60)).unwrap();
    run(&mut bed.host, Duration::from_millis(300));
    let found = share(&mut bed.host, task, Duration::from_secs(2));
    // Beside the load of a test machine, the kernel's quota may give less, never more.
    assert!(found < 0.6 + error, "{kind}: {found}");
    assert!(kind == MechanismKind::Cgroup || found > 0.6 - 2.0 * error, "{kind}: {found}");
    bed.host.release(task).unwrap();
    assert_eq!(settings(busy.pid()), before, "{kind}");
    std::thread::sleep(Duration::from_millis(50));
    assert!(!is_stopped(busy.pid()), "{kind}");
}

#[test]
fn signal_holds_changes_and_puts_back() {
    let _alone = alone();
    holds_changes_and_puts_back(MechanismKind::Signal, 0.03);
}

#[test]
fn deadline_holds_changes_and_puts_back() {
    let _alone = alone();
    holds_changes_and_puts_back(MechanismKind::Deadline, 0.05);
}

#[test]
fn cgroup_holds_changes_and_puts_back() {
    let _alone = alone();
    holds_changes_and_puts_back(MechanismKind::Cgroup, 0.15);
}

#[test]
fn descendants_and_new_processes_are_held_together() {
    let _alone = alone();
    let tree = Busy::start("sleep 0.5; sh -c 'while :; do :; done' & while :; do :; done");
    let mut bed = bed(MechanismKind::Signal);
    let task = bed.host.attach("tree", &[tree.pid()], &ms(50, 10)).unwrap();
    run(&mut bed.host, Duration::from_secs(4));
    let status = bed.host.list().remove(0);
    assert!(status.pids.len() >= 2, "{status:?}");
    let found = share(&mut bed.host, task, Duration::from_secs(2));
    let pids = status.pids;
    bed.host.release(task).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    for pid in &pids {
        assert!(!is_stopped(*pid));
        assert!(settings(*pid).0.ends_with("policy 0"), "{:?}", settings(*pid));
    }
    for pid in pids.iter().filter(|pid| **pid != tree.pid()) {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    assert!((found - 0.2).abs() < 0.05, "{found}");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let _alone = alone();
    let (one, two) = (Busy::start(SPIN), Busy::start(SPIN));
    let before = settings(two.pid());
    let mut bed = bed(MechanismKind::Signal);
    let task = bed.host.attach("one", &[one.pid()], &ms(100, 50)).unwrap();
    let error = bed.host.attach("again", &[one.pid()], &ms(100, 1)).unwrap_err();
    assert!(error.to_string().contains("vsched set 1"), "{error}");
    let error = bed.host.attach("two", &[two.pid()], &ms(100, 96)).unwrap_err();
    assert!(error.to_string().contains("slice of up to"), "{error}");
    assert_eq!(settings(two.pid()), before);
    assert!(bed.host.attach("self", &[std::process::id()], &ms(100, 1)).is_err());
    assert!(bed.host.set(TaskId(9), &ms(100, 1)).is_err());
    bed.host.release(task).unwrap();
}

/// A thread of the kernel that belongs to the second core: nobody may bind it to another, change its
/// policy or move it to another control group.
fn refused_by_the_kernel() -> vsched::Process {
    let pids = fs::read_dir("/proc").unwrap();
    let mut pids = pids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let is_it =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "ksoftirqd/1\n");
    let pid = pids.find(is_it).expect("two cores, and the kernel's threads in /proc");
    vsched::io::proc::process(pid).unwrap()
}

#[test]
fn what_is_refused_midway_is_undone() {
    let _alone = alone();
    let refused = refused_by_the_kernel();
    for kind in MechanismKind::BY_PREFERENCE {
        let busy = Busy::start(SPIN);
        let groups = || fs::read_to_string(format!("/proc/{}/cgroup", busy.pid())).unwrap();
        let before = (settings(busy.pid()), settings(refused.pid), groups());
        let state = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(state.path(), Duration::ZERO).unwrap();
        let mut mechanism = open(kind, &Arc::new(journal)).unwrap();
        let members = [vsched::io::proc::process(busy.pid()).unwrap(), refused];
        let error = mechanism.attach(TaskId(1), &members, 0, &ms(100, 30)).unwrap_err().to_string();
        for part in [kind.name(), "task 1", &refused.pid.to_string()] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert_eq!((settings(busy.pid()), settings(refused.pid), groups()), before, "{kind}: {error}");
        std::thread::sleep(Duration::from_millis(50));
        assert!(!is_stopped(busy.pid()), "{kind}: {error}");
        // The first alone is held as if nothing had happened.
        mechanism.attach(TaskId(1), &members[..1], 0, &ms(100, 30)).unwrap();
        mechanism.release(TaskId(1)).unwrap();
        assert_eq!((settings(busy.pid()), groups()), (before.0, before.2), "{kind}");
    }
}

#[test]
fn a_task_that_has_ended_is_let_go() {
    let _alone = alone();
    let mut bed = bed(MechanismKind::Signal);
    {
        let busy = Busy::start(SPIN);
        bed.host.attach("short", &[busy.pid()], &ms(20, 5)).unwrap();
    }
    run(&mut bed.host, Duration::from_millis(100));
    assert!(bed.host.list().is_empty());
}

#[test]
fn gangs_start_their_periods_by_the_wall_clock() {
    let _alone = alone();
    let busy = Busy::start(SPIN);
    let state = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(state.path(), Duration::ZERO).unwrap();
    let mut mechanism = vsched::io::SignalMechanism::new(Arc::new(journal)).unwrap();
    let process = vsched::io::proc::process(busy.pid()).unwrap();
    let phase = Duration::from_millis(7);
    let reservation = ms(50, 5).with_phase(phase).unwrap();
    vsched::Mechanism::attach(&mut mechanism, TaskId(1), &[process], 0, &reservation).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    // The offset of the clocks, as near as two readings get.
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let start = mechanism.period_start(TaskId(1)).unwrap();
    let start_on_wall = wall + start - monotonic();
    let off = (start_on_wall.as_nanos() % 50_000_000) as i64 - phase.as_nanos() as i64;
    assert!(off.abs() < 5_000_000, "{off} ns");
}

fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

#[test]
fn feedback_follows_the_utilisation() {
    let _alone = alone();
    let busy = Busy::start(SPIN);
    let mut bed = bed(MechanismKind::Signal);
    let task = bed.host.attach("busy", &[busy.pid()], &ms(20, 2)).unwrap();
    bed.host.hold(task, Goal::Utilisation(0.9), None).unwrap();
    run(&mut bed.host, Duration::from_secs(3));
    // It takes all it is given, so it is given all there is.
    let status = bed.host.list().remove(0);
    assert!(status.reservation.share() > 0.7, "{status:?}");
    assert!(bed.host.hold(task, Goal::Utilisation(2.0), None).is_err());
    assert!(!bed.host.demand(task, 5).unwrap().is_empty());
}
