//! `vadapt serve`: online arrivals over JSON lines.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use vadapt::online::{Embedder, Request};

use crate::args::ServeArgs;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 256 << 20;

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Message {
    Init { nodes: Vec<f64>, links: Vec<(usize, usize, f64)> },
    Arrive { id: u64, cpu: Vec<f64>, links: Vec<(usize, usize, f64)> },
    Depart { id: u64 },
}

#[derive(Debug, Serialize)]
struct Answer {
    id: u64,
    accept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<usize>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths: Option<Vec<Vec<usize>>>,
}

pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut embedder: Option<Embedder> = None;
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = std::io::Read::take(&mut input, MAX_LINE).read_line(&mut line);
        if read.context("can't read standard input")? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let message = serde_json::from_str(&line).with_context(|| format!("line {number} is no message"))?;
        let answer = answer(&mut embedder, message, args.effort).with_context(|| format!("line {number}"))?;
        if let Some(answer) = answer {
            let text = serde_json::to_string(&answer)?;
            writeln!(output, "{text}").and_then(|()| output.flush()).context("can't write the answer")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(embedder: &mut Option<Embedder>, message: Message, effort: u64) -> anyhow::Result<Option<Answer>> {
    match (message, embedder.as_mut()) {
        (Message::Init { nodes, links }, _) => {
            *embedder = Some(Embedder::new(&nodes, &links)?.with_effort(effort));
            Ok(None)
        }
        (_, None) => bail!("the first message must be of type `init`"),
        (Message::Depart { id }, Some(embedder)) => {
            embedder.depart(id)?;
            Ok(None)
        }
        (Message::Arrive { id, cpu, links }, Some(embedder)) => {
            let found = embedder.arrive(id, &Request { compute: cpu, links })?;
            let accept = found.is_some();
            let (nodes, paths) = found.map(|found| (found.nodes, found.paths)).unzip();
            Ok(Some(Answer { id, accept, nodes, paths }))
        }
    }
}
