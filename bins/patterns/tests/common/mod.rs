//! What the tests over real sockets share.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use patterns::report::{Record, Summary, Tail};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `work` and panics if it is not done in time: a deadlock must not hang the tests.
pub(crate) fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = sender.send(work());
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("not done within {PATIENCE:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the worker sends before it ends"),
        },
    }
}

/// Waits until `what` gives something.
pub(crate) fn until<T>(why: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {why}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Addresses on loopback that nobody uses.
pub(crate) fn free_addresses(n: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> = (0..n).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

/// A rank in a process of its own; killed when dropped.
pub(crate) struct Rank {
    pub(crate) child: Child,
    pub(crate) tail: Tail,
    pub(crate) records: Vec<Record>,
}

impl Rank {
    /// Starts the program as this rank, with its report in `directory`.
    pub(crate) fn start(directory: &Path, rank: usize, peers: &[SocketAddr], more: &[&str]) -> Self {
        let report = directory.join(format!("rank{rank}-{:?}.jsonl", Instant::now()));
        let peers: Vec<String> = peers.iter().map(SocketAddr::to_string).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_patterns"))
            .args(["--rank", &rank.to_string(), "--peers", &peers.join(","), "--report"])
            .arg(&report)
            .args(["--interval", "20ms"])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, tail: Tail::new(report), records: Vec::new() }
    }

    /// What it has reported so far.
    pub(crate) fn records(&mut self) -> &[Record] {
        self.records.extend(self.tail.poll().unwrap());
        &self.records
    }

    pub(crate) fn iterations(&mut self) -> u64 {
        let iterations = |record: &Record| match record {
            Record::Sample(sample) => Some(sample.iterations),
            _ => None,
        };
        self.records().iter().rev().find_map(iterations).unwrap_or(0)
    }

    pub(crate) fn lost(&mut self) -> usize {
        self.records().iter().filter(|record| matches!(record, Record::ConnectionLost(_))).count()
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end; its summary if it ended well, else what it said.
    pub(crate) fn wait(mut self) -> Result<Summary, String> {
        let status = until("the rank ends", || self.child.try_wait().unwrap());
        let summary = |record: &Record| match record {
            Record::Summary(summary) => Some(summary.clone()),
            _ => None,
        };
        match self.records().iter().find_map(summary) {
            Some(summary) if status.success() => Ok(summary),
            _ => {
                let mut text = format!("{status}: ");
                if let Some(mut stderr) = self.child.stderr.take() {
                    std::io::Read::read_to_string(&mut stderr, &mut text).unwrap();
                }
                Err(text)
            }
        }
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
