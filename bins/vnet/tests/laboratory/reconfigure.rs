//! Reconfigurations under a flood of packets.

use std::thread;
use std::time::Duration;

use testbed::{FloodTotal, Flooding};
use vnet_core::shape::Shape;

use crate::support::{TestResult, configure, present, star, vm_names};

/// Datagrams per second between all VMs together.
const RATE: u32 = 1000;

const VMS: u32 = 7;

/// `vnet diff` and `vnet apply` between any two generated topologies: 7 VMs and
/// the Proxy are 8 hosts, which every shape can have.
pub(crate) fn no_packet_lost_between_generated_topologies() -> TestResult {
    let (bed, _) = star(VMS)?;
    let shapes = [
        Shape::Star,
        Shape::Ring,
        Shape::Bus,
        Shape::Mesh(vec![4, 2]),
        Shape::Torus(vec![4, 2]),
        Shape::Hypercube,
        Shape::Tree,
        Shape::AllToAll,
    ];
    let vms = vm_names(&bed);
    let mut flooding = Flooding::prepare(&bed, &vms, RATE.div_ceil(VMS))?;
    flooding.go()?;
    thread::sleep(Duration::from_millis(300));
    let mut changes = 0;
    for (from, to) in closed_walk(shapes.len()) {
        let wanted = bed.overlay(shapes[to].clone())?;
        configure(&bed, &wanted).map_err(|error| format!("{} to {}: {error}", shapes[from], shapes[to]))?;
        let now = present(&bed, &wanted)?;
        assert_eq!(now.rules, wanted.rules, "the rules after {} to {}", shapes[from], shapes[to]);
        changes += 1;
        thread::sleep(Duration::from_millis(50));
    }
    flooding.stop()?;
    thread::sleep(Duration::from_millis(700));
    let total = FloodTotal::of(&flooding.finish()?);
    println!("{changes} changes: {total:?}");
    assert!(total.sent >= u64::from(RATE) * 5, "the flood ran: {total:?}");
    assert_eq!((total.lost(), total.duplicates), (0, 0), "{total:?}");
    Ok(())
}

/// Every ordered pair of different places once, each starting where the one
/// before ended; the first starts at place 0.
fn closed_walk(places: usize) -> Vec<(usize, usize)> {
    let mut left: Vec<Vec<usize>> =
        (0..places).map(|a| (0..places).rev().filter(|b| *b != a).collect()).collect();
    // Hierholzer's algorithm: all places have as many ways out as in.
    let (mut stack, mut walk) = (vec![0], Vec::new());
    while let Some(place) = stack.last().copied() {
        match left[place].pop() {
            Some(next) => stack.push(next),
            None => walk.extend(stack.pop()),
        }
    }
    walk.reverse();
    walk.windows(2).map(|step| (step[0], step[1])).collect()
}
