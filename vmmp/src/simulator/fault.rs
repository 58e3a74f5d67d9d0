//! Which faults happen, and when.

use super::random::Random;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The party crashes before the action.
    CrashBefore,
    /// The party crashes after the action.
    CrashAfter,
    /// The message is lost, as by a cut.
    Lose,
    /// The message takes up to 100 seconds.
    Delay,
    /// The message arrives twice, the second time up to 100 seconds later.
    Double,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::CrashBefore, Self::CrashAfter, Self::Lose, Self::Delay, Self::Double];

    fn is_of_messages(self) -> bool {
        matches!(self, Self::Lose | Self::Delay | Self::Double)
    }
}

/// Which faults happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Faults {
    /// None.
    None,
    /// One, at one of the numbered steps (actions of all parties, in order).
    At {
        /// The step, from 0.
        step: u64,
        /// The fault; one of messages does nothing at another action.
        fault: Fault,
    },
    /// Any, at random.
    Random {
        /// From which everything follows.
        seed: u64,
        /// How many of a thousand steps have one.
        per_thousand: u64,
    },
}

pub(super) struct Injector {
    faults: Faults,
    step: u64,
    count: u64,
    has_ended: bool,
}

impl Injector {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, step: 0, count: 0, has_ended: false }
    }

    /// The fault of the next step.
    pub(super) fn next(&mut self, is_message: bool, random: &mut Random) -> Option<Fault> {
        let step = self.step;
        self.step += 1;
        if self.has_ended {
            return None;
        }
        let fault = match self.faults {
            Faults::At { step: at, fault } if at == step => Some(fault),
            Faults::Random { per_thousand, .. } if random.below(1000) < per_thousand => {
                Some(Fault::ALL[random.below(Fault::ALL.len() as u64) as usize])
            }
            _ => None,
        };
        let fault = fault.filter(|fault| is_message || !fault.is_of_messages());
        self.count += u64::from(fault.is_some());
        fault
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults
    }

    pub(super) fn steps(&self) -> u64 {
        self.step
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn is_random(&self) -> bool {
        matches!(self.faults, Faults::Random { .. })
    }

    /// Is the course of events written down? It costs more than all else.
    pub(super) fn is_noting(&self) -> bool {
        !self.is_random() || std::env::var_os("VMMP_SIMULATOR_LOG").is_some()
    }
}
