//! What holds for every matrix, whatever is in it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vttif::{ClassifyOptions, MAX_AMOUNT, TopologyName, TrafficMatrix, classify};

/// Entries of every size, many of them alike, most of them absent.
fn amount() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        6 => Just(0.0),
        3 => Just(1.0),
        2 => 0.5..2.0_f64,
        1 => (-30.0..30.0_f64).prop_map(f64::exp),
    ]
}

fn extreme_amount() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![9 => amount(), 1 => prop_oneof![Just(MAX_AMOUNT), Just(f64::MIN_POSITIVE), Just(5e-324)]]
}

fn matrix(amount: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = TrafficMatrix> {
    (0_usize..12)
        .prop_flat_map(move |n| (Just(n), proptest::collection::vec(amount.clone(), n * n)))
        .prop_map(|(n, amounts)| {
            let mut matrix = TrafficMatrix::new(n).expect("few vertices");
            for (i, amount) in amounts.into_iter().enumerate() {
                matrix.add(i / n, i % n, amount).expect("in range");
            }
            matrix
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn layers_are_a_partition_of_the_edges(matrix in matrix(extreme_amount()), pruned: bool, max_layers in 0_usize..6) {
        let options = ClassifyOptions { pruned, max_layers, ..ClassifyOptions::default() };
        let found = classify(&matrix, &options);
        let n = matrix.len();
        prop_assert_eq!(found.vertices, n);
        prop_assert!(!found.layers.is_empty());
        let all = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a as u32, b as u32)));
        let all: Vec<(u32, u32)> = all.filter(|(a, b)| matrix.both_ways(*a as usize, *b as usize) > 0.0).collect();
        let ordered = |(a, b): &(u32, u32)| (*a.min(b), *a.max(b));
        let layers = found.layers.iter().flat_map(|layer| &layer.edges).map(ordered);
        let mut seen: Vec<(u32, u32)> = layers.chain(found.leftover.edges.iter().copied()).collect();
        seen.sort_unstable();
        prop_assert_eq!(&seen, &all);
        for layer in &found.layers {
            prop_assert!((0.0..=1.0).contains(&layer.confidence) && (0.0..=1.0 + 1e-9).contains(&layer.share));
            prop_assert!(!layer.names.is_empty());
            let has_shape = !matches!(layer.names[0], TopologyName::None | TopologyName::Irregular);
            prop_assert_eq!(has_shape, !layer.position.is_empty());
            let places: BTreeSet<_> = layer.position.values().collect();
            prop_assert_eq!(places.len(), layer.position.len());
        }
        if !all.is_empty() {
            let shares: f64 = found.layers.iter().map(|layer| layer.share).sum();
            prop_assert!((shares + found.leftover.share - 1.0).abs() < 1e-6);
        }
        let json = serde_json::to_string(&found).expect("a classification is JSON");
        let read: vttif::Classification = serde_json::from_str(&json).expect("and can be read back");
        prop_assert_eq!(read.layers.len(), found.layers.len());
    }

    #[test]
    fn names_do_not_depend_on_the_unit_or_the_order(
        matrix in matrix(amount()),
        exponent in -20_i32..20,
        rotation in 12_usize..24,
    ) {
        let n = matrix.len();
        let mut other = TrafficMatrix::new(n).expect("few vertices");
        for (a, b, amount) in matrix.entries() {
            let place = |v: usize| (rotation + n - v) % n;
            other.add(place(a), place(b), amount * 2_f64.powi(exponent)).expect("in range");
        }
        let options = ClassifyOptions::default();
        let (one, other) = (classify(&matrix, &options), classify(&other, &options));
        prop_assert_eq!(one.names(), other.names());
    }
}
