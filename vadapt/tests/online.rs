//! Online arrivals against a ledger kept by hand.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use vadapt::online::{Embedder, Embedding, OnlineError, Request};

type Links = Vec<(usize, usize, f64)>;

/// A connected network: a ring with chords.
fn network(hosts: usize, chords: &[(usize, usize)]) -> (Vec<f64>, Links) {
    let mut links: Links = (0..hosts).map(|a| (a, (a + 1) % hosts, 20.0)).collect();
    let mut joined: HashSet<(usize, usize)> = links.iter().map(|(a, b, _)| (*a.min(b), *a.max(b))).collect();
    for (a, b) in chords {
        let (a, b) = (a % hosts, b % hosts);
        if a != b && joined.insert((a.min(b), a.max(b))) {
            links.push((a, b, 30.0));
        }
    }
    ((0..hosts).map(|host| 10.0 + (host % 3) as f64).collect(), links)
}

fn request(nodes: usize, weight: f64) -> Request {
    let links = (1..nodes).map(|b| ((b - 1) / 2, b, weight * (1.0 + b as f64 % 3.0))).collect();
    Request { compute: (0..nodes).map(|node| weight + node as f64 % 2.0).collect(), links }
}

struct Ledger {
    compute: Vec<f64>,
    links: HashMap<(usize, usize), f64>,
}

impl Ledger {
    fn book(&mut self, request: &Request, embedding: &Embedding, sign: f64) {
        for (host, need) in embedding.nodes.iter().zip(&request.compute) {
            self.compute[*host] -= sign * need;
        }
        for ((_, _, bandwidth), path) in request.links.iter().zip(&embedding.paths) {
            for hop in path.windows(2) {
                let key = (hop[0].min(hop[1]), hop[0].max(hop[1]));
                *self.links.get_mut(&key).expect("paths use links that exist") -= sign * bandwidth;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn embeddings_keep_every_rule_and_departures_free_all(
        hosts in 4usize..24,
        chords in prop::collection::vec((0usize..24, 0usize..24), 0..30),
        arrivals in prop::collection::vec((2usize..7, 1u8..6, any::<bool>()), 1..40),
    ) {
        let (compute, links) = network(hosts, &chords);
        let mut ledger = Ledger {
            compute: compute.clone(),
            links: links.iter().map(|(a, b, w)| ((*a.min(b), *a.max(b)), *w)).collect(),
        };
        let mut embedder = Embedder::new(&compute, &links).unwrap();
        let mut live: Vec<(u64, Request, Embedding)> = Vec::new();
        for (id, (nodes, weight, leaves)) in arrivals.into_iter().enumerate() {
            let request = request(nodes, f64::from(weight));
            if let Some(embedding) = embedder.arrive(id as u64, &request).unwrap() {
                let distinct: HashSet<_> = embedding.nodes.iter().collect();
                prop_assert_eq!(distinct.len(), nodes);
                for ((a, b, _), path) in request.links.iter().zip(&embedding.paths) {
                    prop_assert_eq!(path.first(), Some(&embedding.nodes[*a]));
                    prop_assert_eq!(path.last(), Some(&embedding.nodes[*b]));
                    prop_assert_eq!(path.iter().collect::<HashSet<_>>().len(), path.len());
                }
                ledger.book(&request, &embedding, 1.0);
                prop_assert!(ledger.compute.iter().all(|left| *left >= 0.0));
                prop_assert!(ledger.links.values().all(|left| *left >= 0.0));
                live.push((id as u64, request, embedding));
            }
            if leaves && !live.is_empty() {
                let (id, request, embedding) = live.remove(0);
                embedder.depart(id).unwrap();
                ledger.book(&request, &embedding, -1.0);
            }
        }
        for (id, ..) in live {
            embedder.depart(id).unwrap();
        }
        for (host, compute) in compute.iter().enumerate() {
            prop_assert_eq!(embedder.ground().compute_left(host), *compute);
        }
        for (link, (_, _, bandwidth)) in links.iter().enumerate() {
            prop_assert_eq!(embedder.ground().bandwidth_left(link), *bandwidth);
        }
    }
}

#[test]
fn bad_input_is_named() {
    let new = |compute: &[f64], links: &[(usize, usize, f64)]| Embedder::new(compute, links).unwrap_err();
    assert_eq!(new(&[1.0], &[(0, 3, 1.0)]), OnlineError::UnknownNode { link: 0, node: 3, last: 0 });
    assert_eq!(new(&[1.0, 1.0], &[(1, 1, 1.0)]), OnlineError::Loop { link: 0, node: 1 });
    let twice = new(&[1.0, 1.0], &[(0, 1, 1.0), (1, 0, 1.0)]);
    assert_eq!(twice, OnlineError::Duplicate { link: 1, a: 1, b: 0 });
    assert!(matches!(new(&[-1.0], &[]), OnlineError::Figure { .. }));
    let mut embedder = Embedder::new(&[5.0], &[]).unwrap();
    let request = Request { compute: vec![1.0], links: vec![] };
    assert!(embedder.arrive(1, &request).unwrap().is_some());
    assert_eq!(embedder.arrive(1, &request), Err(OnlineError::Known { id: 1 }));
    assert_eq!(embedder.depart(2), Err(OnlineError::Unknown { id: 2 }));
    let too_many = Request { compute: vec![1.0, 1.0], links: vec![] };
    assert_eq!(embedder.arrive(2, &too_many), Ok(None));
}
