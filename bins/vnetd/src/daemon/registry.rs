//! The daemons that are registered with the Proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use vnet_core::control::PeerAddress;
use vnet_core::{HostName, PublicKey};
use vnet_fwd::secure::IntroductionKey;

use crate::control::router::ConnectionId;

/// Who is registered, and where.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    daemons: BTreeMap<HostName, Registered>,
}

#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) connection: ConnectionId,
    pub(super) address: SocketAddr,
    pub(super) incarnation: u64,
    /// The key that it has proved to have.
    pub(super) key: Option<(PublicKey, Arc<IntroductionKey>)>,
}

impl Registry {
    /// Takes a daemon in; returns its former registration.
    pub(super) fn insert(&mut self, host: HostName, registered: Registered) -> Option<Registered> {
        self.daemons.insert(host, registered)
    }

    /// Forgets a daemon unless it has come back over another connection.
    pub(super) fn remove(&mut self, host: &HostName, connection: ConnectionId) -> bool {
        let ours = self.daemons.get(host).is_some_and(|daemon| daemon.connection == connection);
        ours && self.daemons.remove(host).is_some()
    }

    pub(super) fn get_mut(&mut self, host: &HostName) -> Option<&mut Registered> {
        self.daemons.get_mut(host)
    }

    /// All that are registered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&HostName, &Registered)> {
        self.daemons.iter()
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = PeerAddress> {
        self.daemons.iter().map(|(host, daemon)| PeerAddress { host: host.clone(), address: daemon.address })
    }

    /// The addresses that are of use to somebody at `reader`.
    pub(super) fn addresses_for(&self, reader: IpAddr) -> impl Iterator<Item = PeerAddress> {
        self.addresses().filter(move |peer| is_of_use(peer.address.ip(), reader))
    }

    /// The sessions to tell of `address`, which `host` has.
    pub(super) fn others(&self, host: &HostName, address: SocketAddr) -> Vec<ConnectionId> {
        self.daemons
            .iter()
            .filter(|(other, daemon)| *other != host && is_of_use(address.ip(), daemon.address.ip()))
            .map(|(_, daemon)| daemon.connection)
            .collect()
    }
}

// A daemon that came in over the loopback is nowhere for other machines.
fn is_of_use(address: IpAddr, reader: IpAddr) -> bool {
    !address.is_loopback() || reader.is_loopback()
}
