//! A scheduler in this process: a host with its mechanism, journal and watchdog.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use vsched::MechanismKind;
use vsched::io::watchdog::Watched;
use vsched::io::{Host, HostOptions, Journal, Recovery, Watchdog};

/// How long an earlier scheduler may take to leave.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often new threads are looked for and feedback acts.
const TICK: Duration = Duration::from_millis(50);

/// What to start a scheduler with.
#[derive(Clone, Debug)]
pub struct SchedulerOptions {
    /// The folder of the journal.
    pub state: PathBuf,
    /// The mechanism; `None`: the best that can be used.
    pub mechanism: Option<MechanismKind>,
    /// What may be reserved.
    pub host: HostOptions,
}

/// A scheduler in this process.
pub struct Scheduler {
    host: Arc<Mutex<Host>>,
    // Declared after the host: the watchdog is told last, when all is put back.
    watchdog: Watchdog,
}

impl Scheduler {
    /// Puts back what an earlier scheduler has left, then starts.
    ///
    /// `watchdog` is a command that runs [`watchdog`] on the same folder.
    pub fn start(options: SchedulerOptions, watchdog: &mut Command) -> anyhow::Result<Self> {
        let (journal, recovery) = Journal::open(&options.state, PATIENCE)?;
        report(&recovery);
        let journal = Arc::new(journal);
        let mechanism = match options.mechanism {
            Some(kind) => vsched::io::open(kind, &journal)?,
            None => {
                let (mechanism, tried) = vsched::io::choose(&journal)?;
                for probed in tried {
                    if let Err(error) = probed.found {
                        tracing::warn!("{error}");
                    }
                }
                mechanism
            }
        };
        let limits = mechanism.limits();
        tracing::info!(mechanism = %mechanism.kind(), "{}", limits.note);
        let watchdog = Watchdog::start(watchdog).context("could not start the watchdog")?;
        Ok(Self { host: Arc::new(Mutex::new(Host::new(mechanism, options.host))), watchdog })
    }

    /// The host, for those who serve it.
    pub fn host(&self) -> Arc<Mutex<Host>> {
        Arc::clone(&self.host)
    }

    /// Works until `ended` says so; `tick` is called with the host some times a second.
    pub fn run(&mut self, mut ended: impl FnMut(&mut Host) -> bool) -> anyhow::Result<()> {
        loop {
            self.watchdog.beat().context("the watchdog has died; nothing is safe without it")?;
            {
                let mut host = self.host.lock().unwrap_or_else(PoisonError::into_inner);
                for task in host.tick() {
                    tracing::info!(%task, "ended");
                }
                if ended(&mut host) {
                    return Ok(());
                }
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // Others may hold the host too, so it may not end with us.
        self.host.lock().unwrap_or_else(PoisonError::into_inner).release_all();
    }
}

/// The body of the watchdog's process: its standard input is the pipe to the scheduler.
pub fn watchdog(state: &Path) -> anyhow::Result<()> {
    match vsched::io::watchdog::watch(std::io::stdin().lock(), state)? {
        Watched::Farewell => {}
        Watched::Died(recovery) => {
            tracing::warn!("the scheduler has died");
            report(&recovery);
        }
    }
    Ok(())
}

fn report(recovery: &Recovery) {
    if recovery.tasks > 0 || recovery.settings > 0 {
        let Recovery { tasks, continued, threads, groups, settings, .. } = recovery;
        tracing::warn!(
            tasks,
            continued,
            threads,
            groups,
            settings,
            "put back what an earlier scheduler had left"
        );
    }
    for failure in &recovery.failures {
        tracing::error!("not put back: {failure}");
    }
}
