//! What the subcommands do.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use vttif::render::{self, Unit};
use vttif::{Classification, TopologyName, TrafficMatrix, classify};
use vttif_cli::capture::{self, CaptureError, Vertices};
use vttif_cli::matrix_file;
use vttif_cli::timeline::{Timeline, TimelineError};

use crate::args::{InferOptions, OutputOptions};
use crate::report;

/// What `infer --json` prints.
#[derive(Serialize)]
struct Inferred<'a> {
    labels: &'a [String],
    #[serde(flatten)]
    classification: &'a Classification,
}

pub(crate) fn infer(file: &Path, options: &InferOptions, output: &OutputOptions) -> anyhow::Result<()> {
    let matrix = matrix_file::read(open(file)?).with_context(|| display(file))?;
    let classification = classify(&matrix, &options.classify_options());
    write_svg(&matrix, &classification, Unit::Bytes, output)?;
    let mut out = std::io::stdout().lock();
    if output.json {
        return print_json(&mut out, &Inferred { labels: matrix.labels(), classification: &classification });
    }
    report::inferred(&mut out, &matrix, &classification, Unit::Bytes, output)
}

/// What `capture --json` prints.
#[derive(Serialize)]
struct Captured<'a> {
    packets: u64,
    other_packets: u64,
    duration_s: f64,
    window_s: f64,
    step_s: f64,
    labels: &'a [String],
    #[serde(flatten)]
    whole: &'a Classification,
    windows: &'a [Moment],
}

/// The topology of one window.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moment {
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    pub(crate) bytes: f64,
    pub(crate) names: Vec<TopologyName>,
    pub(crate) confidence: f64,
    pub(crate) share: f64,
    pub(crate) edges: Vec<(u32, u32)>,
}

pub(crate) fn capture(
    file: &Path,
    by: Vertices,
    window: Duration,
    step: Duration,
    options: &InferOptions,
    output: &OutputOptions,
) -> anyhow::Result<()> {
    let mut timeline = Timeline::new(step);
    // Before the work of reading, not after.
    drop(timeline.windows(window)?);
    let summary = capture::read(open(file)?, by, |packet| timeline.add(&packet).map_err(Failure::from))
        .with_context(|| display(file))?;
    let matrix = timeline.whole()?;
    let options = options.classify_options();
    let whole = classify(&matrix, &options);
    write_svg(&matrix, &whole, Unit::Bytes, output)?;
    let moments = timeline
        .windows(window)?
        .map(|window| {
            let window = window?;
            let found = classify(&window.matrix, &options);
            let layer = &found.layers[0];
            Ok(Moment {
                from_s: window.from.as_secs_f64(),
                to_s: window.to.as_secs_f64(),
                bytes: window.matrix.total(),
                names: layer.names.clone(),
                confidence: layer.confidence,
                share: layer.share,
                edges: layer.edges.clone(),
            })
        })
        .collect::<Result<Vec<_>, TimelineError>>()?;
    let mut out = std::io::stdout().lock();
    if output.json {
        let captured = Captured {
            packets: summary.packets,
            other_packets: summary.other,
            duration_s: timeline.duration().as_secs_f64(),
            window_s: window.as_secs_f64(),
            step_s: step.as_secs_f64(),
            labels: matrix.labels(),
            whole: &whole,
            windows: &moments,
        };
        return print_json(&mut out, &captured);
    }
    report::inferred(&mut out, &matrix, &whole, Unit::Bytes, output)?;
    report::over_time(&mut out, &moments, window)?;
    report::packets(&mut out, summary)
}

/// What can go wrong while a capture is read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Capture(#[from] CaptureError),
    #[error(transparent)]
    Timeline(#[from] TimelineError),
}

fn open(file: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    if file == Path::new("-") {
        return Ok(Box::new(std::io::stdin()));
    }
    Ok(Box::new(File::open(file).with_context(|| display(file))?))
}

fn display(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

pub(crate) fn write_svg(
    matrix: &TrafficMatrix,
    found: &Classification,
    unit: Unit,
    output: &OutputOptions,
) -> anyhow::Result<()> {
    if let Some(file) = &output.svg {
        let svg = render::svg(matrix, found, unit);
        std::fs::write(file, svg).with_context(|| format!("{} can't be written", file.display()))?;
    }
    Ok(())
}

pub(crate) fn print_json(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(())
}
