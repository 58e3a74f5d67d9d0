//! The program, run as its users run it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn vttif(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vttif")).args(args).env_remove("COLUMNS").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn data(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vttif/tests/data");
    folder.join(file).to_str().unwrap().to_owned()
}

/// A capture of a ring of four for 2 s, then a star for 2 s.
fn capture(folder: &Path) -> PathBuf {
    let mut out = Vec::new();
    for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(field.to_le_bytes());
    }
    for tick in 0..400_u32 {
        let edges: &[(u8, u8)] =
            if tick < 200 { &[(0, 1), (1, 2), (2, 3), (3, 0)] } else { &[(0, 1), (0, 2), (0, 3)] };
        for (a, b) in edges {
            let (seconds, microseconds) = (tick / 100, tick % 100 * 10_000);
            for field in [1_000_000 + seconds, microseconds, 14, 1000] {
                out.extend(field.to_le_bytes());
            }
            out.extend([2, 0, 0, 0, 0, *b, 2, 0, 0, 0, 0, *a, 8, 0]);
        }
    }
    let file = folder.join("ring-then-star.pcap");
    std::fs::write(&file, out).unwrap();
    file
}

#[test]
fn infer_prints_the_heat_map_then_the_layers_then_the_graph() {
    let output = vttif(&["infer", &data("live16-lu.csv")]);
    assert!(output.status.success());
    let text = text(&output.stdout);
    let position = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}"));
    let heat = position("logarithmic; from row to column");
    let name = position("mesh 4x4: 98.8 % of the bytes between 16 vertices over 24 edges, confidence 1.00");
    let graph = position("  1  -- 2, 5  at 0,0");
    assert!(heat < name && name < graph);
}

#[test]
fn infer_prints_json() {
    let output = vttif(&["infer", "--json", &data("ranks64-miniamr.csv")]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["vertices"], 64);
    let layer = &json["layers"][0];
    assert_eq!(layer["names"], serde_json::json!(["mesh 4x4x4"]));
    assert!(layer["confidence"].as_f64().unwrap() > 0.9 && layer["share"].as_f64().unwrap() > 0.9);
    assert_eq!(layer["edges"].as_array().unwrap().len(), 144);
    assert_eq!(layer["position"]["0"], serde_json::json!([0, 0, 0]));
}

#[test]
fn infer_reads_standard_input_and_writes_svg() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("out.svg");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vttif"))
        .args(["infer", "-", "--json", "--svg", svg.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"a,b,1\nb,c,1\nc,a,1\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["layers"][0]["names"], serde_json::json!(["ring", "all-to-all"]));
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn capture_tells_the_topology_over_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = capture(folder.path());
    let file = file.to_str().unwrap();
    let output = vttif(&["capture", "--json", "--window", "1s", "--step", "1s", file]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["vertices"], &json["packets"]), (&4.into(), &1400.into()));
    let names: Vec<&str> = json["windows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|window| window["names"][0].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ring", "ring", "star", "star"]);

    let output = vttif(&["capture", "--window", "1s", "--step", "1s", file]);
    let text = text(&output.stdout);
    assert!(text.contains("       0.000      2.000  ring = hypercube 2 = mesh 2x2 = torus 2x2"), "{text}");
    assert!(text.contains("       2.000      4.000  star"), "{text}");
    assert!(text.ends_with("1400 packets, 0 of them to groups or without such addresses\n"), "{text}");
}

#[test]
fn errors_are_one_line_and_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.csv");
    std::fs::write(&bad, "a,b,1\nb,c,NaN\n").unwrap();
    let bad = bad.to_str().unwrap();
    let error = |args: &[&str]| {
        let output = vttif(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty());
        text(&output.stderr)
    };
    assert_eq!(
        error(&["infer", bad]),
        format!("vttif: {bad}: line 2: `NaN` is not a number of bytes (0 or more)\n")
    );
    assert_eq!(error(&["infer", "/nowhere"]), "vttif: /nowhere: No such file or directory (os error 2)\n");
    assert_eq!(
        error(&["capture", bad]),
        format!(
            "vttif: {bad}: the file is neither a pcap nor a pcapng capture; for a matrix, use `vttif infer`\n"
        )
    );
    let step = ["capture", bad, "--window", "1s", "--step", "300ms"];
    assert_eq!(
        error(&step),
        "vttif: the window (1s) must be a multiple of the step (300ms), and neither may be zero\n"
    );
    assert_eq!(vttif(&["infer"]).status.code(), Some(2));
    assert_eq!(vttif(&["infer", "--threshold", "2", bad]).status.code(), Some(2));
}
