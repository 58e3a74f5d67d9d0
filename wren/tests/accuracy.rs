//! How good estimates are, on simulated paths.
#![allow(clippy::unwrap_used)]

mod simulator;

use simulator::{Cross, Setup, simulate};
use wren::{Parameters, PathEstimator, round_trip, threshold};

#[test]
fn table() {
    let mut errors: Vec<(f64, f64, f64)> = Vec::new();
    let mut unknown = 0;
    for capacity in [10e6, 100e6, 1e9] {
        for latency in [1e-4, 1e-3, 10e-3, 100e-3] {
            for load in [0.0, 0.2, 0.4, 0.6, 0.8] {
                for cross in [Cross::Poisson, Cross::Pareto(1.5)] {
                    let setup = Setup { cross, ..Setup::new(capacity, latency, load) };
                    for seed in 7..10 {
                        let outcome = simulate(&setup, seed);
                        let mut estimator = PathEstimator::new(Parameters::default());
                        let mut trains = Vec::new();
                        // As the daemon sees it: a second at a time, the first 1024 of each 50 ms.
                        let mut estimate = None;
                        let mut at = 0;
                        let mut second = 0;
                        let first = outcome.forth[0].arrived_ns;
                        while at < outcome.forth.len() {
                            let slot = (outcome.forth[at].arrived_ns - first) / 50_000_000;
                            let end = outcome.forth[at..]
                                .iter()
                                .position(|s| (s.arrived_ns - first) / 50_000_000 != slot)
                                .map_or(outcome.forth.len(), |n| at + n);
                            let run = &outcome.forth[at..end.min(at + 1024)];
                            estimator.add(run.iter().copied());
                            trains.extend(threshold::trains(run));
                            at = end;
                            if slot / 20 > second {
                                second = slot / 20;
                                estimate = Some(estimator.estimate(first + slot * 50_000_000));
                            }
                        }
                        let estimate = estimate.map(|_| estimator.estimate(outcome.now_ns)).unwrap();
                        let mut reverse = PathEstimator::new(Parameters::default());
                        reverse.add(outcome.back.iter().copied());
                        let back = reverse.estimate(outcome.back.last().unwrap().arrived_ns);
                        let rtt = round_trip(&estimate.envelope, &back.envelope, 10_000_000_000);
                        let truth = capacity - outcome.cross;
                        let plain = threshold::available(&trains);
                        let error = |v: Option<f64>| v.map(|v| (v / truth - 1.0) * 100.0);
                        println!(
                            "{:5.0} {:5.1}ms {load:.1} {cross:?}: true {:7.2} own {:6.2} n {:5} avail {:7.2?} +-{:5.1?} err {:6.1?} plain {:6.1?} cap {:6.1?} lat err us {:.0?}",
                            capacity / 1e6,
                            latency * 1e3,
                            truth / 1e6,
                            outcome.own / 1e6,
                            estimate.stretches,
                            estimate.available.map(|a| a.value / 1e6),
                            estimate.available.map(|a| (a.high - a.value) / truth * 100.0),
                            error(estimate.available.map(|a| a.value)),
                            error(plain),
                            estimate.capacity.map(|c| (c.value / capacity - 1.0) * 100.0),
                            rtt.map(|r| r / 2e3 - latency * 1e6),
                        );
                        match estimate.available {
                            Some(a) => errors.push((
                                load,
                                (a.value / truth - 1.0).abs(),
                                plain.map_or(f64::NAN, |p| (p / truth - 1.0).abs()),
                            )),
                            None => unknown += 1,
                        }
                    }
                }
            }
        }
    }
    for (low, high) in [(0.0, 0.61), (0.7, 0.9)] {
        let mut own: Vec<f64> = errors.iter().filter(|e| e.0 >= low && e.0 < high).map(|e| e.1).collect();
        let mut plain: Vec<f64> =
            errors.iter().filter(|e| e.0 >= low && e.0 < high && e.2.is_finite()).map(|e| e.2).collect();
        own.sort_by(f64::total_cmp);
        plain.sort_by(f64::total_cmp);
        println!(
            "{low}: n {} median {:.3} p90 {:.3}; plain n {} median {:.3}",
            own.len(),
            own[own.len() / 2],
            own[own.len() * 9 / 10],
            plain.len(),
            plain[plain.len() / 2]
        );
    }
    println!("unknown {unknown}");
}
