//! The file that describes a set of tasks, for `check` and `simulate`.

use std::time::Duration;

use serde::Deserialize;

use crate::capacity::{Capacity, CapacityError};
use crate::reservation::{Reservation, ReservationError};

/// The longest file that is read.
pub const MAX_FILE: usize = 1 << 20;

/// The most tasks in a file.
pub const MAX_TASKS: usize = 10_000;

/// The most cores in a file.
pub const MAX_CORES: usize = 1024;

/// A task of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// What it wants.
    pub reservation: Reservation,
    /// What its jobs use of their slices.
    pub execution: Execution,
}

impl Task {
    /// A task with a period and a slice in milliseconds, which it uses up.
    pub fn new(name: &str, period_ms: u64, slice_ms: u64) -> Result<Self, ReservationError> {
        let ms = Duration::from_millis;
        let reservation = Reservation::new(ms(period_ms), ms(slice_ms))?;
        Ok(Self { name: name.to_owned(), reservation, execution: Execution::Full })
    }
}

/// What the jobs of a task use of their slices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Execution {
    /// All.
    Full,
    /// A random part between these two.
    Between(f64, f64),
}

/// A set of tasks, and what it is to run on.
///
/// ```
/// let set = vsched::TaskSet::parse(
///     r#"
///     cores = 2           # default: 1
///     capacity = 0.8      # of each core; default: 0.95
///
///     [[task]]
///     name = "web"        # default: the task's number
///     period = "10ms"
///     slice = "2ms"
///     deadline = "5ms"    # default: the period
///     phase = "1ms"       # default: 0
///     uses = [0.2, 1.0]   # of the slice, at random; default: all
///     "#,
/// )?;
/// assert_eq!((set.cores.len(), set.tasks[0].name.as_str()), (2, "web"));
/// # Ok::<(), vsched::TaskSetError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSet {
    /// The cores.
    pub cores: Vec<Capacity>,
    /// The tasks.
    pub tasks: Vec<Task>,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskSetError {
    /// It is not TOML, or has other keys.
    #[error("{0}")]
    Syntax(String),
    /// It is too long.
    #[error("the file is longer than {MAX_FILE} bytes")]
    TooLong,
    /// It has too many tasks.
    #[error("there are {0} tasks; at most {MAX_TASKS} can be described")]
    TooManyTasks(usize),
    /// It has no core, or too many.
    #[error("there are {0} cores; 1 to {MAX_CORES} can be described")]
    Cores(usize),
    /// A time is not a number with a unit.
    #[error("task `{task}`: `{key} = \"{value}\"`: {why}; write e.g. \"10ms\"")]
    Time {
        /// The task.
        task: String,
        /// What the time is of.
        key: &'static str,
        /// What was written.
        value: String,
        /// Why it can't be read.
        why: String,
    },
    /// No reservation looks like that.
    #[error("task `{task}`: {error}")]
    Reservation {
        /// The task.
        task: String,
        /// What is wrong with it.
        error: ReservationError,
    },
    /// `uses` is not two parts in order.
    #[error("task `{task}`: `uses` is [{least}, {most}]; needed are 0 <= least <= most <= 1")]
    Uses {
        /// The task.
        task: String,
        /// The first part.
        least: f64,
        /// The second part.
        most: f64,
    },
    /// The capacity is out of range.
    #[error(transparent)]
    Capacity(#[from] CapacityError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "one")]
    cores: usize,
    #[serde(default = "default_capacity")]
    capacity: f64,
    #[serde(default, rename = "task")]
    tasks: Vec<Entry>,
}

fn one() -> usize {
    1
}

fn default_capacity() -> f64 {
    Capacity::DEFAULT.fraction()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Option<String>,
    period: String,
    slice: String,
    deadline: Option<String>,
    phase: Option<String>,
    uses: Option<[f64; 2]>,
}

impl TaskSet {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, TaskSetError> {
        if text.len() > MAX_FILE {
            return Err(TaskSetError::TooLong);
        }
        let file: File = toml::from_str(text).map_err(|error| TaskSetError::Syntax(error.to_string()))?;
        if !(1..=MAX_CORES).contains(&file.cores) {
            return Err(TaskSetError::Cores(file.cores));
        }
        if file.tasks.len() > MAX_TASKS {
            return Err(TaskSetError::TooManyTasks(file.tasks.len()));
        }
        let capacity = Capacity::new(file.capacity)?;
        let tasks = file.tasks.into_iter().enumerate().map(|(index, entry)| entry.task(index));
        Ok(Self { cores: vec![capacity; file.cores], tasks: tasks.collect::<Result<_, _>>()? })
    }
}

impl Entry {
    fn task(self, index: usize) -> Result<Task, TaskSetError> {
        let task = self.name.unwrap_or_else(|| (index + 1).to_string());
        let time = |key: &'static str, value: &str| {
            humantime::parse_duration(value).map_err(|error| TaskSetError::Time {
                task: task.clone(),
                key,
                value: value.to_owned(),
                why: error.to_string(),
            })
        };
        let wrong = |error| TaskSetError::Reservation { task: task.clone(), error };
        let (period, slice) = (time("period", &self.period)?, time("slice", &self.slice)?);
        let mut reservation = Reservation::new(period, slice).map_err(wrong)?;
        if let Some(deadline) = &self.deadline {
            reservation = reservation.with_deadline(time("deadline", deadline)?).map_err(wrong)?;
        }
        if let Some(phase) = &self.phase {
            reservation = reservation.with_phase(time("phase", phase)?).map_err(wrong)?;
        }
        let execution = match self.uses {
            None => Execution::Full,
            Some([least, most]) if 0.0 <= least && least <= most && most <= 1.0 => {
                Execution::Between(least, most)
            }
            Some([least, most]) => return Err(TaskSetError::Uses { task, least, most }),
        };
        Ok(Task { name: task, reservation, execution })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_with_their_place() {
        let say = |text: &str| TaskSet::parse(text).unwrap_err().to_string();
        assert!(say("cores = 2\n[[task]]\nperiod = 5").contains("line 3"));
        assert_eq!(
            say("[[task]]\nname = \"a\"\nperiod = \"10\"\nslice = \"1ms\""),
            "task `a`: `period = \"10\"`: time unit needed, for example 10sec or 10ms; write e.g. \"10ms\""
        );
        assert_eq!(
            say("[[task]]\nperiod = \"10ms\"\nslice = \"11ms\""),
            "task `1`: a slice of 11ms can't be had within 10ms; shorten the slice"
        );
        assert!(say("[[task]]\nperiod = \"1s\"\nslice = \"11ms\"\nuses = [0.5, 0.1]").contains("`uses`"));
        assert!(say("cores = 0").contains("there are 0 cores"));
        assert!(say("capacity = 1.5").contains("1.5"));
        assert!(say(&" ".repeat(MAX_FILE + 1)).contains("longer"));
    }
}
