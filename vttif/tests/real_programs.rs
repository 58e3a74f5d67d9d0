//! Traffic matrices of real parallel programs are named right with the default
//! settings (`tests/data/README.md` says what each is).

use vttif::{Classification, ClassifyOptions, TrafficMatrix, classify};

fn infer(file: &str) -> Classification {
    let path = format!("{}/tests/data/{file}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the file is part of the repository");
    let matrix = TrafficMatrix::from_csv(&text).expect("the file is well-formed");
    let found = classify(&matrix, &ClassifyOptions::default());
    for layer in &found.layers {
        let names: Vec<String> = layer.names.iter().map(ToString::to_string).collect();
        println!("{file}: {} share {:.4} confidence {:.3}", names.join(" = "), layer.share, layer.confidence);
    }
    found
}

fn names(file: &str) -> Vec<String> {
    infer(file).names().iter().map(ToString::to_string).collect()
}

#[test]
fn meshes() {
    assert_eq!(names("ranks64-lu"), ["mesh 8x8"]);
    assert_eq!(names("live16-lu"), ["mesh 4x4"]);
    assert_eq!(names("ranks64-miniamr"), ["mesh 4x4x4"]);
}

#[test]
fn a_torus_that_is_a_hypercube() {
    assert_eq!(names("live16-mg")[..2], ["torus 4x4", "hypercube 4"]);
}

#[test]
fn all_to_all() {
    assert_eq!(names("live16-ft"), ["all-to-all"]);
}

#[test]
fn what_has_no_name_gets_none() {
    let found = infer("ranks64-bt");
    assert_eq!(found.name().to_string(), "irregular");
    let layer = &found.layers[0];
    assert_eq!((layer.degree, layer.components, layer.members), ((6, 6), 1, 64));
}
