//! The strong solver: annealing with incremental evaluation over shifts, swaps, moves of
//! whole groups and priced reroutes, from a constructed start.

mod construct;
mod draft;
mod mend;
mod missing;
mod repair;
mod reroute;
mod walk;
mod whole;

use std::time::Duration;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::finder::Finder;
use crate::fixed::Fixed;
use crate::objective::Objective;
use crate::pool::Pool;
use crate::problem::Problem;
use crate::routes::Routes;
use crate::run::Run;
use crate::solution::Solution;
use crate::solver::routing::{improve_routes, mend_routes};
use crate::solver::{SolveError, Solver, checked, exact, has_hosts};
use crate::state::State;

use draft::Draft;
use reroute::Turn;
use walk::Schedule;

/// Local search with incremental evaluation: the best solver here for all but tiny problems.
///
/// 1. Several starts are constructed around promising hosts: VMs in the order in which they are
///    drawn to those already placed, each where the value grows most. Large networks get one more, from
///    a draft that judges mappings by neighbourhoods of hosts, without routes.
/// 2. Annealing over shifts and swaps of VMs towards the hosts of their partners, exchanges
///    of all that two hosts hold, reroutes by goal-directed searches that pay for what they take from
///    others, and paths met before. A move costs what it touches. Short trials find the starting
///    temperature, which matters much: too cold loses up to 40 %. As places freeze, more moves
///    are about routes.
/// 3. More rounds from the best state, each with a fresh cooling.
/// 4. With up to 30 VMs to place: the best mappings met are routed anew, in rounds of successive
///    halving.
/// 5. A last pass of reroutes.
///
/// With up to 10 hosts and 10 VMs, half of the time goes to that, then the branch and bound of
/// [`Exact`](crate::Exact) tries to prove that nothing is better, which ends the run early.
///
/// Capacities of edges and hosts and latency bounds may be broken on the way, at a graded
/// penalty. `O(H + E)` memory besides trees of routes and paths met, which are capped. No guarantee; combine
/// with [`upper_bound`](crate::bound::upper_bound) for a proven gap.
///
/// ```
/// use std::time::Duration;
/// use vadapt::{Problem, ResidualBandwidth, Run, Search, Solver, StepClock};
///
/// let problem = Problem::from_json(r#"{
///     "hosts": [{"name": "a", "compute": 2, "size": 2, "internal_bandwidth": 500},
///               {"name": "b", "compute": 1, "size": 1}, {"name": "c", "compute": 1, "size": 1}],
///     "edges": [{"from": "a", "to": "b", "bandwidth": 10}, {"from": "b", "to": "c", "bandwidth": 100}],
///     "vms": [{"name": "x", "compute": 1, "size": 1}, {"name": "y", "compute": 1, "size": 1}],
///     "demands": [{"from": "x", "to": "y", "bandwidth": 5}]
/// }"#)?;
/// let clock = StepClock::default();
/// let mut run = Run::new(&clock, Duration::from_millis(1)).with_seed(7);
/// let solution = Search::default().solve(&problem, &ResidualBandwidth, &mut run)?;
/// assert_eq!(solution.objective, 500.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Search;

impl Solver for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn solve(
        &self,
        problem: &Problem,
        objective: &dyn Objective,
        run: &mut Run<'_>,
    ) -> Result<Solution, SolveError> {
        has_hosts(problem)?;
        let fixed = Fixed::new(problem, objective);
        // Judging the answer takes about as long as reading the problem.
        run.hold_back(2 * run.elapsed() + run.limit() / 200);
        let mut searcher = Searcher::new(&fixed, objective, run.seed());
        searcher.start(run);
        if fixed.movable.is_empty() {
            searcher.route_only(run);
        } else if searcher.is_tiny() {
            searcher.place_few(run);
        } else {
            searcher.place(run);
        }
        let proven = searcher.proven;
        match checked(problem, objective, searcher.into_solution()) {
            Ok(solution) => {
                let bound = proven.then_some(solution.objective);
                Ok(Solution { bound, ..solution })
            }
            Err(error) if proven => Err(exact::infeasible(&error)),
            Err(error) => Err(error),
        }
    }
}

/// A mapping and a routing to come back to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) host: Vec<u32>,
    pub(crate) paths: Vec<Vec<u32>>,
    pub(crate) value: f64,
    pub(crate) feasible: bool,
}

impl Snapshot {
    pub(crate) fn of(state: &State<'_>) -> Self {
        let (host, paths) = (state.host.clone(), state.path.clone());
        Self { host, paths, value: state.value(), feasible: state.is_feasible() }
    }

    /// Whether this is the better of the two.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        (self.feasible, self.value) > (other.feasible, other.value)
    }
}

/// Everything that a search carries along.
pub(crate) struct Searcher<'f> {
    pub(crate) fixed: &'f Fixed<'f>,
    objective: &'f dyn Objective,
    pub(crate) state: State<'f>,
    pub(crate) routes: Routes,
    pub(crate) finder: Finder,
    pool: Pool,
    turn: Turn,
    /// The last leg of a detour.
    leg: Vec<u32>,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) best: Snapshot,
    /// The best mappings met, each with the routing that it had.
    elite: Vec<Snapshot>,
    pub(crate) moves: u64,
    /// Whether nothing is better than the best state.
    proven: bool,
    /// Whether moves may be rejected by their outlook: the objective is monotone.
    judges_ahead: bool,
    /// Hosts from the most to the least promising, by internal bandwidth and by what is around.
    pub(crate) promising: Vec<u32>,
}

impl<'f> Searcher<'f> {
    /// Constructed starts, at most.
    const STARTS: usize = 6;
    /// Up to so many VMs, the routes of several mappings are worked out.
    const FEW: usize = 30;
    /// Up to so many hosts and VMs, all solutions are looked at.
    const TINY: usize = 10;
    /// From so many hosts on, a start is drafted before anything is routed.
    const DRAFTED: usize = 200;
    /// Time per VM below which a draft isn't worth its share.
    const DRAFT_TIME: Duration = Duration::from_millis(4);
    /// Starting temperature of walks over routes alone, as a multiple of the mean bandwidth of a demand,
    /// given a millisecond per demand.
    const ROUTING_HEAT: f64 = 20.0;
    /// Passes over routes before a walk, which then does more than further ones.
    const PASSES: usize = 3;
    /// Moves per VM in a first trial without which there is no second.
    const FEW_MOVES: u64 = 60;
    /// Starting temperatures that are tried, as multiples of the mean loss of a bad move.
    const HEATS: [f64; 4] = [0.02, 0.12, 0.6, 2.0];

    pub(crate) fn new(fixed: &'f Fixed<'f>, objective: &'f dyn Objective, seed: u64) -> Self {
        let state = State::empty(fixed, objective);
        Self {
            routes: Routes::new(&fixed.net, fixed.has_latency_bounds),
            finder: Finder::new(&fixed.net),
            pool: Pool::new(fixed.mean_bandwidth),
            turn: Turn::new(&fixed.net),
            leg: Vec::new(),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            best: Snapshot { value: f64::NEG_INFINITY, ..Snapshot::default() },
            elite: Vec::new(),
            moves: 0,
            proven: false,
            judges_ahead: objective.is_monotone(),
            promising: construct::promising_hosts(fixed),
            state,
            objective,
            fixed,
        }
    }

    /// Keeps the present state if it is the best so far.
    pub(crate) fn keep(&mut self) {
        let better = (self.state.is_feasible(), self.state.value()) > (self.best.feasible, self.best.value);
        if better || self.best.host.is_empty() {
            self.best = Snapshot::of(&self.state);
        }
    }

    pub(crate) fn back_to(&mut self, snapshot: &Snapshot) {
        self.state.restore(&snapshot.host, &snapshot.paths);
    }

    /// Constructs starts for up to a tenth of the time; the best is kept.
    fn start(&mut self, run: &mut Run<'_>) {
        if self.fixed.movable.is_empty() {
            self.construct(0, run);
            self.keep();
            return;
        }
        for index in 0..Self::STARTS {
            if index > 0 && (run.is_cancelled() || run.elapsed() > run.limit() / 10) {
                break;
            }
            self.construct(index, run);
            if !self.state.is_feasible() {
                mend_routes(&mut self.state, &mut self.finder, run);
            }
            self.keep();
        }
        let hasty = run.limit() < Self::DRAFT_TIME * self.fixed.movable.len() as u32;
        if self.fixed.net.hosts >= Self::DRAFTED && !hasty && run.elapsed() < run.limit() / 5 {
            self.draft(run);
        }
    }

    /// Whether looking at all solutions is worth a try.
    fn is_tiny(&self) -> bool {
        self.judges_ahead && self.fixed.net.hosts <= Self::TINY && self.fixed.movable.len() <= Self::TINY
    }

    fn place(&mut self, run: &mut Run<'_>) {
        let start = self.best.clone();
        tracing::debug!(value = start.value, feasible = start.feasible, elapsed = ?run.elapsed(), "start");
        let begin = run.elapsed();
        let total = run.limit().saturating_sub(begin);
        let mean_loss = self.mean_loss(&start, false);
        // Trials of a sixteenth of the time each find the heat; the rest is for the best one.
        let mut best = (Snapshot { value: f64::NEG_INFINITY, ..Snapshot::default() }, Self::HEATS[1]);
        for (index, heat) in Self::HEATS.into_iter().enumerate() {
            let end = begin + total * (index as u32 + 1) / 16;
            self.back_to(&start);
            let reached = self.walk(Schedule::cooling(mean_loss, heat, run.elapsed(), end), run);
            tracing::debug!(heat, value = reached.value, moves = self.moves, "trial");
            // The main rounds are longer than a trial, which favours more heat.
            let near = reached.feasible && reached.value > best.0.value - 0.004 * best.0.value.abs();
            if best.0.host.is_empty() || reached.beats(&best.0) || near {
                best = (reached, heat);
            }
            // So little time that any of it is better spent on the search itself.
            if self.moves < Self::FEW_MOVES * self.fixed.movable.len() as u64 {
                break;
            }
        }
        // More time allows for more heat than a trial. Each round takes a share of the time that is left.
        let few = self.fixed.movable.len() <= Self::FEW;
        let rounds = if few {
            [(0.25, best.1), (0.22, 2.0 * best.1), (0.14, 0.3 * best.1)]
        } else {
            [(0.42, best.1), (0.71, 2.0 * best.1), (1.0, 0.3 * best.1)]
        };
        for (index, (share, heat)) in rounds.into_iter().enumerate() {
            if self.proven {
                break;
            }
            let from = self.best.clone();
            self.back_to(&from);
            let now = run.elapsed();
            // A repair comes after, should it be needed.
            let share = if from.feasible { share } else { f64::min(share, 0.7) };
            let end = now + run.limit().saturating_sub(now).mul_f64(share);
            if now < end {
                let reached = self.walk(Schedule::cooling(mean_loss, heat, now, end), run);
                tracing::debug!(heat, value = reached.value, moves = self.moves, "round");
            }
            // An answer at all comes first, but where there is some slack a walk is the faster way to one,
            // above all in large networks.
            if index > 1 || self.fixed.net.hosts < Self::DRAFTED {
                self.repair_or_prove(0.7, run);
            }
        }
        if few {
            self.polish_elite(run);
        }
        self.finish(run);
    }

    /// Routes the best mappings met anew, in rounds: the better half of each gets twice the time
    /// in the next. A walk over mappings judges each by a routing that had little time.
    fn polish_elite(&mut self, run: &mut Run<'_>) {
        let mut elite = std::mem::take(&mut self.elite);
        if self.best.feasible {
            elite.retain(|snapshot| snapshot.host != self.best.host);
            elite.push(self.best.clone());
        }
        let mut first = true;
        while !elite.is_empty() && !run.is_over() {
            let rounds = elite.len().ilog2() + 1;
            let begin = run.elapsed();
            let slice = run.limit().saturating_sub(begin) / rounds / elite.len() as u32;
            for (index, snapshot) in elite.iter_mut().enumerate() {
                self.back_to(snapshot);
                let mean_loss = self.mean_loss(snapshot, true);
                let end = begin + slice * (index as u32 + 1);
                let schedule = Schedule::cooling(mean_loss, 0.3, run.elapsed(), end).of_routes();
                *snapshot = self.walk(schedule, run);
            }
            elite.sort_by(|x, y| y.value.total_cmp(&x.value));
            tracing::debug!(
                count = elite.len(),
                best = elite[0].value,
                worst = elite[elite.len() - 1].value,
                moves = self.moves,
                "elite"
            );
            if first && self.is_tiny() {
                self.elite.clone_from(&elite);
            }
            first = false;
            elite.truncate(elite.len() / 2);
        }
    }

    /// Walks around a good state: with enough heat to leave it for a better one, then with less and less.
    pub(crate) fn walk_near(&mut self, start: &Snapshot, run: &mut Run<'_>) {
        if self.fixed.movable.is_empty() {
            return;
        }
        let mean_loss = self.mean_loss(start, false);
        for (heat, share) in [(0.02, 0.2), (0.6, 0.4), (0.12, 0.5), (0.02, 1.0)] {
            let from = self.best.clone();
            self.back_to(&from);
            let now = run.elapsed();
            let end = now + run.limit().saturating_sub(now).mul_f64(share);
            self.walk(Schedule::cooling(mean_loss, heat, now, end), run);
        }
    }

    /// Drafts a mapping for up to a tenth of the time, then routes it.
    fn draft(&mut self, run: &mut Run<'_>) {
        let mut draft = Draft::new(self.fixed, self.objective);
        draft.grow(&self.promising);
        let begin = run.elapsed();
        draft.anneal(begin + run.limit().saturating_sub(begin) / 10, run, &mut self.rng);
        self.clear();
        for (vm, host) in (0..).zip(draft.host) {
            self.put(vm, host);
        }
        if !self.state.is_feasible() {
            mend_routes(&mut self.state, &mut self.finder, run);
        }
        let (value, feasible) = (self.state.value(), self.state.is_feasible());
        tracing::debug!(value, feasible, elapsed = ?run.elapsed(), "drafted");
        self.keep();
    }

    fn route_only(&mut self, run: &mut Run<'_>) {
        let half = run.limit() / 2;
        improve_routes(&mut self.state, &mut self.finder, &mut self.pool, run, half, Self::PASSES);
        self.keep();
        let begin = run.elapsed();
        tracing::debug!(value = self.best.value, elapsed = ?begin, "routed");
        if run.is_over() || self.fixed.from.is_empty() {
            return;
        }
        // Little time allows for little heat.
        let time = run.limit().saturating_sub(begin).as_secs_f64() / self.fixed.from.len().max(1) as f64;
        let heat = Self::ROUTING_HEAT * (time / 1e-3).clamp(0.2, 1.0);
        let schedule = Schedule::cooling(self.fixed.mean_bandwidth, heat, begin, run.limit());
        self.walk(schedule.of_routes(), run);
        tracing::debug!(value = self.best.value, moves = self.moves, "walked");
        self.finish(run);
    }

    /// Goes back to the best state, for a last pass over its routes.
    pub(crate) fn finish(&mut self, run: &mut Run<'_>) {
        let (best, end) = (self.best.clone(), run.limit());
        self.back_to(&best);
        improve_routes(&mut self.state, &mut self.finder, &mut self.pool, run, end, 1);
        self.keep();
    }

    fn into_solution(mut self) -> Solution {
        let best = std::mem::take(&mut self.best);
        self.back_to(&best);
        self.state.solution()
    }
}
