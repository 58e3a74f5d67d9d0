//! Routes as text.

use std::fmt;

use super::{DropReason, Hop, Outcome, Route};

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule matches"),
            Self::OnlyBack => f.write_str("the rules send it back where it came from"),
            Self::NoLink(peer) => write!(f, "there is no link to {peer}"),
            Self::HopLimit(peer) => write!(f, "the hop limit doesn't let it go on to {peer}"),
        }
    }
}

/// A tree with a line for each daemon, rule and outcome.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} -> {}", self.source, self.destination)?;
        let mut printed = vec![false; self.hops.len()];
        self.print_hop(f, 0, &mut Vec::new(), &mut printed)
    }
}

impl Route {
    fn print_hop(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        above: &mut Vec<usize>,
        printed: &mut [bool],
    ) -> fmt::Result {
        let Some(hop) = self.hops.get(index) else { return Ok(()) };
        let indent = above.len() * 2;
        write!(f, "{:indent$}{} from {}", "", hop.host, hop.ingress)?;
        if above.iter().any(|i| self.hops[*i].is_same_place(hop)) {
            return writeln!(f, ": a loop, which the hop limit ends");
        }
        if std::mem::replace(&mut printed[index], true) {
            return writeln!(f, ": as above, another copy");
        }
        writeln!(f)?;
        for rule in &hop.rules {
            writeln!(f, "{:indent$}  by {rule}", "")?;
        }
        if let Some(strength) = hop.strength {
            writeln!(f, "{:indent$}  strength: {strength}", "")?;
        }
        above.push(index);
        for outcome in &hop.outcomes {
            match outcome {
                Outcome::Delivered(interface) => writeln!(f, "{:indent$}  delivered to {interface}", "")?,
                Outcome::Dropped(why) => writeln!(f, "{:indent$}  dropped: {why}", "")?,
                Outcome::Sent { hop, .. } => self.print_hop(f, *hop, above, printed)?,
            }
        }
        above.pop();
        Ok(())
    }
}

impl Hop {
    /// Would rules do the same with the frame here and there?
    fn is_same_place(&self, other: &Self) -> bool {
        self.host == other.host && self.ingress == other.ingress
    }
}
