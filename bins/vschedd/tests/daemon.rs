//! The daemon with real processes, killed in every way. As root, like all tests of this project.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vsched::protocol::{Request, Response};
use vsched::{Reservation, TaskId};
use vschedd::{Client, ClientError};

/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(mechanism: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::spawn(folder.path(), mechanism);
        let daemon = Self { child, folder };
        daemon.client();
        daemon
    }

    fn spawn(folder: &Path, mechanism: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vschedd"));
        command.arg("--state").arg(folder.join("state")).arg("--socket").arg(folder.join("socket"));
        command.args(["--mechanism", mechanism]).stdin(Stdio::null()).spawn().unwrap()
    }

    fn restart(&mut self, mechanism: &str) {
        let _ = fs::remove_file(self.folder.path().join("socket"));
        self.child = Self::spawn(self.folder.path(), mechanism);
        self.client();
    }

    fn client(&self) -> Client {
        let socket = self.folder.path().join("socket");
        eventually("the daemon listens", || Client::connect(&socket).ok())
    }

    fn attach(&self, pid: u32) -> TaskId {
        let request = Request::Attach { name: "busy".to_owned(), pids: vec![pid], reservation: wanted(5) };
        match self.client().ask(&request).unwrap() {
            Response::Attached { task } => task,
            other => panic!("{other:?}"),
        }
    }

    fn watchdog(&self) -> u32 {
        let children = vsched::io::proc::tree(&[vsched::io::proc::process(self.child.id()).unwrap()]);
        children.iter().map(|process| process.pid).find(|pid| *pid != self.child.id()).unwrap()
    }

    fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).process_group(0);
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// The policy (0: ordinary), the allowed cores and the control groups.
    fn settings(&self) -> (String, String, String) {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let policy = stat.rsplit_once(") ").unwrap().1.split(' ').nth(38).unwrap().to_owned();
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let cpus = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", self.pid())).unwrap();
        (policy, cpus.to_owned(), groups)
    }

    fn is_stopped(&self) -> bool {
        vsched::io::proc::stat(self.pid()).unwrap().state == 'T'
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

fn wanted(slice_ms: u64) -> Reservation {
    Reservation::new(Duration::from_millis(50), Duration::from_millis(slice_ms)).unwrap()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn killed_daemon_leaves_nothing(mechanism: &str) {
    let busy = Busy::start();
    let before = busy.settings();
    let is_as_before = || (!busy.is_stopped() && busy.settings() == before).then_some(());
    let is_held = || (busy.settings() != before).then_some(());
    let mut daemon = Daemon::start(mechanism);
    daemon.attach(busy.pid());
    eventually("the task is held", is_held);
    let started = Instant::now();
    daemon.kill();
    eventually("the watchdog puts all back", is_as_before);
    println!("{mechanism}: put back after {:?}", started.elapsed());
    std::thread::sleep(Duration::from_millis(200));
    assert!(is_as_before().is_some());

    // Now the watchdog dies with it: then the next start puts back.
    daemon.restart(mechanism);
    daemon.attach(busy.pid());
    eventually("the task is held", is_held);
    let pids = [daemon.watchdog(), daemon.child.id()].map(|pid| pid.to_string());
    Command::new("kill").arg("-9").args(&pids).status().unwrap();
    daemon.child.wait().unwrap();
    daemon.restart(mechanism);
    eventually("the next start puts all back", is_as_before);
    for root in ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"] {
        let group = Path::new(root).join(format!("vsched-{}", pids[1]));
        assert!(!group.exists(), "{} is left", group.display());
    }
}

#[test]
fn signal_leaves_nothing_when_killed() {
    let _alone = alone();
    killed_daemon_leaves_nothing("signal");
}

#[test]
fn deadline_leaves_nothing_when_killed() {
    let _alone = alone();
    killed_daemon_leaves_nothing("deadline");
}

#[test]
fn cgroup_leaves_nothing_when_killed() {
    let _alone = alone();
    killed_daemon_leaves_nothing("cgroup");
}

#[test]
fn a_daemon_that_hangs_leaves_nobody_stopped() {
    let _alone = alone();
    let busy = Busy::start();
    let daemon = Daemon::start("signal");
    daemon.attach(busy.pid());
    eventually("the task is stopped", || busy.is_stopped().then_some(()));
    // Until it hangs while the task is stopped.
    eventually("both are stopped", || {
        daemon.signal("-STOP");
        std::thread::sleep(Duration::from_millis(20));
        if busy.is_stopped() {
            return Some(());
        }
        daemon.signal("-CONT");
        std::thread::sleep(Duration::from_millis(13));
        None
    });
    eventually("the watchdog continues the task", || (!busy.is_stopped()).then_some(()));
    daemon.signal("-CONT");
    eventually("the daemon works on", || busy.is_stopped().then_some(()));
}

#[test]
fn a_farewell_puts_back_too() {
    let _alone = alone();
    let busy = Busy::start();
    let before = busy.settings();
    let mut daemon = Daemon::start("signal");
    daemon.attach(busy.pid());
    daemon.signal("-TERM");
    assert!(daemon.child.wait().unwrap().success());
    eventually("all is as before", || (!busy.is_stopped() && busy.settings() == before).then_some(()));
    assert!(!daemon.folder.path().join("socket").exists());
}

#[test]
fn requests_are_answered_and_bad_ones_refused() {
    let _alone = alone();
    let busy = Busy::start();
    let daemon = Daemon::start("signal");
    let mut client = daemon.client();
    let task = daemon.attach(busy.pid());
    assert!(matches!(client.ask(&Request::Hello).unwrap(), Response::Host { .. }));
    client.ask(&Request::Set { task, reservation: wanted(10) }).unwrap();
    let Response::Tasks { tasks } = client.ask(&Request::List).unwrap() else { panic!("no list") };
    assert_eq!((tasks.len(), tasks[0].reservation), (1, wanted(10)));
    let refused = client.ask(&Request::Set { task, reservation: wanted(50) }).unwrap_err();
    assert!(matches!(&refused, ClientError::Refused(why) if why.contains("slice of up to")), "{refused}");
    let gone = Request::Attach { name: "x".to_owned(), pids: vec![u32::MAX >> 1], reservation: wanted(1) };
    assert!(client.ask(&gone).unwrap_err().to_string().contains("process"));
    eventually("there are samples", || match client.ask(&Request::Demand { task, count: 3 }) {
        Ok(Response::Demand { samples }) => samples.last().filter(|s| s.of_allocation > 0.5).copied(),
        _ => None,
    });
    assert!(matches!(
        client.ask(&Request::Check { reservation: wanted(10) }).unwrap(),
        Response::Fits { .. }
    ));
    client.ask(&Request::Release { task }).unwrap();
    assert!(client.ask(&Request::History { task }).is_err());
}

#[test]
fn without_privileges_each_mechanism_says_why_and_nothing_is_changed() {
    let _alone = alone();
    // Where anybody may read and write.
    let folder = tempfile::Builder::new().prefix("vsched").tempdir_in("/tmp").unwrap();
    let program = folder.path().join("vschedd");
    fs::copy(env!("CARGO_BIN_EXE_vschedd"), &program).unwrap();
    Command::new("chmod").args(["-R", "a+rwx"]).arg(folder.path()).status().unwrap();
    let run = |mechanism: &[&str]| {
        let mut command = Command::new(&program);
        command
            .arg("--state")
            .arg(folder.path().join("state"))
            .arg("--socket")
            .arg(folder.path().join("socket"));
        let output = command.args(mechanism).uid(65534).gid(65534).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&[]);
    assert_eq!(code, Some(1), "{said}");
    for part in
        ["`signal` can't be used", "`deadline` can't be used", "`cgroup` can't be used", "what remains"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    for mechanism in ["signal", "deadline", "cgroup"] {
        let (code, said) = run(&["--mechanism", mechanism]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(mechanism) && said.contains("run as root"), "{said}");
    }
    assert!(!folder.path().join("socket").exists());
}
