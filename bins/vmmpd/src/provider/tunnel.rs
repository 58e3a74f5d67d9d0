//! The way of a monitor's bytes to another monitor: from a Unix socket at the origin,
//! encrypted, to a Unix socket at the destination.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use vmmp::Party;
use vmmp::delta::DeltaError;
use vmmp::io::channel::Channel;
use vmmp::io::greeting::Purpose;

use super::files::said;
use super::host::{Host, Incoming, Outgoing, locked};
use super::method::kind;
use super::visitors::{Hello, Part};
use crate::links::connect;

/// How much is sent at a time, in bytes: what fits into one message of the channel.
const MOST: usize = 60 << 10;

/// How often an entrance looks whether it should close.
const LOOK: Duration = Duration::from_millis(2);

/// Where a monitor at the origin connects to, for each of its connections a tunnel.
pub(super) struct Entrance {
    is_open: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Entrance {
    /// Opens an entrance at `path`.
    pub(super) fn open(host: &Host, outgoing: &Outgoing, part: Part, path: &Path) -> Result<Self, String> {
        let listener = UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        listener.set_nonblocking(true).map_err(said)?;
        let contact = host.contacts.get(&Party::Peer(outgoing.to.clone()));
        let contact = contact.ok_or_else(|| format!("{} is not in the configuration", outgoing.to))?.clone();
        let connections = Arc::clone(&outgoing.connections);
        let (keys, hello) =
            (Arc::clone(&host.keys), Hello { id: outgoing.id, ticket: outgoing.ticket, part });
        let is_open = Arc::new(AtomicBool::new(true));
        let go_on = Arc::clone(&is_open);
        let accept = move || {
            while go_on.load(Relaxed) {
                let Ok((monitor, _)) = listener.accept() else {
                    thread::sleep(LOOK);
                    continue;
                };
                let open = || -> Result<Channel, DeltaError> {
                    let mut channel = connect(&keys, &contact, Purpose::Data)?;
                    channel.writer.send(kind::HELLO, &hello.to_bytes())?;
                    connections.add(channel.closer()?);
                    Ok(channel)
                };
                match open() {
                    Ok(channel) => {
                        let spawned = thread::Builder::new().name("tunnel".into()).spawn(move || {
                            // The monitors notice, and say so.
                            let _ = pump(monitor, channel);
                        });
                        if let Err(error) = spawned {
                            tracing::warn!("no thread for a tunnel: {error}");
                        }
                    }
                    Err(error) => tracing::warn!("no tunnel to the destination: {error}"),
                }
            }
        };
        let thread = thread::Builder::new().name("entrance".into()).spawn(accept).map_err(said)?;
        Ok(Self { is_open, thread: Some(thread) })
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.is_open.store(false, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// The destination's end of a tunnel.
pub(super) fn take(host: &Host, incoming: &Incoming, part: Part, channel: Channel) -> Result<(), String> {
    // Memory comes when all disks are there.
    if part == Part::Memory {
        let live = host.driver.live().ok_or("the driver can't move machines live")?;
        live.keep_disks(&incoming.vm).map_err(said)?;
        host.prepare_switch(incoming);
    }
    let sockets = locked(&incoming.takes).clone().ok_or("its monitor does not wait for it")?;
    let path = match part {
        Part::Disks => sockets.disks.ok_or("it has no disks")?,
        _ => sockets.memory,
    };
    let monitor = UnixStream::connect(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    pump(monitor, channel)
}

/// Carries bytes both ways until both have ended, or one fails.
fn pump(monitor: UnixStream, channel: Channel) -> Result<(), String> {
    let closer = channel.closer().map_err(said)?;
    let Channel { mut writer, mut reader, .. } = channel;
    let mut from = monitor.try_clone().map_err(said)?;
    let mut to = monitor.try_clone().map_err(said)?;
    let outward = thread::Builder::new().name("tunnel-out".into()).spawn(move || {
        let mut buffer = vec![0; MOST];
        let carried = loop {
            match from.read(&mut buffer) {
                Ok(0) => break writer.send(kind::STREAM_END, &[]).map_err(said),
                Ok(length) => {
                    if let Err(error) = writer.send(kind::STREAM, &buffer[..length]) {
                        break Err(said(error));
                    }
                }
                Err(error) => break Err(said(error)),
            }
        };
        if carried.is_err() {
            closer.close();
            // It may have ended already.
            let _ = from.shutdown(Shutdown::Both);
        }
        carried
    });
    let inward = loop {
        match reader.receive() {
            Ok((kind::STREAM, bytes)) => {
                if let Err(error) = to.write_all(&bytes) {
                    break Err(said(error));
                }
            }
            Ok((kind::STREAM_END, _)) => break Ok(()),
            Ok((kind, _)) => break Err(format!("record {kind} in a tunnel")),
            Err(error) => break Err(said(error)),
        }
    };
    // Wherever it has ended already, nothing is to be done.
    let _ = to.shutdown(if inward.is_ok() { Shutdown::Write } else { Shutdown::Both });
    let outward = outward.map_err(said)?.join().unwrap_or_else(|_| Err("a tunnel broke".into()));
    inward.and(outward)
}
