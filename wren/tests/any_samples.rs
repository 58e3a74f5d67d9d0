//! Samples come from the network: whatever they are, nothing breaks.

use proptest::collection::vec;
use proptest::prelude::*;
use wren::{Parameters, PathEstimator, Sample, Vertex, round_trip, threshold};

fn sample() -> impl Strategy<Value = Sample> {
    // Times near each other, and any at all.
    let time = prop_oneof![4 => 0_u64..1_000_000_000, 1 => any::<u64>()];
    (any::<u64>(), time.clone(), time, prop_oneof![Just(1466_u32), any::<u32>()])
        .prop_map(|(sequence, sent_ns, arrived_ns, bytes)| Sample { sequence, sent_ns, arrived_ns, bytes })
}

proptest! {
    #[test]
    fn any_samples_give_an_estimate_or_none(runs in vec(vec(sample(), 0..60), 0..8), now: u64, sorted: bool) {
        let mut estimator = PathEstimator::new(Parameters::default());
        for mut run in runs {
            if sorted {
                run.sort_by_key(|sample| sample.sent_ns);
                for (n, sample) in run.iter_mut().enumerate() {
                    sample.sequence = n as u64;
                }
            }
            for train in threshold::trains(&run) {
                prop_assert!(train.rate > 0.0);
            }
            estimator.add(run);
            let estimate = estimator.estimate(now);
            for rate in [estimate.available, estimate.capacity].into_iter().flatten() {
                prop_assert!(rate.low >= 0.0 && rate.low <= rate.value && rate.value <= rate.high, "{rate:?}");
                prop_assert!(rate.value.is_finite());
            }
            prop_assert!(estimate.carried >= 0.0);
            for pair in estimate.envelope.windows(2) {
                prop_assert!(pair[0].sent_ns < pair[1].sent_ns);
            }
        }
    }

    #[test]
    fn any_envelopes_give_a_round_trip_or_none(
        forth in vec(any::<(u64, i64)>(), 0..6), back in vec(any::<(u64, i64)>(), 0..6), apart: u64,
    ) {
        let hull = |mut points: Vec<(u64, i64)>| -> Vec<Vertex> {
            points.sort_unstable();
            points.into_iter().map(|(sent_ns, delay_ns)| Vertex { sent_ns, delay_ns }).collect()
        };
        if let Some(ns) = round_trip(&hull(forth), &hull(back), apart) {
            prop_assert!(ns >= 0.0);
        }
    }
}
