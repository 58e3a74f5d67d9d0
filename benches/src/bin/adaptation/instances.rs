//! The problems that the figures are measured on, each made from its name alone.

use vadapt::generate::{ApplicationShape, Generate, NetworkShape, PublicMap};
use vadapt::{Objective, Problem, ProblemError, ResidualAndLatency, ResidualBandwidth, SingleHop};

/// One problem and what is wanted of it.
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) generate: Generate,
    pub(crate) objective: Box<dyn Objective>,
    /// Whether the mapping is given, so that routing alone is to be done.
    pub(crate) routing: bool,
}

impl Instance {
    fn new(class: &str, index: usize, generate: Generate) -> Self {
        let network = match generate.network {
            NetworkShape::Public(map) => format!("{map:?}"),
            other => format!("{other:?}"),
        };
        let application = match generate.application {
            ApplicationShape::Random { degree } => format!("random{degree}"),
            other => format!("{other:?}"),
        };
        let Generate { hosts, vms, load, .. } = generate;
        let name = format!("{class}-{index}-{network}-{hosts}-{application}-{vms}-{load}").to_lowercase();
        Self { name, generate, objective: Box::new(ResidualBandwidth), routing: false }
    }

    /// Whether it was made around a solution.
    pub(crate) fn has_solution(&self) -> bool {
        self.generate.squeeze > 0.0 && self.generate.internal
    }

    /// The problem.
    pub(crate) fn problem(&self) -> Result<Problem, ProblemError> {
        let mut problem = self.generate.problem()?;
        if self.routing {
            let hosts: Vec<_> =
                problem.graph().node_indices().filter(|host| problem.host(*host).compute > 0.0).collect();
            // VMs spread evenly, far from any good mapping: all work is left to the routes.
            let spread = |vm: usize| hosts[(vm * 7919 + 13 * generate_seed(&self.generate)) % hosts.len()];
            let mapping: Vec<_> = (0..problem.vms().len()).map(spread).collect();
            problem.fix_mapping(&mapping)?;
        }
        Ok(problem)
    }
}

fn generate_seed(generate: &Generate) -> usize {
    generate.seed as usize
}

const NETWORKS: [NetworkShape; 7] = [
    NetworkShape::TwoTier,
    NetworkShape::Waxman,
    NetworkShape::BarabasiAlbert,
    NetworkShape::Complete,
    NetworkShape::Grid,
    NetworkShape::FatTree,
    NetworkShape::Torus,
];

fn application(index: usize) -> ApplicationShape {
    match index % 6 {
        0 => ApplicationShape::Random { degree: 3.0 },
        1 => ApplicationShape::Ring,
        2 => ApplicationShape::Mesh,
        3 => ApplicationShape::BinaryTree,
        4 => ApplicationShape::Random { degree: 4.0 },
        _ => ApplicationShape::Hypercube,
    }
}

/// 200 problems of 4 to 8 hosts and 4 to 8 VMs.
pub(crate) fn small() -> Vec<Instance> {
    let one = |index: usize| {
        // Switches would make a fat tree larger than small.
        let network = [0, 1, 2, 3, 4, 6].map(|at| NETWORKS[at])[index % 6];
        let application = if index % 11 == 10 { ApplicationShape::AllToAll } else { application(index / 6) };
        let mut instance = Instance::new(
            "small",
            index,
            Generate {
                hosts: 4 + index * 7 % 5,
                vms: if index % 11 == 10 { 5 } else { 4 + index / 5 % 5 },
                network,
                application,
                fill: [0.3, 0.5, 0.7, 0.9][index / 7 % 4],
                load: [0.02, 0.05, 0.1, 0.2][index / 3 % 4],
                internal: !index.is_multiple_of(3),
                latency_bounds: index % 5 == 4,
                squeeze: 0.0,
                seed: 1000 + index as u64,
            },
        );
        if index % 10 == 7 {
            instance.objective = Box::new(ResidualAndLatency::default());
        }
        if index % 20 == 9 {
            instance.objective = Box::new(SingleHop);
        }
        instance
    };
    (0..200).map(one).collect()
}

/// 48 problems of 12 to 37 hosts and 12 to 24 VMs.
pub(crate) fn medium() -> Vec<Instance> {
    let maps =
        [PublicMap::Abilene, PublicMap::Geant, PublicMap::Att, PublicMap::NobelEu, PublicMap::Geant2012];
    let one = |index: usize| {
        let network = match index % 8 {
            7 => NetworkShape::Public(maps[index / 8 % 5]),
            other => NETWORKS[other],
        };
        let hosts = match network {
            NetworkShape::Public(map) => map.nodes(),
            NetworkShape::FatTree => 16,
            _ => 16 + index * 5 % 17,
        };
        let mut instance = Instance::new(
            "medium",
            index,
            Generate {
                hosts,
                vms: 12 + index * 7 % 13,
                network,
                application: application(index),
                fill: [0.3, 0.5, 0.7][index / 7 % 3],
                load: [0.02, 0.05, 0.1][index / 3 % 3],
                internal: !index.is_multiple_of(4),
                latency_bounds: index % 5 == 4,
                squeeze: 0.0,
                seed: 2000 + index as u64,
            },
        );
        if index % 12 == 7 {
            instance.objective = Box::new(ResidualAndLatency::default());
        }
        instance
    };
    (0..48).map(one).collect()
}

/// Problems of 64 to 700 hosts and 40 to 100 VMs.
pub(crate) fn large() -> Vec<Instance> {
    let rows = [
        (NetworkShape::TwoTier, 64, 40, 0, 0.05, true, false),
        (NetworkShape::Waxman, 100, 60, 0, 0.03, true, false),
        (NetworkShape::BarabasiAlbert, 128, 50, 4, 0.03, true, true),
        (NetworkShape::Complete, 96, 64, 2, 0.05, false, false),
        (NetworkShape::FatTree, 128, 80, 0, 0.05, true, false),
        (NetworkShape::Public(PublicMap::Germany50), 200, 60, 0, 0.03, true, false),
        (NetworkShape::Torus, 256, 80, 2, 0.05, false, false),
        (NetworkShape::Waxman, 400, 100, 4, 0.03, false, true),
        (NetworkShape::TwoTier, 512, 100, 4, 0.05, true, true),
        (NetworkShape::Public(PublicMap::Tata), 429, 90, 1, 0.03, false, false),
        (NetworkShape::Complete, 300, 100, 0, 0.05, true, false),
        (NetworkShape::BarabasiAlbert, 700, 100, 5, 0.02, false, false),
    ];
    // Network, hosts, VMs, application, load, internal bandwidth, latency bounds.
    type Row = (NetworkShape, usize, usize, usize, f64, bool, bool);
    let one = |(index, row): (usize, &Row)| {
        let (network, hosts, vms, shape, load, internal, latency_bounds) = *row;
        let generate = Generate {
            hosts,
            vms,
            network,
            application: application(shape),
            fill: 0.5,
            load,
            internal,
            latency_bounds,
            squeeze: 0.0,
            seed: 3000 + index as u64,
        };
        Instance::new("large", index, generate)
    };
    rows.iter().enumerate().map(one).collect()
}

/// Problems of 1,000 to 4,000 hosts, 200 to 500 VMs and thousands of demands.
pub(crate) fn huge() -> Vec<Instance> {
    let rows = [
        (NetworkShape::TwoTier, 1000, 200, 8.0, true),
        (NetworkShape::Waxman, 2000, 300, 8.0, false),
        (NetworkShape::BarabasiAlbert, 3000, 400, 8.0, true),
        (NetworkShape::TwoTier, 4000, 500, 6.0, false),
    ];
    let one = |(index, row): (usize, &(NetworkShape, usize, usize, f64, bool))| {
        let (network, hosts, vms, degree, internal) = *row;
        let application = ApplicationShape::Random { degree };
        let seed = 4000 + index as u64;
        let base = Generate { hosts, vms, network, application, ..Generate::default() };
        Instance::new("huge", index, Generate { load: 0.01, internal, seed, ..base })
    };
    rows.iter().enumerate().map(one).collect()
}

/// 100 tight problems: compute or bandwidth at 90 %, latency bounds that exclude much.
pub(crate) fn tight() -> Vec<Instance> {
    let one = |index: usize| {
        let (fill, squeeze) = [(0.9, 0.0), (0.5, 0.9), (0.9, 0.9), (0.5, 0.0)][index % 4];
        let hosts = [8, 12, 16, 24, 32][index / 4 % 5];
        let generate = Generate {
            hosts,
            vms: [8, 12, 16, 20, 24][index / 4 % 5] + index % 3,
            network: NETWORKS[index / 4 % 7],
            application: application(index),
            fill,
            load: 0.05,
            internal: true,
            latency_bounds: index % 4 == 3 || index % 8 < 2,
            squeeze,
            seed: 5000 + index as u64,
        };
        Instance::new("tight", index, generate)
    };
    (0..100).map(one).collect()
}

/// Routing alone at about 100 hosts and at 1,000 hosts with 1,000 demands.
pub(crate) fn routing(hosts: usize) -> Vec<Instance> {
    let networks = [
        NetworkShape::Waxman,
        NetworkShape::BarabasiAlbert,
        NetworkShape::TwoTier,
        NetworkShape::Torus,
        NetworkShape::Public(if hosts > 500 { PublicMap::Tata } else { PublicMap::Germany50 }),
    ];
    let one = |(index, network): (usize, NetworkShape)| {
        let (vms, degree) = if hosts > 500 { (250, 4.0) } else { (60, 3.0) };
        let application = ApplicationShape::Random { degree };
        let seed = 6000 + (hosts + index) as u64;
        let base = Generate { hosts, vms, network, application, seed, ..Generate::default() };
        let load = if hosts > 500 { 0.004 } else { 0.02 };
        let mut instance = Instance::new("routing", index, Generate { load, ..base });
        instance.routing = true;
        instance
    };
    networks.into_iter().enumerate().map(one).collect()
}
