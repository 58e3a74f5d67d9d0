//! What a trace says about how well a reservation was kept.

use std::time::Duration;

/// A slice is late if more than this part of it is missing when its period ends.
const LATE: f64 = 0.02;

/// A slice is short if more than this part of it is missing.
const SHORT: f64 = 0.10;

/// Phases tried for mechanisms that don't tell when their periods start: the best counts.
const PHASES: u64 = 40;

/// How well a reservation was kept.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// CPU time by time.
    pub(crate) share: f64,
    pub(crate) periods: u64,
    pub(crate) late: u64,
    pub(crate) short: u64,
    /// The longest that the rest of a slice came after the end of its period.
    pub(crate) worst: Duration,
}

/// A trace, and what of it counts.
pub(crate) struct Trace {
    points: Vec<(u64, u64)>,
    from: u64,
    to: u64,
}

impl Trace {
    pub(crate) fn new(points: Vec<(u64, u64)>, from: u64, to: u64) -> Self {
        Self { points, from, to }
    }

    /// With periods that start at `start` and multiples of the period from there.
    pub(crate) fn kept(&self, period: Duration, slice: Duration, start: u64) -> Kept {
        let (period, slice) = (period.as_nanos() as u64, slice.as_nanos() as u64);
        let first = self.from + (start + period - self.from % period) % period;
        let mut kept = Kept { periods: self.to.saturating_sub(first) / period, ..Kept::default() };
        let mut reader = Reader { points: &self.points, at: 0 };
        let mut before = reader.cpu_at(first);
        let begin = before;
        for index in 0..kept.periods {
            let end = first + (index + 1) * period;
            let after = reader.cpu_at(end);
            let missing = slice as f64 - (after - before) as f64;
            if missing > slice as f64 * LATE {
                kept.late += 1;
                let had = reader.time_of(before + slice).unwrap_or(self.to);
                kept.worst = kept.worst.max(Duration::from_nanos(had.saturating_sub(end)));
            }
            kept.short += u64::from(missing > slice as f64 * SHORT);
            before = after;
        }
        kept.share = (before - begin) as f64 / (kept.periods * period).max(1) as f64;
        kept
    }

    /// CPU time between two moments.
    pub(crate) fn had(&self, from: u64, to: u64) -> Duration {
        let mut reader = Reader { points: &self.points, at: 0 };
        let before = reader.cpu_at(from);
        Duration::from_nanos(reader.cpu_at(to).saturating_sub(before))
    }

    /// With the phase at which the fewest slices are late.
    pub(crate) fn kept_at_best(&self, period: Duration, slice: Duration) -> Kept {
        let step = (period.as_nanos() as u64 / PHASES).max(1);
        let phases = (0..PHASES).map(|phase| self.kept(period, slice, phase * step));
        phases.min_by_key(|kept| (kept.late, kept.worst)).unwrap_or_default()
    }
}

/// Reads a trace forwards.
struct Reader<'a> {
    points: &'a [(u64, u64)],
    at: usize,
}

impl Reader<'_> {
    /// CPU time at `time`, which must not fall from call to call.
    fn cpu_at(&mut self, time: u64) -> u64 {
        while self.at + 1 < self.points.len() && self.points[self.at + 1].0 <= time {
            self.at += 1;
        }
        let Some(&(since, cpu)) = self.points.get(self.at) else { return 0 };
        let Some(&(until, then)) = self.points.get(self.at + 1) else { return cpu };
        if time <= since {
            return cpu;
        }
        cpu + ((then - cpu) as f64 * (time - since) as f64 / (until - since).max(1) as f64) as u64
    }

    /// When CPU time reached `cpu`, from where we are on.
    fn time_of(&self, cpu: u64) -> Option<u64> {
        let after = self.at + self.points[self.at..].iter().position(|(_, then)| *then >= cpu)?;
        let (until, then) = self.points[after];
        let (since, before) = *self.points.get(after.wrapping_sub(1))?;
        let part = cpu.saturating_sub(before) as f64 / (then - before).max(1) as f64;
        Some(since + ((until - since) as f64 * part) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_short_and_worst_are_found() {
        let ms = Duration::from_millis;
        // Runs 5 ms of every 10; the third slice begins so late that 1 ms of it is had 2 ms after its end.
        let mut points = Vec::new();
        for (from, cpu) in [(0, 0), (10, 5), (26, 10), (31, 14), (40, 20), (50, 25)] {
            let length = if from == 26 {
                4
            } else if from == 31 {
                6
            } else {
                5
            };
            points.push((from * 1_000_000, cpu * 1_000_000));
            points.push(((from + length) * 1_000_000, (cpu + length) * 1_000_000));
        }
        let trace = Trace::new(points, 0, 60_000_000);
        let kept = trace.kept(ms(10), ms(5), 0);
        assert_eq!((kept.periods, kept.late, kept.short, kept.worst), (6, 1, 1, ms(2)));
        assert!((kept.share - 0.5).abs() < 1e-9);
        assert_eq!(trace.kept(ms(10), ms(5), 2_000_000).periods, 5);
    }
}
