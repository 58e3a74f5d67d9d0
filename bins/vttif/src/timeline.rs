//! Traffic over time: matrices of windows that slide step by step.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use vttif::{MAX_VERTICES, MatrixError, TrafficMatrix};

use crate::capture::{Address, Packet};

/// The most steps from the first packet to the last.
pub const MAX_STEPS: u64 = 100_000;

/// Packets counted per step and pair.
#[derive(Debug)]
pub struct Timeline {
    step: u64,
    /// The time of the first packet, in nanoseconds.
    start: Option<u64>,
    addresses: Vec<Address>,
    index: HashMap<Address, usize>,
    steps: BTreeMap<u64, HashMap<(usize, usize), u64>>,
}

/// The traffic of one window.
#[derive(Clone, Debug)]
pub struct Window {
    /// When it begins, after the first packet.
    pub from: Duration,
    /// When it ends.
    pub to: Duration,
    /// Bytes from each address to each other.
    pub matrix: TrafficMatrix,
}

/// A capture that doesn't make a timeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimelineError {
    /// The step is zero or the window is no multiple of it.
    #[error("the window ({window:?}) must be a multiple of the step ({step:?}), and neither may be zero")]
    Step {
        /// The window.
        window: Duration,
        /// The step.
        step: Duration,
    },
    /// There are more addresses than a matrix may have.
    #[error(
        "the capture has more than {MAX_VERTICES} addresses; filter it first, such as with \
         `tcpdump -r FILE -w PART net 10.0.0.0/16`"
    )]
    TooManyAddresses,
    /// The capture lasts more than [`MAX_STEPS`] steps.
    #[error("the capture lasts more than {MAX_STEPS} steps of {step:?}; choose a longer --step")]
    TooLong {
        /// The step.
        step: Duration,
    },
    /// The traffic makes no matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
}

impl Timeline {
    /// A timeline in steps of `step`.
    pub fn new(step: Duration) -> Self {
        let step = u64::try_from(step.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { step, start: None, addresses: Vec::new(), index: HashMap::new(), steps: BTreeMap::new() }
    }

    /// Counts a packet. Those from before the first count as from the beginning.
    pub fn add(&mut self, packet: &Packet) -> Result<(), TimelineError> {
        let start = *self.start.get_or_insert(packet.time);
        let step = packet.time.saturating_sub(start) / self.step;
        if step >= MAX_STEPS {
            return Err(TimelineError::TooLong { step: Duration::from_nanos(self.step) });
        }
        let pair = (self.vertex(packet.source)?, self.vertex(packet.destination)?);
        *self.steps.entry(step).or_default().entry(pair).or_default() += u64::from(packet.bytes);
        Ok(())
    }

    /// The traffic of all time.
    pub fn whole(&self) -> Result<TrafficMatrix, TimelineError> {
        self.matrix(0..MAX_STEPS)
    }

    /// From the first packet to the end of the last step.
    pub fn duration(&self) -> Duration {
        self.at(self.length())
    }

    /// The windows of a length, one after each step; they begin at the first
    /// packet, and the last one ends with the last packet's step.
    pub fn windows(
        &self,
        window: Duration,
    ) -> Result<impl Iterator<Item = Result<Window, TimelineError>> + '_, TimelineError> {
        let step = Duration::from_nanos(self.step);
        let width = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        if width == 0 || !width.is_multiple_of(self.step) {
            return Err(TimelineError::Step { window, step });
        }
        let width = width / self.step;
        let last = self.length().saturating_sub(width);
        let count = if self.steps.is_empty() { 0 } else { last + 1 };
        Ok((0..count).map(move |from| {
            let to = from.saturating_add(width);
            Ok(Window { from: self.at(from), to: self.at(to), matrix: self.matrix(from..to)? })
        }))
    }

    fn length(&self) -> u64 {
        self.steps.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    fn at(&self, step: u64) -> Duration {
        Duration::from_nanos(step.saturating_mul(self.step))
    }

    fn vertex(&mut self, address: Address) -> Result<usize, TimelineError> {
        if let Some(index) = self.index.get(&address) {
            return Ok(*index);
        }
        if self.addresses.len() >= MAX_VERTICES {
            return Err(TimelineError::TooManyAddresses);
        }
        self.addresses.push(address);
        self.index.insert(address, self.addresses.len() - 1);
        Ok(self.addresses.len() - 1)
    }

    /// The vertices are in the order of their addresses.
    fn matrix(&self, steps: std::ops::Range<u64>) -> Result<TrafficMatrix, TimelineError> {
        let mut order: Vec<usize> = (0..self.addresses.len()).collect();
        order.sort_by_key(|v| self.addresses[*v]);
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let labels = order.iter().map(|v| self.addresses[*v].to_string()).collect();
        let mut matrix = TrafficMatrix::with_labels(labels)?;
        for ((source, destination), bytes) in self.steps.range(steps).flat_map(|(_, pairs)| pairs) {
            matrix.add(place[*source], place[*destination], *bytes as f64)?;
        }
        Ok(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ms: u64, from: u8, to: u8) -> Packet {
        let address = |v: u8| Address::Ethernet([2, 0, 0, 0, 0, v]);
        Packet {
            time: 7_000_000_000 + ms * 1_000_000,
            source: address(from),
            destination: address(to),
            bytes: 100,
        }
    }

    #[test]
    fn windows_slide_step_by_step() {
        let mut timeline = Timeline::new(Duration::from_millis(500));
        for (ms, from, to) in [(0, 1, 2), (600, 2, 3), (400, 1, 2), (1_700, 3, 1)] {
            timeline.add(&packet(ms, from, to)).unwrap();
        }
        assert_eq!(timeline.duration(), Duration::from_secs(2));
        let windows: Vec<Window> =
            timeline.windows(Duration::from_secs(1)).unwrap().map(Result::unwrap).collect();
        assert_eq!(windows.len(), 3);
        assert_eq!(windows[0].matrix.entries().collect::<Vec<_>>(), [(0, 1, 200.0), (1, 2, 100.0)]);
        assert_eq!(windows[2].matrix.entries().collect::<Vec<_>>(), [(2, 0, 100.0)]);
        assert_eq!(windows[2].to, timeline.duration());
        assert_eq!(timeline.whole().unwrap().total(), 400.0);
        assert!(timeline.windows(Duration::from_millis(700)).is_err());
    }

    #[test]
    fn limits_are_told() {
        let mut timeline = Timeline::new(Duration::from_millis(1));
        timeline.add(&packet(0, 1, 2)).unwrap();
        let error = timeline.add(&packet(MAX_STEPS, 1, 2)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the capture lasts more than 100000 steps of 1ms; choose a longer --step"
        );
        assert_eq!(
            Timeline::new(Duration::ZERO).windows(Duration::ZERO).err().map(|e| e.to_string()),
            Some("the window (0ns) must be a multiple of the step (1ns), and neither may be zero".to_owned())
        );
    }
}
