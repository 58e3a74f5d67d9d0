//! The papers' greedy heuristics (`003`, section 9.3.2 and Appendix B), as meant.
//!
//! Appendix B as printed can't run. Where it slips, this follows section 9.3.2:
//!
//! | printed | meant, and done here |
//! | --- | --- |
//! | `E[k, 0] <- G(A[k, 0])`: the list of VMs is overwritten with hosts | `E` holds VMs; the present mapping is only needed for the difference (step 7) |
//! | `count` is never set or grows in the first loops | each loop passes over its list once |
//! | `m <- 0` and `n <- 0` within the loops, so that `C` and `D` are overwritten | mapped VMs and used hosts are remembered |
//! | `D[n] <- B[i, 0]` | the host pair at `j`, the one that was free |
//! | no exit from the search for a host pair, `j` never grows | the first free pair is taken |
//! | second pass: `E[i, 0] != C`, `T[j, 1]` compared with a VM, `temp` is the partner's host itself | a VM that isn't mapped goes where the throughput to its mapped partner is best (step 6) |
//! | `S[k] <- LINK A[i, 0] A[i, 1]`: links between VMs, in the unsorted order | links between the hosts of `C`, in order of traffic |
//! | `i <- i + i` from 0, so that `i` stays 0 | `i` grows by one |
//! | the cost limit `c` isn't used | links are added while their cost stays within the limit |

use std::collections::{BTreeMap, HashSet};

use crate::fixed::Fixed;
use crate::network::NONE;
use crate::objective::Objective;
use crate::problem::{HostId, Problem};
use crate::routes::Routes;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::{SolveError, Solver, checked, has_hosts};
use crate::state::State;

/// Which greedy mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GreedyVariant {
    /// As in the papers: pairs go to host pairs on which no VM is yet, by the throughput of
    /// the pair alone. Host capacities are respected, which the papers leave out.
    Papers,
    /// Repaired: a host counts as free while it has room; two VMs may share a host that has
    /// internal bandwidth; a VM goes where the sum over *all* its mapped partners is best under
    /// the load of what is mapped already.
    Repaired,
}

/// Greedy mapping of VMs to hosts, then routes by residual bottleneck.
///
/// The most talkative pair of VMs goes onto the fastest free pair of hosts, and so on;
/// stragglers go next to their mapped partner. Complexity: `O(H^2 log H)` for sorting host pairs
/// and `O(VMs * H * degree)` path ratings. No guarantee.
///
/// ```
/// use std::time::Duration;
/// use vadapt::{GreedyMapping, Problem, ResidualBandwidth, Run, Solver, StepClock};
///
/// let problem = Problem::from_json(r#"{
///     "hosts": [{"name": "a", "compute": 1, "size": 1}, {"name": "b", "compute": 1, "size": 1},
///               {"name": "c", "compute": 1, "size": 1}],
///     "edges": [{"from": "a", "to": "b", "bandwidth": 10}, {"from": "b", "to": "c", "bandwidth": 100}],
///     "vms": [{"name": "x", "compute": 1, "size": 1}, {"name": "y", "compute": 1, "size": 1}],
///     "demands": [{"from": "x", "to": "y", "bandwidth": 5}]
/// }"#)?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_secs(1));
/// let solution = GreedyMapping::papers().solve(&problem, &ResidualBandwidth, &mut run)?;
/// assert_eq!(solution.objective, 95.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GreedyMapping {
    variant: GreedyVariant,
}

impl GreedyMapping {
    /// The papers' heuristic, as meant.
    pub const fn papers() -> Self {
        Self { variant: GreedyVariant::Papers }
    }

    /// The repaired variant.
    pub const fn repaired() -> Self {
        Self { variant: GreedyVariant::Repaired }
    }
}

impl Solver for GreedyMapping {
    fn name(&self) -> &'static str {
        match self.variant {
            GreedyVariant::Papers => "greedy-papers",
            GreedyVariant::Repaired => "greedy",
        }
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        _run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        has_hosts(problem)?;
        let fixed = Fixed::new(problem, objective);
        let mut state = State::empty(&fixed, objective);
        let mut routes = Routes::new(&fixed.net, fixed.has_latency_bounds);
        match self.variant {
            GreedyVariant::Papers => map_papers(&mut state, &mut routes),
            GreedyVariant::Repaired => map_repaired(&mut state, &mut routes),
        }
        checked(problem, objective, state.solution())
    }
}

/// A link of the greedy topology.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastPath {
    /// One end: the host with the smaller index.
    pub a: HostId,
    /// The other end.
    pub b: HostId,
    /// The traffic between the two hosts in both directions, in Mbit/s.
    pub traffic: f64,
}

/// The papers' greedy topology: the fast-path links to add for `mapping`, in order of the
/// traffic that they take off the star, while their number times
/// [`Costs::link`](crate::Costs) stays within `cost_limit`. Pairs without an edge in either
/// direction get none. `O(demands * log demands)`.
pub fn greedy_topology(problem: &Problem, mapping: &[HostId], cost_limit: f64) -> Vec<FastPath> {
    let mut traffic: BTreeMap<(HostId, HostId), f64> = BTreeMap::new();
    for demand in problem.demands() {
        let (a, b) = (mapping[demand.from.index()], mapping[demand.to.index()]);
        let graph = problem.graph();
        if a != b && (graph.find_edge(a, b).is_some() || graph.find_edge(b, a).is_some()) {
            *traffic.entry((a.min(b), a.max(b))).or_default() += demand.bandwidth;
        }
    }
    let mut links: Vec<FastPath> =
        traffic.into_iter().map(|((a, b), traffic)| FastPath { a, b, traffic }).collect();
    links.sort_by(|x, y| y.traffic.total_cmp(&x.traffic));
    let affordable = |index: usize| problem.costs().link * (index + 1) as f64 <= cost_limit;
    let count = (0..links.len()).take_while(|index| affordable(*index)).count();
    links.truncate(count);
    links
}

/// Pairs of VMs that talk, in both directions taken together, the most talkative first.
fn talkative_pairs(state: &State<'_>) -> Vec<(u32, u32)> {
    let mut traffic: BTreeMap<(u32, u32), f64> = BTreeMap::new();
    let fixed = state.fixed;
    for demand in 0..fixed.from.len() {
        let (a, b) = (fixed.from[demand], fixed.to[demand]);
        *traffic.entry((a.min(b), a.max(b))).or_default() += fixed.bandwidth[demand];
    }
    let mut pairs: Vec<_> = traffic.into_iter().collect();
    pairs.sort_by(|x, y| y.1.total_cmp(&x.1));
    pairs.into_iter().map(|(pair, _)| pair).collect()
}

fn place_pinned(state: &mut State<'_>, routes: &mut Routes) {
    for vm in 0..state.fixed.pin.len() as u32 {
        let host = state.fixed.pin[vm as usize];
        if host != NONE {
            place(state, routes, vm, host);
        }
    }
}

fn place(state: &mut State<'_>, routes: &mut Routes, vm: u32, host: u32) {
    state.try_shift(&[(vm, host)], routes);
    state.commit();
}

pub(super) fn map_papers(state: &mut State<'_>, routes: &mut Routes) {
    place_pinned(state, routes);
    let net = &state.fixed.net;
    let nothing = vec![0.0; net.capacity.len()];
    let mut host_pairs: Vec<(f64, u32, u32)> = (0..net.from.len() as u32)
        .map(|edge| (net.residual(edge, &nothing), net.from[edge as usize], net.to[edge as usize]))
        .collect();
    host_pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
    let pairs = talkative_pairs(state);
    let mut taken: HashSet<u32> = state.host.iter().copied().filter(|host| *host != NONE).collect();
    for (a, b) in &pairs {
        if state.host[*a as usize] != NONE || state.host[*b as usize] != NONE {
            continue;
        }
        let free = |host: u32, vm: u32| !taken.contains(&host) && state.has_room(host, vm);
        let fits = host_pairs.iter().find(|(_, x, y)| free(*x, *a) && free(*y, *b));
        if let Some((_, x, y)) = fits.copied() {
            taken.extend([x, y]);
            place(state, routes, *a, x);
            place(state, routes, *b, y);
        }
    }
    for (a, b) in &pairs {
        for (vm, partner) in [(*a, *b), (*b, *a)] {
            if state.host[vm as usize] == NONE {
                let anchor = state.host[partner as usize];
                let host = best_straggler_host(state, routes, vm, anchor);
                place(state, routes, vm, host);
            }
        }
    }
    place_silent(state, routes);
}

/// The host with room where the throughput to `anchor` is best; if none has room, the best of all.
fn best_straggler_host(state: &State<'_>, routes: &mut Routes, vm: u32, anchor: u32) -> u32 {
    let net = &state.fixed.net;
    let mut throughput = |host: u32| {
        if anchor == NONE {
            return 0.0;
        }
        if host == anchor { net.internal[host as usize] } else { routes.widest(net, host, anchor, anchor) }
    };
    let rated = (0..net.hosts as u32).map(|host| (state.has_room(host, vm), throughput(host), host));
    let best = rated.max_by(|x, y| (x.0.cmp(&y.0)).then(x.1.total_cmp(&y.1)).then(y.2.cmp(&x.2)));
    best.map_or(0, |(_, _, host)| host)
}

/// VMs that talk to nobody go wherever there is most room.
fn place_silent(state: &mut State<'_>, routes: &mut Routes) {
    for vm in 0..state.host.len() as u32 {
        if state.host[vm as usize] != NONE {
            continue;
        }
        let spacious = (0..state.fixed.net.hosts as u32).max_by(|x, y| {
            let fits = |host| (state.has_room(host, vm), state.room_left(host)[0]);
            let (x_fits, y_fits) = (fits(*x), fits(*y));
            x_fits.0.cmp(&y_fits.0).then(x_fits.1.total_cmp(&y_fits.1)).then(y.cmp(x))
        });
        place(state, routes, vm, spacious.unwrap_or(0));
    }
}

fn map_repaired(state: &mut State<'_>, routes: &mut Routes) {
    place_pinned(state, routes);
    let pairs = talkative_pairs(state);
    let mut weight: BTreeMap<(u32, u32), f64> = BTreeMap::new();
    for demand in 0..state.fixed.from.len() {
        let (a, b) = (state.fixed.from[demand], state.fixed.to[demand]);
        *weight.entry((a.min(b), a.max(b))).or_default() += state.fixed.bandwidth[demand];
    }
    loop {
        // The unplaced VM that talks most with placed ones is next.
        let mut pull = vec![0.0; state.host.len()];
        for ((a, b), traffic) in &weight {
            match (state.host[*a as usize] == NONE, state.host[*b as usize] == NONE) {
                (true, false) => pull[*a as usize] += traffic,
                (false, true) => pull[*b as usize] += traffic,
                _ => {}
            }
        }
        let unplaced = (0..state.host.len()).filter(|vm| state.host[*vm] == NONE && pull[*vm] > 0.0);
        let next = unplaced.max_by(|x, y| pull[*x].total_cmp(&pull[*y]).then(y.cmp(x)));
        if let Some(vm) = next {
            let host = best_host(state, routes, vm as u32);
            place(state, routes, vm as u32, host);
            continue;
        }
        let free = |vm: u32| state.host[vm as usize] == NONE;
        let Some((a, _)) = pairs.iter().copied().find(|(a, b)| free(*a) && free(*b)) else { break };
        let host = best_seed_host(state, a);
        place(state, routes, a, host);
    }
    place_silent(state, routes);
}

/// Where the value of the state grows most, among hosts with room if there are any.
fn best_host(state: &mut State<'_>, routes: &mut Routes, vm: u32) -> u32 {
    let hosts = 0..state.fixed.net.hosts as u32;
    let mut open: Vec<u32> = hosts.clone().filter(|host| state.has_room(*host, vm)).collect();
    if open.is_empty() {
        open = hosts.collect();
    }
    let mut best = (f64::NEG_INFINITY, 0);
    for host in open {
        let delta = state.try_shift(&[(vm, host)], routes);
        state.discard();
        if delta > best.0 {
            best = (delta, host);
        }
    }
    best.1
}

/// Where a group of VMs best begins: room for the VM, and much bandwidth to hosts with room.
fn best_seed_host(state: &State<'_>, vm: u32) -> u32 {
    let (fixed, net) = (state.fixed, &state.fixed.net);
    let nothing = vec![0.0; net.capacity.len()];
    let vms = fixed.need.len();
    let appeal = |host: u32| {
        let ways = net.edges_from(host).iter();
        let open = ways.filter(|edge| state.has_room(net.to[**edge as usize], vm));
        let mut widths: Vec<f64> = open.map(|edge| net.residual(*edge, &nothing)).collect();
        widths.sort_by(|x, y| y.total_cmp(x));
        net.internal[host as usize].max(0.0) + widths.iter().take(vms).sum::<f64>()
    };
    let rated = (0..net.hosts as u32).map(|host| (state.has_room(host, vm), appeal(host), host));
    let best = rated.max_by(|x, y| x.0.cmp(&y.0).then(x.1.total_cmp(&y.1)).then(y.2.cmp(&x.2)));
    best.map_or(0, |(_, _, host)| host)
}
