//! The states of a VM at one host, and what may be done in each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a VM is at one host. A VM that a host doesn't know has no state there.
///
/// ```text
///            create, register          receive
///                  |                      |
///                  v                      v
///   +--------> Stopped --start--> Running <--arrive-- Incoming --abandon--> (unknown)
///   |             ^                | | ^
///   |             +------stop------+ | +--resume--+
///   |                                |            |
///   |          Departed <--hand over-+--suspend-> Suspended
///   |              |                      ^            |
///   +--take back---+---(to what it was)---+----stop----+--> Stopped
/// ```
///
/// Stopped, Suspended and Departed VMs may be unregistered (their files stay)
/// or deleted (they don't).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Known here, and off.
    Stopped,
    /// Its programs run here.
    Running,
    /// Its programs stand still; what they have in memory is kept.
    Suspended,
    /// It is arriving from another host, live; it doesn't run here yet.
    Incoming,
    /// It was handed over to another host, and must not run here any more,
    /// unless that host says that it doesn't have it.
    Departed,
}

/// What can be done with a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Make it, from a configuration.
    Create,
    /// Make it known, from files that are here.
    Register,
    /// Forget it and keep its files.
    Unregister,
    /// Turn it on.
    Start,
    /// Turn it off.
    Stop,
    /// Let it stand still and keep its memory.
    Suspend,
    /// Let it go on.
    Resume,
    /// Remove it and its files.
    Delete,
    /// Get ready for its live arrival.
    Receive,
    /// It has arrived and runs.
    Arrive,
    /// It won't arrive.
    Abandon,
    /// Let another host have it.
    HandOver,
    /// Have it again, as the other host doesn't.
    TakeBack,
}

/// An operation that a VM's state forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't {operation} a VM that is {}; {}", Shown(*.state), Legal(*.state))]
pub struct IllegalTransition {
    /// The state; `None`: not known at this host.
    pub state: Option<State>,
    /// What was asked for.
    pub operation: Operation,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Register,
        Self::Unregister,
        Self::Start,
        Self::Stop,
        Self::Suspend,
        Self::Resume,
        Self::Delete,
        Self::Receive,
        Self::Arrive,
        Self::Abandon,
        Self::HandOver,
        Self::TakeBack,
    ];

    /// Is it legal in this state (`None`: of a VM not known at this host)?
    pub const fn is_legal(self, state: Option<State>) -> bool {
        use State::{Departed, Incoming, Running, Stopped, Suspended};
        match self {
            Self::Create | Self::Register | Self::Receive => state.is_none(),
            Self::Start => matches!(state, Some(Stopped)),
            Self::Stop => matches!(state, Some(Running | Suspended)),
            Self::Suspend => matches!(state, Some(Running)),
            Self::Resume => matches!(state, Some(Suspended)),
            Self::Arrive | Self::Abandon => matches!(state, Some(Incoming)),
            Self::HandOver => matches!(state, Some(Running | Suspended | Stopped)),
            Self::TakeBack => matches!(state, Some(Departed)),
            Self::Unregister | Self::Delete => matches!(state, Some(Stopped | Suspended | Departed)),
        }
    }

    /// The operation, if it is legal in this state.
    pub const fn check(self, state: Option<State>) -> Result<(), IllegalTransition> {
        if self.is_legal(state) { Ok(()) } else { Err(IllegalTransition { state, operation: self }) }
    }

    /// What is legal in a state (`None`: of a VM not known at this host).
    pub fn legal_in(state: Option<State>) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |operation| operation.is_legal(state))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Incoming => "incoming",
            Self::Departed => "departed",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create",
            Self::Register => "register",
            Self::Unregister => "unregister",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Delete => "delete",
            Self::Receive => "receive",
            Self::Arrive => "finish the arrival of",
            Self::Abandon => "abandon the arrival of",
            Self::HandOver => "hand over",
            Self::TakeBack => "take back",
        })
    }
}

struct Shown(Option<State>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(state) => state.fmt(f),
            None => f.write_str("not known here"),
        }
    }
}

struct Legal(Option<State>);

impl fmt::Display for Legal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("you can ")?;
        for (i, operation) in Operation::legal_in(self.0).enumerate() {
            write!(f, "{}{operation}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(" it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_left_and_errors_say_how() {
        use State::{Departed, Incoming, Running, Stopped, Suspended};
        for state in [None, Some(Stopped), Some(Running), Some(Suspended), Some(Incoming), Some(Departed)] {
            assert!(Operation::legal_in(state).next().is_some());
            for operation in Operation::ALL {
                assert_eq!(operation.check(state).is_ok(), operation.is_legal(state));
            }
        }
        let error = Operation::Delete.check(Some(Running)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "can't delete a VM that is running; you can stop, suspend, hand over it"
        );
        let error = Operation::Start.check(None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "can't start a VM that is not known here; you can create, register, receive it"
        );
    }

    #[test]
    fn what_runs_elsewhere_or_not_yet_here_cannot_be_started() {
        for operation in [Operation::Start, Operation::Resume] {
            assert!(!operation.is_legal(Some(State::Departed)));
            assert!(!operation.is_legal(Some(State::Incoming)));
        }
    }
}
