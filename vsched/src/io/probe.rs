//! Which mechanisms this host offers to this process.

use std::fmt;
use std::sync::Arc;

use crate::io::cgroup::CgroupMechanism;
use crate::io::deadline::DeadlineMechanism;
use crate::io::journal::Journal;
use crate::io::signal::SignalMechanism;
use crate::mechanism::{Limits, Mechanism, MechanismError, MechanismKind};
use crate::simulated::Simulated;

/// What came of trying a mechanism.
#[derive(Debug)]
pub struct Probed {
    /// The mechanism.
    pub kind: MechanismKind,
    /// How good it is here, or why it can't be used.
    pub found: Result<Limits, MechanismError>,
}

/// None of the mechanisms can be used.
#[derive(Debug)]
pub struct NoMechanism(pub Vec<Probed>);

impl fmt::Display for NoMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no mechanism can be used here; nothing was changed")?;
        for probed in &self.0 {
            if let Err(error) = &probed.found {
                write!(f, "\n  {error}")?;
            }
        }
        write!(f, "\nwhat remains without privileges: `vsched check` and `vsched simulate`")
    }
}

impl std::error::Error for NoMechanism {}

/// Tries every real mechanism, the best first. Nothing stays changed.
pub fn probe(journal: &Arc<Journal>) -> Vec<Probed> {
    let found = |kind| Probed { kind, found: open(kind, journal).map(|mechanism| mechanism.limits()) };
    MechanismKind::BY_PREFERENCE.into_iter().map(found).collect()
}

/// Opens one mechanism.
pub fn open(kind: MechanismKind, journal: &Arc<Journal>) -> Result<Box<dyn Mechanism>, MechanismError> {
    let journal = Arc::clone(journal);
    Ok(match kind {
        MechanismKind::Signal => Box::new(SignalMechanism::new(journal)?),
        MechanismKind::Deadline => Box::new(DeadlineMechanism::new(journal)?),
        MechanismKind::Cgroup => Box::new(CgroupMechanism::new(journal)?),
        MechanismKind::Simulated => Box::new(Simulated::new()),
    })
}

/// Opens the best mechanism that can be used; what was tried before it comes with it.
pub fn choose(journal: &Arc<Journal>) -> Result<(Box<dyn Mechanism>, Vec<Probed>), NoMechanism> {
    let mut tried = Vec::new();
    for kind in MechanismKind::BY_PREFERENCE {
        match open(kind, journal) {
            Ok(mechanism) => return Ok((mechanism, tried)),
            Err(error) => tried.push(Probed { kind, found: Err(error) }),
        }
    }
    Err(NoMechanism(tried))
}
