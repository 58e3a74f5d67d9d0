//! Incremental evaluation against evaluation from scratch.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::finder::Finder;
use crate::generate::{ApplicationShape, Generate, NetworkShape};
use crate::objective::{ResidualAndLatency, ResidualBandwidth};
use crate::problem::Problem;
use crate::routes::Routes;
use crate::verify::verify;

fn problem(network: usize, load: f64, access: bool, latency_bounds: bool, seed: u64) -> Problem {
    let shapes =
        [NetworkShape::TwoTier, NetworkShape::Waxman, NetworkShape::BarabasiAlbert, NetworkShape::Complete];
    let application = ApplicationShape::Random { degree: 3.0 };
    let network = shapes[network];
    let what = Generate {
        hosts: 12,
        vms: 9,
        network,
        application,
        load,
        latency_bounds,
        seed,
        ..Generate::default()
    };
    let plain = what.problem().unwrap();
    if !access {
        return plain;
    }
    let mut limited = Problem::new();
    for (index, host) in plain.graph().node_weights().enumerate() {
        let host = host.clone();
        limited.add_host(if index % 3 == 0 { host.with_nic(300.0) } else { host }).unwrap();
    }
    for edge in plain.graph().raw_edges() {
        limited.add_edge(edge.source(), edge.target(), edge.weight).unwrap();
    }
    for vm in plain.vms() {
        limited.add_vm(vm.clone()).unwrap();
    }
    for demand in plain.demands() {
        limited.add_demand(*demand).unwrap();
    }
    limited
}

/// Compares everything that is kept up to date with a state made anew.
fn assert_consistent(state: &State<'_>) {
    let mut fresh = State::empty(state.fixed, state.objective);
    fresh.restore(&state.host, &state.path);
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs().max(b.abs()).max(1.0);
    assert!(close(state.total, fresh.total), "value {} anew {}", state.total, fresh.total);
    let sorted = |marked: &[u32]| {
        let mut marked = marked.to_vec();
        marked.sort_unstable();
        marked
    };
    assert_eq!(sorted(state.broken()), sorted(fresh.broken()));
    assert_eq!(sorted(state.overloaded()), sorted(fresh.overloaded()));
    assert_eq!(state.unplaced, fresh.unplaced);
    for resource in 0..fresh.load.len() {
        assert!(close(state.load[resource], fresh.load[resource]));
        assert_eq!(sorted(&state.users[resource]), sorted(&fresh.users[resource]));
        // Of several bottlenecks alike any may be noted; what is held by all together is the same.
    }
    let sum = |held: &[f64]| held.iter().sum::<f64>();
    assert!(close(sum(&state.held), sum(&fresh.held)));
    for (demand, served) in state.served.iter().enumerate().filter(|(_, served)| served.at != NONE) {
        let left = state.residual_at(served.at, state.load[served.at as usize]);
        assert!(close(left, served.residual), "demand {demand}: {served:?}");
    }
    for demand in 0..fresh.served.len() {
        let (kept, anew) = (state.served[demand], fresh.served[demand]);
        assert!(close(kept.residual, anew.residual), "demand {demand}: {kept:?} anew {anew:?}");
        assert!(close(kept.value, anew.value), "demand {demand}: {kept:?} anew {anew:?}");
    }
}

fn one_move(
    state: &mut State<'_>,
    routes: &mut Routes,
    finder: &mut Finder,
    rng: &mut Xoshiro256PlusPlus,
) -> f64 {
    let (vms, hosts) = (state.host.len() as u32, state.fixed.net.hosts as u32);
    if rng.random_range(0..4) == 0 {
        let demand = rng.random_range(0..state.fixed.from.len() as u32);
        let (a, b) = state.ends(demand);
        if a != b
            && let Some(path) = finder.best_path(state, demand)
        {
            let outlook = state.path_outlook(demand, &path);
            let delta = state.try_paths(&mut vec![(demand, path)]);
            assert!(outlook >= delta - 1e-9 * state.value().abs().max(1.0), "{outlook} < {delta}");
            return delta;
        }
    }
    let count = rng.random_range(1..4);
    let mut shifts: Vec<(u32, u32)> = Vec::new();
    while shifts.len() < count {
        let vm = rng.random_range(0..vms);
        if !shifts.iter().any(|(other, _)| *other == vm) {
            shifts.push((vm, rng.random_range(0..hosts)));
        }
    }
    state.try_shift(&shifts, routes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn moves_keep_the_state_consistent(
        network in 0usize..4,
        load in 0.01f64..0.6,
        access: bool,
        latency_bounds: bool,
        seed: u64,
    ) {
        let problem = problem(network, load, access, latency_bounds, seed);
        let objective = ResidualAndLatency::default();
        let fixed = Fixed::new(&problem, &objective);
        let mut state = State::empty(&fixed, &objective);
        let mut routes = Routes::new(&fixed.net, fixed.has_latency_bounds);
        let mut finder = Finder::new(&fixed.net);
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for vm in 0..fixed.need.len() as u32 {
            state.try_shift(&[(vm, rng.random_range(0..fixed.net.hosts as u32))], &mut routes);
            state.commit();
        }
        assert_consistent(&state);
        for _ in 0..60 {
            let (before, loads) = (state.value(), state.load.clone());
            let delta = one_move(&mut state, &mut routes, &mut finder, &mut rng);
            if rng.random() {
                state.commit();
                prop_assert!((state.value() - before - delta).abs() <= 1e-9 * before.abs().max(1.0));
            } else {
                state.discard();
                prop_assert_eq!(state.value(), before);
                prop_assert_eq!(&state.load, &loads);
            }
        }
        assert_consistent(&state);
        // The independent checker agrees about feasibility and value.
        let verdict = verify(&problem, &state.solution(), &objective);
        prop_assert_eq!(verdict.is_ok(), state.is_feasible(), "{:?}", verdict);
        if let Ok(verified) = verdict {
            prop_assert!((verified.objective - state.value()).abs() <= 1e-6 * state.value().abs().max(1.0));
        }
    }
}

#[test]
fn the_outlook_of_a_lone_shift_is_no_less_than_its_effect_on_its_own_demands() {
    let problem = problem(1, 0.01, false, false, 7);
    let fixed = Fixed::new(&problem, &ResidualBandwidth);
    let mut state = State::empty(&fixed, &ResidualBandwidth);
    let mut routes = Routes::new(&fixed.net, false);
    for vm in 0..fixed.need.len() as u32 {
        state.try_shift(&[(vm, vm % fixed.net.hosts as u32)], &mut routes);
        state.commit();
    }
    for vm in 0..fixed.need.len() as u32 {
        for host in 0..fixed.net.hosts as u32 {
            let outlook = state.outlook(&[(vm, host)], &mut routes);
            let effect = state.try_shift(&[(vm, host)], &mut routes);
            state.discard();
            // Widths are kept as f32; host penalties are no part of the outlook.
            if state.has_room(host, vm) && host != state.host[vm as usize] {
                assert!(outlook >= effect - 1e-3 * effect.abs(), "vm {vm} to {host}: {outlook} < {effect}");
            }
        }
    }
}
