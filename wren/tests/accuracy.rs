//! How good estimates are, on simulated paths.
#![allow(clippy::unwrap_used)]

mod simulator;

use simulator::{Cross, Outcome, Setup, simulate};
use wren::{Parameters, PathEstimate, PathEstimator, Sample, round_trip, threshold};

/// How a daemon sees the samples: what the first thousand packets of each 50 ms
/// were, with an estimate every second.
fn observe(samples: &[Sample], mut run: impl FnMut(&[Sample])) -> PathEstimate {
    let mut estimator = PathEstimator::new(Parameters::default());
    let slot = |sample: &Sample| sample.arrived_ns / 50_000_000;
    let mut second = 0;
    for chunk in samples.chunk_by(|a, b| slot(a) == slot(b)) {
        let seen = &chunk[..chunk.len().min(1024)];
        run(seen);
        estimator.add(seen.iter().copied());
        if chunk[0].arrived_ns / 1_000_000_000 > second {
            second = chunk[0].arrived_ns / 1_000_000_000;
            estimator.estimate(chunk[0].arrived_ns);
        }
    }
    estimator.estimate(samples.last().map_or(0, |sample| sample.arrived_ns))
}

struct Errors {
    available: Option<f64>,
    plain: Option<f64>,
    latency_us: f64,
}

fn errors(setup: &Setup, seed: u64) -> Errors {
    let Outcome { forth, back, cross, .. } = simulate(setup, seed);
    let mut trains = Vec::new();
    let there = observe(&forth, |run| trains.extend(threshold::trains(run)));
    let back = observe(&back, |_| {});
    let truth = setup.capacity - cross;
    let round_trip = round_trip(&there.envelope, &back.envelope, 300_000_000).unwrap();
    // An acknowledgement takes its time on the line, too, which nobody can tell who
    // sees nothing but acknowledgements.
    let serialisation = f64::from(simulator::ACK) * 8e6 / setup.capacity;
    let errors = Errors {
        available: there.available.map(|rate| rate.value / truth - 1.0),
        plain: threshold::available(&trains).map(|rate| rate / truth - 1.0),
        latency_us: (round_trip / 1e3 - serialisation) / 2.0 - setup.latency * 1e6,
    };
    println!(
        "{:5} Mbit/s {:5} ms load {:.1} {:?} seed {seed}: {:?} plain {:?} latency {:.0} us",
        setup.capacity / 1e6,
        setup.latency * 1e3,
        setup.load,
        setup.cross,
        errors.available,
        errors.plain,
        errors.latency_us
    );
    errors
}

fn quantile(mut errors: Vec<f64>, share: f64) -> f64 {
    errors.iter_mut().for_each(|error| *error = error.abs());
    errors.sort_by(f64::total_cmp);
    errors[((errors.len() as f64 * share) as usize).min(errors.len() - 1)]
}

fn all(loads: &[f64]) -> Vec<(Setup, Errors)> {
    let mut found = Vec::new();
    for (seed, capacity) in [10e6, 100e6, 1e9].into_iter().enumerate() {
        for latency in [1e-4, 1e-2] {
            for load in loads {
                for cross in [Cross::Poisson, Cross::Pareto(1.9)] {
                    let setup = Setup { cross, ..Setup::new(capacity, latency, *load) };
                    found.push((setup, errors(&setup, seed as u64)));
                }
            }
        }
    }
    found
}

#[test]
fn up_to_sixty_percent_load_the_median_error_is_a_tenth_at_most() {
    let found = all(&[0.0, 0.2, 0.4, 0.6]);
    let own: Vec<f64> = found.iter().filter_map(|(_, errors)| errors.available).collect();
    let plain: Vec<f64> = found.iter().filter_map(|(_, errors)| errors.plain).collect();
    assert!(own.len() >= found.len() * 9 / 10, "{} of {} are known", own.len(), found.len());
    let median = quantile(own.clone(), 0.5);
    assert!(median <= 0.10, "median {median}");
    assert!(quantile(own.clone(), 0.9) <= 0.25, "90th percentile {}", quantile(own, 0.9));
    assert!(quantile(plain.clone(), 0.5) >= 2.0 * median, "plain {}", quantile(plain, 0.5));
    for (setup, errors) in found {
        let allowed = (setup.latency * 1e6 * 0.05).max(50.0);
        assert!(errors.latency_us.abs() <= allowed, "{setup:?}: {} us", errors.latency_us);
    }
}

#[test]
fn at_eighty_percent_load_the_median_error_is_a_fifth_at_most() {
    let own: Vec<f64> = all(&[0.8]).iter().filter_map(|(_, errors)| errors.available).collect();
    assert!(own.len() >= 8, "{} are known", own.len());
    assert!(quantile(own.clone(), 0.5) <= 0.2, "median {}", quantile(own, 0.5));
}

#[test]
fn what_clocks_show_makes_no_difference() {
    let setup = Setup { length: 10.0, ..Setup::new(100e6, 1e-2, 0.4) };
    for (offset, skew) in [(0.0, 0.0), (3600.0, -100e-6), (1.0, 50e-6)] {
        let Errors { available, latency_us, .. } = errors(&Setup { offset, skew, ..setup }, 11);
        assert!(available.unwrap().abs() < 0.1, "{offset} s, {skew}: {available:?}");
        assert!(latency_us.abs() < 500.0, "{offset} s, {skew}: {latency_us} us");
    }
}

#[test]
fn an_application_that_sends_little_leaves_it_unknown() {
    for (capacity, load) in [(10e6, 0.0), (100e6, 0.3), (1e9, 0.6)] {
        // One packet now and then.
        let setup = Setup { message: 1000, compute: 0.05, ..Setup::new(capacity, 1e-3, load) };
        let Outcome { forth, .. } = simulate(&setup, 3);
        let estimate = observe(&forth, |_| {});
        assert_eq!((estimate.available, estimate.capacity), (None, None), "{capacity} {load}");
        // A host that can't send faster than half of what is there.
        let gap = 1466.0 * 8.0 / (capacity * (1.0 - load) * 0.5);
        let setup = Setup { gap, ..Setup::new(capacity, 1e-3, load) };
        let Outcome { forth, cross, .. } = simulate(&setup, 4);
        let estimate = observe(&forth, |_| {});
        if let Some(rate) = estimate.available {
            let truth = capacity - cross;
            let fits = (0.75..1.25).contains(&(rate.value / truth));
            assert!(fits, "{capacity} {load}: {rate:?} is wrong, not unknown; {truth}");
        }
        assert!(estimate.carried <= capacity * 1.02, "{estimate:?}");
    }
}

#[test]
fn estimates_follow_a_change_of_load_and_age() {
    let quiet = simulate(&Setup::new(100e6, 1e-3, 0.1), 5);
    let busy = simulate(&Setup::new(100e6, 1e-3, 0.6), 6);
    let mut estimator = PathEstimator::new(Parameters::default());
    let mut now = 0;
    for (part, expected) in [(quiet, 90e6), (busy, 40e6)] {
        let start = now;
        for chunk in part.forth.chunks(2000) {
            estimator.add(chunk.iter().map(|sample| Sample {
                sent_ns: sample.sent_ns + start,
                arrived_ns: sample.arrived_ns + start,
                ..*sample
            }));
            estimator.estimate(start + chunk[0].arrived_ns);
        }
        now = start + part.now_ns;
        let found = estimator.estimate(now).available.unwrap();
        assert!((found.value / expected - 1.0).abs() < 0.15, "{found:?} instead of {expected}");
        assert!(found.low <= found.value && found.value <= found.high);
    }
    let later = estimator.estimate(now + 29_000_000_000);
    assert!(later.age_ns.unwrap() > 28_000_000_000);
    let much_later = estimator.estimate(now + 31_000_000_000);
    assert_eq!((much_later.available, much_later.age_ns, much_later.carried), (None, None, 0.0));
}
