//! Simple undirected graphs.

/// A graph, its adjacency lists in one array.
#[derive(Debug)]
pub(crate) struct Graph {
    starts: Vec<u32>,
    neighbours: Vec<u32>,
}

impl Graph {
    /// A graph of `vertices` and these edges, each given once.
    pub(crate) fn new(vertices: usize, edges: &[(u32, u32)]) -> Self {
        let mut starts = vec![0_u32; vertices + 1];
        for (a, b) in edges {
            starts[*a as usize + 1] += 1;
            starts[*b as usize + 1] += 1;
        }
        for v in 0..vertices {
            starts[v + 1] += starts[v];
        }
        let mut next = starts.clone();
        let mut neighbours = vec![0; edges.len() * 2];
        for (a, b) in edges {
            for (from, to) in [(*a, *b), (*b, *a)] {
                let place = &mut next[from as usize];
                neighbours[*place as usize] = to;
                *place += 1;
            }
        }
        let mut graph = Self { starts, neighbours };
        for v in 0..vertices {
            let range = graph.range(v);
            graph.neighbours[range].sort_unstable();
        }
        graph
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn edge_count(&self) -> usize {
        self.neighbours.len() / 2
    }

    /// In ascending order.
    pub(crate) fn neighbours(&self, v: usize) -> &[u32] {
        &self.neighbours[self.range(v)]
    }

    pub(crate) fn degree(&self, v: usize) -> usize {
        self.range(v).len()
    }

    pub(crate) fn has_edge(&self, a: usize, b: usize) -> bool {
        self.neighbours(a).binary_search(&(b as u32)).is_ok()
    }

    /// The degrees, ascending.
    pub(crate) fn degrees(&self) -> Vec<usize> {
        let mut degrees: Vec<usize> = (0..self.len()).map(|v| self.degree(v)).collect();
        degrees.sort_unstable();
        degrees
    }

    /// The number of connected components.
    pub(crate) fn components(&self) -> usize {
        let mut seen = vec![false; self.len()];
        let mut components = 0;
        let mut stack = Vec::new();
        for start in 0..self.len() {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            components += 1;
            stack.push(start);
            while let Some(v) = stack.pop() {
                for u in self.neighbours(v).iter().map(|u| *u as usize) {
                    if !std::mem::replace(&mut seen[u], true) {
                        stack.push(u);
                    }
                }
            }
        }
        components
    }

    /// The same graph with one vertex joined to all others.
    pub(crate) fn with_hub(&self, hub: usize) -> Self {
        let mut edges = Vec::with_capacity(self.edge_count() + self.len());
        for v in (0..self.len()).filter(|v| *v != hub) {
            edges.push((v as u32, hub as u32));
            let others = self.neighbours(v).iter().filter(|u| **u as usize > v && **u as usize != hub);
            edges.extend(others.map(|u| (v as u32, *u)));
        }
        Self::new(self.len(), &edges)
    }

    fn range(&self, v: usize) -> std::ops::Range<usize> {
        self.starts[v] as usize..self.starts[v + 1] as usize
    }
}
