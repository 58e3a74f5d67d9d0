//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use vsched::{Capacity, MechanismKind, Reservation, ReservationError, TaskId};
use vschedd::{SOCKET, STATE};

/// Runs virtual machines and other processes under CPU reservations.
///
/// A reservation is a slice of CPU time in every period, for a process with all
/// its threads and descendants together. `run` works with the daemon (`vschedd`)
/// if there is one, and alone otherwise; `check` and `simulate` need neither
/// daemon nor privileges if they are given a file.
///
/// Exit status: 0 done, 1 failed or doesn't fit, 2 wrong command line; `run`
/// gives that of its command.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Args {
    /// The socket of the daemon
    #[arg(long, default_value = SOCKET, global = true)]
    pub(crate) socket: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command under a reservation until it ends
    Run {
        #[command(flatten)]
        wanted: Wanted,
        /// Hold this many units of progress per second with the least CPU
        #[arg(long, requires = "progress", conflicts_with = "hold_utilisation")]
        hold_rate: Option<f64>,
        /// The file that holds the number of units done
        #[arg(long)]
        progress: Option<PathBuf>,
        /// Let the command use this part of its slice (0.9: a tenth is spare)
        #[arg(long)]
        hold_utilisation: Option<f64>,
        /// Without a daemon: how to hold it to its slices [default: the best that can be used]
        #[arg(long, value_parser = mechanism)]
        mechanism: Option<MechanismKind>,
        /// Without a daemon: the folder of the journal
        #[arg(long, default_value = STATE)]
        state: PathBuf,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Hold running processes to a reservation, all together
    Attach {
        #[command(flatten)]
        wanted: Wanted,
        /// A name to show
        #[arg(long)]
        name: Option<String>,
        /// The processes
        #[arg(required = true)]
        pids: Vec<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the reservation of a task
    Set {
        /// The task's number
        #[arg(value_parser = task)]
        task: TaskId,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Put everything about a task back as it was
    Release {
        /// The task's number
        #[arg(value_parser = task)]
        task: TaskId,
    },
    /// Show the tasks
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what the tasks do, over and over
    Top {
        /// How often
        #[arg(long, default_value = "1s")]
        every: humantime::Duration,
        /// End after so many times
        #[arg(long)]
        times: Option<u64>,
        /// Print JSON, a line each time
        #[arg(long)]
        json: bool,
    },
    /// Say whether tasks fit: those of a file together, or one beside the daemon's
    Check {
        /// A file of tasks
        #[arg(required_unless_present = "period", conflicts_with_all = ["period", "slice"])]
        file: Option<PathBuf>,
        /// The period of one task
        #[arg(long, requires = "slice")]
        period: Option<humantime::Duration>,
        /// The slice of one task
        #[arg(long, requires = "period")]
        slice: Option<humantime::Duration>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a file of tasks would do
    Simulate {
        /// The file
        file: PathBuf,
        /// How much virtual time
        #[arg(long, default_value = "60s")]
        duration: humantime::Duration,
        /// For what jobs use of their slices
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Change the slice of a running task with the arrow keys
    Tune {
        /// The task's number
        #[arg(value_parser = task)]
        task: TaskId,
    },
    /// Say which mechanisms this host offers
    Mechanisms {
        /// Where a journal may be written for the trial
        #[arg(long, default_value = STATE)]
        state: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put everything back when the scheduler at the other end of standard input dies
    #[command(hide = true)]
    Watchdog {
        /// The folder of the journal
        #[arg(long)]
        state: PathBuf,
    },
}

/// A reservation on the command line.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Wanted {
    /// The time from one slice to the next, e.g. 50ms
    #[arg(long)]
    period: humantime::Duration,
    /// The CPU time in each period, e.g. 20ms
    #[arg(long)]
    slice: humantime::Duration,
    /// When, after the start of a period, the slice is to be had [default: the period]
    #[arg(long)]
    deadline: Option<humantime::Duration>,
    /// When periods start after multiples of the period since the Unix epoch, the same on all hosts of a gang
    #[arg(long)]
    phase: Option<humantime::Duration>,
}

impl Wanted {
    pub(crate) fn reservation(&self) -> Result<Reservation, ReservationError> {
        let mut reservation = Reservation::new(self.period.into(), self.slice.into())?;
        if let Some(deadline) = self.deadline {
            reservation = reservation.with_deadline(deadline.into())?;
        }
        match self.phase {
            Some(phase) => reservation.with_phase(phase.into()),
            None => Ok(reservation),
        }
    }
}

/// What may be reserved of each core when there is no daemon.
pub(crate) const CAPACITY: Capacity = Capacity::DEFAULT;

/// How often the picture is drawn anew when no key is pressed.
pub(crate) const KEY_PATIENCE: Duration = Duration::from_millis(500);

fn task(text: &str) -> Result<TaskId, std::num::ParseIntError> {
    text.parse().map(TaskId)
}

fn mechanism(name: &str) -> Result<MechanismKind, String> {
    let found = MechanismKind::BY_PREFERENCE.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| "there are signal, deadline and cgroup".to_owned())
}
