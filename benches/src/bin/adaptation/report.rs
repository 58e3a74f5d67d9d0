//! The table of results.

use serde::Serialize;

use crate::lines::{Drift, Exponents, Size};

/// One solver with one limit on one class of problems; or another measurement, by its figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) line: String,
    pub(crate) solver: String,
    pub(crate) limit_ms: f64,
    pub(crate) instances: usize,
    /// Mean and least value, as a fraction of the best known.
    pub(crate) mean: f64,
    pub(crate) worst: f64,
    /// Instances where the best known value was reached.
    pub(crate) best_reached: usize,
    /// Instances without an answer although one is known.
    pub(crate) missed: usize,
    /// Instances that have no solution, and those of them where the solver proved it.
    pub(crate) impossible: usize,
    pub(crate) shown_impossible: usize,
    /// Instances whose best value is proven, and mean and least fraction of it there.
    pub(crate) proven: usize,
    pub(crate) proven_mean: f64,
    pub(crate) proven_worst: f64,
    pub(crate) slowest_ms: f64,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    pub(crate) drift: Vec<Drift>,
    pub(crate) sizes: Vec<Size>,
    pub(crate) exponents: Vec<Exponents>,
}

impl Report {
    /// Prints tables, or all as JSON.
    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        self.print_rows();
        self.print_drift();
        self.print_growth();
        Ok(())
    }

    fn print_rows(&self) {
        if self.rows.is_empty() {
            return;
        }
        heading(
            "line,solver,limit ms,instances,mean,worst,at best,no answer,impossible,shown,proven,mean of these,worst,slowest ms",
        );
        for row in &self.rows {
            let Row { line, solver, limit_ms, instances, mean, worst, best_reached, missed, .. } = row;
            let Row { proven, proven_mean, proven_worst, slowest_ms, impossible, shown_impossible, .. } = row;
            print!(
                "| {line} | {solver} | {limit_ms:.0} | {instances} | {mean:.4} | {worst:.4} | {best_reached} "
            );
            if *proven > 0 {
                println!(
                    "| {missed} | {impossible} | {shown_impossible} | {proven} | {proven_mean:.4} | {proven_worst:.4} | {slowest_ms:.1} |"
                );
            } else {
                println!("| {missed} | {impossible} | {shown_impossible} | 0 | | | {slowest_ms:.1} |");
            }
        }
    }

    fn print_drift(&self) {
        if self.drift.is_empty() {
            return;
        }
        heading(
            "network,hosts,VMs,limit ms,slowest ms,quality,worst,migrations,from scratch,there and back,restless",
        );
        for row in &self.drift {
            let Drift { network, hosts, vms, limit_ms, slowest_ms, quality, worst, .. } = row;
            let Drift { migrations, scratch_migrations, returns, restless, .. } = row;
            print!(
                "| {network} | {hosts} | {vms} | {limit_ms:.0} | {slowest_ms:.1} | {quality:.4} | {worst:.4} "
            );
            println!("| {migrations} | {scratch_migrations} | {returns} | {restless} |");
        }
    }

    fn print_growth(&self) {
        if self.sizes.is_empty() {
            return;
        }
        heading("grows,hosts,VMs,demands,first answer ms,moves per second,memory MB");
        for row in &self.sizes {
            let Size { grows, hosts, vms, demands, first_ms, moves_per_second, memory_mb } = row;
            print!("| {grows} | {hosts} | {vms} | {demands} | {first_ms:.1} ");
            println!("| {moves_per_second:.0} | {memory_mb:.0} |");
        }
        for Exponents { grows, time, memory } in &self.exponents {
            println!("With {grows}: time grows with exponent {time:.2}, memory with {memory:.2}.");
        }
    }
}

fn heading(columns: &str) {
    let columns: Vec<&str> = columns.split(',').collect();
    println!("| {} |", columns.join(" | "));
    println!("|{}", " --- |".repeat(columns.len()));
}
