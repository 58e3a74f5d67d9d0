//! Why no topology can be generated.

use crate::mac::MacAddr;
use crate::name::HostName;
use crate::shape::ShapeError;

/// Why no topology can be generated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The list of hosts is empty.
    #[error("an overlay needs at least one host")]
    NoHosts,
    /// A host stands in the list twice.
    #[error("host `{host}` is in the list twice")]
    DuplicateHost {
        /// The host.
        host: HostName,
    },
    /// A host that isn't in the list.
    #[error("`{host}`, {role}, is not one of the hosts")]
    UnknownHost {
        /// The host.
        host: HostName,
        /// What it was named as.
        role: &'static str,
    },
    /// Two VMs have one address.
    #[error("two VMs have the address {mac}")]
    DuplicateVm {
        /// The address.
        mac: MacAddr,
    },
    /// An address that no VM can have.
    #[error(
        "{mac} is not the address of one station; give the VM a unicast address such as 02:00:00:00:00:01"
    )]
    NotAStation {
        /// The address.
        mac: MacAddr,
    },
    /// The shape can't have this number of hosts.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The links leave a host out.
    #[error("no links lead from host `{from}` to host `{to}`")]
    NotConnected {
        /// A host.
        from: HostName,
        /// A host that can't be reached from there.
        to: HostName,
    },
    /// A path without hosts, or one that comes by a host twice.
    #[error("the path from {source_mac} to {destination} is not a path: it {why}")]
    NotAPath {
        /// The sender's address.
        source_mac: MacAddr,
        /// The receiver's address.
        destination: MacAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path ends where its receiver is not.
    #[error(
        "the path from {source_mac} ends at host `{host}`, which has no rule that delivers to {destination}"
    )]
    NotDelivered {
        /// The sender's address.
        source_mac: MacAddr,
        /// The receiver's address.
        destination: MacAddr,
        /// The last host of the path.
        host: HostName,
    },
    /// The pair has a path already: frames would be duplicated.
    #[error(
        "at host `{host}` there is a rule for frames from {source_mac} to {destination} already, \
         and a second path would duplicate them; remove the first"
    )]
    PathExists {
        /// The sender's address.
        source_mac: MacAddr,
        /// The receiver's address.
        destination: MacAddr,
        /// A host of the path with a rule for the pair.
        host: HostName,
    },
}
