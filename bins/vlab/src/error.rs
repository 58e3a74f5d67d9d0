//! What can go wrong with a laboratory that was entered.

use std::io;

use crate::spec::SpecError;

/// Why something in the laboratory failed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// [`enter`](crate::enter()) was not called.
    #[error("this program is not in a laboratory: call vlab::enter() first thing in main")]
    NotEntered,
    /// The description is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// TAP devices are wanted but can't be made.
    #[error("cannot open /dev/net/tun ({source}): {remedy}, or use veth NICs (VLAB_NICS=veth)")]
    Tun {
        /// What the kernel answered.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The environment variable `VLAB_NICS` says something else than it may.
    #[error("VLAB_NICS is `{value}`; it may be auto, tap or veth")]
    NicsVariable {
        /// What it says.
        value: String,
    },
    /// Another laboratory of this program has a host or VM with this name.
    #[error("`{name}` is in use by another laboratory of this program; drop that one first")]
    NameInUse {
        /// The name.
        name: String,
    },
    /// A host or VM can't be made, or something can't be done with it.
    #[error("{machine}: cannot {action}: {source}")]
    Machine {
        /// The host or VM.
        machine: String,
        /// What was tried.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The network can't be started.
    #[error("cannot start the emulated network: {0}")]
    Network(#[source] io::Error),
    /// No host, site or VM has this name.
    #[error("no {kind} is named `{name}`; there are {known}")]
    Unknown {
        /// `host`, `VM`, `site or host`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// Two names that no path can be between.
    #[error("`{a}` and `{b}` are not the ends of a path: give two sites, or two hosts")]
    NotAPath {
        /// One name.
        a: String,
        /// The other.
        b: String,
    },
}

impl LabError {
    pub(crate) fn unknown<N: ToString>(
        kind: &'static str,
        name: impl ToString,
        known: impl Iterator<Item = N>,
    ) -> Self {
        let known: Vec<_> = known.map(|n| n.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Self::Unknown { kind, name: name.to_string(), known }
    }
}

/// Says which machine failed at what.
pub(crate) trait Context<T> {
    fn at(self, machine: &str, action: impl Into<String>) -> Result<T, LabError>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, machine: &str, action: impl Into<String>) -> Result<T, LabError> {
        self.map_err(|source| LabError::Machine {
            machine: machine.to_owned(),
            action: action.into(),
            source,
        })
    }
}
