//! A real guest with its disk, moved live between two hosts of a laboratory that our
//! overlay joins, while a TCP stream and 100 pings a second into it go on.
//!
//! `VMMP_ROUND_TRIPS=N` makes N round trips in place of one, `VMMP_GUEST=idle` or `busy`
//! (rewrites 32 MiB of memory all the time) chooses the guest. The figures are printed if
//! the environment names the test, as the README says.

#[path = "../common/mod.rs"]
mod common;
mod probe;
mod scene;

use std::process::{Command, ExitCode};
use std::time::Duration;

use common::machine;
use probe::{Echo, Pings};
use scene::{GUEST, Scene};
use testbed::{NETWORK, Test, harness};
use vadaptd::decide::{Decision, Move};
use vadaptd::execute::execute;
use vadaptd::migrate::Vmmp;
use vmmpd::config::DriverKind;
use vnet_core::shape::Shape;

const TESTS: &[Test] = &[
    ("a_guest_moves_live_and_its_connections_stay", moves_live),
    ("a_plan_moves_a_guest_and_then_changes_links", plan_moves),
    ("a_guest_runs_elsewhere_before_its_disk_is_there", runs_before_its_disk),
    ("a_full_disk_leaves_it_running_where_it_was", full_disk),
];

fn main() -> ExitCode {
    harness(TESTS)
}

fn moves_live() -> Result<(), Box<dyn std::error::Error>> {
    let variable = |name: &str| std::env::var(name).ok();
    let round_trips = variable("VMMP_ROUND_TRIPS").and_then(|text| text.parse().ok()).unwrap_or(1);
    let is_busy = variable("VMMP_GUEST").is_some_and(|guest| guest == "busy");
    let mut scene = Scene::build(is_busy)?;
    let pings = Pings::start(&scene)?;
    let echo = Echo::start(&scene)?;
    pings.wait_for_answers();
    echo.wait_for_lines(20);
    let mut gaps = Vec::new();
    let mut ticks = scene.ticks();
    for trip in 0..2 * round_trips {
        let to = scene.other();
        let agent = scene.agent();
        let from = pings.now();
        let method = common::method("LIVE");
        let version = agent.migrate(machine(GUEST), scene.provider(to), method, |_| {});
        let version = version.map_err(|error| format!("trip {trip}: {error}\n{}", scene.logs()))?;
        let took = pings.now() - from;
        assert_eq!(version, trip as u64 + 2);
        scene.moved(to);
        let lines = echo.lines();
        let heard = pings.answers();
        common::wait("the guest's counter goes on", || scene.ticks() > ticks);
        common::wait("pings are answered", || pings.answers() > heard + 20);
        common::wait("the stream goes on", || echo.lines() > lines + 20);
        ticks = scene.ticks();
        let gap = pings.longest_gap(from, pings.now());
        println!("trip {trip}: took {took:.2?}, longest gap of pings {gap:.1?}");
        gaps.push(gap);
    }
    gaps.sort();
    let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    let guest = if is_busy { "busy" } else { "idle" };
    println!("{} trips of the {guest} guest: median gap {median:.1?}, worst {worst:.1?}", gaps.len());
    println!("{} lines echoed, {} pings answered", echo.lines(), pings.answers());
    assert!(worst < Duration::from_secs(20), "{worst:?} without service");
    echo.finish()?;
    scene.check_disk();
    Ok(())
}

/// At 100 Mbit/s the guest runs at the other host long before its disk is there, and both
/// daemons die while that is still coming.
fn runs_before_its_disk() -> Result<(), Box<dyn std::error::Error>> {
    let mut scene = Scene::build_with(false, 100, 160 << 20)?;
    let pings = Pings::start(&scene)?;
    let echo = Echo::start(&scene)?;
    pings.wait_for_answers();
    echo.wait_for_lines(20);
    let ticks = scene.ticks();
    let from = pings.now();
    let version = scene.agent().migrate(machine(GUEST), scene.provider(2), common::method("LAZY"), |_| {});
    assert_eq!(version.map_err(|error| format!("{error}\n{}", scene.logs()))?, 2);
    let (took, gap) = (pings.now() - from, pings.longest_gap(from, pings.now()));
    scene.moved(2);
    println!("it runs there after {took:.2?}; the longest gap of pings was {gap:.1?}");
    common::wait("the guest's counter goes on", || scene.ticks() > ticks);
    let coming_from = |scene: &Scene| {
        let shown = scene.shown(2)?;
        shown.first().map(|machine| machine.coming_from.clone())
    };
    assert_eq!(coming_from(&scene), Some(Some(scene.provider(1))), "its disk is not there yet");
    let again = scene.agent().migrate(machine(GUEST), scene.provider(1), common::method("LIVE"), |_| {});
    let why = again.expect_err("its disk is not there").to_string();
    assert!(why.contains("its disks are still coming from h2"), "{why}");
    for number in [1, 2] {
        scene.restart(number)?;
    }
    let ticks = scene.ticks();
    common::wait("all of its disk is there", || coming_from(&scene) == Some(None));
    println!("all of its disk was there after {:.2?}", pings.now() - from);
    common::wait("nothing is left where it was", || !scene.has_files(1));
    common::wait("the guest's counter goes on", || scene.ticks() > ticks);
    echo.finish()?;
    scene.check_disk();
    Ok(())
}

/// A destination without room says so at both ends, whatever the method.
fn full_disk() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = common::Cluster::start(DriverKind::Qemu, 2);
    let (seed, disk) = (3, 8 << 20);
    cluster.providers[0].create(&common::guest(cluster.folder.path(), "web", seed, disk));
    let mut ticks = common::wait_for_ticks(&cluster.providers[0], "web", 1);
    cluster.wait_for_place(&machine("web"));
    let root = &cluster.providers[1].root;
    let run = |command: &mut Command| assert!(command.status().expect("it is there").success());
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(root));
    for by in ["LIVE", "DELTA", "COPY"] {
        let failed = cluster.migrate("web", 1, common::method(by)).expect_err("there is no room").to_string();
        println!("{by}: {failed}");
        assert!(failed.contains("the machine is where it was"), "{by}: {failed}");
        assert!(failed.contains("No space left on device"), "{by}: {failed}");
        ticks = common::wait_for_ticks(&cluster.providers[0], "web", ticks);
    }
    for name in ["p1.log", "p2.log"] {
        let log = std::fs::read_to_string(cluster.folder.path().join(name))?;
        assert!(log.matches("No space left on device").count() >= 3, "{name}: {log}");
    }
    run(Command::new("umount").arg(root));
    assert_eq!(cluster.migrate("web", 1, None)?, 2);
    common::wait_for_ticks(&cluster.providers[1], "web", ticks);
    assert!(common::disk_is_intact(&cluster.providers[1], "web", seed, disk));
    Ok(())
}

/// What `vadaptd` does with a decision: the guest moves through VMMP, and the overlay
/// becomes what was decided, direct links included.
fn plan_moves() -> Result<(), Box<dyn std::error::Error>> {
    let mut scene = Scene::build(false)?;
    let pings = Pings::start(&scene)?;
    pings.wait_for_answers();
    let (from, to) = ("h2".parse()?, "h3".parse()?);
    let desired = scene.overlay(Shape::AllToAll, 2)?;
    let a_move = Move { vm: GUEST.into(), mac: scene::MAC, from, to, reason: String::new() };
    let decision = Decision {
        moves: vec![a_move],
        links: Vec::new(),
        paths: Vec::new(),
        desired: desired.clone(),
        is_worthwhile: true,
        gain: 1.0,
        cost: 0.0,
        growth_before: 1.0,
        growth_after: 2.0,
        reason: String::new(),
    };
    let mut client = scene.bed.client()?;
    let mut mover = Vmmp::new(scene.target());
    let executed = execute(&mut client, NETWORK, &decision, &mut mover, |_| {})?;
    println!("the guest moved within {:?}, all of it took {:?}", executed.handover, executed.took);
    scene.moved(2);
    let heard = pings.answers();
    common::wait("pings are answered over the new links", || pings.answers() > heard + 20);
    let overlay = vnetd::client::Overlay::survey(&mut client)?;
    let found = overlay.topology(NETWORK, &desired);
    assert_eq!(found.rules, desired.rules);
    assert_eq!(found.links.len(), desired.links.len());
    Ok(())
}
