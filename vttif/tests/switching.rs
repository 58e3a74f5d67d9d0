//! An application that sends datagrams to its neighbours at a pace and goes over to
//! another shape every two seconds, on a machine that is busy with it.

mod support;

use rand::RngExt;
use support::{Edge, Faults, World, edges, ms};
use vttif::{Parameters, TopologyName};

const DATAGRAM: u64 = 1000;

/// What is asked of `patterns`, by the number of VMs, and the name.
const SHAPES: [(usize, &[(&str, &str)]); 3] = [
    (
        8,
        &[
            ("bus", "bus"),
            ("ring", "ring"),
            ("mesh:4x2", "mesh 4x2"),
            ("mesh:2x2x2", "mesh 2x2x2"),
            ("torus:4x2", "torus 4x2"),
            ("hypercube", "hypercube 3"),
            ("tree", "tree"),
            ("all-to-all", "all-to-all"),
        ],
    ),
    (
        16,
        &[
            ("bus", "bus"),
            ("ring", "ring"),
            ("mesh:4x4", "mesh 4x4"),
            ("mesh:4x2x2", "mesh 4x2x2"),
            ("torus:4x4", "torus 4x4"),
            ("torus:8x2", "torus 8x2"),
            ("hypercube", "hypercube 4"),
            ("tree", "tree"),
            ("all-to-all", "all-to-all"),
        ],
    ),
    (
        32,
        &[
            ("bus", "bus"),
            ("ring", "ring"),
            ("mesh:8x4", "mesh 8x4"),
            ("mesh:4x4x2", "mesh 4x4x2"),
            ("torus:8x4", "torus 8x4"),
            ("hypercube", "hypercube 5"),
            ("tree", "tree"),
            ("all-to-all", "all-to-all"),
        ],
    ),
];

/// The VMs, each of which sends one datagram to each of its neighbours, sleeps, and
/// is late.
struct Members {
    /// When each sends next, in ms.
    next: Vec<f64>,
    pace: f64,
    neighbours: Vec<Vec<usize>>,
}

impl Members {
    fn new(vms: usize) -> Self {
        Self { next: vec![0.0; vms], pace: 5.0, neighbours: Vec::new() }
    }

    fn turn_to(&mut self, edges: &[Edge]) {
        self.neighbours = vec![Vec::new(); self.next.len()];
        for &(a, b) in edges {
            self.neighbours[a].push(b);
            self.neighbours[b].push(a);
        }
        self.pace = (0.06 * edges.len() as f64).max(5.0);
    }

    fn step(&mut self, world: &mut World) {
        let now = world.elapsed().as_secs_f64() * 1e3;
        for vm in 0..self.next.len() {
            while self.next[vm] <= now {
                for &to in &self.neighbours[vm] {
                    world.send(vm, to, DATAGRAM);
                }
                let late = if world.rng.random_bool(0.05) { 30.0 } else { 1.0 };
                self.next[vm] = self.next[vm].max(now - 5.0) + self.pace + world.rng.random_range(0.0..late);
            }
        }
    }
}

#[test]
fn each_switch_is_reported_once_and_named_right_within_half_a_second() {
    let mut wrong = Vec::new();
    for (vms, shapes) in SHAPES {
        for seed in 0..3 {
            let mut world = World::new(seed, vms, vms, Parameters::default());
            world.faults = Faults { lost: 0.0, duplicated: 0.0, delay: ms(5) };
            let mut members = Members::new(vms);
            for (shape, name) in shapes.iter().cycle().take(shapes.len() * 2) {
                members.turn_to(&edges(shape, vms));
                let (began, before) = (world.elapsed(), world.changes.len());
                world.run(ms(2_000), |world, _| members.step(world));
                let reports: Vec<_> = world.changes[before..]
                    .iter()
                    .map(|(at, change)| ((*at - began).as_millis(), change.classification.names().to_vec()))
                    .collect();
                let is_right = |(after, names): &(u128, Vec<TopologyName>)| {
                    *after <= 500 && names.iter().any(|found| found.to_string() == *name)
                };
                if reports.len() != 1 || !reports.iter().all(is_right) {
                    wrong.push(format!("{shape} of {vms} VMs, seed {seed}: {reports:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
