//! From what was found out to the report.

use vadaptd::figures::Figures;
use vlab::LabSpec;
use vnet_core::change::Difference;
use vnet_core::link::LinkId;

use crate::report::{
    Application, Change, DemoReport, Host, LinkChange, Migration, Overlay, OverlayLink, Plan, RuleChange,
    Timeline,
};

use super::options::Options;
use super::play::{Findings, PhaseFindings};

/// The report of a demonstration.
pub(crate) fn report(options: &Options, spec: &LabSpec, figures: &Figures, findings: Findings) -> DemoReport {
    let (star, mesh, adapted) = (findings.star.rates, findings.mesh.rates, findings.adapted.rates);
    DemoReport {
        inferred_topology: findings.view.names.first().cloned().unwrap_or_default(),
        detect_ms: milliseconds(findings.detect),
        decide_ms: milliseconds(findings.decide),
        execute_ms: milliseconds(findings.executed.took),
        plan: plan(&findings),
        star,
        mesh,
        adapted,
        speedup_over_star: adapted.iterations_per_s / star.iterations_per_s,
        speedup_over_mesh: adapted.iterations_per_s / mesh.iterations_per_s,
        connections_lost: findings.connections_lost,
        application: application(&findings),
        hosts: spec
            .hosts
            .iter()
            .map(|host| Host {
                name: host.name.to_string(),
                site: host.site.clone(),
                room: host.room as usize,
                is_proxy: findings.proxy == host.name,
            })
            .collect(),
        before: overlay(&findings.star, figures),
        after: overlay(&findings.adapted, figures),
        timeline: Timeline { samples: findings.samples, phases: findings.phases, moments: findings.moments },
        events: findings.events,
        options: options.shown(&spec.name),
    }
}

fn plan(findings: &Findings) -> Plan {
    let decision = &findings.decision;
    let took = milliseconds(findings.executed.handover);
    let migrations = decision.moves.iter().map(|a_move| Migration {
        vm: a_move.vm.clone(),
        from: a_move.from.to_string(),
        to: a_move.to.to_string(),
        reason: a_move.reason.clone(),
        took_ms: Some(took),
    });
    let difference = Difference::between(&findings.star.topology, &decision.desired);
    let link_reason = |id: &LinkId| {
        let found = decision.links.iter().find(|link| LinkId::new(&link.a, &link.b) == *id);
        found.map_or_else(String::new, |link| link.reason.clone())
    };
    let added = difference.links_added.iter().map(|link| (Change::Add, link, link_reason(&link.id())));
    let removed =
        difference.links_removed.iter().map(|link| (Change::Delete, link, "no traffic needs it".to_owned()));
    let links = added.chain(removed).map(|(change, link, reason)| LinkChange {
        change,
        kind: link.kind.to_string(),
        a: link.a.to_string(),
        b: link.b.to_string(),
        reason,
    });
    let added = difference.rules_added.iter().map(|(host, rules)| (Change::Add, host, rules));
    let removed = difference.rules_removed.iter().map(|(host, rules)| (Change::Delete, host, rules));
    let rules = added.chain(removed).flat_map(|(change, host, rules)| {
        rules.iter().map(move |rule| RuleChange { change, host: host.to_string(), rule: rule.to_string() })
    });
    Plan {
        migrations: migrations.collect(),
        links: links.collect(),
        rules: rules.collect(),
        reason: decision.reason.clone(),
    }
}

fn application(findings: &Findings) -> Application {
    let view = &findings.view;
    let count = view.vertices.len();
    let mut matrix = vec![vec![0.0; count]; count];
    for (from, to, rate) in &view.rates {
        if let Some(cell) = matrix.get_mut(*from as usize).and_then(|row| row.get_mut(*to as usize)) {
            *cell = *rate;
        }
    }
    let name = |mac| match findings.names.get(mac) {
        Some(name) => name.to_string(),
        None => mac.to_string(),
    };
    Application {
        vms: view.vertices.iter().map(name).collect(),
        edges: view.edges.iter().map(|(a, b)| (*a as usize, *b as usize)).collect(),
        confidence: view.confidence,
        matrix,
    }
}

fn overlay(phase: &PhaseFindings, figures: &Figures) -> Overlay {
    let bandwidth = |id: &LinkId| {
        let path = figures.paths.iter().find(|path| LinkId::new(&path.between.0, &path.between.1) == *id);
        path.map(|path| path.bandwidth.mbit())
    };
    let links = phase.topology.links.keys().map(|id| {
        let (a, b) = id.ends();
        OverlayLink {
            a: a.to_string(),
            b: b.to_string(),
            bandwidth_mbit: bandwidth(id),
            traffic_mbit: phase.traffic.get(id).copied().unwrap_or(0.0),
        }
    });
    Overlay {
        placement: phase.placement.iter().map(|(vm, host)| (vm.to_string(), host.to_string())).collect(),
        links: links.collect(),
    }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
