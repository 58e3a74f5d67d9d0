//! Earliest deadline first on one core, over a clock that the caller keeps.
//!
//! The simulator and the real-time scheduler run this same policy: times and
//! consumed CPU time go in, and out comes which task is to run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::reservation::Reservation;

/// A task of an [`Edf`]; keys of removed tasks are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u32);

impl Key {
    /// A small number: fewer than there have ever been tasks at once.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

/// The policy of one core. All times are nanoseconds of the caller's clock.
///
/// ```
/// use std::time::Duration;
/// use vsched::Reservation;
/// use vsched::edf::{Charged, Edf};
///
/// let ms = Duration::from_millis;
/// let mut edf = Edf::new();
/// let slow = edf.insert(&Reservation::new(ms(100), ms(30))?, 0);
/// let fast = edf.insert(&Reservation::new(ms(10), ms(5))?, 0);
/// while edf.release_due(0).is_some() {}
/// assert_eq!(edf.top(), Some(fast));
/// assert_eq!(edf.charge(fast, 5_000_000), Charged::Exhausted);
/// assert_eq!(edf.top(), Some(slow));
/// assert_eq!(edf.next_release(), Some(10_000_000));
/// # Ok::<(), vsched::ReservationError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Edf {
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
    /// The start of each task's next period.
    releases: BinaryHeap<Reverse<(u64, u32)>>,
    /// Deadlines of tasks with budget; entries of jobs that have ended are skipped.
    ready: BinaryHeap<Reverse<(u64, u32)>>,
    /// The part of a slice by which a later one may differ to make up for it, in 1/1000.
    repay_per_mille: u64,
}

#[derive(Clone, Debug)]
struct Job {
    parameters: Parameters,
    /// What holds from the next period on.
    next: Option<Parameters>,
    deadline: u64,
    next_release: u64,
    /// What may still be used in this period; below 0: too much was used.
    budget: i64,
    /// What earlier periods have given too little (above 0) or too much.
    owed: i64,
    last_left: i64,
    ready: bool,
    /// The task had no use for what it didn't get.
    sated: bool,
    started: bool,
}

#[derive(Clone, Copy, Debug)]
struct Parameters {
    period: u64,
    slice: u64,
    deadline: u64,
}

impl From<&Reservation> for Parameters {
    fn from(reservation: &Reservation) -> Self {
        Self {
            period: reservation.period_ns(),
            slice: reservation.slice_ns(),
            deadline: reservation.deadline_ns(),
        }
    }
}

/// A task has started a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The task.
    pub key: Key,
    /// When the period started.
    pub at: u64,
    /// What the task still wanted of its last slice: above 0, it missed its deadline.
    pub missed: u64,
    /// By how much it used more than its last slice.
    pub overrun: u64,
    /// The task had no period before this.
    pub first: bool,
}

/// What is left after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charged {
    /// The task may run on.
    Left,
    /// The task must stop until its next period.
    Exhausted,
}

impl Edf {
    /// Slices are what was reserved; what is missed is lost.
    pub fn new() -> Self {
        Self::default()
    }

    /// Slices vary by up to `per_mille` thousandths, to make up for what earlier ones have got
    /// too little or too much.
    pub fn with_repayment(per_mille: u32) -> Self {
        Self { repay_per_mille: per_mille.into(), ..Self::default() }
    }

    /// A task whose first period starts at `first_release`.
    pub fn insert(&mut self, reservation: &Reservation, first_release: u64) -> Key {
        let job = Job {
            parameters: reservation.into(),
            next: None,
            deadline: first_release,
            next_release: first_release,
            budget: 0,
            owed: 0,
            last_left: 0,
            ready: false,
            sated: false,
            started: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.jobs[index as usize] = Some(job);
                index
            }
            None => {
                self.jobs.push(Some(job));
                (self.jobs.len() - 1) as u32
            }
        };
        self.releases.push(Reverse((first_release, index)));
        Key(index)
    }

    /// The task is gone.
    pub fn remove(&mut self, key: Key) {
        if self.jobs.get_mut(key.index()).and_then(Option::take).is_some() {
            self.releases.retain(|Reverse((_, index))| *index != key.0);
            self.ready.retain(|Reverse((_, index))| *index != key.0);
            self.free.push(key.0);
        }
    }

    /// From the task's next period on, `reservation` holds.
    pub fn set(&mut self, key: Key, reservation: &Reservation) {
        if let Some(job) = self.job_mut(key) {
            job.next = Some(reservation.into());
        }
    }

    /// Moves the start of the task's next period.
    pub fn set_next_release(&mut self, key: Key, at: u64) {
        let Some(job) = self.job_mut(key) else { return };
        job.next_release = at;
        self.releases.retain(|Reverse((_, index))| *index != key.0);
        self.releases.push(Reverse((at, key.0)));
    }

    /// Starts the earliest period that is due by `now`; to be called until there is none.
    pub fn release_due(&mut self, now: u64) -> Option<Release> {
        let &Reverse((at, index)) = self.releases.peek()?;
        if at > now {
            return None;
        }
        let repay = self.repay_per_mille;
        let job = self.jobs.get_mut(index as usize)?.as_mut()?;
        let release = job.start_period(Key(index), at, repay);
        if let Some(mut top) = self.releases.peek_mut() {
            top.0.0 = job.next_release;
        }
        self.ready.push(Reverse((job.deadline, index)));
        Some(release)
    }

    /// The task whose period is to start next, if that is due by `now`.
    pub fn due(&self, now: u64) -> Option<Key> {
        self.releases.peek().filter(|Reverse((at, _))| *at <= now).map(|Reverse((_, index))| Key(*index))
    }

    /// When the next period of any task starts.
    pub fn next_release(&self) -> Option<u64> {
        self.releases.peek().map(|Reverse((at, _))| *at)
    }

    /// The task has used `used` of its budget.
    pub fn charge(&mut self, key: Key, used: u64) -> Charged {
        self.charge_within(key, used, 0)
    }

    /// The task has used `used` of its budget; less than `tolerance` is not worth going on for.
    pub fn charge_within(&mut self, key: Key, used: u64, tolerance: u64) -> Charged {
        let Some(job) = self.job_mut(key) else { return Charged::Exhausted };
        job.budget = job.budget.saturating_sub_unsigned(used);
        if job.budget > tolerance as i64 {
            return Charged::Left;
        }
        job.ready = false;
        Charged::Exhausted
    }

    /// The task has ended its work for this period.
    pub fn complete(&mut self, key: Key) {
        if let Some(job) = self.job_mut(key) {
            job.ready = false;
            job.sated = true;
        }
    }

    /// Whether the task has, of late, had all the CPU that it has use for.
    pub fn set_sated(&mut self, key: Key, sated: bool) {
        if let Some(job) = self.job_mut(key) {
            job.sated = sated;
        }
    }

    /// The task to run: the one with budget whose deadline comes first.
    pub fn top(&mut self) -> Option<Key> {
        while let Some(&Reverse((deadline, index))) = self.ready.peek() {
            match self.jobs.get(index as usize) {
                Some(Some(job)) if job.ready && job.deadline == deadline => return Some(Key(index)),
                _ => self.ready.pop(),
            };
        }
        None
    }

    /// All tasks with budget, the earliest deadline first.
    pub fn ready_in_order(&self, into: &mut Vec<Key>) {
        into.clear();
        into.extend((0..self.jobs.len() as u32).map(Key).filter(|key| self.is_ready(*key)));
        into.sort_unstable_by_key(|key| (self.deadline(*key), *key));
    }

    /// Whether the task has budget.
    pub fn is_ready(&self, key: Key) -> bool {
        self.job(key).is_some_and(|job| job.ready)
    }

    /// What the task may still use in this period; below 0: what it used too much.
    pub fn budget(&self, key: Key) -> i64 {
        self.job(key).map_or(0, |job| job.budget)
    }

    /// When the task's present slice must have been had.
    pub fn deadline(&self, key: Key) -> u64 {
        self.job(key).map_or(u64::MAX, |job| job.deadline)
    }

    /// When the task's next period starts.
    pub fn next_release_of(&self, key: Key) -> Option<u64> {
        self.job(key).map(|job| job.next_release)
    }

    /// What was left of the last slice when the period ended; below 0: what was used too much.
    pub fn last_left(&self, key: Key) -> i64 {
        self.job(key).map_or(0, |job| job.last_left)
    }

    /// The slice that holds in the present period.
    pub fn slice(&self, key: Key) -> u64 {
        self.job(key).map_or(0, |job| job.parameters.slice)
    }

    fn job(&self, key: Key) -> Option<&Job> {
        self.jobs.get(key.index())?.as_ref()
    }

    fn job_mut(&mut self, key: Key) -> Option<&mut Job> {
        self.jobs.get_mut(key.index())?.as_mut()
    }
}

impl Job {
    fn start_period(&mut self, key: Key, at: u64, repay_per_mille: u64) -> Release {
        let left = if self.sated { self.budget.min(0) } else { self.budget };
        let release = Release {
            key,
            at,
            missed: u64::try_from(left).unwrap_or(0),
            overrun: left.min(0).unsigned_abs(),
            first: !self.started,
        };
        self.last_left = self.budget;
        if let Some(next) = self.next.take() {
            self.parameters = next;
        }
        let Parameters { period, slice, deadline } = self.parameters;
        self.budget = slice as i64;
        if repay_per_mille > 0 {
            // More than one slice is not made up for: a late catch-up helps nobody.
            self.owed = (self.owed + left).clamp(-(slice as i64), slice as i64);
            let most = (slice * repay_per_mille / 1000) as i64;
            let now = self.owed.clamp(-most, most);
            self.owed -= now;
            self.budget += now;
        }
        self.deadline = at + deadline;
        self.next_release = at + period;
        self.ready = true;
        self.sated = false;
        self.started = true;
        release
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn us(period: u64, slice: u64) -> Reservation {
        Reservation::new(Duration::from_micros(period), Duration::from_micros(slice)).unwrap()
    }

    fn release_all(edf: &mut Edf, now: u64) -> Vec<Release> {
        std::iter::from_fn(|| edf.release_due(now)).collect()
    }

    #[test]
    fn a_new_reservation_holds_from_the_next_period_on() {
        let mut edf = Edf::new();
        let key = edf.insert(&us(1000, 500), 0);
        release_all(&mut edf, 0);
        edf.set(key, &us(2000, 100));
        assert_eq!(edf.budget(key), 500_000);
        release_all(&mut edf, 1_000_000);
        assert_eq!((edf.budget(key), edf.next_release()), (100_000, Some(3_000_000)));
    }

    #[test]
    fn what_was_missed_and_overrun_is_told_and_made_up_for() {
        let mut edf = Edf::with_repayment(10);
        let key = edf.insert(&us(1000, 500), 0);
        assert!(release_all(&mut edf, 0)[0].first);
        assert_eq!(edf.charge(key, 520_000), Charged::Exhausted);
        assert_eq!(release_all(&mut edf, 1_000_000)[0].overrun, 20_000);
        // 1 % at a time: 20 us take four periods.
        for period in 2..6 {
            assert_eq!(edf.budget(key), 495_000);
            edf.charge(key, 495_000);
            assert_eq!(release_all(&mut edf, period * 1_000_000)[0].overrun, 0);
        }
        assert_eq!(edf.budget(key), 500_000);
        edf.charge(key, 480_000);
        assert_eq!(release_all(&mut edf, 6_000_000)[0].missed, 20_000);
        assert_eq!(edf.budget(key), 505_000);
    }

    #[test]
    fn a_sated_task_is_owed_nothing() {
        let mut edf = Edf::with_repayment(10);
        let key = edf.insert(&us(1000, 500), 0);
        release_all(&mut edf, 0);
        edf.set_sated(key, true);
        assert_eq!(release_all(&mut edf, 1_000_000)[0].missed, 0);
        assert_eq!(edf.budget(key), 500_000);
    }

    #[test]
    fn periods_that_were_slept_through_are_all_told() {
        let mut edf = Edf::new();
        edf.insert(&us(1000, 500), 0);
        let released = release_all(&mut edf, 3_500_000);
        assert_eq!(released.iter().map(|r| r.missed).collect::<Vec<_>>(), [0, 500_000, 500_000, 500_000]);
        assert_eq!(edf.next_release(), Some(4_000_000));
    }

    #[test]
    fn keys_are_used_again_and_old_entries_do_no_harm() {
        let mut edf = Edf::new();
        let first = edf.insert(&us(1000, 500), 0);
        release_all(&mut edf, 0);
        edf.remove(first);
        assert_eq!((edf.top(), edf.next_release()), (None, None));
        let second = edf.insert(&us(400, 100), 7);
        assert_eq!((first, edf.top(), edf.next_release()), (second, None, Some(7)));
    }
}
