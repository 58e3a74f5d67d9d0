//! Programs as text.

use std::fmt;

use crate::rule::Action;
use crate::topology::{Host, Topology};

use super::ast::{Config, HostRule, Operation, Program};

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "BEGIN")?;
        for host in &self.hosts {
            writeln!(f, "{}", host.item)?;
        }
        for config in &self.configs {
            write!(f, "{config}")?;
        }
        writeln!(f, "END")
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.operation)?;
        for link in &self.links {
            writeln!(f, "{}", link.item)?;
        }
        for rule in &self.rules {
            writeln!(f, "{}", rule.item)?;
        }
        Ok(())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Delete => "DELETE",
        })
    }
}

/// The rule as a statement of the language.
impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.rule.action {
            Action::Edge(_) => "EDGE",
            Action::Interface(_) => "INTERFACE",
        };
        write!(f, "FORWARD {kind} {} {}", self.machine, self.rule)
    }
}

/// The host as a statement of the language.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HOST {} AT {} {} {}", self.username, self.machine, self.port, self.interface)
    }
}

/// The topology as a program of the language.
impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Program::from(self).fmt(f)
    }
}
