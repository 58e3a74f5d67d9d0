//! Descriptions and values from the command line and from files.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use vnet_core::lang::MAX_PROGRAM;
use vnet_core::rule::EdgeRef;
use vnet_core::{Action, HostName, InterfaceName, Rule, Topology, lang};

/// Reads the description in `file`; `-` is standard input.
pub(crate) fn read_topology(file: &Path) -> Result<Topology> {
    let (name, text) = if file == Path::new("-") {
        ("standard input".to_owned(), read_limited(std::io::stdin().lock(), "standard input")?)
    } else {
        let name = file.display().to_string();
        let open = std::fs::File::open(file).with_context(|| format!("can't open {name}"))?;
        let text = read_limited(open, &name)?;
        (name, text)
    };
    Ok(lang::read(&name, &text)?)
}

fn read_limited(source: impl Read, name: &str) -> Result<String> {
    let mut text = String::new();
    source
        .take(MAX_PROGRAM as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("can't read {name}"))?;
    if text.len() > MAX_PROGRAM {
        bail!("{name} is longer than a description may be ({MAX_PROGRAM} bytes)");
    }
    Ok(text)
}

/// A duration above zero, such as `50ms` or `1s`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be above zero".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write a number and a unit, such as `50ms` or `1s`")),
    }
}

/// The rule of `host` in flags.
pub(crate) fn rule(
    host: &HostName,
    source: vnet_core::Source,
    destination: vnet_core::Destination,
    edge: Option<HostName>,
    interface: Option<InterfaceName>,
) -> Result<Rule> {
    let action = match (edge, interface) {
        (Some(to), None) => Action::Edge(EdgeRef { from: host.clone(), to }),
        (None, Some(interface)) => Action::Interface(interface),
        // clap wants exactly one.
        _ => bail!("give either --edge or --interface"),
    };
    Ok(Rule { source, destination, action })
}
