//! Properties of prediction and balance.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn the_desired_level_is_continuous_and_rises(alpha in 1.01f64..3.0, extra in 0.0f64..3.0, usage in 0.0f64..1.0) {
        let demands = Demands::new(alpha, alpha + extra).unwrap();
        let step = 1e-6;
        let (low, high) = (demands.desired(usage), demands.desired(usage + step));
        prop_assert!(high >= low);
        // No jump: the slope stays below what the two factors allow.
        let slope = (alpha + extra) + extra / (1.0 - 1.0 / alpha) + 1.0;
        prop_assert!(high - low <= 2.0 * slope * step, "{low} {high}");
        prop_assert!((demands.desired(1.0) - (alpha + extra)).abs() < 1e-9);
    }

    #[test]
    fn prediction_lies_within_what_was_measured(usage in prop::collection::vec(0.0f64..10.0, 1..20)) {
        let predicted = predicted_usage(&usage);
        let least = usage.iter().copied().fold(f64::INFINITY, f64::min);
        let most = usage.iter().copied().fold(0.0, f64::max);
        prop_assert!(predicted >= least - 1e-9 && predicted <= most + 1e-9);
    }

    #[test]
    fn every_step_improves_the_balance_and_it_ends(
        capacity in prop::collection::vec(1.0f64..20.0, 2..6),
        load in prop::collection::vec((0.0f64..5.0, 0usize..6), 1..20),
    ) {
        let mapping = load.iter().map(|(_, at)| at % capacity.len()).collect();
        let load: Vec<f64> = load.into_iter().map(|(load, _)| load).collect();
        let start = Domains { capacity, load, mapping };
        let mut end = start.clone();
        let steps = end.even_out();
        let mut replay = start;
        for step in steps {
            let before = replay.balance();
            prop_assert_eq!(replay.mapping[step.environment], step.from);
            replay.mapping[step.environment] = step.to;
            prop_assert!(replay.balance() < before);
        }
        prop_assert_eq!(&replay, &end);
        prop_assert!(end.clone().even_out().is_empty());
    }
}

#[test]
fn an_overloaded_domain_gives_an_environment_away_and_hosts_are_evened_out() {
    let domains = [vec![10.0, 10.0], vec![10.0, 10.0]];
    let environment =
        |domain, loads: &[f64]| Environment { domain, vms: loads.iter().map(|load| (*load, 0)).collect() };
    let mut environments =
        [environment(0, &[5.0, 5.0]), environment(0, &[4.0, 4.0]), environment(0, &[1.0, 1.0])];
    let moved = two_tier(&domains, &mut environments);
    let in_second: Vec<_> = environments.iter().filter(|environment| environment.domain == 1).collect();
    assert_eq!(in_second.len(), 1, "{environments:?}");
    for environment in &environments {
        let hosts: std::collections::HashSet<_> = environment.vms.iter().map(|(_, host)| *host).collect();
        assert_eq!(hosts.len(), 2, "the two VMs of each take a host each: {environments:?}");
    }
    assert!(moved.iter().all(|step| step.from != step.to));
    assert!(two_tier(&domains, &mut environments).is_empty(), "balanced already");
}

#[test]
fn parameters_out_of_range_are_refused() {
    assert!(Demands::new(1.0, 2.0).is_err());
    assert!(Demands::new(1.5, 1.2).is_err());
    assert!(Demands::new(f64::NAN, 2.0).is_err());
}
