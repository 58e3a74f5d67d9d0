//! Programs to topologies.

use std::collections::HashMap;
use std::fmt;

use crate::link::Link;
use crate::name::HostName;
use crate::rule::Action;
use crate::topology::{Host, Topology};

use super::ast::{Config, HostRule, Operation, Positioned, Program};
use super::error::{Fault, Problem};

impl Program {
    /// The topology that the program makes from nothing.
    pub fn topology(&self) -> Result<Topology, Fault> {
        self.apply_to(Topology::default())
    }

    /// The topology that the program makes of `base`. It may declare the hosts
    /// of `base` again if they are the same, and use them without declaring them.
    pub fn apply_to(&self, base: Topology) -> Result<Topology, Fault> {
        let mut evaluation = Evaluation::new(base);
        for host in &self.hosts {
            evaluation.declare(host)?;
        }
        for config in &self.configs {
            evaluation.carry_out(config)?;
        }
        Ok(evaluation.topology)
    }
}

struct Evaluation {
    topology: Topology,
    /// Of each declared host, where in the topology it is and, if the program
    /// declares it, on which line.
    declared: HashMap<HostName, Declaration>,
}

struct Declaration {
    index: usize,
    by_program: bool,
    line: Option<usize>,
}

impl Evaluation {
    fn new(topology: Topology) -> Self {
        let declaration = |index| Declaration { index, by_program: false, line: None };
        let declared = topology
            .hosts
            .iter()
            .enumerate()
            .map(|(i, host)| (host.machine.clone(), declaration(i)))
            .collect();
        Self { topology, declared }
    }

    fn declare(&mut self, host: &Positioned<Host>) -> Result<(), Fault> {
        let line = host.position.map(|p| p.line);
        let index = match self.declared.get(&host.machine) {
            None => {
                self.topology.hosts.push(host.item.clone());
                self.topology.hosts.len() - 1
            }
            Some(known) if !known.by_program && self.topology.hosts[known.index] == host.item => known.index,
            Some(known) => {
                let problem = Problem::DuplicateHost { host: host.machine.clone(), line: known.line };
                return Err(fault(host, 3, problem));
            }
        };
        self.declared.insert(host.machine.clone(), Declaration { index, by_program: true, line });
        Ok(())
    }

    fn carry_out(&mut self, config: &Config) -> Result<(), Fault> {
        match config.operation {
            Operation::Add => {
                config.links.iter().try_for_each(|link| self.add_link(link))?;
                config.rules.iter().try_for_each(|rule| self.add_rule(rule))
            }
            Operation::Delete => {
                config.rules.iter().try_for_each(|rule| self.delete_rule(rule))?;
                config.links.iter().try_for_each(|link| self.delete_link(link))
            }
        }
    }

    fn add_link(&mut self, link: &Positioned<Link>) -> Result<(), Fault> {
        self.check_link(link)?;
        if let Some(present) = self.topology.links.get(&link.id()) {
            return Err(fault(link, 0, Problem::DuplicateLink { present: present.clone() }));
        }
        self.topology.add_link(link.item.clone());
        Ok(())
    }

    fn delete_link(&mut self, link: &Positioned<Link>) -> Result<(), Fault> {
        self.check_link(link)?;
        let Some(present) = self.topology.links.get(&link.id()) else {
            return Err(fault(link, 0, Problem::NoSuchLink { link: link.id() }));
        };
        if (present.kind, &present.opener) != (link.kind, &link.opener) {
            return Err(fault(link, 0, Problem::LinkDiffers { present: present.clone() }));
        }
        self.topology.links.remove(&link.id());
        Ok(())
    }

    fn add_rule(&mut self, rule: &Positioned<HostRule>) -> Result<(), Fault> {
        self.check_rule(rule)?;
        if !self.topology.add_rule(&rule.machine, rule.rule.clone()) {
            return Err(fault(rule, 0, Problem::DuplicateRule { rule: rule.item.clone() }));
        }
        Ok(())
    }

    fn delete_rule(&mut self, rule: &Positioned<HostRule>) -> Result<(), Fault> {
        self.check_rule(rule)?;
        if !self.topology.remove_rule(&rule.machine, &rule.rule) {
            return Err(fault(rule, 0, Problem::NoSuchRule { rule: rule.item.clone() }));
        }
        Ok(())
    }

    fn check_link(&self, link: &Positioned<Link>) -> Result<(), Fault> {
        for (word, host) in [(3, &link.a), (4, &link.b)] {
            self.check_host(link, word, host)?;
        }
        if link.a == link.b {
            return Err(fault(link, 4, Problem::SelfLink { host: link.a.clone() }));
        }
        if link.opener != link.a && link.opener != link.b {
            return Err(fault(link, 2, Problem::OpenerNotAnEnd { link: link.item.clone() }));
        }
        Ok(())
    }

    fn check_rule(&self, rule: &Positioned<HostRule>) -> Result<(), Fault> {
        self.check_host(rule, 2, &rule.machine)?;
        let Action::Edge(edge) = &rule.rule.action else { return Ok(()) };
        let word = 3 + words(rule.rule.source) + words(rule.rule.destination);
        if edge.from != rule.machine {
            let problem = Problem::EdgeElsewhere { machine: rule.machine.clone(), from: edge.from.clone() };
            return Err(fault(rule, word, problem));
        }
        self.check_host(rule, word + 1, &edge.to)?;
        if edge.to == edge.from {
            return Err(fault(rule, word + 1, Problem::SelfEdge { host: edge.to.clone() }));
        }
        Ok(())
    }

    fn check_host<T>(&self, of: &Positioned<T>, word: usize, host: &HostName) -> Result<(), Fault> {
        if self.declared.contains_key(host) {
            return Ok(());
        }
        let names = self.topology.hosts.iter().map(|h| &h.machine);
        let similar = names
            .map(|name| (edit_distance(name.as_str(), host.as_str()), name))
            .filter(|(distance, _)| distance * 3 <= host.as_str().len())
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, name)| name.clone());
        Err(fault(of, word, Problem::UndeclaredHost { host: host.clone(), similar }))
    }
}

fn fault<T>(of: &Positioned<T>, word: usize, problem: Problem) -> Fault {
    Fault { problem: Box::new(problem), statement: of.position, word }
}

/// How many words a match has in a program: qualifiers may be left out.
fn words(side: impl fmt::Display) -> usize {
    side.to_string().split(' ').count()
}

/// How many characters must be inserted, deleted or replaced to make one name
/// of the other (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
