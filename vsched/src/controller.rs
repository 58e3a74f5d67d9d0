//! Feedback: the least CPU that reaches a goal.
//!
//! After B. Lin, A. Sundararaj, P. Dinda, "Time-sharing parallel applications
//! with performance isolation and control" (ICAC 2007), where a controller sets
//! the slices of all VMs of an application such that it reaches a target
//! execution rate. They step the slice up and down; here the CPU time that a
//! unit of progress costs is estimated, so that one step nearly gets there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reservation::{MIN_SLICE, Reservation};

/// What is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Units of progress per second.
    Rate(f64),
    /// The part of its slice that the task uses: less, and it has more than it needs.
    Utilisation(f64),
}

/// A goal that can't be held.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum GoalError {
    /// The rate is not a positive number.
    #[error("the target rate is {0}; it must be more than 0")]
    Rate(f64),
    /// The utilisation is not within (0, 1).
    #[error("the target utilisation is {0}; it must be more than 0 and less than 1")]
    Utilisation(f64),
}

/// What a task did in some time, a few periods at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The time.
    pub elapsed: Duration,
    /// The CPU time that the task used.
    pub used: Duration,
    /// The units of progress that it made; not needed for [`Goal::Utilisation`].
    pub progress: f64,
}

/// Holds a goal by changing the slice.
///
/// ```
/// use std::time::Duration;
/// use vsched::{Controller, Goal, Observation, Reservation};
///
/// let ms = Duration::from_millis;
/// let mut controller = Controller::new(Goal::Rate(30.0), &Reservation::new(ms(100), ms(50))?, ms(95))?;
/// // 50 ms of CPU time made 5 units in 100 ms; 30 per second need 30 ms.
/// let slice = controller.step(&Observation { elapsed: ms(100), used: ms(50), progress: 5.0 });
/// assert!((29.0..31.0).contains(&(slice.as_secs_f64() * 1e3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Controller {
    goal: Goal,
    period: Duration,
    slice: Duration,
    most: Duration,
    /// CPU seconds per unit of progress.
    cost: Option<f64>,
    /// Units of progress by which the task is behind.
    behind: f64,
}

/// A cost that differs from the estimate by this part is a new one, not noise.
const SURPRISE: f64 = 0.04;

/// How much an observation moves the estimate otherwise.
const SMOOTHING: f64 = 0.3;

/// Over how many periods an error of progress is made up for.
const CATCH_UP: f64 = 10.0;

/// No more than this part of the progress of a period is made up for in one.
const MOST_CATCH_UP: f64 = 0.02;

/// A task that uses this part of its slice might use more.
const SATURATED: f64 = 0.98;

/// How fast the slice of a saturated task grows when the goal is a utilisation.
const GROWTH: f64 = 1.3;

impl Controller {
    /// Begins with the slice of `reservation`, and gives at most `most`.
    pub fn new(goal: Goal, reservation: &Reservation, most: Duration) -> Result<Self, GoalError> {
        match goal {
            Goal::Rate(rate) if !(rate > 0.0 && rate.is_finite()) => return Err(GoalError::Rate(rate)),
            Goal::Utilisation(part) if !(part > 0.0 && part < 1.0) => {
                return Err(GoalError::Utilisation(part));
            }
            _ => {}
        }
        Ok(Self {
            goal,
            period: reservation.period(),
            slice: reservation.slice(),
            most: most.min(reservation.deadline()).max(MIN_SLICE),
            cost: None,
            behind: 0.0,
        })
    }

    /// The slice to set after the task did that.
    pub fn step(&mut self, observed: &Observation) -> Duration {
        if observed.elapsed.is_zero() {
            return self.slice;
        }
        let wanted = match self.goal {
            Goal::Rate(rate) => self.for_rate(rate, observed),
            Goal::Utilisation(part) => self.for_utilisation(part, observed),
        };
        let slice = Duration::try_from_secs_f64(wanted).unwrap_or(self.most);
        self.slice = slice.clamp(MIN_SLICE, self.most);
        self.slice
    }

    /// The slice now.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    fn for_rate(&mut self, rate: f64, observed: &Observation) -> f64 {
        let elapsed = observed.elapsed.as_secs_f64();
        let period = self.period.as_secs_f64();
        let used = observed.used.as_secs_f64();
        if observed.progress > 0.0 && used > 0.0 {
            self.learn(used / observed.progress);
        }
        let Some(cost) = self.cost else {
            // It has done nothing yet: only more CPU can show what it needs.
            return self.slice.as_secs_f64() * GROWTH;
        };
        let a_period = rate * period;
        // A task that leaves CPU unused is not held up by us, and more would not help it.
        let granted = self.slice.as_secs_f64() * elapsed / period;
        if used >= granted * SATURATED || observed.progress > rate * elapsed {
            self.behind = (self.behind + rate * elapsed - observed.progress).clamp(-a_period, a_period);
        }
        let most = a_period * MOST_CATCH_UP;
        (a_period + (self.behind / CATCH_UP).clamp(-most, most)) * cost
    }

    fn learn(&mut self, cost: f64) {
        let Some(known) = self.cost else {
            self.cost = Some(cost);
            return;
        };
        if (cost / known - 1.0).abs() > SURPRISE {
            // What it was behind under the old cost is history.
            self.cost = Some(cost);
            self.behind = 0.0;
        } else {
            self.cost = Some(known + SMOOTHING * (cost - known));
        }
    }

    fn for_utilisation(&self, part: f64, observed: &Observation) -> f64 {
        let periods = observed.elapsed.as_secs_f64() / self.period.as_secs_f64();
        let used = observed.used.as_secs_f64() / periods;
        if used >= self.slice.as_secs_f64() * SATURATED.max(part) {
            return self.slice.as_secs_f64() * GROWTH;
        }
        let wanted = used / part;
        self.slice.as_secs_f64() + (wanted - self.slice.as_secs_f64()) * (1.0 - SMOOTHING)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_millis(50);

    /// A task that uses all of its slice; a unit costs `cost` CPU seconds.
    fn observe(slice: Duration, cost: f64, noise: f64) -> Observation {
        Observation { elapsed: PERIOD, used: slice, progress: slice.as_secs_f64() / cost * (1.0 + noise) }
    }

    proptest! {
        #[test]
        fn a_varying_need_is_followed_with_little_more_than_the_least(
            costs in prop::collection::vec(0.0005f64..0.004, 1..6),
            noise in prop::collection::vec(-0.01f64..0.01, 40),
        ) {
            let rate = 200.0;
            let start = Reservation::new(PERIOD, PERIOD / 10).unwrap();
            let mut controller = Controller::new(Goal::Rate(rate), &start, PERIOD).unwrap();
            for cost in costs {
                let (mut done, mut used) = (0.0, 0.0);
                for (period, noise) in noise.iter().enumerate() {
                    let observed = observe(controller.slice(), cost, *noise);
                    controller.step(&observed);
                    if period >= 10 {
                        done += observed.progress;
                        used += observed.used.as_secs_f64();
                    }
                }
                let time = 30.0 * PERIOD.as_secs_f64();
                prop_assert!((done / time / rate - 1.0).abs() < 0.05, "rate {}", done / time);
                prop_assert!(used < rate * cost * time * 1.05, "used {used} of {}", rate * cost * time);
            }
        }

        #[test]
        fn a_target_utilisation_is_reached(need in 0.05f64..0.8, part in 0.5f64..0.95) {
            let start = Reservation::new(PERIOD, PERIOD / 10).unwrap();
            let mut controller = Controller::new(Goal::Utilisation(part), &start, PERIOD).unwrap();
            for _ in 0..40 {
                let used = controller.slice().min(PERIOD.mul_f64(need));
                controller.step(&Observation { elapsed: PERIOD, used, progress: 0.0 });
            }
            let expected = (need / part).min(1.0);
            let found = controller.slice().as_secs_f64() / PERIOD.as_secs_f64();
            prop_assert!((found / expected - 1.0).abs() < 0.05, "{found} {expected}");
        }
    }

    #[test]
    fn a_task_that_waits_for_others_is_not_given_more_and_more() {
        let start = Reservation::new(PERIOD, PERIOD / 2).unwrap();
        let mut controller = Controller::new(Goal::Rate(100.0), &start, PERIOD).unwrap();
        for _ in 0..50 {
            // Half of what is wanted, with a fifth of the slice: something else holds it up.
            let used = controller.slice() / 5;
            controller.step(&Observation { elapsed: PERIOD, used, progress: 2.5 });
        }
        assert!(controller.slice() < PERIOD / 2, "{:?}", controller.slice());
    }

    #[test]
    fn goals_that_make_no_sense_are_refused() {
        let start = Reservation::new(PERIOD, PERIOD / 2).unwrap();
        assert!(Controller::new(Goal::Rate(f64::NAN), &start, PERIOD).is_err());
        assert!(Controller::new(Goal::Utilisation(1.0), &start, PERIOD).is_err());
    }
}
