//! The exact test of a core: does earliest deadline first meet every deadline?
//!
//! A set of sporadic tasks is schedulable on one core if and only if the demand
//! of the jobs that start and end in any interval of length `t` from a moment at
//! which all tasks start together, `dbf(t)`, is at most `t` (S. Baruah, A. Mok,
//! L. Rosier, "Preemptively scheduling hard-real-time sporadic tasks on one
//! processor", RTSS 1990). Here the core gives `capacity * t` of each interval,
//! since the host keeps a part for itself. Quick Processor-demand Analysis
//! (F. Zhang, A. Burns, "Schedulability analysis for real-time systems with EDF
//! scheduling", IEEE Trans. Computers 58(9), 2009) walks down from the longest
//! interval that can matter and skips nearly all deadlines on its way.

use crate::capacity::Capacity;
use crate::reservation::Reservation;

/// More steps than this are not cheap any more. Sets of up to some hundred
/// tasks need some ten; only sets that fill the core to its last nanosecond come near.
const MAX_STEPS: u32 = 1_000_000;

/// What one core says to a set of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Schedulable,
    /// The tasks use more than the core has in the long run.
    Utilisation,
    /// Within `interval_ns` the tasks need `demand_ns`, more than the core has.
    Demand {
        interval_ns: u64,
        demand_ns: u64,
    },
    /// It can't be told within [`MAX_STEPS`].
    TooCostly,
}

/// The CPU time of all jobs that start and end within `interval_ns`.
pub(crate) fn demand_bound(tasks: &[Reservation], interval_ns: u64) -> u64 {
    let demands = tasks.iter().map(|task| {
        let after_first = interval_ns.checked_sub(task.deadline_ns());
        after_first.map_or(0, |rest| (rest / task.period_ns() + 1).saturating_mul(task.slice_ns()))
    });
    demands.fold(0, u64::saturating_add)
}

/// Whether `tasks` meet all deadlines on a core of this capacity.
pub(crate) fn examine(tasks: &[Reservation], capacity: Capacity) -> Finding {
    let utilisation = Utilisation::of(tasks, capacity);
    if utilisation.exceeds {
        return Finding::Utilisation;
    }
    // With deadlines at the ends of periods, nothing else is needed (Liu and Layland 1973).
    if tasks.iter().all(|task| task.deadline() == task.period()) {
        return Finding::Schedulable;
    }
    let Some(longest) = longest_interval(tasks, capacity, &utilisation) else { return Finding::TooCostly };
    walk_down(tasks, capacity, longest)
}

/// QPA proper. `time_for(dbf(t)) <= t` is `dbf(t) <= capacity * t`.
fn walk_down(tasks: &[Reservation], capacity: Capacity, longest: u64) -> Finding {
    let first_deadline = tasks.iter().map(Reservation::deadline_ns).min().unwrap_or(0);
    let Some(mut interval) = last_deadline_before(tasks, longest.saturating_add(1)) else {
        return Finding::Schedulable;
    };
    for _ in 0..MAX_STEPS {
        let demand = demand_bound(tasks, interval);
        let needed = capacity.time_for(demand);
        if needed > interval {
            return Finding::Demand { interval_ns: interval, demand_ns: demand };
        }
        if needed <= first_deadline {
            // No deadline lies below but the first, and the demand there is no more than `demand`.
            return Finding::Schedulable;
        }
        interval = if needed < interval {
            needed
        } else {
            match last_deadline_before(tasks, interval) {
                Some(earlier) => earlier,
                None => return Finding::Schedulable,
            }
        };
    }
    Finding::TooCostly
}

fn last_deadline_before(tasks: &[Reservation], time: u64) -> Option<u64> {
    tasks
        .iter()
        .filter(|task| task.deadline_ns() < time)
        .map(|task| {
            (time - 1 - task.deadline_ns()) / task.period_ns() * task.period_ns() + task.deadline_ns()
        })
        .max()
}

struct Utilisation {
    exceeds: bool,
    sum: f64,
    capacity: f64,
}

impl Utilisation {
    /// Exact unless the sum is within 10^-9 of the capacity and has no small common denominator:
    /// then the float decides, and admits up to 10^-12 too much.
    fn of(tasks: &[Reservation], capacity: Capacity) -> Self {
        let sum: f64 = tasks.iter().map(|task| task.slice_ns() as f64 / task.period_ns() as f64).sum();
        let whole = capacity.fraction();
        let exceeds = if (sum - whole).abs() > 1e-9 {
            sum > whole
        } else {
            exact_sum(tasks).map_or(sum > whole + 1e-12, |(numerator, denominator)| {
                numerator * u128::from(Capacity::SCALE) > denominator * u128::from(capacity.parts())
            })
        };
        Self { exceeds, sum, capacity: whole }
    }
}

/// The sum of slice by period as a fraction, unless the denominator grows past 2^64.
fn exact_sum(tasks: &[Reservation]) -> Option<(u128, u128)> {
    let common = hyperperiod(tasks)?;
    let numerator =
        tasks.iter().map(|task| u128::from(task.slice_ns()) * u128::from(common / task.period_ns())).sum();
    Some((numerator, u128::from(common)))
}

fn hyperperiod(tasks: &[Reservation]) -> Option<u64> {
    tasks.iter().try_fold(1u64, |common, task| {
        let period = task.period_ns();
        (common / gcd(common, period)).checked_mul(period)
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// No deadline can be missed for the first time in a longer interval: the least of
/// the bound by slack (Baruah et al.; Ripoll et al.), the first moment at which
/// all work is done, and the time after which all repeats.
fn longest_interval(tasks: &[Reservation], capacity: Capacity, utilisation: &Utilisation) -> Option<u64> {
    let by_slack = (utilisation.capacity - utilisation.sum > 1e-9).then(|| {
        let work: f64 = tasks
            .iter()
            .map(|task| {
                let slack = (task.period_ns() - task.deadline_ns()) as f64;
                slack * task.slice_ns() as f64 / task.period_ns() as f64
            })
            .sum();
        // One more than the rounding of the floats can take away.
        let bound = work / (utilisation.capacity - utilisation.sum) * (1.0 + 1e-9) + 1.0;
        let last_first_deadline = tasks.iter().map(Reservation::deadline_ns).max().unwrap_or(0);
        (bound.min(u64::MAX as f64) as u64).max(last_first_deadline)
    });
    let repeats = hyperperiod(tasks).and_then(|h| {
        let longest_deadline = tasks.iter().map(Reservation::deadline_ns).max().unwrap_or(0);
        h.checked_add(longest_deadline)
    });
    [by_slack, busy_period(tasks, capacity), repeats].into_iter().flatten().min()
}

/// How long the core is busy when all tasks start together. `None`: longer than is cheap to find.
fn busy_period(tasks: &[Reservation], capacity: Capacity) -> Option<u64> {
    let mut length = capacity.time_for(tasks.iter().map(Reservation::slice_ns).sum());
    for _ in 0..1000 {
        let work = tasks.iter().map(|task| {
            let jobs = length.div_ceil(task.period_ns());
            jobs.checked_mul(task.slice_ns())
        });
        let work = work.sum::<Option<u64>>()?;
        let longer = capacity.time_for(work);
        if longer == length {
            return Some(length);
        }
        length = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    // Periods with a small common multiple, so that trying every interval is cheap.
    fn task() -> impl Strategy<Value = Reservation> {
        (prop::sample::select(vec![2u64, 3, 4, 5, 6, 8, 10, 12, 15, 20]), 1u64..100, 1u64..100).prop_map(
            |(period, slice, deadline)| {
                let period = period * 100_000;
                let deadline = period * deadline.max(20) / 100 / 10_000 * 10_000;
                let slice = (deadline * slice / 250 / 10_000 * 10_000).max(10_000);
                let ns = Duration::from_nanos;
                let task = Reservation::new(ns(period), ns(slice)).unwrap();
                task.with_deadline(ns(deadline.max(slice))).unwrap()
            },
        )
    }

    /// Every interval that ends at a deadline, up to twice the time after which all repeats.
    fn by_trying(tasks: &[Reservation], capacity: Capacity) -> bool {
        let end = 2 * hyperperiod(tasks).unwrap();
        let demand = |t| {
            let jobs = |task: &Reservation| {
                (0..).take_while(|k| k * task.period_ns() + task.deadline_ns() <= t).count() as u128
            };
            tasks.iter().map(|task| jobs(task) * u128::from(task.slice_ns())).sum::<u128>()
        };
        let deadlines = tasks.iter().flat_map(|task| {
            (0..).map(|k| k * task.period_ns() + task.deadline_ns()).take_while(|t| *t <= end)
        });
        let total: u128 = tasks
            .iter()
            .map(|task| u128::from(task.slice_ns()) * u128::from(end / 2 / task.period_ns()))
            .sum();
        let scale = u128::from(Capacity::SCALE);
        let parts = u128::from(capacity.parts());
        total * scale <= u128::from(end / 2) * parts
            && deadlines.into_iter().all(|t| demand(t) * scale <= u128::from(t) * parts)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn it_says_what_trying_every_interval_says(
            tasks in prop::collection::vec(task(), 1..7),
            capacity in prop::sample::select(vec![1.0, 0.95, 0.9, 0.5]),
        ) {
            let capacity = Capacity::new(capacity).unwrap();
            let found = examine(&tasks, capacity);
            prop_assert_eq!(found == Finding::Schedulable, by_trying(&tasks, capacity), "{:?} {:?}", found, tasks);
            if let Finding::Demand { interval_ns, demand_ns } = found {
                prop_assert_eq!(demand_bound(&tasks, interval_ns), demand_ns);
                prop_assert!(capacity.time_for(demand_ns) > interval_ns);
            }
        }
    }

    #[test]
    fn a_core_can_be_filled_to_the_last_nanosecond() {
        let us = Duration::from_micros;
        let tasks = [(300, 100), (700, 200), (2100, 800)];
        let tasks = tasks.map(|(period, slice)| Reservation::new(us(period), us(slice)).unwrap());
        assert_eq!(examine(&tasks, Capacity::WHOLE), Finding::Schedulable);
        let more = tasks[2].with_slice(us(800) + Duration::from_nanos(1)).unwrap();
        assert_eq!(examine(&[tasks[0], tasks[1], more], Capacity::WHOLE), Finding::Utilisation);
    }
}
