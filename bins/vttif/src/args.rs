//! The command line.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use vnetd::client::Address;
use vttif::ClassifyOptions;
use vttif::render::TextStyle;
use vttif_cli::capture::Vertices;

/// Infers what a distributed application does from the traffic of its hosts.
///
/// Exit status: 0 if a topology was inferred (also "irregular" or "none"), 1 if
/// the input can't be used, 2 if the command line can't.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Name the topology of a traffic matrix
    ///
    /// The matrix is CSV (`source,destination,bytes`) or JSON: a list of
    /// {"source", "destination", "bytes"}, or {"matrix": rows, "labels": names},
    /// or what `vnet traffic --json` prints.
    Infer {
        /// The matrix; `-` reads from standard input
        file: PathBuf,
        #[command(flatten)]
        options: InferOptions,
        #[command(flatten)]
        output: OutputOptions,
    },
    /// Name the topology of an application that runs, as a Proxy sees it
    ///
    /// Rates are those that the Proxy's VTTIF has smoothed; the layers are told
    /// from them here.
    Watch {
        /// The Proxy's control address: a Unix socket's path, or host:port
        #[arg(long, value_name = "ADDRESS", env = "VNET_CONTROL")]
        control: Address,
        /// The network to watch
        #[arg(long, value_name = "N", default_value_t = 1)]
        network: u32,
        /// The time from one look to the next
        #[arg(long, default_value = "500ms")]
        interval: humantime::Duration,
        /// End after so many looks; without it, when interrupted
        #[arg(long, value_name = "N")]
        count: Option<u64>,
        #[command(flatten)]
        options: InferOptions,
        #[command(flatten)]
        output: OutputOptions,
    },
    /// Name the topology of a capture, whole and over time
    Capture {
        /// The capture (pcap or pcapng); `-` reads from standard input
        file: PathBuf,
        /// What the vertices are
        #[arg(long, value_enum, default_value_t = Vertices::Ethernet)]
        by: Vertices,
        /// The time that each topology is inferred from, a multiple of the step
        #[arg(long, default_value = "1s")]
        window: humantime::Duration,
        /// The time from one window to the next
        #[arg(long, default_value = "500ms")]
        step: humantime::Duration,
        #[command(flatten)]
        options: InferOptions,
        #[command(flatten)]
        output: OutputOptions,
    },
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct InferOptions {
    /// The fraction of the largest entry that others need to be part of a
    /// topology without a name
    #[arg(long, default_value_t = ClassifyOptions::default().detection_threshold, value_parser = fraction)]
    threshold: f64,
    /// The most layers to tell apart
    #[arg(long, default_value_t = ClassifyOptions::default().max_layers)]
    layers: usize,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct OutputOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write heat map and graph to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// The most columns to use [default: $COLUMNS, or else 100]
    #[arg(long)]
    width: Option<usize>,
    /// When to use colours
    #[arg(long, value_enum, default_value_t = Colour::Auto)]
    color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    Always,
    Never,
}

impl InferOptions {
    pub(crate) fn classify_options(&self) -> ClassifyOptions {
        ClassifyOptions {
            detection_threshold: self.threshold,
            max_layers: self.layers,
            ..ClassifyOptions::default()
        }
    }
}

impl OutputOptions {
    /// Is what is printed looked at, rather than kept?
    pub(crate) fn is_live(&self) -> bool {
        !self.json && std::io::stdout().is_terminal()
    }

    pub(crate) fn width(&self) -> usize {
        let from_shell = || std::env::var("COLUMNS").ok()?.parse().ok();
        self.width.or_else(from_shell).unwrap_or(100)
    }

    pub(crate) fn style(&self) -> TextStyle {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let wants_colour = match self.color {
            Colour::Auto => std::io::stdout().is_terminal() && !is_set("NO_COLOR"),
            Colour::Always => true,
            Colour::Never => false,
        };
        let has_all = std::env::var("COLORTERM").is_ok_and(|value| value == "truecolor" || value == "24bit");
        match (wants_colour, has_all) {
            (true, true) => TextStyle::TrueColor,
            (true, false) => TextStyle::Ansi,
            (false, _) => TextStyle::Unicode,
        }
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(fraction),
        _ => Err("must be a number between 0 and 1".to_owned()),
    }
}
