//! Faults at every step, and at random, many times.

use std::thread;

use vmmp::simulator::{Fault, Faults, Summary, World};

/// How many random courses of events; the documentation of the crate says so too.
const SCHEDULES: u64 = 100_000;

fn run(providers: usize, machines: usize, faults: Faults) -> Summary {
    World::new(providers, machines, faults).run().unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn without_faults_all_succeeds() {
    let summary = run(3, 1, Faults::None);
    assert_eq!((summary.faults, summary.failed), (0, 0));
    assert!(summary.succeeded >= 2, "{summary:?}");
}

#[test]
fn one_fault_at_every_step() {
    let steps = run(3, 1, Faults::None).steps;
    assert!(steps > 50, "{steps} steps");
    let mut tried = 0;
    for step in 0..steps {
        for fault in Fault::ALL {
            tried += run(3, 1, Faults::At { step, fault }).faults;
        }
    }
    println!("{tried} faults at {steps} steps");
    assert!(tried > 2 * steps, "{tried} of {steps} steps had a fault");
}

#[test]
fn random_faults() {
    // Another seed tries other courses; the one that fails is in the message.
    let base: u64 = std::env::var("VMMP_SIMULATOR_SEED").map_or(0, |seed| seed.parse().expect("a number"));
    let threads = thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let total = thread::scope(|scope| {
        let part = |thread: u64| {
            let mut total = Summary::default();
            for i in (thread..SCHEDULES).step_by(threads as usize) {
                // From hardly any faults to one in every ten steps.
                let per_thousand = [2, 10, 30, 100][i as usize % 4];
                let machines = 1 + (i as usize / 4) % 2;
                let summary = run(3, machines, Faults::Random { seed: base + i, per_thousand });
                total.faults += summary.faults;
                total.succeeded += summary.succeeded;
                total.failed += summary.failed;
            }
            total
        };
        let parts: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        parts.into_iter().fold(Summary::default(), |sum, part| {
            let part = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Summary {
                steps: 0,
                faults: sum.faults + part.faults,
                succeeded: sum.succeeded + part.succeeded,
                failed: sum.failed + part.failed,
            }
        })
    });
    println!("{SCHEDULES} schedules from seed {base}: {total:?}");
    assert!(total.faults > SCHEDULES && total.succeeded > SCHEDULES && total.failed > SCHEDULES / 10);
}
