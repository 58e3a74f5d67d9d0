//! The final table, for the terminal.

use super::html::number;
use super::model::{DemoReport, Migration, Rates};

/// The width of a terminal that everything fits in.
const WIDTH: usize = 79;

/// The report in at most 79 columns, but for words that are longer.
pub(crate) fn table(report: &DemoReport) -> String {
    let DemoReport { star, mesh, adapted, plan, .. } = report;
    let row = |name: &str, rates: &Rates, speedup: f64| {
        format!(
            "  {name:<28}{:>14}{:>14}{:>12}\n",
            number(rates.iterations_per_s),
            number(rates.mbit_per_s),
            format!("{} x", number(speedup))
        )
    };
    // What the others are measured against.
    let over_star = |rates: &Rates| rates.iterations_per_s / star.iterations_per_s;
    let mut text = format!("  {:<28}{:>14}{:>14}{:>12}\n", "", "iterations/s", "Mbit/s", "over star");
    text += &row("star through the Proxy", star, 1.0);
    text += &row("full mesh, VMs unmoved", mesh, over_star(mesh));
    text += &row("adapted", adapted, report.speedup_over_star);
    text += &format!(
        "\n  {}: detected in {} ms, decided in {} ms, executed in {} ms\n",
        report.inferred_topology,
        number(report.detect_ms),
        number(report.decide_ms),
        number(report.execute_ms)
    );
    text += &format!(
        "  {} times the star, {} times the full mesh; {}\n",
        number(report.speedup_over_star),
        number(report.speedup_over_mesh),
        lost(report.connections_lost)
    );
    text += &format!(
        "  plan: {}, {}, {}\n",
        counted(plan.migrations.len(), "migration"),
        counted(plan.links.len(), "link"),
        counted(plan.rules.len(), "rule")
    );
    text += &wrapped(&plan.reason);
    for Migration { vm, from, to, reason, .. } in &plan.migrations {
        // A reason may be a whole sentence, with the VM and both hosts in it.
        let move_and_reason = match reason.starts_with(vm.as_str()) {
            true => reason.clone(),
            false => format!("{vm} moves from {from} to {to}: {reason}"),
        };
        text += &wrapped(&move_and_reason);
    }
    text
}

/// Text in lines of at most [`WIDTH`] columns, all but the first further to the right.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::from("   ");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &line;
            lines.push('\n');
            line = String::from("     ");
        }
        line.push(' ');
        line += word;
    }
    match line.trim().is_empty() {
        true => lines,
        false => lines + &line + "\n",
    }
}

fn lost(connections: u64) -> String {
    match connections {
        0 => "no connection lost".to_owned(),
        n => format!("{} LOST", counted(usize::try_from(n).unwrap_or(usize::MAX), "connection")),
    }
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    #[test]
    fn the_table_says_it_all() {
        let mut report = sample();
        report.plan.migrations.truncate(1);
        let expected = [
            "                                iterations/s        Mbit/s   over star",
            "  star through the Proxy                9.60          35.2      1.00 x",
            "  full mesh, VMs unmoved                31.5           116      3.28 x",
            "  adapted                                118           433      12.3 x",
            "",
            "  all-to-all: detected in 412 ms, decided in 1.80 ms, executed in 236 ms",
            "  12.3 times the star, 3.75 times the full mesh; no connection lost",
            "  plan: 1 migration, 6 links, 28 rules",
        ];
        let text = table(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..expected.len()], expected);
        let rest = lines[expected.len()..].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let migration = &report.plan.migrations[0];
        let sentence = format!("vm5 moves from slow1 to fast1: {}", migration.reason);
        assert_eq!(rest, format!("{} {sentence}", report.plan.reason));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        report.connections_lost = 2;
        assert!(table(&report).contains("2 connections LOST"));
        report.plan.migrations[0].reason = sentence;
        assert!(table(&report).contains("    vm5 moves from slow1 to fast1: its 7"));
    }
}
