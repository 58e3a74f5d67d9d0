//! Applications that change their topology, slowly and faster than anybody follows.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use testbed::{Alternation, NETWORK, Testbed};
use vnet_core::MacAddr;
use vnet_core::control::TrafficView;
use vnet_core::shape::Shape;

use crate::support::{TestResult, star, vm_names};

const VMS: u32 = 8;

/// What two shapes have together, as pairs of VMs.
fn union(shapes: &[Shape]) -> BTreeSet<(usize, usize)> {
    let edges = |shape: &Shape| {
        let edges = shape.edges(VMS as usize).expect("these shapes have eight vertices");
        edges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect::<Vec<_>>()
    };
    shapes.iter().flat_map(edges).collect()
}

/// The pairs of a view, by the order of the VMs.
fn pairs(bed: &Testbed, view: &TrafficView) -> BTreeSet<(usize, usize)> {
    let order: BTreeMap<MacAddr, usize> =
        bed.vms().into_iter().enumerate().map(|(at, vm)| (vm.mac, at)).collect();
    let at = |vertex: u32| order.get(&view.vertices[vertex as usize]).copied().unwrap_or(usize::MAX);
    view.edges.iter().map(|&(a, b)| (at(a).min(at(b)), at(a).max(at(b)))).collect()
}

pub(crate) fn switched_every_50_ms_it_is_the_union() -> TestResult {
    let (bed, _) = star(VMS)?;
    let mut client = bed.client()?;
    let shapes = [Shape::Ring, Shape::Star];
    let _application = Alternation::start(&bed, &vm_names(&bed), &shapes, Duration::from_millis(50))?;
    // Until all processes have started, the topology does change.
    let expected = union(&shapes);
    let begun = Instant::now();
    let mut since = None;
    let mut last = client.traffic_view(None, NETWORK)?;
    while since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(1)) {
        if begun.elapsed() > Duration::from_secs(30) {
            return Err(format!("after 30 s there is {:?}: {:?}", last.names, pairs(&bed, &last)).into());
        }
        thread::sleep(Duration::from_millis(50));
        last = client.traffic_view(None, NETWORK)?;
        since = if pairs(&bed, &last) == expected { since.or(Some(Instant::now())) } else { None };
    }
    let before = last.changes;
    let mut other = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(50));
        last = client.traffic_view(None, NETWORK)?;
        other += u32::from(pairs(&bed, &last) != expected);
    }
    let changes = last.changes - before;
    println!("{changes} changes in 10 s; other pairs than the union's in {other} looks");
    if changes > 1 {
        return Err(format!("{changes} changes were reported in 10 s").into());
    }
    Ok(())
}

pub(crate) fn switched_every_2_s_each_switch_is_reported_once() -> TestResult {
    let bed = star(VMS)?.0;
    each_turn_is_reported_once(&bed, &[("ring", "ring"), ("star", "star")], Duration::from_secs(2))
}

/// From the switch to the report; a build without optimisation takes its time.
const ALLOWED_MS: i64 = if cfg!(debug_assertions) { 1500 } else { 500 };

/// Each switch leads to one report, of the right name, in time. A machine that is
/// busy with other things has three attempts.
pub(crate) fn each_turn_is_reported_once(
    bed: &Testbed,
    shapes: &[(&str, &str)],
    period: Duration,
) -> TestResult {
    for attempt in 1..3 {
        match all_turns(bed, shapes, period) {
            Ok(()) => return Ok(()),
            Err(error) => println!("attempt {attempt}: {error}"),
        }
    }
    all_turns(bed, shapes, period)
}

fn all_turns(bed: &Testbed, shapes: &[(&str, &str)], period: Duration) -> TestResult {
    let mut client = bed.client()?;
    let parsed = shapes.iter().map(|(shape, _)| shape.parse()).collect::<Result<Vec<Shape>, _>>()?;
    let application = Alternation::start(bed, &vm_names(bed), &parsed, period)?;
    // Near the end of the first whole turn.
    let near_end = period - Duration::from_millis(200);
    let first = application.turns().0 + 2;
    let wait = |turn| {
        while application.turns() < (turn, near_end) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    wait(first);
    let mut before = client.traffic_view(None, NETWORK)?;
    let (mut wrong, mut delays) = (Vec::new(), Vec::new());
    let turns = shapes.len().max(10) as u64;
    for turn in first + 1..=first + turns {
        wait(turn);
        // What was reported, and when, as seen near the end of the turn.
        let view = client.traffic_view(None, NETWORK)?;
        let into = application.turns().1;
        let (shape, expected) = shapes[(turn % shapes.len() as u64) as usize];
        let reports = view.changes - before.changes;
        let delay = view.changed_ms_ago.map(|ago| into.as_millis() as i64 - ago as i64);
        println!("{shape}: {:?}, {reports} reports, {delay:?} ms after the switch", view.names);
        if reports != 1 || !view.names.iter().any(|name| name == expected) {
            wrong.push(format!("{expected}: {reports} reports, {:?}", view.names));
        } else {
            delays.extend(delay);
        }
        before = view;
    }
    delays.sort_unstable();
    let longest = delays.last().copied().unwrap_or(i64::MAX);
    println!(
        "from the switch to the report: median {:?} ms, longest {longest} ms",
        delays.get(delays.len() / 2)
    );
    // A machine that is busy with other things may stall all of it now and then.
    let late = delays.iter().filter(|delay| **delay > ALLOWED_MS).count();
    if !wrong.is_empty() || late > shapes.len().max(10) / 5 {
        return Err(format!("{late} reports were late; {}", wrong.join("\n")).into());
    }
    Ok(())
}
