//! Infers the topology of an application from who sent how much to whom.

use vttif::{ClassifyOptions, TrafficMatrix, classify};

const MATRIX: &str = "\
source,destination,bytes
vm1,vm2,81000
vm2,vm1,79500
vm2,vm3,80200
vm3,vm2,80100
vm3,vm4,80900
vm4,vm3,79900
vm4,vm1,80000
vm1,vm4,80400
vm1,vm3,900
";

fn main() -> anyhow::Result<()> {
    let matrix = TrafficMatrix::from_csv(MATRIX)?;
    let found = classify(&matrix, &ClassifyOptions::default());
    for layer in &found.layers {
        let names: Vec<String> = layer.names.iter().map(ToString::to_string).collect();
        println!("{} with {:.0} % of the bytes", names.join(" = "), layer.share * 100.0);
        println!("  edges: {:?}", layer.edges);
    }
    Ok(())
}
