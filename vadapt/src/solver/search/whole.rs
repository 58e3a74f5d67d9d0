//! Where a walk alone won't do: looking at all solutions, or at anything feasible.

use crate::run::Run;
use crate::solver::exact;
use crate::solver::search::{Searcher, Snapshot};

impl Searcher<'_> {
    /// Walks for a part of the time, then looks at all that could be better, and walks on if time
    /// was too short for that.
    pub(super) fn place_few(&mut self, run: &mut Run<'_>) {
        self.place(&mut run.part(run.limit() / 2, run.seed()));
        if !self.proven {
            let left = run.limit().saturating_sub(run.elapsed());
            self.look_at_all(&mut run.part(left / 2, run.seed()));
        }
        if !self.proven {
            self.place(run);
        }
    }

    /// Where there is no feasible state yet, looks for one for a `share` of the time that is left, or for a proof
    /// that there is none.
    pub(super) fn repair_or_prove(&mut self, share: f64, run: &mut Run<'_>) {
        let left = |run: &Run<'_>| run.limit().saturating_sub(run.elapsed()).mul_f64(share);
        if !self.best.feasible {
            self.repair(run.elapsed() + left(run), run);
        }
        if !self.best.feasible && self.judges_ahead && !self.proven {
            self.look_at_all(&mut run.part(left(run), run.seed()));
        }
    }

    /// Looks at all that is better than the best state, the best mappings met first.
    pub(super) fn look_at_all(&mut self, run: &mut Run<'_>) {
        let known = self.best.feasible.then_some(self.best.value);
        let mut elite: Vec<Snapshot> = std::mem::take(&mut self.elite);
        elite.sort_by(|x, y| y.value.total_cmp(&x.value));
        let promising: Vec<Vec<u32>> = elite.into_iter().map(|snapshot| snapshot.host).collect();
        let proof = exact::prove(self.fixed, self.objective, known, &promising, run);
        if let Some((hosts, paths)) = proof.better {
            self.state.restore(&hosts, &paths);
            self.keep();
        }
        self.proven = proof.complete;
    }
}
