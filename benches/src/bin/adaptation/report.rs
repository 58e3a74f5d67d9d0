//! The table of results.

use serde::Serialize;

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
    /// Instances whose best value is proven, and mean and least fraction of it there.
    pub(crate) proven: usize,
    pub(crate) proven_mean: f64,
    pub(crate) proven_worst: f64,
    pub(crate) slowest_ms: f64,
}

pub(crate) fn print(rows: &[Row], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(rows)?);
        return Ok(());
    }
    println!("| line | solver | limit, ms | instances | mean | worst | at best | no answer | proven | mean of these | worst | slowest, ms |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        let Row { line, solver, limit_ms, instances, mean, worst, best_reached, missed, .. } = row;
        let Row { proven, proven_mean, proven_worst, slowest_ms, .. } = row;
        println!(
            "| {line} | {solver} | {limit_ms:.0} | {instances} | {mean:.4} | {worst:.4} | {best_reached} | {missed} | {proven} | {proven_mean:.4} | {proven_worst:.4} | {slowest_ms:.1} |"
        );
    }
    Ok(())
}
