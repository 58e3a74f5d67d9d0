//! A bulk-synchronous application over links of very different speed: what the
//! `patterns` program looks like on a wide-area network.

mod support;

use rand::RngExt;
use support::{Edge, World, edges, ms};
use vttif::Parameters;

/// One message each way over every edge per iteration, after some computing.
/// Edges have their own speed; the slowest of an iteration takes `longest` ms.
struct Bsp {
    edges: Vec<Edge>,
    /// How long the message of each edge takes, in ms, each way.
    duration: Vec<[f64; 2]>,
    message: f64,
    compute: f64,
    /// For how long the current iteration has run, in ms.
    time: f64,
}

impl Bsp {
    fn new(world: &mut World, edges: Vec<Edge>, longest: f64, compute: f64, message: f64) -> Self {
        let slowness = |world: &mut World, (a, b): &Edge| {
            let is_local = world.placement[*a] == world.placement[*b];
            if is_local { 0.02 } else { 10_f64.powf(world.rng.random_range(-1.0..0.0)) }
        };
        let duration = edges.iter().map(|e| [slowness(world, e), slowness(world, e)]).collect::<Vec<_>>();
        let slowest = duration.iter().flatten().copied().fold(0.0, f64::max);
        let duration = duration.into_iter().map(|d| d.map(|d| (d / slowest * longest).max(1.0))).collect();
        Self { edges, duration, message, compute, time: 0.0 }
    }

    fn step(&mut self, world: &mut World) {
        let longest = self.duration.iter().flatten().copied().fold(0.0, f64::max);
        let (from, to) = (self.time - self.compute, self.time + 5.0 - self.compute);
        for ((a, b), durations) in self.edges.iter().zip(&self.duration) {
            for (d, (source, destination)) in durations.iter().zip([(*a, *b), (*b, *a)]) {
                let part = (to.clamp(0.0, *d) - from.clamp(0.0, *d)) / d;
                let bytes = self.message * part * world.rng.random_range(0.9..1.1);
                world.tcp(source, destination, bytes as u64);
            }
        }
        self.time += 5.0;
        if self.time > self.compute + longest {
            self.time = 0.0;
            // Links aren't equally fast each time.
            for d in self.duration.iter_mut().flatten() {
                *d = (*d * world.rng.random_range(0.8..1.25)).clamp(1.0, longest.max(5.0));
            }
        }
    }
}

const SHAPES: [(&str, &str); 8] = [
    ("ring", "ring"),
    ("all-to-all", "all-to-all"),
    ("mesh", "mesh 4x2"),
    ("torus", "hypercube 3"),
    ("hypercube", "hypercube 3"),
    ("tree", "tree"),
    ("bus", "bus"),
    ("star", "star"),
];

/// Runs the workload for 8 s; how many changes were reported, and when the
/// first, in ms after the first frame.
fn run(seed: u64, shape: &str, name: &str, longest: f64, compute: f64) -> (usize, u128) {
    let mut world = World::new(seed, 4, 8, Parameters::default());
    let mut bsp = Bsp::new(&mut world, edges(shape, 8), longest, compute, 50_000.0);
    let idle = ms(500);
    world.run(idle, |world, step| world.chatter(step));
    world.run(ms(8_000), |world, step| {
        world.chatter(step);
        bsp.step(world);
    });
    assert_eq!(world.names()[0], name, "iterations of {longest} ms after {compute} ms, seed {seed}");
    let first = world.changes[0].0 - idle;
    (world.changes.len(), first.as_millis() - compute as u128)
}

#[test]
fn iterations_of_up_to_half_a_second_are_one_topology_at_once() {
    for longest in [10.0, 50.0, 150.0, 300.0, 500.0] {
        for compute in [0.0, 0.5, 1.0] {
            for (seed, (shape, name)) in SHAPES.into_iter().enumerate() {
                let (changes, first) = run(seed as u64, shape, name, longest, compute * longest);
                assert_eq!(changes, 1, "{shape}: iterations of {longest} ms, {compute} of it computing");
                assert!(first <= 500, "{shape}: {first} ms");
            }
        }
    }
}

#[test]
fn slower_iterations_lead_to_the_right_name_too() {
    for longest in [800.0, 1200.0] {
        for compute in [0.0, 0.5, 1.0] {
            for (seed, (shape, name)) in SHAPES.into_iter().enumerate() {
                let (changes, _) = run(seed as u64, shape, name, longest, compute * longest);
                assert!(changes <= 5, "{shape}: {changes} changes, iterations of {longest} ms");
            }
        }
    }
}
