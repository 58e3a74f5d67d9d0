//! Who talks to whom: the channels that an operation uses on a shape.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};
use vnet_core::Shape;
use vnet_core::shape::ShapeError;

/// What a communication phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Every rank sends a message to each of its neighbours and receives one from each.
    #[value(aliases = ["neighbor", "neighbour-exchange", "neighbor-exchange"])]
    Neighbour,
    /// Messages go from the leaves up a spanning tree of the shape to rank 0,
    /// and the result back down.
    Reduction,
    /// Every rank exchanges messages with every other, whatever the shape.
    AllToAll,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Neighbour => "neighbour",
            Self::Reduction => "reduction",
            Self::AllToAll => "all-to-all",
        })
    }
}

/// What a peer is to a rank. In each iteration one message goes each way over every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Both send as soon as they have computed.
    Partner,
    /// The peer is nearer to the root: it gets this rank's message once all
    /// children's have arrived, and answers with the result.
    Parent,
    /// The peer is farther from the root.
    Child,
}

/// The channels between ranks that a workload uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    channels: Vec<Vec<(usize, Role)>>,
}

impl Pattern {
    /// The channels of `operation` on `shape` between `ranks` ranks.
    ///
    /// The spanning tree of a reduction is the one that a breadth-first search
    /// from rank 0 finds, lower ranks first.
    ///
    /// # Errors
    ///
    /// The shape can't have this number of nodes.
    ///
    /// ```
    /// use patterns::{Operation, Pattern, Role};
    /// use vnet_core::Shape;
    ///
    /// let ring = Pattern::new(&Shape::Ring, Operation::Reduction, 4)?;
    /// assert_eq!(ring.peers(1), [(0, Role::Parent), (2, Role::Child)]);
    /// assert_eq!(ring.edges(), [(0, 1), (0, 3), (1, 2)]);
    /// # Ok::<(), vnet_core::shape::ShapeError>(())
    /// ```
    pub fn new(shape: &Shape, operation: Operation, ranks: usize) -> Result<Self, ShapeError> {
        let neighbours = neighbours(&shape.edges(ranks)?, ranks);
        let partners = |peers: Vec<usize>| peers.into_iter().map(|p| (p, Role::Partner)).collect();
        let channels = match operation {
            Operation::Neighbour => neighbours.into_iter().map(partners).collect(),
            Operation::AllToAll => {
                (0..ranks).map(|rank| partners((0..ranks).filter(|p| *p != rank).collect())).collect()
            }
            Operation::Reduction => spanning_tree(&neighbours),
        };
        Ok(Self { channels })
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> usize {
        self.channels.len()
    }

    /// The peers of a rank in ascending order; none for a rank that doesn't exist.
    pub fn peers(&self, rank: usize) -> &[(usize, Role)] {
        self.channels.get(rank).map_or(&[], Vec::as_slice)
    }

    /// Every pair that exchanges messages, once as (lesser, greater), in ascending order.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let pairs = |(a, peers): (usize, &Vec<(usize, Role)>)| {
            peers.iter().filter(move |(b, _)| a < *b).map(move |(b, _)| (a, *b)).collect::<Vec<_>>()
        };
        self.channels.iter().enumerate().flat_map(pairs).collect()
    }

    /// The most messages that any rank sends in an iteration.
    pub fn degree(&self) -> usize {
        self.channels.iter().map(Vec::len).max().unwrap_or(0)
    }
}

fn neighbours(edges: &[(usize, usize)], ranks: usize) -> Vec<Vec<usize>> {
    let mut neighbours = vec![Vec::new(); ranks];
    for &(a, b) in edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    neighbours.iter_mut().for_each(|n| n.sort_unstable());
    neighbours
}

fn spanning_tree(neighbours: &[Vec<usize>]) -> Vec<Vec<(usize, Role)>> {
    let mut channels = vec![Vec::new(); neighbours.len()];
    let mut reached = vec![false; neighbours.len()];
    let mut queue = VecDeque::new();
    if let Some(root) = reached.first_mut() {
        *root = true;
        queue.push_back(0);
    }
    while let Some(rank) = queue.pop_front() {
        for &peer in &neighbours[rank] {
            if !reached[peer] {
                reached[peer] = true;
                channels[rank].push((peer, Role::Child));
                channels[peer].push((rank, Role::Parent));
                queue.push_back(peer);
            }
        }
    }
    channels.iter_mut().for_each(|c| c.sort_unstable_by_key(|(peer, _)| *peer));
    channels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mirrored(role: Role) -> Role {
        match role {
            Role::Partner => Role::Partner,
            Role::Parent => Role::Child,
            Role::Child => Role::Parent,
        }
    }

    proptest! {
        #[test]
        fn channels_follow_the_shape_and_agree_at_both_ends(
            shape in proptest::sample::select(Shape::all().to_vec()),
            ranks in 1_usize..40,
        ) {
            let Ok(edges) = shape.edges(ranks) else { return Ok(()) };
            let all = Pattern::new(&shape, Operation::AllToAll, ranks).unwrap();
            prop_assert_eq!(all.edges().len(), ranks * (ranks - 1) / 2);
            let neighbour = Pattern::new(&shape, Operation::Neighbour, ranks).unwrap();
            prop_assert_eq!(&neighbour.edges(), &edges);
            let tree = Pattern::new(&shape, Operation::Reduction, ranks).unwrap();
            prop_assert!(tree.edges().iter().all(|e| edges.contains(e)));
            // A tree: one edge less than nodes, and each node but the root has a parent.
            prop_assert_eq!(tree.edges().len(), ranks - 1);
            for rank in 0..ranks {
                let parents = tree.peers(rank).iter().filter(|(_, role)| *role == Role::Parent).count();
                prop_assert_eq!(parents, usize::from(rank != 0));
            }
            for pattern in [all, neighbour, tree] {
                for rank in 0..ranks {
                    for &(peer, role) in pattern.peers(rank) {
                        prop_assert!(pattern.peers(peer).contains(&(rank, mirrored(role))));
                    }
                }
            }
        }
    }
}
