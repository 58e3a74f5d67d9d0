//! Synthetic matrices: every shape with noise, and graphs that have no name.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use support::{Edge, edges};
use vttif::{Classification, ClassifyOptions, TrafficMatrix, classify};

/// What a name means, by definition: the edges of the graph.
fn edges_named(name: &str, vertices: usize) -> Vec<Edge> {
    let Some((kind, sides)) = name.rsplit_once(' ') else {
        return if name == "pairs" {
            (0..vertices / 2).map(|i| (2 * i, 2 * i + 1)).collect()
        } else {
            edges(name, vertices)
        };
    };
    match kind {
        "mesh" | "torus" => edges(&format!("{kind}:{sides}"), vertices),
        "hypercube" => edges(kind, vertices),
        _ => stencil(&sides.split('x').map(|side| side.parse().unwrap()).collect::<Vec<_>>()),
    }
}

fn stencil(sides: &[i64]) -> Vec<Edge> {
    let n: i64 = sides.iter().product();
    let at = |v: i64| {
        let mut v = v;
        sides
            .iter()
            .map(|side| {
                let c = v % side;
                v /= side;
                c
            })
            .collect::<Vec<_>>()
    };
    let near = |a: i64, b: i64| at(a).iter().zip(at(b)).all(|(a, b)| (a - b).abs() <= 1);
    (0..n)
        .flat_map(|a| (a + 1..n).filter(move |b| near(a, *b)).map(move |b| (a as usize, b as usize)))
        .collect()
}

/// Every name that a topology of so many vertices can have.
fn names(vertices: usize) -> Vec<String> {
    let mut names: Vec<String> = ["bus", "ring", "star", "tree", "all-to-all"].map(str::to_owned).to_vec();
    if vertices.is_multiple_of(2) {
        names.push("pairs".to_owned());
    }
    if vertices.is_power_of_two() {
        names.push(format!("hypercube {}", vertices.ilog2()));
    }
    for sides in factorisations(vertices, vertices) {
        let text = sides.iter().map(ToString::to_string).collect::<Vec<_>>().join("x");
        if sides.len() > 1 {
            names.push(format!("mesh {text}"));
            names.push(format!("torus {text}"));
        }
        match sides.len() {
            2 => names.push(format!("stencil 9 {text}")),
            3 => names.push(format!("stencil 27 {text}")),
            _ => {}
        }
    }
    names
}

fn factorisations(n: usize, largest: usize) -> Vec<Vec<usize>> {
    if n == 1 {
        return vec![Vec::new()];
    }
    let factors = (2..=largest.min(n)).rev().filter(|factor| n.is_multiple_of(*factor));
    factors
        .flat_map(|factor| {
            let rest = factorisations(n / factor, factor);
            rest.into_iter().map(move |rest| [vec![factor], rest].concat())
        })
        .collect()
}

struct Noise {
    /// Weights are between 1 and this.
    spread: f64,
    /// Extra edges, as a fraction of those that belong there.
    extra: f64,
    /// Their weight at most, as a fraction of what the others' is on average.
    extra_weight: f64,
}

const USUAL: Noise = Noise { spread: 4.0, extra: 0.3, extra_weight: 0.1 };

/// The graph with noise, its vertices shuffled; one way or both, acknowledged.
fn matrix(edges: &[Edge], vertices: usize, noise: &Noise, rng: &mut StdRng) -> TrafficMatrix {
    let mut order: Vec<usize> = (0..vertices).collect();
    order.shuffle(rng);
    let mut matrix = TrafficMatrix::new(vertices).unwrap();
    let mut add = |(a, b): Edge, weight: f64, rng: &mut StdRng| {
        let part = if rng.random_bool(0.5) { 0.5 } else { 0.97 };
        let (a, b) = if rng.random_bool(0.5) { (a, b) } else { (b, a) };
        matrix.add(order[a], order[b], weight * part).unwrap();
        matrix.add(order[b], order[a], weight * (1.0 - part)).unwrap();
    };
    for edge in edges {
        let weight = rng.random_range(1.0..=noise.spread);
        add(*edge, weight, rng);
    }
    let all: BTreeSet<Edge> = edges.iter().copied().collect();
    let mut others: Vec<Edge> = (0..vertices)
        .flat_map(|a| (a + 1..vertices).map(move |b| (a, b)))
        .filter(|edge| !all.contains(edge))
        .collect();
    others.shuffle(rng);
    others.truncate((edges.len() as f64 * noise.extra).round() as usize);
    for edge in others {
        let weight = noise.extra_weight * (1.0 + noise.spread) / 2.0 * rng.random::<f64>();
        add(edge, weight, rng);
    }
    matrix
}

fn text(found: &Classification) -> Vec<String> {
    found.names().iter().map(ToString::to_string).collect()
}

/// The sizes that shapes are tried at, and how many times each.
fn sizes() -> Vec<(usize, usize)> {
    let small = [4, 5, 6, 7, 8, 9, 10, 12, 15, 16].map(|vertices| (vertices, 100));
    let medium = [18, 20, 24, 25, 27, 30, 32, 36, 45, 48, 49, 64].map(|vertices| (vertices, 6));
    let large = [81, 100, 125, 128, 216, 256].map(|vertices| (vertices, 1));
    // Unoptimised code gets less to do.
    let (small_share, medium_share) = if cfg!(debug_assertions) { (10, 3) } else { (1, 1) };
    let fewer = |(vertices, times): (usize, usize), share: usize| (vertices, times.div_ceil(share));
    let large = large.into_iter().filter(|_| !cfg!(debug_assertions));
    let sizes = small.into_iter().map(|size| fewer(size, small_share));
    sizes.chain(medium.into_iter().map(|size| fewer(size, medium_share))).chain(large).collect()
}

/// Says what went wrong and how often, and fails if that is too often.
fn assert_rare(failures: &[String], tried: usize, allowed: f64) {
    let mut sorted = failures.to_vec();
    sorted.sort();
    for group in sorted.chunk_by(|a, b| a == b) {
        println!("{} times: {}", group.len(), group[0]);
    }
    println!("{} of {tried} wrong", failures.len());
    assert!(failures.len() as f64 <= allowed * tried as f64, "{} of {tried} wrong", failures.len());
}

#[test]
fn every_shape_is_named_in_spite_of_noise() {
    let mut rng = StdRng::seed_from_u64(42);
    let noises = [USUAL, Noise { extra_weight: 0.16, ..USUAL }, Noise { spread: 1.2, extra: 2.0, ..USUAL }];
    for noise in noises {
        let (mut tried, mut failures) = (0, Vec::new());
        for (vertices, times) in sizes() {
            for name in names(vertices) {
                let edges = edges_named(&name, vertices);
                for _ in 0..times {
                    tried += 1;
                    let matrix = matrix(&edges, vertices, &noise, &mut rng);
                    let found = classify(&matrix, &ClassifyOptions::default());
                    if !text(&found).contains(&name) {
                        failures.push(format!("{name} of {vertices} taken for {:?}", text(&found)));
                    }
                }
            }
        }
        assert_rare(&failures, tried, 0.002);
    }
}

#[test]
fn positions_are_those_of_the_shape() {
    let mut rng = StdRng::seed_from_u64(41);
    for vertices in [4, 6, 8, 9, 12, 16, 27, 32, 64] {
        for name in names(vertices) {
            let shape = edges_named(&name, vertices);
            let found = classify(&matrix(&shape, vertices, &USUAL, &mut rng), &ClassifyOptions::default());
            let layer = &found.layers[0];
            assert_eq!(layer.position.len(), vertices, "{name}");
            let places: BTreeSet<&Vec<u32>> = layer.position.values().collect();
            assert_eq!(places.len(), vertices, "{name}: no two vertices in one place");
            let first = layer.names[0].to_string();
            for (a, b) in &layer.edges {
                let (a, b) = (&layer.position[a], &layer.position[b]);
                assert!(is_joined(&first, vertices as u32, a, b), "{first}: {a:?} {b:?}");
            }
        }
    }
}

/// Are two places in a shape next to each other?
fn is_joined(name: &str, vertices: u32, a: &[u32], b: &[u32]) -> bool {
    let (kind, sides) = name.rsplit_once(' ').unwrap_or((name, ""));
    let sides: Vec<u32> = match kind {
        "hypercube" => vec![2; a.len()],
        _ => sides.split('x').filter_map(|side| side.parse().ok()).collect(),
    };
    let apart: Vec<u32> = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).collect();
    let total: u32 = apart.iter().sum();
    match kind {
        "pairs" => apart == [0, 1],
        "bus" => apart == [1],
        "ring" => apart == [1] || apart == [vertices - 1],
        "star" => a == [0] || b == [0],
        "tree" => {
            a[0].max(b[0]).div_ceil(2) == a[0].min(b[0]) + 1 || (a[0].max(b[0]) - 1) / 2 == a[0].min(b[0])
        }
        "all-to-all" => true,
        "mesh" | "hypercube" => total == 1,
        "torus" => {
            let differing = || apart.iter().zip(&sides).filter(|(apart, _)| **apart != 0);
            differing().count() == 1 && differing().all(|(apart, side)| *apart == 1 || *apart == side - 1)
        }
        // Stencils may be closed.
        _ => apart.iter().zip(&sides).all(|(apart, side)| *apart <= 1 || *apart == side - 1),
    }
}

#[test]
fn names_of_the_same_graph_come_together() {
    let mut rng = StdRng::seed_from_u64(40);
    let mut found = |name: &str, vertices| {
        text(&classify(
            &matrix(&edges_named(name, vertices), vertices, &USUAL, &mut rng),
            &ClassifyOptions::default(),
        ))
    };
    assert_eq!(found("ring", 4), ["ring", "hypercube 2", "mesh 2x2", "torus 2x2"]);
    assert_eq!(found("torus 4x2", 8), ["hypercube 3", "mesh 2x2x2", "torus 4x2", "torus 2x2x2"]);
    assert_eq!(found("torus 4x4", 16)[..2], ["torus 4x4", "hypercube 4"]);
    assert_eq!(found("hypercube 6", 64)[..2], ["torus 4x4x4", "hypercube 6"]);
    assert_eq!(found("mesh 8x8", 64), ["mesh 8x8"]);
    assert_eq!(found("mesh 4x2", 8), ["mesh 4x2"]);
    assert_eq!(found("tree", 8), ["tree"]);
    assert_eq!(found("tree", 4), ["bus", "tree"]);
    assert_eq!(found("all-to-all", 4), ["all-to-all", "stencil 9 2x2"]);
}

/// A random graph with the same degrees.
fn rewired(edges: &[Edge], rng: &mut StdRng) -> Vec<Edge> {
    let mut list = edges.to_vec();
    let mut set: BTreeSet<Edge> = list.iter().copied().collect();
    for _ in 0..20 * list.len() {
        let (i, j) = (rng.random_range(0..list.len()), rng.random_range(0..list.len()));
        let ((a, b), (c, d)) = (list[i], list[j]);
        let (c, d) = if rng.random_bool(0.5) { (c, d) } else { (d, c) };
        let new = [(a.min(d), a.max(d)), (c.min(b), c.max(b))];
        if new.iter().any(|(a, b)| a == b) || new[0] == new[1] || new.iter().any(|edge| set.contains(edge)) {
            continue;
        }
        set.remove(&list[i]);
        set.remove(&list[j]);
        set.extend(new);
        (list[i], list[j]) = (new[0], new[1]);
    }
    list
}

#[test]
fn random_graphs_of_the_same_degrees_are_not_named_falsely() {
    let mut rng = StdRng::seed_from_u64(43);
    let (mut tried, mut failures) = (0, Vec::new());
    for (vertices, times) in sizes() {
        for name in names(vertices) {
            let shape = edges_named(&name, vertices);
            for _ in 0..times {
                let edges = rewired(&shape, &mut rng);
                tried += 1;
                let matrix = matrix(&edges, vertices, &USUAL, &mut rng);
                let found = classify(&matrix, &ClassifyOptions::default());
                // By chance it may be a shape, but then all of it is.
                let all = found.layers[0].edges.len() == edges.len() && found.layers[0].missing.is_empty();
                if text(&found) != ["irregular"] && !all {
                    failures.push(format!("{name} of {vertices}, rewired, taken for {:?}", text(&found)));
                }
            }
        }
    }
    assert_rare(&failures, tried, 0.001);
}

/// An application's shape and something else on the same vertices or more.
fn with_monitor(
    shape: &[Edge],
    vertices: usize,
    is_member: bool,
    weight: f64,
    rng: &mut StdRng,
) -> TrafficMatrix {
    let total = vertices + usize::from(!is_member);
    let mut order: Vec<usize> = (0..total).collect();
    order.shuffle(rng);
    let mut matrix = TrafficMatrix::new(total).unwrap();
    for (a, b) in shape {
        matrix.add(order[*a], order[*b], rng.random_range(1.0..4.0)).unwrap();
    }
    let monitor = total - 1;
    for v in 0..monitor {
        matrix.add(order[monitor], order[v], weight * rng.random_range(0.8..1.2)).unwrap();
        matrix.add(order[v], order[monitor], weight * 0.1).unwrap();
    }
    matrix
}

#[test]
fn a_chatty_monitor_does_not_spoil_the_picture() {
    let mut rng = StdRng::seed_from_u64(44);
    let (mut tried, mut failures) = (0, Vec::new());
    for vertices in [8, 9, 16, 27, 32, 64] {
        for name in names(vertices) {
            // These are all edges of a monitor, or have them all.
            if ["star", "all-to-all", "stencil 27 2x2x2"].contains(&&*name) {
                continue;
            }
            let shape = edges_named(&name, vertices);
            for is_member in [false, true] {
                for weight in [0.001, 0.01, 0.1, 0.3, 1.0, 2.0] {
                    tried += 1;
                    let matrix = with_monitor(&shape, vertices, is_member, weight, &mut rng);
                    let found = classify(&matrix, &ClassifyOptions::default());
                    // Of few VMs, such strong monitors leave too little to be sure.
                    let is_unsure = vertices < 10 && weight >= 1.0 && text(&found) == ["irregular"];
                    if !text(&found).contains(&name) && !is_unsure {
                        failures.push(format!(
                            "{name} of {vertices} (member: {is_member}, {weight}) taken for {:?}",
                            text(&found)
                        ));
                    }
                }
            }
        }
    }
    assert_rare(&failures, tried, 0.01);
}

#[test]
fn strong_shapes_and_weak_collectives_are_layers() {
    let mut rng = StdRng::seed_from_u64(45);
    let (mut tried, mut failures) = (0, Vec::new());
    let shapes = [
        (16, "mesh 4x4"),
        (16, "torus 4x4"),
        (64, "mesh 8x8"),
        (64, "torus 4x4x4"),
        (64, "stencil 27 4x4x4"),
        (27, "mesh 3x3x3"),
        (32, "ring"),
        (16, "bus"),
        (12, "mesh 4x3"),
        (9, "stencil 9 3x3"),
    ];
    for (vertices, name) in shapes {
        let shape = edges_named(name, vertices);
        for ratio in [3.0, 6.0, 20.0, 50.0] {
            for weak in ["all-to-all", "star"] {
                tried += 1;
                let mut matrix = TrafficMatrix::new(vertices).unwrap();
                for (a, b) in &shape {
                    matrix.add(*a, *b, ratio * rng.random_range(1.0..2.0)).unwrap();
                }
                for (a, b) in edges(weak, vertices) {
                    matrix.add(a, b, rng.random_range(0.8..1.0)).unwrap();
                }
                let options = ClassifyOptions { min_share: 0.0, ..ClassifyOptions::default() };
                let found = classify(&matrix, &options);
                let name_of = |layer: usize| {
                    found.layers.get(layer).map(|layer| layer.names[0].to_string()).unwrap_or_default()
                };
                if (name_of(0), name_of(1)) != (name.to_owned(), weak.to_owned()) {
                    failures.push(format!(
                        "{name} of {vertices} and {weak} (1/{ratio}): {:?}",
                        (name_of(0), name_of(1))
                    ));
                }
                let shares: f64 = found.layers.iter().map(|layer| layer.share).sum();
                assert!((shares + found.leftover.share - 1.0).abs() < 1e-9);
            }
        }
    }
    assert_rare(&failures, tried, 0.02);
}

#[test]
fn large_shapes_are_recognised_with_an_edge_more_or_less() {
    let mut rng = StdRng::seed_from_u64(46);
    let (mut tried, mut failures) = (0, Vec::new());
    for vertices in [16, 25, 27, 32, 64] {
        for name in names(vertices) {
            // Without an edge, these are other graphs.
            if ["bus", "ring", "star", "tree", "pairs"].contains(&&*name) {
                continue;
            }
            let shape = edges_named(&name, vertices);
            for (less, more) in [(1, 0), (0, 1), (0, 2)] {
                let mut others: Vec<Edge> = edges("all-to-all", vertices);
                others.retain(|edge| !shape.contains(edge));
                if others.len() < more {
                    continue;
                }
                others.shuffle(&mut rng);
                let mut edges = shape.clone();
                edges.shuffle(&mut rng);
                edges.truncate(shape.len() - less);
                let mut matrix = TrafficMatrix::new(vertices).unwrap();
                for (a, b) in &edges {
                    matrix.add(*a, *b, rng.random_range(1.0..1.5)).unwrap();
                }
                for (a, b) in &others[..more] {
                    matrix.add(*a, *b, rng.random_range(0.7..0.8)).unwrap();
                }
                tried += 1;
                let found = classify(&matrix, &ClassifyOptions::default());
                if !text(&found).contains(&name) {
                    failures
                        .push(format!("{name} of {vertices} (-{less} +{more}) taken for {:?}", text(&found)));
                    continue;
                }
                assert_eq!(found.layers[0].missing.len(), less, "{name}");
                assert_eq!(found.leftover.edges.len(), more, "{name}");
            }
        }
    }
    assert_rare(&failures, tried, 0.02);
}

#[test]
fn disconnected_and_empty_matrices() {
    let empty = classify(&TrafficMatrix::new(5).unwrap(), &ClassifyOptions::default());
    assert_eq!((text(&empty), empty.layers.len(), empty.vertices), (vec!["none".to_owned()], 1, 5));
    let nobody = classify(&TrafficMatrix::default(), &ClassifyOptions::default());
    assert_eq!(text(&nobody), ["none"]);

    // Two rings side by side.
    let mut matrix = TrafficMatrix::new(12).unwrap();
    for v in 0..6 {
        matrix.add(v, (v + 1) % 6, 1.0).unwrap();
        matrix.add(6 + v, 6 + (v + 1) % 6, 1.0).unwrap();
    }
    let found = classify(&matrix, &ClassifyOptions::default());
    assert_eq!(text(&found), ["irregular"]);
    let layer = &found.layers[0];
    assert_eq!((layer.degree, layer.components, layer.members), ((2, 2), 2, 12));
}
