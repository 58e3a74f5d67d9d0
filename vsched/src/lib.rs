//! Reserves CPU for whole virtual machines, and any process trees, as (period, slice).
//!
//! After VSched (B. Lin and P. A. Dinda, "VSched: Mixing batch and interactive
//! virtual machines using periodic real-time scheduling", SC 2005). A task is
//! promised a slice of CPU time in every period. [`admit`] says whether a
//! promise can be kept beside others, exactly; [`simulate`] shows what would
//! happen; a [`Mechanism`] keeps it.
//!
//! All of that does no I/O. [`io`] holds what does: the real mechanisms, the
//! journal by which everything is put back, and [`io::Host`], which puts them
//! all together.
//!
//! ```
//! use std::time::Duration;
//! use vsched::{Capacity, Reservation, Task, admit, simulate};
//!
//! let ms = Duration::from_millis;
//! let interactive = Reservation::new(ms(10), ms(2))?;
//! let batch = Reservation::new(ms(100), ms(70))?;
//! assert!(admit(&[interactive], &batch, Capacity::DEFAULT).is_ok());
//!
//! let report = simulate(&[Task::new("vm1", 10, 2)?, Task::new("vm2", 100, 70)?], ms(10_000), 1);
//! assert_eq!(report.misses, 0);
//! # Ok::<(), vsched::ReservationError>(())
//! ```

mod admission;
mod capacity;
mod controller;
mod demand;
pub mod edf;
mod gang;
pub mod io;
mod mechanism;
mod monitor;
mod placement;
pub mod protocol;
mod reservation;
mod simulated;
mod simulator;
mod task_file;

pub use admission::{Reason, Refusal, admit, largest_slice};
pub use capacity::{Capacity, CapacityError};
pub use controller::{Controller, Goal, GoalError, Observation};
pub use gang::{GangHost, GangRefusal, admit_gang, largest_gang_slice, next_start};
pub use mechanism::{Limits, Mechanism, MechanismError, MechanismKind, Process, TaskId};
pub use monitor::{Counters, DemandSample, HISTORY, Monitor, Sample};
pub use placement::{Placement, place_all, place_one};
pub use reservation::{MAX_PERIOD, MIN_PERIOD, MIN_SLICE, Reservation, ReservationError};
pub use simulated::Simulated;
pub use simulator::{CoreReport, TaskReport, VirtualCore, simulate};
pub use task_file::{Execution, MAX_CORES, MAX_FILE, MAX_TASKS, Task, TaskSet, TaskSetError};

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
