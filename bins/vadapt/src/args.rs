//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use vadapt::{
    Annealing, Exact, GreedyMapping, Objective, PricedRouting, Readapt, ResidualAndLatency,
    ResidualBandwidth, Search, SingleHop, Solver, TightFit,
};

/// Places VMs on hosts and their traffic on paths, so that the application has room to grow.
///
/// Problems and solutions are JSON files; `-` stands for standard input or output. The
/// form is described in the documentation of the library (module `vadapt::json`).
#[derive(Debug, Parser)]
#[command(name = "vadapt", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Solve a problem and print the solution.
    Solve(SolveArgs),
    /// Check a solution against its problem with the independent checker.
    Check(CheckArgs),
    /// Compare solvers on a set of problems: objective, gap to the best bound, time.
    Compare(CompareArgs),
    /// Generate a problem.
    Generate(GenerateArgs),
    /// Print a proven limit of the objective.
    Bound(BoundArgs),
    /// Draw hosts, VMs and paths as SVG.
    Draw(DrawArgs),
    /// Embed virtual networks that come and go, over JSON lines on standard input and output.
    Serve(ServeArgs),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SolverName {
    /// Annealing with incremental evaluation: the best for all but tiny problems.
    Search,
    /// The papers' greedy mapping, as meant.
    GreedyPapers,
    /// The greedy mapping, repaired.
    Greedy,
    /// Annealing as in the papers, started from greedy.
    Annealing,
    /// Branch and bound: the proven optimum of small problems.
    Exact,
    /// From the current state to something better, in few migrations.
    Readapt,
    /// Routes alone, for problems with a given mapping.
    Routing,
}

impl SolverName {
    pub(crate) fn solver(self) -> Box<dyn Solver> {
        match self {
            Self::Search => Box::new(Search),
            Self::GreedyPapers => Box::new(GreedyMapping::papers()),
            Self::Greedy => Box::new(GreedyMapping::repaired()),
            Self::Annealing => Box::new(Annealing),
            Self::Exact => Box::new(Exact),
            Self::Readapt => Box::new(Readapt::default()),
            Self::Routing => Box::new(PricedRouting),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObjectiveName {
    /// Sum of residual bottleneck bandwidth, maximised.
    Residual,
    /// The same sum, minimised.
    TightFit,
    /// Hops beyond the first, minimised.
    SingleHop,
    /// Residual bandwidth and a reward for low latency.
    ResidualLatency,
}

impl ObjectiveName {
    pub(crate) fn objective(self) -> Box<dyn Objective> {
        match self {
            Self::Residual => Box::new(ResidualBandwidth),
            Self::TightFit => Box::new(TightFit),
            Self::SingleHop => Box::new(SingleHop),
            Self::ResidualLatency => Box::new(ResidualAndLatency::default()),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct SolveArgs {
    /// The problem.
    pub(crate) problem: PathBuf,
    /// Where the solution goes.
    #[arg(short, long, default_value = "-")]
    pub(crate) output: PathBuf,
    /// The solver.
    #[arg(short, long, value_enum, default_value = "search")]
    pub(crate) solver: SolverName,
    /// What is worth having.
    #[arg(long, value_enum, default_value = "residual")]
    pub(crate) objective: ObjectiveName,
    /// Time that it may take, such as 100ms, 1s, 10m.
    #[arg(short, long, default_value = "1s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Seed of all randomness.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Threads; each searches with a seed of its own and the best result counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) threads: u16,
    /// Add a proven limit to the solution; takes up to the same time again.
    #[arg(long)]
    pub(crate) bound: bool,
    /// Don't show progress on standard error.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Accepted for symmetry: the solution is JSON anyway.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// The problem.
    pub(crate) problem: PathBuf,
    /// The solution.
    pub(crate) solution: PathBuf,
    /// What the stated objective is.
    #[arg(long, value_enum, default_value = "residual")]
    pub(crate) objective: ObjectiveName,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// The problems.
    #[arg(required = true)]
    pub(crate) problems: Vec<PathBuf>,
    /// The solvers.
    #[arg(
        short,
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "greedy-papers,greedy,annealing,search"
    )]
    pub(crate) solvers: Vec<SolverName>,
    /// What is worth having.
    #[arg(long, value_enum, default_value = "residual")]
    pub(crate) objective: ObjectiveName,
    /// Times that each solver may take per problem.
    #[arg(short, long, value_delimiter = ',', default_value = "1s", value_parser = duration)]
    pub(crate) time: Vec<Duration>,
    /// Seed of all randomness.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkName {
    /// Clusters on fast switches, joined by a slow WAN.
    TwoTier,
    /// Random places, near ones joined.
    Waxman,
    /// Preferential attachment.
    BarabasiAlbert,
    /// A complete overlay.
    Complete,
    /// A fat tree; its switches are hosts without compute.
    FatTree,
    Grid,
    Torus,
    /// Abilene (SNDlib).
    Abilene,
    /// Geant (SNDlib).
    Geant,
    /// AT&T (Internet Topology Zoo).
    Att,
    /// Nobel-EU (SNDlib).
    NobelEu,
    /// GEANT in 2012 (Internet Topology Zoo).
    Geant2012,
    /// Germany50 (SNDlib).
    Germany50,
    /// Tata in India (Internet Topology Zoo).
    Tata,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApplicationName {
    Bus,
    Ring,
    Mesh,
    Torus,
    Hypercube,
    BinaryTree,
    AllToAll,
    /// A random connected graph, see --degree.
    Random,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// What the hosts are joined by.
    #[arg(value_enum)]
    pub(crate) network: NetworkName,
    /// Number of hosts.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) hosts: u32,
    /// Number of VMs.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub(crate) vms: u32,
    /// Who talks to whom.
    #[arg(long, value_enum, default_value = "random")]
    pub(crate) application: ApplicationName,
    /// Mean number of partners of a VM, for random applications.
    #[arg(long, default_value_t = 3.0)]
    pub(crate) degree: f64,
    /// How much of all compute and size the VMs need.
    #[arg(long, default_value_t = 0.5)]
    pub(crate) fill: f64,
    /// Mean bandwidth of a demand, as a fraction of the median edge.
    #[arg(long, default_value_t = 0.05)]
    pub(crate) load: f64,
    /// Narrow the edges around a hidden solution until it takes this share of them, such as 0.9;
    /// 0: leave them.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) squeeze: f64,
    /// VMs that talk may not share a host.
    #[arg(long)]
    pub(crate) no_internal: bool,
    /// Give demands latency bounds.
    #[arg(long)]
    pub(crate) latency_bounds: bool,
    /// The seed.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Where the problem goes.
    #[arg(short, long, default_value = "-")]
    pub(crate) output: PathBuf,
    /// Accepted for symmetry: the problem is JSON anyway.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct BoundArgs {
    /// The problem.
    pub(crate) problem: PathBuf,
    /// What is worth having.
    #[arg(long, value_enum, default_value = "residual")]
    pub(crate) objective: ObjectiveName,
    /// Time that it may take.
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrawArgs {
    /// The problem.
    pub(crate) problem: PathBuf,
    /// The solution; without it, the network alone.
    pub(crate) solution: Option<PathBuf>,
    /// Where the picture goes.
    #[arg(short, long, default_value = "-")]
    pub(crate) output: PathBuf,
}

/// One message per line: `{"type":"init","nodes":[compute],"links":[[a,b,bandwidth]]}`, then
/// `{"type":"arrive","id":7,"cpu":[...],"links":[[a,b,bandwidth]]}`, answered by
/// `{"id":7,"accept":true,"nodes":[host],"paths":[[host]]}` or `{"id":7,"accept":false}`, and
/// `{"type":"depart","id":7}` when an accepted one leaves.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Work per request: hosts that searches may settle, 50 to 100 ns each.
    #[arg(long, default_value_t = vadapt::online::Embedder::EFFORT)]
    pub(crate) effort: u64,
}

fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is not a time; write a number and a unit: 100ms, 1s, 10m");
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(error)?;
    let number: f64 = text[..split].parse().map_err(|_| error())?;
    let seconds = match &text[split..] {
        "us" => number * 1e-6,
        "ms" => number * 1e-3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(error()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| error())
}
