//! Disks that come behind their machine: what is noted at both ends, and the way between
//! them, until all is there.
//!
//! | where | file in the machine's folder | from | until |
//! | --- | --- | --- | --- |
//! | destination | `behind.json` | it begins to be fetched | the origin knows that all is there |
//! | origin | `serving.json` | it is handed over | the destination says that all is there |
//!
//! Either daemon can be killed in between: what it notes is on disk before it counts, the
//! monitor waits for a connection that is lost, and a restart opens the way again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vm_driver::VmId;
use vmmp::io::channel::{Channel, Keys};
use vmmp::io::greeting::Purpose;
use vmmp::{MachineId, MigrationId, Party, PeerName, Ticket};

use super::files::said;
use super::host::{Host, locked, vm_id};
use super::manifest::{read_json, remove_if_there, write_json};
use super::method::kind;
use super::tunnel::{Entrance, pump};
use super::visitors::{Hello, Part};
use crate::links::{Contact, connect};

/// At the destination: what its disks don't hold comes from there.
const BEHIND: &str = "behind.json";

/// At the origin: the destination reads its disks.
const SERVING: &str = "serving.json";

/// How often it is asked whether all is there.
const LOOK: Duration = Duration::from_millis(500);

/// Who has the other end of a machine's disks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OtherEnd {
    pub(super) id: MigrationId,
    pub(super) ticket: Ticket,
    pub(super) peer: PeerName,
}

/// The ways that are open, by machine.
#[derive(Default)]
pub(super) struct Ways(Mutex<BTreeMap<MachineId, Arc<Way>>>);

struct Way {
    is_wanted: AtomicBool,
    /// Closed when it goes.
    _entrance: Entrance,
}

impl OtherEnd {
    /// Where the rest of a machine comes from; `None`: all of it is here.
    pub(super) fn of_behind(folder: &Path) -> Option<Self> {
        read_json(&folder.join(BEHIND))
    }

    /// Who reads the disks of a machine that has left.
    pub(super) fn of_serving(folder: &Path) -> Option<Self> {
        read_json(&folder.join(SERVING))
    }

    pub(super) fn note_behind(&self, folder: &Path) -> io::Result<()> {
        write_json(self, &folder.join(BEHIND))
    }

    pub(super) fn note_serving(&self, folder: &Path) -> io::Result<()> {
        write_json(self, &folder.join(SERVING))
    }
}

/// Destination: opens the way of a machine's disks, if they are still coming, and sees to it
/// until they are here. Once it is open, nothing is done.
pub(super) fn open(host: &Arc<Host>, machine: &MachineId) -> Result<(), String> {
    let folder = host.folder(machine);
    let is_open = locked(&host.ways.0).contains_key(machine);
    match OtherEnd::of_behind(&folder).filter(|_| !is_open) {
        None => Ok(()),
        Some(other) => {
            let entrance = enter(&folder, &host.keys, &host.contacts, &other)?;
            begin(host, machine, other, entrance)
        }
    }
}

/// A way that is open, and that nobody sees to yet.
pub(super) type Opened = (MachineId, OtherEnd, Entrance);

/// Destination: opens all ways that were noted, before any monitor is asked anything: one
/// that waits for its disks answers nobody.
pub(super) fn reopen(root: &Path, keys: &Arc<Keys>, contacts: &BTreeMap<Party, Contact>) -> Vec<Opened> {
    let mut opened = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let machine = entry.file_name().to_str().and_then(|name| MachineId::new(name).ok());
        let folder = entry.path();
        let (Some(machine), Some(other)) = (machine, OtherEnd::of_behind(&folder)) else { continue };
        match enter(&folder, keys, contacts, &other) {
            Ok(entrance) => opened.push((machine, other, entrance)),
            Err(why) => tracing::error!("the disks of machine {machine} can't be fetched: {why}"),
        }
    }
    opened
}

/// Destination: sees to the ways that [`reopen`] has opened.
pub(super) fn see_to_all(host: &Arc<Host>, opened: Vec<Opened>) {
    for (machine, other, entrance) in opened {
        if let Err(why) = begin(host, &machine, other, entrance) {
            tracing::error!("the disks of machine {machine} can't be fetched: {why}");
        }
    }
}

fn enter(
    folder: &Path,
    keys: &Arc<Keys>,
    contacts: &BTreeMap<Party, Contact>,
    other: &OtherEnd,
) -> Result<Entrance, String> {
    let contact = contacts.get(&Party::Peer(other.peer.clone()));
    let contact = contact.ok_or_else(|| format!("{} is not in the configuration", other.peer))?;
    let hello = Hello { id: other.id, ticket: other.ticket, part: Part::Behind };
    let socket = folder.join(vm_driver::qemu::files::BEHIND);
    Entrance::open(keys, contact.clone(), hello, Arc::default(), &socket)
}

fn begin(host: &Arc<Host>, machine: &MachineId, other: OtherEnd, entrance: Entrance) -> Result<(), String> {
    let way = Arc::new(Way { is_wanted: AtomicBool::new(true), _entrance: entrance });
    locked(&host.ways.0).insert(machine.clone(), Arc::clone(&way));
    let (host, name) = (Arc::clone(host), machine.clone());
    thread::Builder::new()
        .name(format!("behind-{machine}"))
        .spawn(move || see_to(&host, &name, &other, &way))
        .map(drop)
        .map_err(said)
}

/// Destination: the machine is not here, or not any more.
pub(super) fn close(host: &Host, machine: &MachineId) {
    if let Some(way) = locked(&host.ways.0).remove(machine) {
        way.is_wanted.store(false, Relaxed);
    }
}

/// Waits until all is here, and tells the origin.
fn see_to(host: &Host, machine: &MachineId, other: &OtherEnd, way: &Way) {
    let Ok(vm) = vm_id(machine) else { return };
    let Some(live) = host.driver.live() else { return };
    // It is here before it runs, and may be turned off meanwhile: then there is nobody to ask.
    while !matches!(live.fetch_disks(&vm), Ok(None)) {
        thread::sleep(LOOK);
        if !way.is_wanted.load(Relaxed) {
            return;
        }
    }
    tracing::info!("machine {machine}: its disks are here; {} can let go of them", other.peer);
    let mut last = None;
    while let Err(why) = tell_all_is_here(host, other) {
        if last.as_ref() != Some(&why) {
            tracing::warn!("machine {machine}: {} keeps its disks until it can be told: {why}", other.peer);
            last = Some(why);
        }
        thread::sleep(4 * LOOK);
        if !way.is_wanted.load(Relaxed) {
            return;
        }
    }
    close(host, machine);
    if let Err(error) = remove_if_there(&host.folder(machine).join(BEHIND)) {
        tracing::warn!("machine {machine}: {BEHIND} in its folder can't be removed: {error}");
    }
}

/// Destination: tells the origin that its disks are not needed any more.
pub(super) fn tell_all_is_here(host: &Host, other: &OtherEnd) -> Result<(), String> {
    let mut channel = connect(&host.keys, &host.contact(&other.peer)?, Purpose::Data).map_err(said)?;
    let hello = Hello { id: other.id, ticket: other.ticket, part: Part::AllIsHere };
    channel.writer.send(kind::HELLO, &hello.to_bytes()).map_err(said)?;
    match channel.reader.receive().map_err(said)? {
        (kind::BYE, _) => Ok(()),
        (_, why) => Err(String::from_utf8_lossy(&why).into_owned()),
    }
}

/// Origin: lets the destination read the disks of a machine that has left.
pub(super) fn serve(host: &Host, from: &Party, hello: Hello, mut channel: Channel) -> Result<(), String> {
    let open = || -> Result<UnixStream, String> {
        let vm = left(host, from, hello).ok_or("no machine that has left there is kept here")?;
        let live = host.driver.live().ok_or("the driver can't move machines live")?;
        let socket = live.serve_disks(&vm).map_err(said)?;
        UnixStream::connect(&socket).map_err(|error| format!("{}: {error}", socket.display()))
    };
    match open() {
        Ok(disks) => pump(disks, channel),
        Err(why) => {
            // It may have hung up, too.
            let _ = channel.writer.send(kind::FAILED, why.as_bytes());
            Err(why)
        }
    }
}

/// Origin: the destination has all. What is here goes.
pub(super) fn let_go(host: &Host, from: &Party, hello: Hello, mut channel: Channel) -> Result<(), String> {
    // Without it, that was done before.
    if let Some(vm) = left(host, from, hello) {
        let live = host.driver.live().ok_or("the driver can't move machines live")?;
        live.end_serving(&vm).map_err(said)?;
        let folder = host.driver.root().join(vm.as_str());
        fs::remove_dir_all(&folder).map_err(|error| format!("remove {}: {error}", folder.display()))?;
        tracing::info!("machine {vm}: its disks are at {}, and not here any more", label(from));
    }
    channel.writer.send(kind::BYE, &[]).map_err(said)
}

/// Origin: the machine is here after all.
pub(super) fn take_back(host: &Host, vm: &VmId) {
    let taken = || -> Result<(), String> {
        if let Some(live) = host.driver.live() {
            live.end_serving(vm).map_err(said)?;
        }
        remove_if_there(&host.driver.root().join(vm.as_str()).join(SERVING)).map_err(said)
    };
    if let Err(why) = taken() {
        tracing::warn!("machine {vm} is here again, and its disks may still be read from outside: {why}");
    }
}

/// The machine that has left by this attempt.
fn left(host: &Host, from: &Party, hello: Hello) -> Option<VmId> {
    fs::read_dir(host.driver.root()).ok()?.flatten().find_map(|entry| {
        let other = OtherEnd::of_serving(&entry.path())?;
        let is_it = other.id == hello.id && other.ticket == hello.ticket && Party::Peer(other.peer) == *from;
        VmId::new(entry.file_name().to_str().filter(|_| is_it)?).ok()
    })
}

fn label(party: &Party) -> String {
    crate::links::label(party)
}
