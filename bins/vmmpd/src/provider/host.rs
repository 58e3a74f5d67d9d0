//! What all parts of a provider share: the monitor, and what is under way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vm_driver::{Driver, InvalidId, State, VmId};
use vmmp::io::channel::{Closer, Keys};
use vmmp::{MachineId, MethodName, MigrationId, Outcome, Party, PeerName, Progress, Request, Ticket};

use super::behind::Ways;
use super::effects;
use super::lanes::Lanes;
use super::manifest::Manifest;
use super::method::{self, Method};
use super::node::Event;
use super::overlay::{Overlay, Switch};
use super::running::Running;
use crate::links::Contact;

/// A provider's machines.
pub(super) struct Host {
    pub(super) driver: Box<dyn Driver>,
    pub(super) keys: Arc<Keys>,
    pub(super) contacts: BTreeMap<Party, Contact>,
    pub(super) events: Mutex<Sender<Event>>,
    pub(super) running: Running,
    pub(super) overlay: Option<Overlay>,
    pub(super) lanes: Lanes,
    /// To disks that are still coming.
    pub(super) ways: Ways,
    /// Where sockets of live migrations are.
    pub(super) sockets: PathBuf,
    pub(super) restart: bool,
    outgoing: Mutex<BTreeMap<MigrationId, Arc<Outgoing>>>,
    incoming: Mutex<BTreeMap<MigrationId, Arc<Incoming>>>,
    attempts: Mutex<BTreeMap<MigrationId, (PeerName, Ticket)>>,
}

/// A machine that is being sent.
pub(super) struct Outgoing {
    pub(super) id: MigrationId,
    pub(super) machine: MachineId,
    pub(super) vm: VmId,
    pub(super) to: PeerName,
    pub(super) ticket: Ticket,
    pub(super) method: &'static dyn Method,
    pub(super) connections: Arc<Connections>,
    pub(super) live: Live,
}

/// A machine that is being fetched.
pub(super) struct Incoming {
    pub(super) id: MigrationId,
    pub(super) machine: MachineId,
    pub(super) vm: VmId,
    pub(super) from: PeerName,
    pub(super) ticket: Ticket,
    pub(super) method: &'static dyn Method,
    pub(super) connections: Connections,
    /// Where the monitor takes it in, if it comes live.
    pub(super) takes: Mutex<Option<vm_driver::Sockets>>,
    /// What daemons have to change at the instant of hand-over.
    pub(super) switch: Mutex<Option<Switch>>,
}

/// A live migration at the origin: the one thread sends, the other decides.
#[derive(Default)]
pub(super) struct Live {
    state: Mutex<LiveState>,
    changed: Condvar,
}

#[derive(Default)]
struct LiveState {
    is_sending: bool,
    agreed: Option<bool>,
    result: Option<Result<(), String>>,
}

/// Connections that an abortion ends.
#[derive(Default)]
pub(super) struct Connections {
    is_over: AtomicBool,
    open: Mutex<Vec<Closer>>,
}

impl Host {
    #[expect(clippy::too_many_arguments, reason = "the parts of which a provider is made")]
    pub(super) fn new(
        driver: Box<dyn Driver>,
        keys: Arc<Keys>,
        contacts: BTreeMap<Party, Contact>,
        events: Sender<Event>,
        running: Running,
        overlay: Option<Overlay>,
        sockets: PathBuf,
        restart: bool,
    ) -> Self {
        Self {
            driver,
            keys,
            contacts,
            events: Mutex::new(events),
            running,
            overlay,
            lanes: Lanes::default(),
            ways: Ways::default(),
            sockets,
            restart,
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            attempts: Mutex::default(),
        }
    }

    pub(super) fn folder(&self, machine: &MachineId) -> PathBuf {
        self.driver.root().join(machine.as_str())
    }

    /// Where another provider is.
    pub(super) fn contact(&self, peer: &PeerName) -> Result<Contact, String> {
        let contact = self.contacts.get(&Party::Peer(peer.clone()));
        contact.cloned().ok_or_else(|| format!("{peer} is not in the configuration"))
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody hears it when the program ends.
        let _ = locked(&self.events).send(event);
    }

    pub(super) fn outcome(&self, id: MigrationId, outcome: Outcome) {
        self.tell(Event::Outcome(id, outcome));
    }

    pub(super) fn progress(&self, id: MigrationId, progress: Progress) {
        self.tell(Event::Progress(id, progress));
    }

    /// How a machine that is here can be sent, or one be taken that is not.
    pub(super) fn methods(&self, machine: Option<&MachineId>) -> Vec<MethodName> {
        let state = machine.map(|machine| {
            let is_wanted = self.running.is_wanted(machine);
            // Without asking the monitor, which may be busy.
            if is_wanted { State::Running } else { State::Stopped }
        });
        method::ALL
            .iter()
            .filter(|method| match state {
                Some(state) => method.can_send(&*self.driver, state),
                None => method.can_take(&*self.driver),
            })
            .map(|method| method.name())
            .collect()
    }

    pub(super) fn note_sending(&self, id: MigrationId, to: &PeerName, ticket: Ticket) {
        locked(&self.attempts).insert(id, (to.clone(), ticket));
    }

    pub(super) fn note_started(&self, request: &Request, ticket: Ticket) {
        locked(&self.attempts).insert(request.id, (request.origin.clone(), ticket));
    }

    /// A machine begins to be sent.
    pub(super) fn begin_outgoing(
        &self,
        id: MigrationId,
        machine: &MachineId,
        method: &MethodName,
    ) -> Result<Arc<Outgoing>, String> {
        let (to, ticket) = locked(&self.attempts).remove(&id).ok_or("its journal has no such migration")?;
        let outgoing = Arc::new(Outgoing {
            id,
            machine: machine.clone(),
            vm: vm_id(machine).map_err(|error| error.to_string())?,
            to,
            ticket,
            method: method::find(method)?,
            connections: Arc::default(),
            live: Live::default(),
        });
        locked(&self.outgoing).insert(id, Arc::clone(&outgoing));
        Ok(outgoing)
    }

    pub(super) fn outgoing(&self, id: MigrationId) -> Option<Arc<Outgoing>> {
        locked(&self.outgoing).get(&id).cloned()
    }

    pub(super) fn outgoing_of(&self, machine: &MachineId) -> Option<Arc<Outgoing>> {
        locked(&self.outgoing).values().find(|outgoing| outgoing.machine == *machine).cloned()
    }

    /// A machine is not being sent any more.
    pub(super) fn end_outgoing(&self, machine: &MachineId) -> Option<Arc<Outgoing>> {
        let outgoing = self.outgoing_of(machine)?;
        outgoing.connections.end();
        locked(&self.outgoing).remove(&outgoing.id)
    }

    /// A machine begins to be fetched.
    pub(super) fn begin_incoming(
        &self,
        id: MigrationId,
        ticket: Ticket,
        machine: &MachineId,
        from: &PeerName,
        method: &MethodName,
    ) -> Result<Arc<Incoming>, String> {
        locked(&self.attempts).remove(&id);
        let incoming = Arc::new(Incoming {
            id,
            machine: machine.clone(),
            vm: vm_id(machine).map_err(|error| error.to_string())?,
            from: from.clone(),
            ticket,
            method: method::find(method)?,
            connections: Connections::default(),
            takes: Mutex::default(),
            switch: Mutex::default(),
        });
        locked(&self.incoming).insert(id, Arc::clone(&incoming));
        Ok(incoming)
    }

    pub(super) fn incoming(&self, id: MigrationId) -> Option<Arc<Incoming>> {
        locked(&self.incoming).get(&id).cloned()
    }

    /// A machine is not being fetched any more.
    pub(super) fn end_incoming(&self, id: MigrationId) {
        if let Some(incoming) = locked(&self.incoming).remove(&id) {
            incoming.connections.end();
        }
    }

    /// What is under way of fetching it fails.
    pub(super) fn abort_incoming(&self, id: MigrationId) {
        if let Some(incoming) = self.incoming(id) {
            incoming.connections.end();
        }
    }

    /// Removes what is here of a machine that isn't.
    pub(super) fn discard_later(self: &Arc<Self>, machine: &MachineId) {
        let (host, name) = (Arc::clone(self), machine.clone());
        self.lanes.push(machine, move || effects::discard(&host, &name));
    }

    /// Lets a machine run that should, and tells the overlay.
    pub(super) fn let_run(&self, machine: &MachineId) {
        let Ok(vm) = vm_id(machine) else { return };
        let run = || {
            match self.driver.status(&vm)?.state {
                State::Stopped => self.driver.start(&vm)?,
                State::Suspended => self.driver.resume(&vm)?,
                _ => return Ok(false),
            }
            Ok::<bool, vm_driver::DriverError>(true)
        };
        match run() {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("machine {machine} runs");
                self.attach(machine);
            }
            Err(error) => tracing::warn!("machine {machine} should run, and doesn't: {error}"),
        }
    }

    /// Opens a running machine's network cards at the VNET daemon.
    pub(super) fn attach(&self, machine: &MachineId) {
        let (Some(overlay), Ok(vm)) = (&self.overlay, vm_id(machine)) else { return };
        if let Err(why) = overlay.attach(&*self.driver, &vm) {
            tracing::warn!("machine {machine} is not on the overlay: {why}");
        }
    }

    /// Closes a machine's network cards at the VNET daemon.
    pub(super) fn detach(&self, vm: &VmId) {
        if let (Some(overlay), Ok(status)) = (&self.overlay, self.driver.status(vm)) {
            overlay.detach(&status.config);
        }
    }

    /// Points the rules of all VNET daemons to this host.
    pub(super) fn follow(&self, vm: &VmId) {
        if let (Some(overlay), Ok(status)) = (&self.overlay, self.driver.status(vm)) {
            overlay.follow(&status.config);
        }
    }

    /// Works out what daemons will have to change when a machine has arrived.
    pub(super) fn prepare_switch(&self, incoming: &Incoming) {
        let (Some(overlay), Ok(status)) = (&self.overlay, self.driver.status(&incoming.vm)) else { return };
        match overlay.switch(&status.config) {
            Ok(switch) => *locked(&incoming.switch) = Some(switch),
            Err(why) => tracing::info!("machine {}: that is worked out later: {why}", incoming.machine),
        }
    }

    /// The origin has released a machine: frames to it come here from now on.
    pub(super) fn switch(&self, incoming: &Incoming) {
        let prepared = locked(&incoming.switch).take();
        let is_done = prepared.is_some_and(|mut switch| switch.carry_out().is_ok());
        // Rules may have changed since.
        if !is_done {
            self.follow(&incoming.vm);
        }
    }

    /// What is arriving in a machine's folder.
    pub(super) fn manifest(&self, machine: &MachineId) -> Option<Manifest> {
        Manifest::load(&self.folder(machine))
    }
}

impl Live {
    /// The sending thread: it begins.
    pub(super) fn begin(&self) {
        locked(&self.state).is_sending = true;
    }

    /// The sending thread: the machine stands still; waits until somebody decides.
    pub(super) fn wait_for_agreement(&self) -> bool {
        let mut state = locked(&self.state);
        while state.agreed.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.agreed == Some(true)
    }

    /// The sending thread: it has ended.
    pub(super) fn end(&self, result: Result<(), String>) {
        let mut state = locked(&self.state);
        (state.is_sending, state.result) = (false, Some(result));
        self.changed.notify_all();
    }

    /// May the machine be handed over? What is decided first stays.
    pub(super) fn decide(&self, is_agreed: bool) {
        locked(&self.state).agreed.get_or_insert(is_agreed);
        self.changed.notify_all();
    }

    /// Waits until the sending thread has ended; `None`: it never began.
    pub(super) fn wait_for_end(&self) -> Option<Result<(), String>> {
        let mut state = locked(&self.state);
        while state.is_sending {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.result.clone()
    }
}

impl Connections {
    /// Ends this connection too when all end; at once, if they have.
    pub(super) fn add(&self, closer: Closer) {
        let mut open = locked(&self.open);
        if self.is_over.load(Relaxed) {
            closer.close();
        }
        open.push(closer);
    }

    pub(super) fn end(&self) {
        let open = locked(&self.open);
        self.is_over.store(true, Relaxed);
        open.iter().for_each(Closer::close);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// The driver's name of a machine.
pub(super) fn vm_id(machine: &MachineId) -> Result<VmId, InvalidId> {
    VmId::new(machine.as_str())
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
