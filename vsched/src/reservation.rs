//! What a task is promised: a slice of CPU time in every period.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The shortest period that can be asked for.
pub const MIN_PERIOD: Duration = Duration::from_micros(100);

/// The longest period that can be asked for.
pub const MAX_PERIOD: Duration = Duration::from_secs(60);

/// The shortest slice that can be asked for.
pub const MIN_SLICE: Duration = Duration::from_micros(10);

/// `slice` of CPU time in every `period`, to be had within `deadline` of the period's start.
///
/// The CPU time is the sum over all threads of the task. Without a phase, the
/// periods start when the task is attached; with one, they start at that time
/// after multiples of the period since the Unix epoch, on every host alike.
///
/// ```
/// use std::time::Duration;
/// use vsched::Reservation;
///
/// let ms = Duration::from_millis;
/// let reservation = Reservation::new(ms(50), ms(20))?;
/// assert_eq!(reservation.share(), 0.4);
/// assert!(Reservation::new(ms(50), ms(60)).is_err());
/// # Ok::<(), vsched::ReservationError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Reservation {
    period: Duration,
    slice: Duration,
    deadline: Duration,
    phase: Option<Duration>,
}

/// Why no reservation can look like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// The period is not between [`MIN_PERIOD`] and [`MAX_PERIOD`].
    #[error("the period is {0:?}; it must be between {MIN_PERIOD:?} and {MAX_PERIOD:?}")]
    Period(Duration),
    /// The slice is shorter than [`MIN_SLICE`].
    #[error("the slice is {0:?}; it must be at least {MIN_SLICE:?}")]
    Slice(Duration),
    /// The slice doesn't fit into the time until the deadline.
    #[error("a slice of {slice:?} can't be had within {deadline:?}; shorten the slice")]
    SliceTooLong {
        /// The slice asked for.
        slice: Duration,
        /// The deadline (without one: the period).
        deadline: Duration,
    },
    /// The deadline is after the end of the period.
    #[error("the deadline {deadline:?} is after the end of the period {period:?}")]
    Deadline {
        /// The deadline asked for.
        deadline: Duration,
        /// The period.
        period: Duration,
    },
    /// The phase is not within the period.
    #[error("the phase {phase:?} must be less than the period {period:?}")]
    Phase {
        /// The phase asked for.
        phase: Duration,
        /// The period.
        period: Duration,
    },
}

impl Reservation {
    /// `slice` of CPU time in every `period`.
    pub fn new(period: Duration, slice: Duration) -> Result<Self, ReservationError> {
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&period) {
            return Err(ReservationError::Period(period));
        }
        if slice < MIN_SLICE {
            return Err(ReservationError::Slice(slice));
        }
        if slice > period {
            return Err(ReservationError::SliceTooLong { slice, deadline: period });
        }
        Ok(Self { period, slice, deadline: period, phase: None })
    }

    /// The same, but the slice is to be had within `deadline` of the period's start.
    pub fn with_deadline(self, deadline: Duration) -> Result<Self, ReservationError> {
        if deadline > self.period {
            return Err(ReservationError::Deadline { deadline, period: self.period });
        }
        if self.slice > deadline {
            return Err(ReservationError::SliceTooLong { slice: self.slice, deadline });
        }
        Ok(Self { deadline, ..self })
    }

    /// The same, but the periods start `phase` after multiples of the period since the Unix epoch.
    pub fn with_phase(self, phase: Duration) -> Result<Self, ReservationError> {
        if phase >= self.period {
            return Err(ReservationError::Phase { phase, period: self.period });
        }
        Ok(Self { phase: Some(phase), ..self })
    }

    /// The same with another slice.
    pub fn with_slice(self, slice: Duration) -> Result<Self, ReservationError> {
        if slice < MIN_SLICE {
            return Err(ReservationError::Slice(slice));
        }
        if slice > self.deadline {
            return Err(ReservationError::SliceTooLong { slice, deadline: self.deadline });
        }
        Ok(Self { slice, ..self })
    }

    /// The time from one slice to the next.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The CPU time in each period.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    /// How long after the start of the period the slice must have been had.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// When periods start, after multiples of the period since the Unix epoch.
    pub fn phase(&self) -> Option<Duration> {
        self.phase
    }

    /// The fraction of one core: slice by period.
    pub fn share(&self) -> f64 {
        self.slice.div_duration_f64(self.period)
    }

    pub(crate) fn period_ns(&self) -> u64 {
        self.period.as_nanos() as u64
    }

    pub(crate) fn slice_ns(&self) -> u64 {
        self.slice.as_nanos() as u64
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        self.deadline.as_nanos() as u64
    }
}

impl fmt::Display for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:?}, {:?})", self.period, self.slice)?;
        if self.deadline != self.period {
            write!(f, " by {:?}", self.deadline)?;
        }
        if let Some(phase) = self.phase {
            write!(f, " at {phase:?}")?;
        }
        Ok(())
    }
}

/// A reservation in JSON: nanoseconds, so that nothing is rounded.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    period_ns: u64,
    slice_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase_ns: Option<u64>,
}

impl From<Reservation> for Wire {
    fn from(reservation: Reservation) -> Self {
        let ns = |time: Duration| time.as_nanos() as u64;
        Self {
            period_ns: ns(reservation.period),
            slice_ns: ns(reservation.slice),
            deadline_ns: (reservation.deadline != reservation.period).then(|| ns(reservation.deadline)),
            phase_ns: reservation.phase.map(ns),
        }
    }
}

impl TryFrom<Wire> for Reservation {
    type Error = ReservationError;

    fn try_from(wire: Wire) -> Result<Self, ReservationError> {
        let ns = Duration::from_nanos;
        let mut reservation = Self::new(ns(wire.period_ns), ns(wire.slice_ns))?;
        if let Some(deadline) = wire.deadline_ns {
            reservation = reservation.with_deadline(ns(deadline))?;
        }
        match wire.phase_ns {
            Some(phase) => reservation.with_phase(ns(phase)),
            None => Ok(reservation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_asked_for_survives_json() {
        let ms = Duration::from_millis;
        let full = Reservation::new(ms(10), ms(2)).unwrap().with_deadline(ms(5)).unwrap();
        let full = full.with_phase(ms(9)).unwrap();
        for reservation in [full, Reservation::new(ms(1), Duration::from_micros(10)).unwrap()] {
            let json = serde_json::to_string(&reservation).unwrap();
            assert_eq!(serde_json::from_str::<Reservation>(&json).unwrap(), reservation, "{json}");
        }
        assert_eq!(full.to_string(), "(10ms, 2ms) by 5ms at 9ms");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let ms = Duration::from_millis;
        assert!(matches!(Reservation::new(Duration::ZERO, ms(1)), Err(ReservationError::Period(_))));
        assert!(matches!(Reservation::new(ms(100_000), ms(1)), Err(ReservationError::Period(_))));
        assert!(matches!(Reservation::new(ms(1), Duration::ZERO), Err(ReservationError::Slice(_))));
        let reservation = Reservation::new(ms(10), ms(2)).unwrap();
        assert!(matches!(reservation.with_deadline(ms(11)), Err(ReservationError::Deadline { .. })));
        assert!(matches!(reservation.with_deadline(ms(1)), Err(ReservationError::SliceTooLong { .. })));
        assert!(matches!(reservation.with_phase(ms(10)), Err(ReservationError::Phase { .. })));
    }
}
