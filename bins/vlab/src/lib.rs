//! A laboratory: hosts as network namespaces, and an emulated wide-area
//! network between them.
//!
//! Everything in it is real Ethernet on one machine: real processes with real
//! sockets send frames through TAP (or veth) devices; between the devices a
//! user-level switch gives every path its bandwidth, latency, jitter, loss and
//! queue. Neither root nor any installed program is needed where the kernel
//! allows unprivileged user namespaces.
//!
//! ```no_run
//! use std::net::UdpSocket;
//! use vlab::{Lab, LabSpec, Machine};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     vlab::enter()?; // first of all: from here on, we are in namespaces of our own
//!     let lab = Lab::build(&LabSpec::papers())?;
//!
//!     let (near, far) = (&lab.hosts()[0], &lab.hosts()[7]);
//!     let receiver = far.run_in(|| UdpSocket::bind((far.ip(), 9)))??;
//!     let sender = near.run_in(|| UdpSocket::bind((near.ip(), 0)))??;
//!     sender.send_to(b"25 ms from here", (far.ip(), 9))?;
//!     receiver.recv(&mut [0; 64])?;
//!
//!     lab.wan().cut("fast", "remote")?;
//!     let mut server = near.spawn(std::process::Command::new("sleep").arg("60"))?;
//!     server.kill()?;
//!     Ok(())
//! }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`enter()`] | entering: this program again, in namespaces that end with it |
//! | [`Lab`], [`Host`], [`Vm`], [`Machine`], [`Process`] | a laboratory and what runs in it |
//! | [`LabSpec`] | its description, in a program or as TOML |
//! | [`WanControl`] | the network while it runs: figures, cuts, counters |
//! | [`wan`] | the emulated network as a state machine without I/O |

mod control;
mod emulator;
mod enter;
mod error;
mod lab;
mod machine;
mod netlink;
mod netns;
mod nic;
mod process;
mod spec;
mod sys;
pub mod text;
pub mod wan;

pub use control::{PipeReport, WanControl};
pub use enter::{EnterError, Inside, STATE_DIR, enter};
pub use error::LabError;
pub use lab::Lab;
pub use machine::{Host, Machine, Vm, VmPort};
pub use netns::NetNs;
pub use nic::{NIC, NicKind};
pub use process::{Process, run_in_foreground};
pub use spec::{
    HostSpec, LabSpec, NicAddress, NicChoice, PAPERS, PathSpec, PathTruth, SiteSpec, SpecError, Subnet,
    VmSpec,
};
