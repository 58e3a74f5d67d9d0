//! The way of a monitor's bytes to another monitor: from a Unix socket at the origin,
//! encrypted, to a Unix socket at the destination.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use vmmp::delta::DeltaError;
use vmmp::io::channel::{Channel, Keys};
use vmmp::io::greeting::Purpose;

use super::files::said;
use super::host::{Connections, Host, Incoming, locked};
use super::method::kind;
use super::packer::Packer;
use super::visitors::{Hello, Part};
use crate::links::{Contact, connect};

/// How much is sent at a time, in bytes. The longer, the better it compresses; the sooner the
/// first of it is sent, the sooner an answer to it comes.
const MOST: usize = 128 << 10;

/// After a failure nothing is tried for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a monitor connects to, for each of its connections a tunnel to the other provider.
pub(super) struct Entrance {
    /// The listening socket, to end the waiting at it.
    socket: UnixStream,
    is_open: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Entrance {
    /// Opens an entrance at `path`. Each of its tunnels begins with `hello`, and ends with
    /// the other `connections`.
    pub(super) fn open(
        keys: &Arc<Keys>,
        contact: Contact,
        hello: Hello,
        connections: Arc<Connections>,
        path: &Path,
    ) -> Result<Self, String> {
        // An earlier run may have left it.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(|error| format!("{}: {error}", path.display()))?;
        // Any socket can be shut down as a stream can.
        let socket = UnixStream::from(OwnedFd::from(listener.try_clone().map_err(said)?));
        let is_open = Arc::new(AtomicBool::new(true));
        let (go_on, keys) = (Arc::clone(&is_open), Arc::clone(keys));
        let accept = move || {
            loop {
                let monitor = match listener.accept() {
                    Ok((monitor, _)) => monitor,
                    Err(_) if !go_on.load(Relaxed) => return,
                    Err(error) => {
                        tracing::warn!("a monitor's connection could not be taken: {error}");
                        thread::sleep(PAUSE);
                        continue;
                    }
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
                            if let Err(why) = pump(monitor, channel) {
                                // The monitors notice, and say so.
                                tracing::debug!("a tunnel has ended: {why}");
                            }
                        });
                        if let Err(error) = spawned {
                            tracing::warn!("no thread for a tunnel: {error}");
                        }
                    }
                    Err(error) => tracing::warn!("no tunnel to the other provider: {error}"),
                }
            }
        };
        let thread = thread::Builder::new().name("entrance".into()).spawn(accept).map_err(said)?;
        Ok(Self { socket, is_open, thread: Some(thread) })
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.is_open.store(false, Relaxed);
        // The one that waits there hears of it, and has nothing to say.
        if self.socket.shutdown(Shutdown::Both).is_ok()
            && let Some(thread) = self.thread.take()
        {
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
pub(super) fn pump(monitor: UnixStream, channel: Channel) -> Result<(), String> {
    let closer = channel.closer().map_err(said)?;
    let Channel { mut writer, mut reader, .. } = channel;
    let mut from = monitor.try_clone().map_err(said)?;
    let mut to = monitor.try_clone().map_err(said)?;
    let outward = thread::Builder::new().name("tunnel-out".into()).spawn(move || {
        let mut buffer = vec![0; MOST];
        let mut packer = Packer::default();
        let carried = loop {
            match from.read(&mut buffer) {
                Ok(0) => break writer.send(kind::STREAM_END, &[]).map_err(said),
                Ok(length) => {
                    if let Err(why) = packer.send(&buffer[..length], &mut writer) {
                        break Err(why);
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
            Ok((kind::STREAM_PACKED, packed)) => {
                let unpacked = zstd::bulk::decompress(&packed, MOST).and_then(|bytes| to.write_all(&bytes));
                if let Err(error) = unpacked {
                    break Err(said(error));
                }
            }
            Ok((kind::STREAM_END, _)) => break Ok(()),
            Ok((kind::FAILED, why)) => break Err(String::from_utf8_lossy(&why).into_owned()),
            Ok((kind, _)) => break Err(format!("record {kind} in a tunnel")),
            Err(error) => break Err(said(error)),
        }
    };
    // Wherever it has ended already, nothing is to be done.
    let _ = to.shutdown(if inward.is_ok() { Shutdown::Write } else { Shutdown::Both });
    let outward = outward.map_err(said)?.join().unwrap_or_else(|_| Err("a tunnel broke".into()));
    inward.and(outward)
}
