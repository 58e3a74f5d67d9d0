//! What ordinary processes must have, so that the kernel doesn't take it.
//!
//! Linux guards ordinary processes against real-time ones: on a core where they want
//! the CPU and have had less than 50 ms of it in a second, they are given what is missing
//! at once, before every real-time process, ourselves included (the fair server of
//! `kernel/sched/deadline.c`, since Linux 6.12). Where 95 % of a core are reserved, all
//! slices of 50 ms are then late, once a second.
//!
//! What counts is the time in which an ordinary process runs, whichever it is. So where
//! they get too little, a task runs a part of its slice as an ordinary process, the most favoured
//! one (nice -20). Others of its group of processes take some 1 % of that part from it, those
//! of other groups perhaps all: so the parts are short, and what is left of the core in a
//! period makes up for them.

/// The part of the time that ordinary processes are to run: some more than the kernel asks for.
const PER_MILLE: i64 = 54;

/// How long a task is ordinary at a time, in ns: less costs more wakeups, and more than is left of a
/// period may make a slice late.
pub(crate) const STINT: i64 = 330_000;

/// No more piles up: half of what the kernel gives in a second.
const MOST: i64 = 25_000_000;

/// No more is put by: the kernel begins a new second whenever it has given, or they have had, enough.
const MOST_AHEAD: i64 = 1_000_000;

/// Keeps the account of a core.
#[derive(Debug, Default)]
pub(crate) struct OrdinaryTime {
    /// What ordinary processes ought to have run beside what they did, in ns.
    owed: i64,
    /// The kernel doesn't let us do anything about it.
    hopeless: bool,
}

impl OrdinaryTime {
    /// Of `elapsed` ns, ordinary processes have run for `ordinary`.
    pub(crate) fn pass(&mut self, elapsed: u64, ordinary: u64) {
        let ought = elapsed as i64 * PER_MILLE / 1000;
        self.owed = (self.owed + ought - ordinary as i64).clamp(-MOST_AHEAD, MOST);
    }

    /// A task is to be ordinary for a [`STINT`].
    pub(crate) fn is_due(&self) -> bool {
        !self.hopeless && self.owed >= STINT
    }

    /// When, at the earliest, a task is to be ordinary, in ns from now.
    pub(crate) fn until_due(&self) -> u64 {
        if self.hopeless { u64::MAX } else { ((STINT - self.owed).max(0) * 1000 / PER_MILLE).cast_unsigned() }
    }

    /// A task could not be made ordinary.
    pub(crate) fn give_up(&mut self) {
        self.hopeless = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn what_ordinary_processes_lack_is_given_in_stints() {
        let mut time = OrdinaryTime::default();
        let (mut given, mut wait) = (0, 0);
        for _ in 0..100 {
            // Of each 10 ms, they get 0.3 anyway, and more where a task is ordinary.
            let stint = if time.is_due() { STINT.cast_unsigned() } else { 0 };
            assert_eq!(stint > 0, time.until_due() == 0);
            wait = if stint > 0 { 0 } else { wait + 1 };
            assert!(wait < 3);
            time.pass(10 * MS, 3 * MS / 10 + stint);
            given += stint;
        }
        assert!((23 * MS..25 * MS).contains(&given), "{given}");
    }

    #[test]
    fn neither_plenty_nor_want_is_remembered_for_long() {
        let mut time = OrdinaryTime::default();
        time.pass(10_000 * MS, 9_000 * MS);
        assert!(!time.is_due());
        assert!((23 * MS..26 * MS).contains(&time.until_due()));
        time.pass(500 * MS, 0);
        assert!(time.is_due());
        time.pass(10_000 * MS, 0);
        time.pass(27 * MS, 27 * MS);
        assert!(!time.is_due());
        time.pass(10 * MS, 0);
        time.give_up();
        assert_eq!((time.is_due(), time.until_due()), (false, u64::MAX));
    }
}
