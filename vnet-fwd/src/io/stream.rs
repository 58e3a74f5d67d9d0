//! Virtual machines that join through a Unix socket, as QEMU's `-netdev stream` does.
//!
//! Each frame has its length in front, four bytes, big-endian. The VM connects and
//! needs no privilege; when it goes, the next one may come.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use vnet_core::frame::MAX_FRAME;

use super::port::Port;
use super::sys::{Epoll, Interest};
use crate::stats::{DropReason, Drops};

/// Length of the length.
const PREFIX: usize = 4;

/// How much is read at a time.
const CHUNK: usize = 64 << 10;

/// A port that listens on a Unix socket, and carries the frames of whoever is connected: one
/// virtual machine at a time.
///
/// ```no_run
/// # fn main() -> std::io::Result<()> {
/// let port = vnet_fwd::StreamPort::listen("/run/user/1000/vm1.sock".as_ref())?;
/// // qemu-system-x86_64 -device virtio-net,netdev=n
/// //     -netdev stream,id=n,server=off,addr.type=unix,addr.path=/run/user/1000/vm1.sock
/// # Ok(())
/// # }
/// ```
pub struct StreamPort {
    listener: UnixListener,
    path: PathBuf,
    /// Readable while the listener or the connection is.
    ready: Epoll,
    connection: Option<Connection>,
    drops: Drops,
}

struct Connection {
    stream: UnixStream,
    /// What was read, from `start` on not yet given away.
    read: Vec<u8>,
    start: usize,
    /// The rest of a frame that the socket has taken a part of.
    unsent: Vec<u8>,
}

impl StreamPort {
    /// Listens on `path`. A socket that nobody listens on any more is replaced.
    ///
    /// # Errors
    ///
    /// Somebody else listens there, there is another sort of file, or the kernel refuses.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let ready = Epoll::new()?;
        ready.add(listener.as_fd(), 0, Interest::Readable)?;
        Ok(Self { listener, path: path.to_owned(), ready, connection: None, drops: Drops::default() })
    }

    /// Takes the next virtual machine in. Further ones wait until it has gone.
    fn accept(&mut self) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        self.ready.add(stream.as_fd(), 0, Interest::Readable)?;
        self.ready.remove(self.listener.as_fd())?;
        self.connection = Some(Connection { stream, read: Vec::new(), start: 0, unsent: Vec::new() });
        Ok(())
    }

    fn hang_up(&mut self) -> io::Result<()> {
        if let Some(connection) = self.connection.take() {
            self.ready.remove(connection.stream.as_fd())?;
            self.ready.add(self.listener.as_fd(), 0, Interest::Readable)?;
        }
        Ok(())
    }
}

impl Connection {
    /// The next frame, if all of it is there.
    fn next(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some((prefix, rest)) = self.read[self.start..].split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_FRAME.min(buffer.len()) {
            let why = format!("a frame of {length} bytes is announced, and {MAX_FRAME} are the most");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        buffer[..length].copy_from_slice(frame);
        self.start += PREFIX + length;
        Ok(Some(length))
    }

    /// Reads more; an end is an error.
    fn fill(&mut self) -> io::Result<()> {
        self.read.drain(..self.start);
        self.start = 0;
        let length = self.read.len();
        self.read.resize(length + CHUNK, 0);
        let result = self.stream.read(&mut self.read[length..]);
        self.read.truncate(length + result.as_ref().map_or(0, |read| *read));
        match result? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends the rest of the last frame.
    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let sent = self.stream.write(&self.unsent)?;
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.flush()?;
        let prefix = (frame.len() as u32).to_be_bytes();
        let parts = [io::IoSlice::new(&prefix), io::IoSlice::new(frame)];
        let sent = self.stream.write_vectored(&parts)?;
        if sent < PREFIX + frame.len() {
            // A part of a frame is a promise.
            self.unsent.extend([&prefix, frame].concat().get(sent..).unwrap_or_default());
        }
        Ok(())
    }
}

impl Port for StreamPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(connection) = &mut self.connection else {
                self.accept()?;
                continue;
            };
            let next = match connection.next(buffer) {
                Ok(None) => connection.fill().map(|()| None),
                other => other,
            };
            match next {
                Ok(Some(length)) => return Ok(length),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The guest may have made room meanwhile.
                    let _ = connection.flush();
                    return Err(error);
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        tracing::warn!(path = %self.path.display(), %error, "a virtual machine is disconnected");
                        self.drops.count(DropReason::Malformed);
                    }
                    self.hang_up()?;
                }
            }
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(connection) = &mut self.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        match connection.send(frame) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                self.hang_up()?;
                Err(io::ErrorKind::NotConnected.into())
            }
            other => other,
        }
    }

    fn problem(&self) -> Option<String> {
        let alone = self.connection.is_none();
        alone.then(|| format!("no virtual machine is connected to {}", self.path.display()))
    }

    fn take_drops(&mut self, drops: &mut Drops) {
        drops.merge(&std::mem::take(&mut self.drops));
    }
}

impl Drop for StreamPort {
    fn drop(&mut self) {
        // Somebody may have taken it away.
        let _ = std::fs::remove_file(&self.path);
    }
}
