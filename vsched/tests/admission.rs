//! Admission against the definition, and against the simulator.
#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use vsched::{Capacity, Execution, Reservation, Task, admit, simulate};

/// Their least common multiple is 120 units.
const PERIODS: [u64; 9] = [4, 5, 6, 8, 10, 12, 15, 20, 24];
const UNIT: u64 = 100_000;
const REPEATS: u64 = 120 * UNIT;

fn random(rng: &mut StdRng) -> Reservation {
    let period = PERIODS[rng.random_range(0..PERIODS.len())] * UNIT;
    let deadline = if rng.random_bool(0.3) { period } else { rng.random_range(period / 4..=period) };
    let slice = (deadline / rng.random_range(2..12)).max(10_000);
    let ns = Duration::from_nanos;
    let reservation = Reservation::new(ns(period), ns(slice)).unwrap().with_deadline(ns(deadline)).unwrap();
    if rng.random_bool(0.5) {
        reservation
    } else {
        reservation.with_phase(ns(rng.random_range(0..period))).unwrap()
    }
}

/// Fills a core until something is refused; gives what was admitted and what was not.
fn fill(rng: &mut StdRng, capacity: Capacity) -> (Vec<Reservation>, Vec<Reservation>) {
    let (mut admitted, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..rng.random_range(2..10) {
        let candidate = random(rng);
        match admit(&admitted, &candidate, capacity) {
            Ok(()) => admitted.push(candidate),
            Err(_) => refused.push(candidate),
        }
    }
    (admitted, refused)
}

/// The demand-bound test by its definition: at every deadline until all repeats twice.
fn fits_exactly(tasks: &[Reservation], capacity: Capacity) -> bool {
    let ns = |time: Duration| time.as_nanos() as u64;
    let deadlines = tasks.iter().flat_map(|task| {
        (0..).map(|k| k * ns(task.period()) + ns(task.deadline())).take_while(|t| *t <= 2 * REPEATS)
    });
    let demand = |t: u64| -> u64 {
        tasks
            .iter()
            .filter(|task| t >= ns(task.deadline()))
            .map(|task| ((t - ns(task.deadline())) / ns(task.period()) + 1) * ns(task.slice()))
            .sum()
    };
    let utilisation: f64 = tasks.iter().map(Reservation::share).sum();
    let mut deadlines = deadlines;
    utilisation <= capacity.fraction() + 1e-12
        && deadlines.all(|t| demand(t) as f64 <= capacity.fraction() * t as f64 + 1e-3)
}

#[test]
fn no_admitted_set_misses_in_the_simulator() {
    let seed = 7;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut full, mut jobs) = (0, 0);
    for set in 0..10_000 {
        let (admitted, refused) = fill(&mut rng, Capacity::WHOLE);
        full += u32::from(!refused.is_empty());
        let tasks: Vec<Task> = admitted
            .into_iter()
            .map(|reservation| Task { name: String::new(), reservation, execution: Execution::Full })
            .collect();
        let report = simulate(&tasks, Duration::from_nanos(3 * REPEATS), set);
        assert_eq!(report.misses, 0, "set {set}: {tasks:?}");
        jobs += report.tasks.iter().map(|task| task.periods).sum::<u64>();
    }
    // The sets are such that admission matters.
    assert!(full > 3_000 && jobs > 500_000, "{full} {jobs}");
}

#[test]
fn no_set_is_refused_that_the_exact_test_accepts() {
    let seed = 11;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut refusals = 0;
    for _ in 0..10_000 {
        let capacity = Capacity::new([1.0, 0.9, 0.5][rng.random_range(0..3)]).unwrap();
        let (mut admitted, refused) = fill(&mut rng, capacity);
        assert!(fits_exactly(&admitted, capacity), "{admitted:?}");
        for candidate in refused {
            admitted.push(candidate);
            // More was admitted since than when it was refused: ask again.
            let last = admitted.len() - 1;
            let again = admit(&admitted[..last], &candidate, capacity).is_ok();
            assert_eq!(again, fits_exactly(&admitted, capacity), "{admitted:?} {capacity:?}");
            refusals += u32::from(!again);
            admitted.pop();
        }
    }
    assert!(refusals > 5_000, "{refusals}");
}

#[test]
fn refused_sets_do_miss_when_all_start_together() {
    let mut rng = StdRng::seed_from_u64(13);
    let mut seen = 0;
    for _ in 0..1_000 {
        let (mut tasks, refused) = fill(&mut rng, Capacity::WHOLE);
        let Some(candidate) = refused.last() else { continue };
        if admit(&tasks, candidate, Capacity::WHOLE).is_ok() {
            continue;
        }
        tasks.push(*candidate);
        let together = |task: &Reservation| {
            let plain = Reservation::new(task.period(), task.slice()).unwrap();
            plain.with_deadline(task.deadline()).unwrap()
        };
        let tasks: Vec<Task> = tasks
            .iter()
            .map(|task| Task { name: String::new(), reservation: together(task), execution: Execution::Full })
            .collect();
        assert!(simulate(&tasks, Duration::from_nanos(4 * REPEATS), 0).misses > 0, "{tasks:?}");
        seen += 1;
    }
    assert!(seen > 200, "{seen}");
}
