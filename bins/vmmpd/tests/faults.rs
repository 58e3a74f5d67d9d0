//! `kill -9` of each party and each monitor at random moments of real migrations: the
//! machine runs, in one place, with its disk intact, and the next migration works.
//!
//! `VMMP_FAULTS=N` tries each kind N times (1 without it), `VMMP_FAULTS_SEED` repeats.

mod common;

use std::thread;
use std::time::Duration;

use common::{Cluster, disk_is_intact, guest, kill, machine, method, next, process, wait, wait_for_ticks};
use vmmpd::config::DriverKind;

const DISK: usize = 8 << 20;
const SEED: u64 = 11;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Origin,
    Destination,
    Agent,
    MonitorThere,
    MonitorHere,
}

const VICTIMS: [Victim; 5] =
    [Victim::Origin, Victim::Destination, Victim::Agent, Victim::MonitorThere, Victim::MonitorHere];

#[test]
fn whoever_is_killed_the_machine_runs_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("VMMP_FAULTS").unwrap_or(1);
    let seed = number("VMMP_FAULTS_SEED").unwrap_or_else(|| u64::from(std::process::id()) + 1);
    println!("VMMP_FAULTS_SEED={seed}");
    let mut random = next(seed);
    let mut cluster = Cluster::start(DriverKind::Qemu, 2);
    cluster.providers[0].create(&guest(cluster.folder.path(), "web", SEED, DISK));
    wait_for_ticks(&cluster.providers[0], "web", 1);
    cluster.wait_for_place(&machine("web"));
    let mut place = 0;
    for round in 0..rounds {
        for victim in VICTIMS {
            random = next(random);
            let by = if random & 1 == 0 { "LIVE" } else { "DELTA" };
            random = next(random);
            // A migration of it takes about a second.
            let after = Duration::from_millis(random % 1500);
            println!("round {round}: {victim:?} is killed {after:?} after {by} began");
            place = strike(&mut cluster, place, victim, by, after);
        }
    }
}

/// One migration with a fault, and one without; where the machine is then.
fn strike(cluster: &mut Cluster, place: usize, victim: Victim, by: &str, after: Duration) -> usize {
    let to = 1 - place;
    // It may fail, and may be answered by nobody.
    let begun = cluster.agent().begin(machine("web"), cluster.providers[to].name.clone(), method(by));
    begun.expect("nothing else is under way");
    thread::sleep(after);
    let monitor = |number: usize| process(&cluster.providers[number].file("web", "pid"));
    match victim {
        Victim::Origin => {
            cluster.kill_provider(place);
            cluster.start_provider(place);
        }
        Victim::Destination => {
            cluster.kill_provider(to);
            cluster.start_provider(to);
        }
        Victim::Agent => {
            cluster.kill_agent();
            cluster.start_agent();
        }
        Victim::MonitorThere => monitor(place).into_iter().for_each(kill),
        Victim::MonitorHere => monitor(to).into_iter().for_each(kill),
    }
    cluster.wait_for_rest();
    let mut place = place;
    wait("it runs in one place, and everybody agrees which", || {
        let running: Vec<usize> = (0..2)
            .filter(|i| cluster.providers[*i].machines().iter().any(|machine| machine.state == "running"))
            .collect();
        let known = (0..2).filter(|i| !cluster.providers[*i].machines().is_empty()).count();
        place = *running.first().unwrap_or(&place);
        let agreed = cluster.wait_for_place(&machine("web")).provider == cluster.providers[place].name;
        running.len() == 1 && known == 1 && agreed
    });
    assert_eq!(
        (0..2).filter(|i| process(&cluster.providers[*i].file("web", "pid")).is_some()).count(),
        1,
        "one monitor runs"
    );
    check(cluster, place);
    // The next one works.
    let to = 1 - place;
    cluster.migrate("web", to, method(by)).unwrap_or_else(|error| panic!("after {victim:?}: {error}"));
    wait("it runs there", || {
        cluster.providers[to].machines().iter().any(|machine| machine.state == "running")
            && cluster.providers[place].machines().is_empty()
    });
    check(cluster, to);
    to
}

fn check(cluster: &Cluster, place: usize) {
    let provider = &cluster.providers[place];
    let now = common::ticks(provider, "web");
    // From the beginning, if its monitor was killed.
    wait("the guest lives", || common::ticks(provider, "web") != now);
    assert!(disk_is_intact(provider, "web", SEED, DISK), "its disk is intact at {}", provider.name);
}
