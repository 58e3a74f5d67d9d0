use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::simulation::{Event, check, events};
use super::*;
use crate::generate::{FastPath, Overlay, VmSpec, add_fast_paths};
use crate::{HostName, Link, LinkKind, RuleVersion, Shape, Topology, lang, strategies};

const OLD: RuleVersion = RuleVersion(255);
const NEW: RuleVersion = RuleVersion(0);

proptest! {
    #[test]
    fn the_program_of_a_difference_makes_the_new_topology(
        old in strategies::topology(), new in strategies::topology(),
    ) {
        let difference = Difference::between(&old, &new);
        let mut expected = new.clone();
        let kept = old.hosts.iter().filter(|host| new.host(&host.machine).is_none());
        expected.hosts.extend(kept.cloned());
        expected.hosts.sort();
        // A host that has changed can't be declared again.
        let base = Topology {
            hosts: old.hosts.iter().filter(|host| !difference.hosts_removed.contains(host)
                || new.host(&host.machine).is_none()).cloned().collect(),
            ..old.clone()
        };
        let printed = difference.program().to_string();
        let mut result = lang::parse("difference", &printed).unwrap().apply_to(base).unwrap();
        result.hosts.sort();
        prop_assert_eq!(normal(result), normal(expected));
    }

    #[test]
    fn only_equal_topologies_have_no_difference(old in strategies::topology(), new in strategies::topology()) {
        prop_assert!(Difference::between(&old, &old).is_empty());
        let difference = Difference::between(&old, &new);
        prop_assert_eq!(difference.is_empty(), old == new);
        prop_assert_eq!(difference.to_string().is_empty(), difference.is_empty());
        let json = serde_json::to_string(&difference).unwrap();
        prop_assert_eq!(serde_json::from_str::<Difference>(&json).unwrap(), difference);
    }
}

/// The ends of links in their order, which says nothing.
fn normal(mut topology: Topology) -> Topology {
    for (id, link) in &mut topology.links {
        let (a, b) = id.ends();
        (link.a, link.b) = (a.clone(), b.clone());
    }
    topology
}

/// Two overlays of any shapes for the same VMs, each with fast paths.
fn two_overlays() -> impl Strategy<Value = (Topology, Topology, Vec<VmSpec>)> {
    let shapes = || (proptest::sample::select(Shape::all().to_vec()), 3_u32..9, any::<Option<Index>>());
    let paths = || proptest::collection::vec(any::<(Index, Index, Index)>(), 0..3);
    let vm_hosts = proptest::collection::vec(0_usize..3, 2..5);
    (shapes(), paths(), shapes(), paths(), vm_hosts).prop_map(|(old, old_paths, new, new_paths, vm_hosts)| {
        let mut vms = Overlay::numbered(vm_hosts.len() as u32, Shape::Bus).vms;
        let hosts = Overlay::numbered(3, Shape::Bus).hosts;
        for (vm, host) in vms.iter_mut().zip(vm_hosts) {
            vm.host = hosts[host].machine.clone();
        }
        let build = |(shape, hosts, hub): (Shape, u32, Option<Index>), paths: Vec<(Index, Index, Index)>| {
            let hosts = match shape.resolve(hosts as usize) {
                Ok(_) => hosts,
                // 3, the number of hosts with VMs, is no power of two and has no factors.
                Err(error) => error.fitting[error.fitting.len() - 1] as u32,
            };
            let mut overlay = Overlay::numbered(hosts, shape);
            overlay.hub = hub.map(|hub| hub.get(&overlay.hosts).machine.clone());
            overlay.vms = vms.clone();
            let mut topology = overlay.generate().unwrap();
            for (from, via, to) in paths {
                let (from, to) = (from.get(&vms), to.get(&vms));
                let mut hosts = vec![from.host.clone()];
                hosts.extend([via.get(&overlay.hosts).machine.clone(), to.host.clone()]);
                let mut seen = BTreeSet::new();
                hosts.retain(|host| seen.insert(host.clone()));
                let path = FastPath { source: from.mac, destination: to.mac, hosts };
                // Some make no sense (a loop, a second path for the pair): go on without.
                let _ = add_fast_paths(&mut topology, &[path], LinkKind::Udp);
            }
            topology
        };
        (build(old, old_paths), build(new, new_paths), vms.clone())
    })
}

fn hosts_of(topologies: [&Topology; 2]) -> BTreeSet<HostName> {
    topologies.iter().flat_map(|topology| &topology.hosts).map(|host| host.machine.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_plan_loses_or_duplicates_a_frame(
        (old, new, vms) in two_overlays(), order in proptest::collection::vec(any::<Index>(), 50),
    ) {
        let plan = Plan::new(&old, &new, OLD, NEW);
        prop_assert_eq!(plan.interrupted_links(), []);
        let events = events(&plan, |events| shuffle(events, &order));
        prop_assert_eq!(check(&old, &hosts_of([&old, &new]), OLD, &events, &vms), Ok(()));
    }

    #[test]
    fn nor_does_its_rollback(
        (old, new, vms) in two_overlays(), order in proptest::collection::vec(any::<Index>(), 50),
        begun in 0_usize..7, done in any::<Index>(),
    ) {
        let plan = Plan::new(&old, &new, OLD, NEW);
        let begun = begun.min(plan.stages.len());
        let Some(back) = plan.rollback(begun) else {
            let is_late =
                |stage: &Stage| matches!(stage, Stage::RetireRules { .. } | Stage::LinksDown { .. });
            prop_assert!(plan.stages[..begun].iter().any(is_late));
            return Ok(());
        };
        // The last stage that was begun is done in part.
        let part = |stages: &[Stage]| {
            let part = Plan { stages: stages.to_vec(), ..plan.clone() };
            events(&part, |events| shuffle(events, &order))
        };
        let mut all = part(&plan.stages[..begun.saturating_sub(1)]);
        let last = part(&plan.stages[begun.saturating_sub(1)..begun]);
        all.extend(last.iter().take(done.index(last.len() + 1)).cloned());
        all.extend(events(&back, |events| shuffle(events, &order)));
        prop_assert_eq!(check(&old, &hosts_of([&old, &new]), OLD, &all, &vms), Ok(()));
    }
}

fn shuffle(events: &mut [Event], order: &[Index]) {
    for i in 1..events.len() {
        events.swap(i, order[i % order.len()].index(i + 1));
    }
}

fn overlay(shape: Shape) -> Overlay {
    Overlay::numbered(4, shape)
}

/// What the versions are for, and a proof that the simulation finds faults.
#[test]
fn rules_in_then_rules_out_would_not_do() {
    let (old, new) = (overlay(Shape::Star).generate().unwrap(), overlay(Shape::Ring).generate().unwrap());
    let difference = Difference::between(&old, &new);
    let mut events: Vec<_> = difference.links_added.iter().map(|link| Event::LinkUp(link.id())).collect();
    for (host, rules) in &difference.rules_added {
        events.extend(rules.iter().map(|rule| Event::AddRule(host.clone(), OLD, rule.clone())));
    }
    for (host, rules) in &difference.rules_removed {
        events.extend(rules.iter().map(|rule| Event::DeleteRule(host.clone(), OLD, rule.clone())));
    }
    events.extend(difference.links_removed.iter().map(|link| Event::LinkDown(link.id())));
    let vms = overlay(Shape::Star).vms;
    assert!(check(&old, &hosts_of([&old, &new]), OLD, &events, &vms).is_err());
}

#[test]
fn each_part_of_the_order_is_needed() {
    let (old, new) = (overlay(Shape::Star).generate().unwrap(), overlay(Shape::Ring).generate().unwrap());
    let plan = Plan::new(&old, &new, OLD, NEW);
    let vms = overlay(Shape::Star).vms;
    let try_stages = |stages: Vec<Stage>| {
        let plan = Plan { stages, ..plan.clone() };
        check(&old, &hosts_of([&old, &new]), OLD, &events(&plan, |_| ()), &vms)
    };
    assert_eq!(plan.stages.len(), 6);
    assert_eq!(try_stages(plan.stages.clone()), Ok(()));
    for left_out in 0..4 {
        let mut stages = plan.stages.clone();
        stages.remove(left_out);
        assert!(try_stages(stages).is_err(), "without {:?}", plan.stages[left_out]);
    }
    for early in 1..6 {
        let mut stages = plan.stages.clone();
        stages.swap(early - 1, early);
        let harmless = (early, try_stages(stages).is_ok());
        // New rules may come before new links, and old links go before old rules.
        assert!(matches!(harmless, (1 | 5, true) | (2..=4, false)), "{harmless:?}");
    }
}

#[test]
fn links_of_another_kind_are_replaced() {
    let old = overlay(Shape::Bus).generate().unwrap();
    let mut new = old.clone();
    let Some(link) = new.links.values_mut().next() else { panic!("a bus has links") };
    link.kind = LinkKind::Tcp;
    std::mem::swap(&mut link.a, &mut link.b);
    let link: Link = link.clone();

    let difference = Difference::between(&old, &new);
    assert_eq!(difference.links_replaced.len(), 1);
    assert_eq!(difference.program().apply_to(old.clone()).unwrap(), new);
    let plan = Plan::new(&old, &new, OLD, NEW);
    assert_eq!(plan.interrupted_links(), [link.id()]);
    let back = plan.rollback(1).unwrap();
    assert_eq!(back.stages, Plan::new(&new, &old, NEW, OLD).stages);
    insta::assert_snapshot!(difference);
}

#[test]
fn a_difference_prints_as_statements() {
    let old = Overlay::numbered(4, Shape::Star).generate().unwrap();
    let new = Overlay::numbered(3, Shape::Ring).generate().unwrap();
    let difference = Difference::between(&old, &new);
    insta::assert_snapshot!(format!("{difference}\n{}", difference.program()));
}
