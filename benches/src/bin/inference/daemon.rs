//! What daemons do besides forwarding.

use std::collections::HashMap;
use std::time::Duration;

use vnet_core::control::{Body, Envelope, Notice, TrafficEntry, TrafficReport, encode};
use vnet_core::{HostName, MacAddr};
use wren::{Parameters, PathEstimator, Sample};

use crate::planes::Planes;

/// How often daemons look at what has come.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// How much later a matrix is read again for each of its pairs, as in daemons.
const READING: Duration = Duration::from_micros(80);

/// What the daemons of both ends do, in one thread. Its clock stands still while it
/// is not asked to do anything.
pub(crate) struct Inference {
    estimator: PathEstimator,
    reported: HashMap<(MacAddr, MacAddr), u64>,
    sequence: u64,
    clock: Duration,
    next_matrix: Duration,
    ticks: u32,
}

impl Inference {
    pub(crate) fn start(planes: &Planes) -> anyhow::Result<Self> {
        for plane in planes.both() {
            plane.measure_paths(true)?;
        }
        Ok(Self {
            estimator: PathEstimator::new(Parameters::default()),
            reported: HashMap::new(),
            sequence: 0,
            clock: Duration::ZERO,
            next_matrix: Duration::ZERO,
            ticks: 0,
        })
    }

    /// The matrix, what has arrived, and every second an estimate of the path.
    pub(crate) fn tick(&mut self, planes: &Planes) -> anyhow::Result<()> {
        self.clock += TICK;
        if self.clock >= self.next_matrix {
            let mut pairs = 0;
            for plane in planes.both() {
                let matrix = plane.traffic()?;
                pairs = matrix.len();
                self.report(matrix)?;
            }
            self.next_matrix = self.clock + TICK.max(READING * pairs as u32);
        }
        let [from, to] = planes.both();
        from.take_arrivals()?;
        let mut latest = 0;
        for arrivals in to.take_arrivals()? {
            latest = arrivals.entries.last().map_or(0, |arrival| arrival.arrived_ns);
            self.estimator.add(arrivals.entries.iter().map(|arrival| Sample {
                sequence: arrival.sequence,
                sent_ns: arrival.sent_ns,
                arrived_ns: arrival.arrived_ns,
                bytes: arrival.bytes + 42,
            }));
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(20) {
            std::hint::black_box(self.estimator.estimate(latest));
        }
        Ok(())
    }

    /// What has changed, as it goes to the Proxy.
    fn report(&mut self, mut entries: Vec<TrafficEntry>) -> anyhow::Result<()> {
        entries.retain(|entry| {
            let frames = entry.sent_frames + entry.received_frames;
            self.reported.insert((entry.source, entry.destination), frames) != Some(frames)
        });
        self.sequence += 1;
        let (host, sequence) = (HostName::new("a")?, self.sequence);
        let report = TrafficReport { host, incarnation: 1, sequence, entries };
        let envelope = Envelope { id: 0, body: Body::Notice(Notice::Traffic(report)) };
        std::hint::black_box(encode(&envelope)?);
        Ok(())
    }
}
