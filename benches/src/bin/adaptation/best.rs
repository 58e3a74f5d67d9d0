//! The best values known, by name of instance.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use vadapt::Sense;

/// A value and what is known about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    /// Not a number: there is no solution.
    pub(crate) value: f64,
    /// Whether no better one exists.
    pub(crate) proven: bool,
    /// The solver and the time that found it.
    pub(crate) how: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Best {
    known: BTreeMap<String, Known>,
    changed: bool,
}

const HEADING: &str = "# instance\tvalue\tproven\tfound by\n";

impl Best {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut known = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split('\t').collect();
            let [name, value, proven, how] = fields[..] else {
                bail!("{}:{}: four fields are expected", path.display(), number + 1);
            };
            let value = value.parse().with_context(|| format!("{}:{}", path.display(), number + 1))?;
            known.insert(name.into(), Known { value, proven: proven == "yes", how: how.into() });
        }
        Ok(Self { known, changed: false })
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut text = HEADING.to_owned();
        for (name, known) in &self.known {
            let proven = if known.proven { "yes" } else { "no" };
            writeln!(text, "{name}\t{}\t{proven}\t{}", known.value, known.how)?;
        }
        fs::write(path, text).with_context(|| path.display().to_string())
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Known> {
        self.known.get(name)
    }

    /// Keeps a value if it is better than what is known, or a proof of it.
    pub(crate) fn offer(&mut self, name: &str, sense: Sense, new: Known) {
        let better = |old: &Known| {
            let sign = if sense == Sense::Maximise { 1.0 } else { -1.0 };
            let gain = sign * (new.value - old.value);
            gain > 1e-7 * old.value.abs().max(1.0)
                || (new.proven && !old.proven && gain > -1e-7 * old.value.abs().max(1.0))
        };
        let wrong = |old: &Known| old.value.is_nan() != new.value.is_nan();
        debug_assert!(!self.known.get(name).is_some_and(wrong), "{name} has a solution and has none");
        if self.known.get(name).is_none_or(better) {
            self.known.insert(name.into(), new);
            self.changed = true;
        }
    }
}
