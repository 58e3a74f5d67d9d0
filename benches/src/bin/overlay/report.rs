//! The table.

use super::contender::BASE;
use super::measure::{Figure, Outcome, WireOutcome, kernel};

const COLUMNS: [(Figure, &str, bool); 8] = [
    (Figure::OneStream, "1 stream Gbit/s", true),
    (Figure::FourStreams, "4 streams Gbit/s", true),
    (Figure::SmallPackets, "small 1000/s", true),
    (Figure::RoundTrip, "rtt p50 us", false),
    (Figure::RoundTripP99, "p99 us", false),
    (Figure::CpuPerGigabyte, "CPU s/GB", true),
    (Figure::IdleCpu, "idle CPU %", false),
    (Figure::Memory, "MB", false),
];

/// Prints the outcome of one wire.
pub(crate) fn print(outcome: &WireOutcome) {
    println!("\nwire: {} (kernel {}; medians, least to most, ratio to {BASE})", outcome.wire, kernel());
    print!("{:<22}", "");
    for (_, title, _) in used(outcome) {
        print!("  {title:>28}");
    }
    println!();
    let base = outcome.outcomes.iter().find(|other| other.name == BASE);
    for contender in &outcome.outcomes {
        print!("{:<22}", contender.name);
        if let Some(problem) = &contender.problem {
            println!("  {problem}");
            continue;
        }
        for (figure, _, with_ratio) in used(outcome) {
            let cell = match (spread(contender, figure), base.and_then(|base| spread(base, figure))) {
                (None, _) => String::new(),
                (Some((least, median, most)), Some((_, base, _))) if with_ratio => {
                    format!("{median:.2} ({least:.2}-{most:.2}) {:.2}", median / base)
                }
                (Some((least, median, most)), _) => format!("{median:.1} ({least:.1}-{most:.1})"),
            };
            print!("  {cell:>28}");
        }
        println!();
    }
}

fn used(outcome: &WireOutcome) -> impl Iterator<Item = (Figure, &'static str, bool)> {
    let has = |figure: &Figure| outcome.outcomes.iter().any(|other| other.figures.contains_key(figure));
    COLUMNS.into_iter().filter(move |(figure, ..)| has(figure))
}

/// Least, median and most.
fn spread(outcome: &Outcome, figure: Figure) -> Option<(f64, f64, f64)> {
    let mut values = outcome.figures.get(&figure)?.clone();
    values.sort_by(f64::total_cmp);
    Some((*values.first()?, values[values.len() / 2], *values.last()?))
}
