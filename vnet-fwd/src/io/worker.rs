//! The thread that forwards frames.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Instant;

use vnet_core::control::{
    DropCounter, InterfaceSpec, InterfaceStatus, LinkSpec, LinkStatus, PortState, TrafficEntry,
};
use vnet_core::{InterfaceName, LinkId, NetworkId};

use super::config::{DataPlaneConfig, Event, PlaneError, StartError};
use super::port::Port;
use super::sys::EventFd;
use crate::publish::Reader;
use crate::stats::Drops;
use crate::table::RuleTable;
use crate::traffic::{TrafficTable, Untracked};

/// Work for the worker's thread, done between two batches of frames.
pub(crate) type Command = Box<dyn FnOnce(&mut Worker) + Send>;

pub(crate) struct Worker {
    wake: EventFd,
    commands: mpsc::Receiver<Command>,
    observers: Vec<Box<dyn Fn(&Event) + Send>>,
    sockets: Option<(UdpSocket, TcpListener)>,
    address: Option<SocketAddr>,
    rules: Reader<RuleTable>,
    interfaces: BTreeMap<InterfaceName, (InterfaceSpec, Instant)>,
    ports: BTreeMap<InterfaceName, (NetworkId, Box<dyn Port>)>,
    links: BTreeMap<LinkId, (LinkSpec, Instant)>,
    drops: Drops,
    traffic: TrafficTable,
    stopped: bool,
}

impl Worker {
    pub(crate) fn new(
        config: DataPlaneConfig,
        rules: Reader<RuleTable>,
        commands: mpsc::Receiver<Command>,
        _own: mpsc::Sender<Command>,
    ) -> Result<Self, StartError> {
        let wake = EventFd::new()
            .map_err(|source| StartError::Worker { what: "making an event counter", source })?;
        let sockets = config.bind.map(bind).transpose()?;
        let address =
            match &sockets {
                Some((udp, _)) => Some(udp.local_addr().map_err(|source| StartError::Worker {
                    what: "asking for the socket's address",
                    source,
                })?),
                None => None,
            };
        Ok(Self {
            wake,
            commands,
            observers: Vec::new(),
            sockets,
            address,
            rules,
            interfaces: BTreeMap::new(),
            ports: BTreeMap::new(),
            links: BTreeMap::new(),
            drops: Drops::default(),
            traffic: TrafficTable::new(config.traffic_capacity),
            stopped: false,
        })
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(crate) fn waker(&self) -> Result<EventFd, StartError> {
        self.wake
            .try_clone()
            .map_err(|source| StartError::Worker { what: "sharing its event counter", source })
    }

    pub(crate) fn run(mut self) {
        while !self.stopped {
            let Ok(command) = self.commands.recv() else { return };
            self.wake.clear();
            self.rules.refresh();
            command(&mut self);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.sockets = None;
    }

    pub(crate) fn subscribe(&mut self, observer: Box<dyn Fn(&Event) + Send>) {
        self.observers.push(observer);
    }

    pub(crate) fn add_interface(&mut self, spec: InterfaceSpec) -> Result<(), PlaneError> {
        match self.interfaces.get(&spec.name) {
            Some((old, _)) if *old == spec => Ok(()),
            Some(_) => Err(PlaneError::InterfaceConflict { name: spec.name }),
            None => {
                self.interfaces.insert(spec.name.clone(), (spec, Instant::now()));
                Ok(())
            }
        }
    }

    pub(crate) fn add_port(
        &mut self,
        name: InterfaceName,
        network: NetworkId,
        port: Box<dyn Port>,
    ) -> Result<(), PlaneError> {
        self.ports.insert(name, (network, port));
        Ok(())
    }

    pub(crate) fn remove_interface(&mut self, name: &InterfaceName) -> Result<(), PlaneError> {
        let known = self.interfaces.remove(name).is_some() | self.ports.remove(name).is_some();
        if known { Ok(()) } else { Err(PlaneError::NoInterface { name: name.clone() }) }
    }

    pub(crate) fn add_link(&mut self, spec: LinkSpec) -> Result<(), PlaneError> {
        let link = spec.link.id();
        match self.links.get_mut(&link) {
            Some((old, _)) if old.link != spec.link => Err(PlaneError::LinkConflict { link }),
            Some((old, _)) => {
                *old = spec;
                Ok(())
            }
            None => {
                self.links.insert(link, (spec, Instant::now()));
                Ok(())
            }
        }
    }

    pub(crate) fn remove_link(&mut self, id: &LinkId) -> Result<(), PlaneError> {
        match self.links.remove(id) {
            Some(_) => Ok(()),
            None => Err(PlaneError::NoLink { link: id.clone() }),
        }
    }

    pub(crate) fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.interfaces
            .values()
            .map(|(spec, since)| InterfaceStatus {
                spec: spec.clone(),
                state: opening(*since),
                received_frames: 0,
                received_bytes: 0,
                sent_frames: 0,
                sent_bytes: 0,
                send_errors: 0,
            })
            .collect()
    }

    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        self.links
            .values()
            .map(|(spec, since)| LinkStatus {
                link: spec.link.clone(),
                state: opening(*since),
                peer: spec.peer,
                round_trip_us: None,
                received_frames: 0,
                received_bytes: 0,
                sent_frames: 0,
                sent_bytes: 0,
                send_errors: 0,
                times_up: 0,
            })
            .collect()
    }

    pub(crate) fn flush_counts(&mut self) {}

    pub(crate) fn drops(&self) -> Vec<DropCounter> {
        self.drops.report()
    }

    pub(crate) fn traffic(&self) -> Vec<TrafficEntry> {
        self.traffic.report()
    }

    pub(crate) fn untracked_traffic(&self) -> Untracked {
        self.traffic.untracked()
    }
}

fn opening(since: Instant) -> PortState {
    PortState { up: false, why: "not open yet".to_owned(), for_ms: since.elapsed().as_millis() as u64 }
}

fn bind(address: SocketAddr) -> Result<(UdpSocket, TcpListener), StartError> {
    let failed = |protocol| move |source| StartError::Bind { address, protocol, source };
    let listener = TcpListener::bind(address).map_err(failed("TCP"))?;
    let bound = listener.local_addr().map_err(failed("TCP"))?;
    let socket = UdpSocket::bind(bound).map_err(failed("UDP"))?;
    Ok((socket, listener))
}
