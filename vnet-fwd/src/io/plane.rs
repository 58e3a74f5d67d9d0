//! The handle of a running data plane.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;

use vnet_core::control::{
    DropCounter, InterfaceSpec, InterfaceStatus, LinkSpec, LinkStatus, OffloadStatus, RuleStatus,
    TrafficEntry,
};
use vnet_core::frame::MAX_FRAME;
use vnet_core::{HostName, InterfaceName, LinkId, NetworkId, PublicKey, Rule, RuleVersion};

use super::config::{DataPlaneConfig, Event, LinkChange, PlaneError, StartError};
use super::port::Port;
use super::sys::EventFd;
use super::worker::{Command, Worker};
use crate::book::RuleBook;
use crate::link::Arrivals;
use crate::traffic::Untracked;

/// Ports, links and rules at work: one thread forwards frames between them
/// until the handle is dropped.
///
/// All calls are synchronous and short (they never wait for a device or a
/// peer), so that they may be made from an asynchronous task.
pub struct DataPlane {
    address: Option<SocketAddr>,
    book: Mutex<RuleBook>,
    commands: mpsc::Sender<Command>,
    wake: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl DataPlane {
    /// Binds the data address and starts the worker.
    pub fn start(config: DataPlaneConfig) -> Result<Self, StartError> {
        let book = RuleBook::new(config.host.clone());
        let (commands, receiver) = mpsc::channel();
        let worker = Worker::new(config, book.reader(), receiver, commands.clone())?;
        let (address, wake) = (worker.address(), worker.waker()?);
        let thread = std::thread::Builder::new()
            .name("vnet-worker".to_owned())
            .spawn(move || worker.run())
            .map_err(|source| StartError::Worker { what: "starting its thread", source })?;
        Ok(Self { address, book: Mutex::new(book), commands, wake, thread: Some(thread) })
    }

    /// The data address, with the port that was picked.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Calls `observer` with every later [`Event`], on the worker's thread: it
    /// must return at once (send to a channel, say).
    pub fn subscribe(&self, observer: impl Fn(&Event) + Send + 'static) -> Result<(), PlaneError> {
        self.ask(move |worker| worker.subscribe(Box::new(observer)))
    }

    /// Opens an interface. The same one again is fine. A device that is missing
    /// or refused is no error: the interface is down, says why, and opens
    /// within half a second of the device being there.
    pub fn add_interface(&self, spec: InterfaceSpec) -> Result<(), PlaneError> {
        self.ask(move |worker| worker.add_interface(spec))?
    }

    /// Adds an interface with a port of the caller's, such as one end of
    /// [`channel::pair`](super::channel::pair). It is not in
    /// [`DataPlane::interfaces`], whose entries name a device.
    pub fn add_port(
        &self,
        name: InterfaceName,
        network: NetworkId,
        port: Box<dyn Port>,
    ) -> Result<(), PlaneError> {
        self.ask(move |worker| worker.add_port(name, network, port))?
    }

    /// Closes an interface, of either sort.
    pub fn remove_interface(&self, name: &InterfaceName) -> Result<(), PlaneError> {
        let name = name.clone();
        self.ask(move |worker| worker.remove_interface(&name))?
    }

    /// Adds this daemon's end of a link. The same one again is fine; with
    /// another peer address, the link moves there.
    pub fn add_link(&self, spec: LinkSpec) -> Result<(), PlaneError> {
        self.change_links(vec![LinkChange::Add(spec)])?.into_iter().collect()
    }

    /// Takes this daemon's end of a link down, and tells the peer.
    pub fn remove_link(&self, id: &LinkId) -> Result<(), PlaneError> {
        self.change_links(vec![LinkChange::Remove(id.clone())])?.into_iter().collect()
    }

    /// Makes many changes of links in order, and returns what became of each.
    ///
    /// On a busy host a call waits for its turn on a core twice; this waits twice in all.
    pub fn change_links(&self, changes: Vec<LinkChange>) -> Result<Vec<Result<(), PlaneError>>, PlaneError> {
        self.ask(move |worker| changes.into_iter().map(|change| worker.change_link(change)).collect())
    }

    /// The key that other daemons have to allow for links with this one; `None`:
    /// links are plain.
    pub fn public_key(&self) -> Result<Option<PublicKey>, PlaneError> {
        self.ask(|worker| worker.public_key())
    }

    /// Lets links with `host` come up if it proves that it has the private key
    /// of `key`. Where links are plain, nothing changes.
    pub fn allow(&self, host: &HostName, key: PublicKey) -> Result<(), PlaneError> {
        let host = host.clone();
        self.ask(move |worker| worker.allow(host, key))?
    }

    /// Destroys the keys shared with `host`: its links go down and stay down.
    pub fn forbid(&self, host: &HostName) -> Result<(), PlaneError> {
        let host = host.clone();
        self.ask(move |worker| worker.forbid(&host))
    }

    /// Adds a rule to the network's current rule set; `false` if it is there
    /// already. Frames read after this returns are forwarded by it.
    pub fn add_rule(&self, network: NetworkId, rule: Rule) -> Result<bool, PlaneError> {
        Ok(self.book().add(network, rule)?)
    }

    /// Deletes a rule from the network's current rule set; `false` if it isn't
    /// there.
    pub fn delete_rule(&self, network: NetworkId, rule: &Rule) -> bool {
        self.book().delete(network, rule)
    }

    /// Keeps a whole rule set under `version` for frames that other daemons
    /// stamp with it. Frames that enter here go on with the current one.
    pub fn prepare_rules(
        &self,
        network: NetworkId,
        version: RuleVersion,
        rules: Vec<Rule>,
    ) -> Result<(), PlaneError> {
        Ok(self.book().prepare(network, version, rules)?)
    }

    /// Stamps frames that enter here with a version prepared before.
    pub fn commit_rules(&self, network: NetworkId, version: RuleVersion) -> Result<(), PlaneError> {
        Ok(self.book().commit(network, version)?)
    }

    /// Forgets a version that isn't current; `false` if it isn't on hand.
    pub fn retire_rules(&self, network: NetworkId, version: RuleVersion) -> Result<bool, PlaneError> {
        Ok(self.book().retire(network, version)?)
    }

    /// The interfaces that have a device, ordered by name.
    pub fn interfaces(&self) -> Result<Vec<InterfaceStatus>, PlaneError> {
        self.ask(|worker| worker.interfaces())
    }

    /// The links, ordered by their ends.
    pub fn links(&self) -> Result<Vec<LinkStatus>, PlaneError> {
        self.ask(|worker| worker.links())
    }

    /// The rules in all versions, ordered by network, version and rule.
    pub fn rules(&self) -> Result<Vec<RuleStatus>, PlaneError> {
        self.ask(|worker| worker.flush_counts())?;
        Ok(self.book().status())
    }

    /// How many rules the current rule sets have.
    pub fn rule_count(&self) -> usize {
        self.book().table().current_rules()
    }

    /// The version that new frames of each network get, ordered by network.
    pub fn versions(&self) -> Vec<(NetworkId, RuleVersion)> {
        let mut versions: Vec<_> = self.book().table().versions().collect();
        versions.sort_unstable();
        versions
    }

    /// Frames dropped, by reason.
    pub fn drops(&self) -> Result<Vec<DropCounter>, PlaneError> {
        self.ask(|worker| worker.drops())
    }

    /// What each pair of addresses has sent and received through local
    /// interfaces since the start, in no particular order.
    pub fn traffic(&self) -> Result<Vec<TrafficEntry>, PlaneError> {
        self.ask(|worker| worker.traffic())
    }

    /// Traffic of pairs beyond
    /// [`traffic_capacity`](DataPlaneConfig::traffic_capacity).
    pub fn untracked_traffic(&self) -> Result<Untracked, PlaneError> {
        self.ask(|worker| worker.untracked_traffic())
    }

    /// Starts or ends the keeping of what [`DataPlane::take_arrivals`] gives, as
    /// [`measure_paths`](DataPlaneConfig::measure_paths) does.
    pub fn measure_paths(&self, on: bool) -> Result<(), PlaneError> {
        self.ask(move |worker| worker.measure_paths(on))
    }

    /// What has come over each UDP link since the last call, to measure the
    /// paths by; nothing unless [`measure_paths`](DataPlaneConfig::measure_paths)
    /// is set. A link keeps the first thousand messages after each call.
    pub fn take_arrivals(&self) -> Result<Vec<Arrivals>, PlaneError> {
        self.ask(|worker| worker.take_arrivals())
    }

    /// What the kernel does for the data plane, and what it doesn't and why.
    pub fn offloads(&self) -> Result<Vec<OffloadStatus>, PlaneError> {
        self.ask(|worker| worker.offloads())
    }

    /// Sends `count` messages of padding, `bytes` each, to `peer` at once. They
    /// measure the path and are given to nobody.
    pub fn probe(&self, peer: &HostName, count: usize, bytes: usize) -> Result<(), PlaneError> {
        let (peer, bytes) = (peer.clone(), bytes.min(MAX_FRAME));
        self.ask(move |worker| worker.probe(&peer, count, bytes))?
    }

    fn book(&self) -> MutexGuard<'_, RuleBook> {
        // Changes of the book are single assignments; a panic elsewhere leaves it whole.
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has the worker carry out `request` between two batches of frames.
    fn ask<R: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Worker) -> R + Send + 'static,
    ) -> Result<R, PlaneError> {
        let (reply, answer) = mpsc::sync_channel(1);
        let command: Command = Box::new(move |worker| {
            // The asker waits; it can't be gone.
            let _ = reply.send(request(worker));
        });
        self.commands.send(command).map_err(|_| PlaneError::Stopped)?;
        self.wake.notify();
        answer.recv().map_err(|_| PlaneError::Stopped)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        // Fails only where the worker has gone already.
        let _ = self.commands.send(Box::new(|worker| worker.stop()));
        self.wake.notify();
        if let Some(thread) = self.thread.take() {
            // A panic of the worker has been reported by its thread.
            let _ = thread.join();
        }
    }
}
