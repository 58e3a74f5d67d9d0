//! Virtual networks that come and go: each is embedded when it arrives, without knowing what follows.
//!
//! The rules are those of the virtual network embedding literature (and of Virne, a public
//! benchmark of it): the virtual nodes of one request go to distinct hosts, each virtual link
//! gets one path, compute and bandwidth add up, links are undirected, and a departure
//! frees what was taken.

mod embed;
mod ground;

use std::collections::HashMap;

pub use ground::Ground;

use embed::Embed;

/// A virtual network that asks for a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What each virtual node needs of its host.
    pub compute: Vec<f64>,
    /// Virtual links: the two nodes and the bandwidth, undirected.
    pub links: Vec<(usize, usize, f64)>,
}

/// Where a virtual network goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The host of each virtual node; all distinct.
    pub nodes: Vec<usize>,
    /// The hosts on the path of each virtual link, from its first node's to its second's.
    pub paths: Vec<Vec<usize>>,
}

/// What is wrong with a network or a request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OnlineError {
    /// A figure is negative, infinite or not a number.
    #[error("{place} is {value}; it must be a finite number, at least 0")]
    Figure {
        /// Where, such as `links[3]`.
        place: String,
        /// Its value.
        value: f64,
    },
    /// A link has an end that doesn't exist.
    #[error("links[{link}]: there is no node {node}, only 0 to {last}")]
    UnknownNode {
        /// The link.
        link: usize,
        /// The end.
        node: usize,
        /// The last node that exists.
        last: usize,
    },
    /// A link joins a node with itself.
    #[error("links[{link}]: joins node {node} with itself")]
    Loop {
        /// The link.
        link: usize,
        /// The node.
        node: usize,
    },
    /// Two links of the network join the same hosts.
    #[error("links[{link}]: hosts {a} and {b} are joined already; merge the two links")]
    Duplicate {
        /// The second link.
        link: usize,
        /// One host.
        a: usize,
        /// The other.
        b: usize,
    },
    /// There is a request with this number already.
    #[error("request {id} is embedded already")]
    Known {
        /// Its number.
        id: u64,
    },
    /// There is no request with this number.
    #[error("request {id} is not embedded")]
    Unknown {
        /// Its number.
        id: u64,
    },
}

/// Embeds requests as they arrive and frees what they took when they leave.
///
/// Per request: several starts, each of which places the virtual nodes one by one where the
/// bandwidth of their links times the hops is least, then moves single nodes while that helps;
/// the cheapest result is taken. Scarce links count as longer, so that load spreads
/// before it blocks. The work per request is bounded by [`with_effort`](Self::with_effort).
///
/// ```
/// use vadapt::online::{Embedder, Request};
///
/// let mut embedder = Embedder::new(&[10.0, 10.0, 10.0], &[(0, 1, 100.0), (1, 2, 100.0)])?;
/// let request = Request { compute: vec![6.0, 6.0], links: vec![(0, 1, 60.0)] };
/// let first = embedder.arrive(1, &request)?.expect("everything is free");
/// assert_eq!(first.paths[0].len(), 2);
/// // Neither compute nor bandwidth is left for a second one.
/// assert_eq!(embedder.arrive(2, &request)?, None);
/// embedder.depart(1)?;
/// assert!(embedder.arrive(2, &request)?.is_some());
/// # Ok::<(), vadapt::online::OnlineError>(())
/// ```
#[derive(Debug)]
pub struct Embedder {
    ground: Ground,
    live: HashMap<u64, (Request, Embedding)>,
    effort: u64,
}

impl Embedder {
    /// Hosts that searches settle per request before they end, by default: about 2 ms of work.
    pub const EFFORT: u64 = 25_000;

    /// A network of hosts with their compute, joined by undirected links with their bandwidth.
    pub fn new(compute: &[f64], links: &[(usize, usize, f64)]) -> Result<Self, OnlineError> {
        let ground = Ground::new(compute, links)?;
        Ok(Self { ground, live: HashMap::new(), effort: Self::EFFORT })
    }

    /// The same embedder with more or less work per request.
    pub fn with_effort(self, effort: u64) -> Self {
        Self { effort, ..self }
    }

    /// Embeds a request, or returns `None` if no place was found.
    pub fn arrive(&mut self, id: u64, request: &Request) -> Result<Option<Embedding>, OnlineError> {
        if self.live.contains_key(&id) {
            return Err(OnlineError::Known { id });
        }
        ground::check(&request.compute, &request.links)?;
        let found = Embed::new(&mut self.ground, request, self.effort).run();
        if let Some(embedding) = &found {
            self.ground.take(request, embedding, 1.0);
            self.live.insert(id, (request.clone(), embedding.clone()));
        }
        Ok(found)
    }

    /// Frees what a request took.
    pub fn depart(&mut self, id: u64) -> Result<(), OnlineError> {
        let (request, embedding) = self.live.remove(&id).ok_or(OnlineError::Unknown { id })?;
        self.ground.take(&request, &embedding, -1.0);
        Ok(())
    }

    /// What is left of hosts and links.
    pub fn ground(&self) -> &Ground {
        &self.ground
    }
}
