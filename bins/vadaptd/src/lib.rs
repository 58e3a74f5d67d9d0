//! The adaptation loop: what VTTIF sees, what VADAPT makes of it, and carrying it out.
//!
//! | module | holds |
//! | --- | --- |
//! | [`policy`] | when a decision is due: a state machine without I/O |
//! | [`decide`] | a decision: a function of what is seen, without I/O |
//! | [`figures`], [`inventory`] | what it is made from: the network's figures, and where the VMs are |
//! | [`execute`], [`migrate`] | carrying a decision out, VMs included |
//! | [`daemon`] | the loop |
//!
//! ```no_run
//! use std::time::Duration;
//! use vadaptd::daemon::{Settings, run};
//! use vadaptd::{decide, figures::Figures, policy::Policy};
//! use vnet_core::NetworkId;
//! use vnetd::client::Address;
//!
//! let settings = Settings {
//!     control: Address::Unix("/run/vnetd/proxy.sock".into()),
//!     network: NetworkId(1),
//!     figures: Figures::load("wan.toml".as_ref())?,
//!     measured: false,
//!     decide: decide::Options::default(),
//!     policy: Policy::default(),
//!     interval: Duration::from_millis(100),
//!     dry_run: true,
//!     agent: None,
//! };
//! // Until the first report.
//! run(&settings, |report| {
//!     println!("{report:?}");
//!     false
//! });
//! # Ok::<(), vadaptd::figures::FiguresError>(())
//! ```
#![forbid(unsafe_code)]

pub mod daemon;
pub mod decide;
pub mod execute;
pub mod figures;
pub mod inventory;
pub mod migrate;
pub mod policy;
mod program;

pub use program::main_from_env;
