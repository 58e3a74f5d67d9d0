//! Which task runs on which core.
//!
//! Tasks don't migrate between cores ("partitioned" scheduling), so the exact
//! test of one core is all that a guarantee needs. A new task goes to the core
//! with the most room ("worst fit"), which spreads load and leaves running tasks
//! alone. Where that fails, all tasks are placed anew: largest share first, by
//! worst, best and first fit, then by a search with a bounded number of steps.

use crate::admission::{Reason, Refusal, admit};
use crate::capacity::Capacity;
use crate::reservation::Reservation;

/// How many placements of single tasks the search tries.
const SEARCH_STEPS: u32 = 20_000;

/// The core of each task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// For each task, in the order given, the index of its core.
    pub core_of: Vec<usize>,
}

/// Places `candidate` beside tasks that stay where they are: `(reservation, core)`.
///
/// Gives the core, or the refusal of the core where the largest slice would fit.
pub fn place_one(
    placed: &[(Reservation, usize)],
    candidate: &Reservation,
    cores: &[Capacity],
) -> Result<usize, Refusal> {
    let on = |core: usize| -> Vec<Reservation> {
        placed.iter().filter(|(_, at)| *at == core).map(|(task, _)| *task).collect()
    };
    let room = |core: usize| cores[core].fraction() - on(core).iter().map(Reservation::share).sum::<f64>();
    let mut by_room: Vec<usize> = (0..cores.len()).collect();
    by_room.sort_by(|a, b| room(*b).total_cmp(&room(*a)).then(a.cmp(b)));
    let mut nearest = Refusal { reason: Reason::NoCore, largest_slice: None };
    for core in by_room {
        match admit(&on(core), candidate, cores[core]) {
            Ok(()) => return Ok(core),
            Err(refusal) => {
                if nearest.reason == Reason::NoCore || refusal.largest_slice > nearest.largest_slice {
                    nearest = refusal;
                }
            }
        }
    }
    Err(nearest)
}

/// Places all `tasks` on `cores`. `None`: no placement was found.
pub fn place_all(tasks: &[Reservation], cores: &[Capacity]) -> Option<Placement> {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    // The scarcest first: most CPU before its deadline.
    let density = |task: &Reservation| task.slice().as_secs_f64() / task.deadline().as_secs_f64();
    order.sort_by(|a, b| density(&tasks[*b]).total_cmp(&density(&tasks[*a])).then(a.cmp(b)));
    let search = Search { tasks, cores, order };
    [Rule::Worst, Rule::Best, Rule::First]
        .into_iter()
        .find_map(|rule| search.greedily(rule))
        .or_else(|| search.exhaustively())
        .map(|core_of| Placement { core_of })
}

#[derive(Clone, Copy)]
enum Rule {
    Worst,
    Best,
    First,
}

struct Search<'a> {
    tasks: &'a [Reservation],
    cores: &'a [Capacity],
    order: Vec<usize>,
}

impl Search<'_> {
    fn greedily(&self, rule: Rule) -> Option<Vec<usize>> {
        let mut on: Vec<Vec<Reservation>> = vec![Vec::new(); self.cores.len()];
        let mut core_of = vec![0; self.tasks.len()];
        for &task in &self.order {
            let mut cores: Vec<usize> = (0..self.cores.len()).collect();
            let room = |core: &usize| {
                self.cores[*core].fraction() - on[*core].iter().map(Reservation::share).sum::<f64>()
            };
            match rule {
                Rule::Worst => cores.sort_by(|a, b| room(b).total_cmp(&room(a))),
                Rule::Best => cores.sort_by(|a, b| room(a).total_cmp(&room(b))),
                Rule::First => {}
            }
            let core = cores
                .into_iter()
                .find(|core| admit(&on[*core], &self.tasks[task], self.cores[*core]).is_ok())?;
            on[core].push(self.tasks[task]);
            core_of[task] = core;
        }
        Some(core_of)
    }

    fn exhaustively(&self) -> Option<Vec<usize>> {
        let mut on: Vec<Vec<Reservation>> = vec![Vec::new(); self.cores.len()];
        let mut core_of = vec![0; self.tasks.len()];
        let mut steps = 0;
        self.deeper(0, &mut on, &mut core_of, &mut steps).then_some(core_of)
    }

    fn deeper(&self, at: usize, on: &mut [Vec<Reservation>], core_of: &mut [usize], steps: &mut u32) -> bool {
        let Some(&task) = self.order.get(at) else { return true };
        for core in 0..self.cores.len() {
            // An empty core is like any earlier empty one of the same capacity.
            let seen = on[core].is_empty()
                && (0..core).any(|other| on[other].is_empty() && self.cores[other] == self.cores[core]);
            *steps += 1;
            if seen || *steps > SEARCH_STEPS || admit(&on[core], &self.tasks[task], self.cores[core]).is_err()
            {
                continue;
            }
            on[core].push(self.tasks[task]);
            core_of[task] = core;
            if self.deeper(at + 1, on, core_of, steps) {
                return true;
            }
            on[core].pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn percent(percent: u64) -> Reservation {
        Reservation::new(Duration::from_millis(100), Duration::from_millis(percent)).unwrap()
    }

    fn holds(tasks: &[Reservation], placement: &Placement, cores: &[Capacity]) -> bool {
        (0..cores.len()).all(|core| {
            let on = tasks.iter().zip(&placement.core_of).filter(|(_, at)| **at == core);
            on.map(|(task, _)| task.share()).sum::<f64>() <= cores[core].fraction() + 1e-9
        })
    }

    #[test]
    fn a_task_goes_where_most_room_is() {
        let cores = [Capacity::new(0.9).unwrap(); 2];
        let placed = [(percent(50), 0), (percent(30), 1)];
        assert_eq!(place_one(&placed, &percent(40), &cores), Ok(1));
        let refusal = place_one(&placed, &percent(80), &cores).unwrap_err();
        assert_eq!(refusal.largest_slice, Some(Duration::from_millis(60)));
        assert_eq!(place_one(&placed, &percent(1), &[]).unwrap_err().reason, Reason::NoCore);
    }

    #[test]
    fn the_search_finds_what_the_rules_miss() {
        // Two cores full to the last part: no rule by size alone finds it.
        let tasks = [41, 40, 24, 22, 21, 20, 16, 16].map(percent);
        let cores = [Capacity::WHOLE; 2];
        let placement = place_all(&tasks, &cores).unwrap();
        assert!(holds(&tasks, &placement, &cores), "{placement:?}");
    }

    proptest! {
        #[test]
        fn what_was_cut_from_whole_cores_is_placed(cuts in prop::collection::vec((1u64..100, 1u64..100), 1..4)) {
            let mut tasks = Vec::new();
            for (a, b) in &cuts {
                let (a, b) = (*a.min(b), *a.max(b));
                tasks.extend([a, b - a, 100 - b].into_iter().filter(|share| *share > 0).map(percent));
            }
            let cores = vec![Capacity::WHOLE; cuts.len()];
            let placement = place_all(&tasks, &cores);
            prop_assert!(placement.is_some_and(|placement| holds(&tasks, &placement, &cores)));
        }
    }
}
