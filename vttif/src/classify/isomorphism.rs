//! Finds the place of each vertex of a graph in a template of the same shape.
//!
//! Individualisation and refinement (B. D. McKay, "Practical graph
//! isomorphism", 1981): vertices are coloured by what their neighbourhoods look
//! like; where that leaves several of one colour, one of them is singled out.
//! The templates are so symmetric that vertices of one colour are
//! interchangeable, hence there is no backtracking: whichever is singled out,
//! the colours of graph and template agree until each vertex has its own, or
//! the graph is not of this shape. The result is verified edge by edge, so that
//! neither a collision of hashes nor a template that is less symmetric than
//! thought can lead to a wrong answer.

use super::graph::Graph;

/// How a graph fits a template.
#[derive(Debug)]
pub(crate) struct Isomorphism {
    /// The template's vertex for each vertex of the graph.
    pub(crate) places: Vec<u32>,
    /// The binary logarithm of the number of the template's symmetries.
    pub(crate) symmetry_bits: f64,
}

/// An isomorphism from `graph` to `template`, if there is one.
pub(crate) fn find(graph: &Graph, template: &Graph) -> Option<Isomorphism> {
    if graph.len() != template.len()
        || graph.edge_count() != template.edge_count()
        || graph.degrees() != template.degrees()
    {
        return None;
    }
    let mut theirs = Colouring::new(template);
    let mut ours = Colouring::new(graph);
    let mut symmetry_bits = 0.0;
    let mut singled_out = 0;
    loop {
        refine(&mut ours, &mut theirs)?;
        let Some((vertex, cell)) = theirs.first_ambiguous() else { break };
        let other = ours.colours.iter().position(|colour| *colour == theirs.colours[vertex])?;
        symmetry_bits += (cell as f64).log2();
        singled_out += 1;
        let colour = mix(0x5bd1_e995 ^ singled_out);
        theirs.colours[vertex] = colour;
        ours.colours[other] = colour;
    }
    let mut by_colour: Vec<(u64, u32)> = theirs.colours.iter().copied().zip(0..).collect();
    by_colour.sort_unstable();
    let place = |colour: &u64| {
        by_colour.binary_search_by_key(colour, |(colour, _)| *colour).ok().map(|i| by_colour[i].1)
    };
    let places: Vec<u32> = ours.colours.iter().map(place).collect::<Option<_>>()?;
    is_isomorphism(graph, template, &places).then_some(Isomorphism { places, symmetry_bits })
}

/// One vertex of each kind: those that refinement can't tell apart are one kind.
pub(crate) fn representatives(graph: &Graph) -> Vec<usize> {
    let mut colouring = Colouring::new(graph);
    let mut cells = 0;
    loop {
        colouring.sort();
        let now = colouring.cells();
        if now == cells {
            break;
        }
        cells = now;
        colouring.step();
    }
    let mut seen = std::collections::HashSet::new();
    (0..graph.len()).filter(|v| seen.insert(colouring.colours[*v])).collect()
}

fn is_isomorphism(graph: &Graph, template: &Graph, places: &[u32]) -> bool {
    let mut taken = vec![false; template.len()];
    let is_injective = places.iter().all(|place| !std::mem::replace(&mut taken[*place as usize], true));
    // As many edges on both sides: all of one among the other's is enough.
    is_injective
        && (0..graph.len()).all(|v| {
            let place = places[v] as usize;
            graph.neighbours(v).iter().all(|u| template.has_edge(place, places[*u as usize] as usize))
        })
}

struct Colouring<'a> {
    graph: &'a Graph,
    colours: Vec<u64>,
    sorted: Vec<u64>,
}

impl<'a> Colouring<'a> {
    fn new(graph: &'a Graph) -> Self {
        let colours = (0..graph.len()).map(|v| mix(graph.degree(v) as u64)).collect();
        Self { graph, colours, sorted: Vec::new() }
    }

    /// Colours each vertex by its own colour and those of its neighbours.
    fn step(&mut self) {
        let colours = &self.colours;
        let next = (0..self.graph.len())
            .map(|v| {
                let around = self.graph.neighbours(v).iter();
                around.fold(mix(colours[v]), |sum, u| {
                    sum.wrapping_add(mix(colours[*u as usize] ^ 0xa076_1d64_78bd_642f))
                })
            })
            .collect();
        self.colours = next;
    }

    fn sort(&mut self) {
        self.sorted.clone_from(&self.colours);
        self.sorted.sort_unstable();
    }

    fn cells(&self) -> usize {
        self.sorted.chunk_by(|a, b| a == b).count()
    }

    /// The first vertex that shares its colour, and how many have it.
    fn first_ambiguous(&self) -> Option<(usize, usize)> {
        let size = |colour: u64| {
            self.sorted.partition_point(|c| *c <= colour) - self.sorted.partition_point(|c| *c < colour)
        };
        self.colours.iter().map(|colour| size(*colour)).enumerate().find(|(_, size)| *size > 1)
    }
}

/// Refines both colourings until they are stable; `None` if they differ.
fn refine(ours: &mut Colouring<'_>, theirs: &mut Colouring<'_>) -> Option<()> {
    let mut cells = 0;
    loop {
        theirs.sort();
        ours.sort();
        if ours.sorted != theirs.sorted {
            return None;
        }
        let now = theirs.cells();
        if now == cells || now == theirs.colours.len() {
            return Some(());
        }
        cells = now;
        ours.step();
        theirs.step();
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
