//! One trait over virtual machine monitors, and drivers for three of them.
//!
//! A [`Driver`] makes, starts, stops, suspends, resumes and moves VMs. States and
//! their legal transitions are a type ([`State`], [`Operation`]), and what a monitor
//! can do is asked ([`Driver::capabilities`]), not assumed.
//!
//! ```
//! use std::time::Duration;
//! use vm_driver::{Driver, State, VmConfig, VmId, simulated};
//!
//! let folder = tempfile::tempdir()?;
//! let machine = simulated::Machine::new();
//! let driver = simulated::open(folder.path(), &machine)?;
//! let id = VmId::new("vm-1")?;
//! driver.create(&VmConfig::new(id.clone(), 64 << 20))?;
//! driver.start(&id)?;
//! machine.advance(Duration::from_secs(1));
//! driver.suspend(&id)?;
//! assert_eq!(driver.status(&id)?.state, State::Suspended);
//! driver.resume(&id)?;
//! assert_eq!(machine.ticks(&id), Some(1000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | driver | its VMs are | suspends | live |
//! | --- | --- | --- | --- |
//! | [`qemu`] | QEMU processes, spoken to through QMP | to a file | yes, disks included |
//! | [`namespace`] | isolated processes with a network of their own | in place | yes, on one machine |
//! | [`simulated`] | counters on a virtual clock, with real disks | to a file | no |
//!
//! Those who write another driver let [`conformance`] check it.
#![deny(unsafe_code)]

mod config;
pub mod conformance;
mod disk;
mod driver;
mod error;
mod id;
#[allow(unsafe_code, reason = "the ioctls of TAP devices, in io/sys.rs alone")]
#[cfg(any(feature = "namespace", feature = "qemu"))]
mod io;
mod live;
mod managed;
#[cfg(feature = "namespace")]
pub mod namespace;
#[cfg(feature = "qemu")]
pub mod qemu;
pub mod simulated;
mod state;
mod store;

pub use config::{Attachment, Boot, DiskConfig, DiskFormat, NicConfig, VmConfig};
pub use driver::{Capabilities, Consent, CpuShare, Driver, FileKind, Stop, SuspendKind, VmFile, VmStatus};
pub use error::{DriverError, Loss};
pub use id::{InvalidId, MAX_ID, VmId};
pub use live::{LiveError, LiveMigration, LiveProgress, LiveSummary, Sockets};
pub use state::{IllegalTransition, Operation, State};
