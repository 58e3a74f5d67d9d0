//! What fits on a core, and what would.

use std::time::Duration;

use serde::Serialize;

use crate::capacity::Capacity;
use crate::demand::{Finding, examine};
use crate::reservation::{MIN_SLICE, Reservation};

/// Why a task can't be admitted, and what could be.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[error("{reason}{}", hint(.largest_slice))]
pub struct Refusal {
    /// What stands against it (on the core that comes nearest to having room).
    pub reason: Reason,
    /// The largest slice that would fit with this period and deadline; `None` if none would.
    pub largest_slice: Option<Duration>,
}

/// What stands against admitting a task.
#[derive(Clone, Debug, PartialEq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// More than the core has, in the long run.
    #[error("the tasks would use {wanted:.4} of a core, and {capacity:.4} may be reserved")]
    Utilisation {
        /// The sum of all shares.
        wanted: f64,
        /// The part of the core that may be reserved.
        capacity: f64,
    },
    /// More than the core has before some deadline.
    #[error(
        "the tasks would need {demand:?} of CPU in some interval of {interval:?}, and {available:?} may be reserved"
    )]
    Demand {
        /// The length of the interval.
        interval: Duration,
        /// What the tasks need in it.
        demand: Duration,
        /// What may be reserved in it.
        available: Duration,
    },
    /// The exact test takes too long.
    #[error(
        "whether the tasks fit can't be found out in reasonable time; periods with a common multiple make it cheap"
    )]
    TooCostly,
    /// There is no core.
    #[error("there is no core that tasks may use")]
    NoCore,
}

fn hint(largest_slice: &Option<Duration>) -> String {
    match largest_slice {
        Some(slice) => format!("; a slice of up to {slice:?} would fit"),
        None => "; no slice would fit with this period and deadline".to_owned(),
    }
}

/// Whether `candidate` fits on a core beside `tasks`.
///
/// The test is exact: it admits what earliest deadline first can schedule on the
/// core whatever the phases, and nothing else. For tasks whose deadline is the
/// end of the period it is the utilisation bound; for others processor-demand
/// analysis ("QPA", Zhang and Burns 2009).
///
/// ```
/// use std::time::Duration;
/// use vsched::{Capacity, Reservation, admit};
///
/// let ms = Duration::from_millis;
/// let tasks = [Reservation::new(ms(10), ms(5))?];
/// assert!(admit(&tasks, &Reservation::new(ms(100), ms(40))?, Capacity::DEFAULT).is_ok());
/// let refusal = admit(&tasks, &Reservation::new(ms(100), ms(50))?, Capacity::DEFAULT).unwrap_err();
/// assert_eq!(refusal.largest_slice, Some(ms(45)));
/// # Ok::<(), vsched::ReservationError>(())
/// ```
pub fn admit(tasks: &[Reservation], candidate: &Reservation, capacity: Capacity) -> Result<(), Refusal> {
    let mut all = tasks.to_vec();
    all.push(*candidate);
    let reason = match examine(&all, capacity) {
        Finding::Schedulable => return Ok(()),
        Finding::Utilisation => Reason::Utilisation {
            wanted: all.iter().map(Reservation::share).sum(),
            capacity: capacity.fraction(),
        },
        Finding::Demand { interval_ns, demand_ns } => Reason::Demand {
            interval: Duration::from_nanos(interval_ns),
            demand: Duration::from_nanos(demand_ns),
            available: Duration::from_nanos(interval_ns).mul_f64(capacity.fraction()),
        },
        Finding::TooCostly => Reason::TooCostly,
    };
    Err(Refusal { reason, largest_slice: largest_slice(tasks, candidate, capacity) })
}

/// The largest slice with which `candidate` fits on a core beside `tasks`, to the nanosecond.
pub fn largest_slice(tasks: &[Reservation], candidate: &Reservation, capacity: Capacity) -> Option<Duration> {
    let mut all = tasks.to_vec();
    all.push(*candidate);
    let last = all.len() - 1;
    let mut fits = |slice: u64| match candidate.with_slice(Duration::from_nanos(slice)) {
        Ok(reservation) => {
            all[last] = reservation;
            examine(&all, capacity) == Finding::Schedulable
        }
        Err(_) => false,
    };
    let (mut fitting, mut too_long) = (MIN_SLICE.as_nanos() as u64, candidate.deadline_ns() + 1);
    if !fits(fitting) {
        return None;
    }
    while too_long - fitting > 1 {
        let middle = fitting + (too_long - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            too_long = middle;
        }
    }
    Some(Duration::from_nanos(fitting))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reservation() -> impl Strategy<Value = Reservation> {
        (1u64..40, 1u64..100, 1u64..100).prop_map(|(period, deadline, slice)| {
            let period = period * 1_000_000;
            let deadline = (period * deadline / 100).max(20_000);
            let slice = (deadline * slice / 100).max(10_000);
            let ns = Duration::from_nanos;
            Reservation::new(ns(period), ns(slice)).unwrap().with_deadline(ns(deadline)).unwrap()
        })
    }

    proptest! {
        #[test]
        fn the_largest_slice_fits_and_a_longer_one_does_not(
            tasks in prop::collection::vec(reservation(), 0..5),
            candidate in reservation(),
        ) {
            let mut admitted = Vec::new();
            for task in tasks {
                if admit(&admitted, &task, Capacity::DEFAULT).is_ok() {
                    admitted.push(task);
                }
            }
            let found = admit(&admitted, &candidate, Capacity::DEFAULT);
            let largest = largest_slice(&admitted, &candidate, Capacity::DEFAULT);
            match found {
                Ok(()) => prop_assert!(largest.unwrap() >= candidate.slice()),
                Err(refusal) => {
                    prop_assert_eq!(refusal.largest_slice, largest);
                    prop_assert!(largest.is_none_or(|slice| slice < candidate.slice()));
                }
            }
            let Some(largest) = largest else { return Ok(()) };
            prop_assert!(admit(&admitted, &candidate.with_slice(largest).unwrap(), Capacity::DEFAULT).is_ok());
            if let Ok(longer) = candidate.with_slice(largest + Duration::from_nanos(1)) {
                prop_assert!(admit(&admitted, &longer, Capacity::DEFAULT).is_err());
            }
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_would_fit() {
        let ms = Duration::from_millis;
        let urgent = Reservation::new(ms(10), ms(3)).unwrap().with_deadline(ms(4)).unwrap();
        let refusal = admit(&[urgent], &urgent, Capacity::WHOLE).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the tasks would need 6ms of CPU in some interval of 4ms, and 4ms may be reserved; \
             a slice of up to 1ms would fit"
        );
        let full = Reservation::new(ms(10), ms(10)).unwrap();
        let refusal = admit(&[full], &urgent, Capacity::WHOLE).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the tasks would use 1.3000 of a core, and 1.0000 may be reserved; \
             no slice would fit with this period and deadline"
        );
    }
}
