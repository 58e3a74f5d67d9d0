//! The line chart of throughput over time.

use crate::report::model::{DemoReport, Phase, PhaseSpan, Rates, TimelineSample};

use super::escape::{Text, number};

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 380.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 48.0;
/// The diameter of a marker and the least distance between two in a row.
const MARKER: f64 = 20.0;
const MARKER_ROWS: usize = 3;
/// The width of a character of a label, about.
const CHARACTER: f64 = 7.5;

/// From moments and iterations per second to places in the drawing.
struct Scale {
    from_s: f64,
    to_s: f64,
    top: f64,
}

impl Scale {
    fn x(&self, at_s: f64) -> f64 {
        let part = (at_s - self.from_s) / (self.to_s - self.from_s);
        LEFT + part.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP)
    }
}

/// The chart, with phases shaded and moments marked by their number.
pub(super) fn chart(report: &DemoReport) -> String {
    let scale = scale(report);
    let description = format!(
        "Iterations per second over time: {} on the star, {} on the full mesh, {} adapted.",
        number(report.star.iterations_per_s),
        number(report.mesh.iterations_per_s),
        number(report.adapted.iterations_per_s),
    );
    let timeline = &report.timeline;
    let phases: String = timeline.phases.iter().map(|span| phase(span, &scale)).collect();
    let means: String = timeline.phases.iter().map(|span| mean(span, report, &scale)).collect();
    let lines: String = pieces(&timeline.samples).map(|piece| line(piece, &scale)).collect();
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n\
         {phases}{}{}{lines}{means}{}</svg>\n",
        Text(description),
        value_axis(&scale),
        time_axis(&scale),
        markers(report, &scale),
    )
}

fn scale(report: &DemoReport) -> Scale {
    let timeline = &report.timeline;
    let times = timeline
        .samples
        .iter()
        .map(|s| s.at_s)
        .chain(timeline.phases.iter().flat_map(|p| [p.from_s, p.to_s]))
        .chain(timeline.moments.iter().map(|m| m.at_s))
        .filter(|t| t.is_finite());
    let (from_s, to_s) =
        times.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), t| (low.min(t), high.max(t)));
    let means = [report.star, report.mesh, report.adapted];
    let highest = timeline
        .samples
        .iter()
        .map(|s| s.rates)
        .chain(means)
        .map(|r| r.iterations_per_s)
        .filter(|r| r.is_finite())
        .fold(0.0, f64::max);
    let step = step(highest, 5.0);
    Scale {
        from_s: if from_s < to_s { from_s } else { 0.0 },
        to_s: if from_s < to_s { to_s } else { 1.0 },
        top: ((highest * 1.04 / step).ceil() * step).max(step),
    }
}

/// A round distance that divides `span` into about `parts`: 1, 2 or 5 times a power of ten.
fn step(span: f64, parts: f64) -> f64 {
    let rough = (span / parts).max(1e-6);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = match rough / power {
        ..1.5 => 1.0,
        ..3.5 => 2.0,
        ..7.5 => 5.0,
        _ => 10.0,
    };
    factor * power
}

fn value_axis(scale: &Scale) -> String {
    let step = step(scale.top, 5.0);
    let ticks = (0..=(scale.top / step).round() as usize).map(|i| i as f64 * step);
    let grid: String = ticks
        .map(|value| {
            let y = scale.y(value);
            format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                WIDTH - RIGHT,
                LEFT - 8.0,
                y + 4.0,
                tick(value, step)
            )
        })
        .collect();
    let middle = f64::midpoint(TOP, HEIGHT - BOTTOM);
    format!(
        "{grid}<text class=\"axis\" transform=\"translate(16 {middle:.1}) rotate(-90)\" \
         text-anchor=\"middle\">iterations per second</text>\n"
    )
}

fn time_axis(scale: &Scale) -> String {
    let step = step(scale.to_s - scale.from_s, 10.0);
    let first = (scale.from_s / step).ceil() as i64;
    let last = (scale.to_s / step).floor() as i64;
    let ticks: String = (first..=last)
        .map(|i| {
            let at = i as f64 * step;
            format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                scale.x(at),
                HEIGHT - BOTTOM + 20.0,
                tick(at, step)
            )
        })
        .collect();
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    format!(
        "{ticks}<text class=\"axis\" x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">seconds since the \
         start of the demonstration</text>\n",
        HEIGHT - 8.0
    )
}

/// A value with as many decimals as its step has.
fn tick(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    format!("{value:.decimals$}")
}

fn phase(span: &PhaseSpan, scale: &Scale) -> String {
    let (x, width) = (scale.x(span.from_s), (scale.x(span.to_s) - scale.x(span.from_s)).max(1.0));
    let (class, label) = (class(span.phase), span.phase.label());
    let name = match label.len() as f64 * CHARACTER < width {
        true => format!(
            "<text class=\"phase-name {class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            x + width / 2.0,
            TOP - 10.0
        ),
        false => String::new(),
    };
    format!(
        "<g><title>{label}: {} s to {} s</title>\
         <rect class=\"band {class}\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"/>\
         <rect class=\"strip {class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"4\"/>{name}</g>\n",
        number(span.from_s),
        number(span.to_s),
        HEIGHT - BOTTOM - TOP,
        TOP - 4.0,
    )
}

pub(super) const fn class(phase: Phase) -> &'static str {
    match phase {
        Phase::Star => "star",
        Phase::Mesh => "mesh",
        Phase::Adapting => "adapting",
        Phase::Adapted => "adapted",
    }
}

/// The reported rate of a phase as a line across it.
fn mean(span: &PhaseSpan, report: &DemoReport, scale: &Scale) -> String {
    let Rates { iterations_per_s: rate, .. } = match span.phase {
        Phase::Star => report.star,
        Phase::Mesh => report.mesh,
        Phase::Adapted => report.adapted,
        Phase::Adapting => return String::new(),
    };
    let (from, to, y) = (scale.x(span.from_s), scale.x(span.to_s), scale.y(rate));
    let class = class(span.phase);
    let value = number(rate);
    let label = match value.len() as f64 * CHARACTER * 2.0 < to - from {
        true => {
            format!(
                "<text class=\"mean-value {class}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                to - 6.0,
                y - 8.0
            )
        }
        false => String::new(),
    };
    format!(
        "<line class=\"mean {class}\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>{label}\n"
    )
}

/// The samples cut where nothing ran: at gaps of more than three usual distances.
fn pieces(samples: &[TimelineSample]) -> impl Iterator<Item = &[TimelineSample]> {
    let mut distances: Vec<f64> = samples.windows(2).map(|w| w[1].at_s - w[0].at_s).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let usual = distances.get(distances.len() / 2).copied().unwrap_or(0.0);
    samples.chunk_by(move |a, b| b.at_s - a.at_s <= 3.0 * usual)
}

fn line(samples: &[TimelineSample], scale: &Scale) -> String {
    let point =
        |s: &TimelineSample| format!("{:.1},{:.1}", scale.x(s.at_s), scale.y(s.rates.iterations_per_s));
    let points: Vec<String> = samples.iter().map(point).collect();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return String::new() };
    let base = scale.y(0.0);
    format!(
        "<polygon class=\"area\" points=\"{:.1},{base:.1} {points} {:.1},{base:.1}\"/>\
         <polyline class=\"line\" points=\"{points}\"/>\n",
        scale.x(first.at_s),
        scale.x(last.at_s),
        points = points.join(" "),
    )
}

/// Numbered markers above the plot, in rows where they would overlap.
fn markers(report: &DemoReport, scale: &Scale) -> String {
    let mut ends = [f64::NEG_INFINITY; MARKER_ROWS];
    let marker = |(i, moment): (usize, &crate::report::model::Moment)| {
        let x = scale.x(moment.at_s);
        let row = ends.iter().position(|end| x - end >= MARKER).unwrap_or(MARKER_ROWS - 1);
        ends[row] = x;
        let y = TOP - 34.0 - row as f64 * (MARKER + 1.0);
        format!(
            "<g class=\"marker\"><title>{} s: {}</title>\
             <line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>\n",
            number(moment.at_s),
            Text(&moment.what),
            y + 9.0,
            HEIGHT - BOTTOM,
            y + 4.0,
            i + 1
        )
    };
    report.timeline.moments.iter().enumerate().map(marker).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_divide_as_asked() {
        for (span, expected) in [(10.0, 2.0), (118.0, 20.0), (0.9, 0.2), (7_300.0, 1_000.0), (26.0, 5.0)] {
            assert_eq!(step(span, 5.0), expected, "{span}");
        }
        assert_eq!(tick(0.4, 0.2), "0.4");
        assert_eq!(tick(40.0, 20.0), "40");
    }

    #[test]
    fn a_line_is_cut_where_nothing_ran() {
        let at = |at_s| TimelineSample { at_s, rates: Rates::default() };
        let samples = [at(0.0), at(0.1), at(0.2), at(2.0), at(2.1)];
        let lengths: Vec<usize> = pieces(&samples).map(<[_]>::len).collect();
        assert_eq!(lengths, [3, 2]);
        assert_eq!(pieces(&[]).count(), 0);
        assert_eq!(pieces(&samples[..1]).count(), 1);
    }
}
