//! What the engine calls the places where frames enter and leave.

use std::collections::HashMap;
use std::fmt;

use vnet_core::{InterfaceName, LinkId, NetworkId};

/// An interface or a link of one [`Forwarder`](crate::Forwarder): a kind and an
/// index that counts from 0 within the kind, and is given again after the port
/// is removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u32);

const LINK: u32 = 1 << 31;

impl PortId {
    pub(crate) fn interface(index: usize) -> Self {
        Self(index as u32)
    }

    pub(crate) fn link(index: usize) -> Self {
        Self(index as u32 | LINK)
    }

    /// Is it a link? Otherwise it is an interface.
    #[inline]
    pub const fn is_link(self) -> bool {
        self.0 & LINK != 0
    }

    /// Its index among the interfaces, or among the links.
    pub const fn index(self) -> usize {
        (self.0 & !LINK) as usize
    }

    #[inline]
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_link() { "link" } else { "interface" }, self.index())
    }
}

/// The ports that exist, by the names that rules use.
#[derive(Default)]
pub(crate) struct Ports {
    interfaces: HashMap<InterfaceName, (usize, NetworkId)>,
    links: HashMap<LinkId, usize>,
    /// The networks of interfaces by their index.
    networks: Vec<Option<NetworkId>>,
}

impl Ports {
    pub(crate) fn add_interface(&mut self, name: InterfaceName, network: NetworkId) -> PortId {
        let index = match self.interfaces.get(&name) {
            Some((index, _)) => *index,
            None => free(self.interfaces.values().map(|(index, _)| *index)),
        };
        self.interfaces.insert(name, (index, network));
        self.networks.resize(self.networks.len().max(index + 1), None);
        self.networks[index] = Some(network);
        PortId::interface(index)
    }

    pub(crate) fn add_link(&mut self, link: LinkId) -> PortId {
        let index = match self.links.get(&link) {
            Some(index) => *index,
            None => free(self.links.values().copied()),
        };
        self.links.insert(link, index);
        PortId::link(index)
    }

    pub(crate) fn remove(&mut self, port: PortId) {
        if port.is_link() {
            self.links.retain(|_, index| *index != port.index());
        } else {
            self.interfaces.retain(|_, (index, _)| *index != port.index());
            if let Some(network) = self.networks.get_mut(port.index()) {
                *network = None;
            }
        }
    }

    pub(crate) fn interface(&self, name: &InterfaceName) -> Option<(PortId, NetworkId)> {
        self.interfaces.get(name).map(|(index, network)| (PortId::interface(*index), *network))
    }

    pub(crate) fn link(&self, link: &LinkId) -> Option<PortId> {
        self.links.get(link).map(|index| PortId::link(*index))
    }

    #[inline]
    pub(crate) fn network_of(&self, interface: PortId) -> Option<NetworkId> {
        self.networks.get(interface.index()).copied().flatten()
    }
}

/// The least index that isn't used.
fn free(used: impl Iterator<Item = usize>) -> usize {
    let mut used: Vec<usize> = used.collect();
    used.sort_unstable();
    used.iter().enumerate().find(|(at, index)| at != *index).map_or(used.len(), |(at, _)| at)
}
