//! The connections of TCP links.
//!
//! On a connection each message is a record: its length as four bytes,
//! big-endian, then the message. Nothing here ever blocks: what the kernel does
//! not take at once waits in the connection, up to a bound.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};
use vnet_core::encap::HEADER;
use vnet_core::frame::MAX_FRAME;

use super::sys::{Epoll, Interest};
use super::udp::canonical;
use crate::link::ConnectionId;
use crate::offload::OFFLOAD_HEADER;
use crate::secure::{SEAL_BACK, SEAL_FRONT};
use crate::stats::DropReason;

/// Length of the length in front of a message.
pub(crate) const PREFIX: usize = 4;

/// The longest message.
const MAX_MESSAGE: usize = SEAL_FRONT + HEADER + OFFLOAD_HEADER + MAX_FRAME + SEAL_BACK;

/// How many bytes of frames may wait for the kernel to take them. (The kernel's
/// own buffer, which grows to megabytes, is before that.)
const MAX_WAITING: usize = 256 << 10;

/// How many more bytes of other messages may.
const MAX_WAITING_CONTROL: usize = 64 << 10;

/// A buffer to read streams into needs at least so many bytes.
pub(crate) const STREAM_BUFFER: usize = 2 * (PREFIX + MAX_MESSAGE);

struct Connection {
    stream: TcpStream,
    /// Dialled, and the peer has not answered yet.
    opening: bool,
    /// Bytes for the kernel, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    /// The start of a record whose end has not come.
    partial: Vec<u8>,
}

pub(crate) struct TcpLinks {
    listener: TcpListener,
    connections: HashMap<ConnectionId, Connection>,
}

impl TcpLinks {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: HashMap::new() })
    }

    /// The next connection that somebody has opened; `None`: none at present.
    pub(crate) fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        match self.listener.accept() {
            Ok((stream, from)) => Ok(Some((stream, canonical(from)))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes over a connection that was accepted.
    pub(crate) fn adopt(
        &mut self,
        id: ConnectionId,
        token: u64,
        stream: TcpStream,
        poller: &Epoll,
    ) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poller.add(stream.as_fd(), token, Interest::Readable)?;
        self.connections.insert(id, Connection::new(stream, false));
        Ok(())
    }

    /// Starts to open a connection.
    pub(crate) fn dial(
        &mut self,
        id: ConnectionId,
        token: u64,
        address: SocketAddr,
        poller: &Epoll,
    ) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let stream = TcpStream::from(socket);
        poller.add(stream.as_fd(), token, Interest::ReadableAndWritable)?;
        self.connections.insert(id, Connection::new(stream, true));
        Ok(())
    }

    /// Forgets and closes a connection. What it still has to send goes if the
    /// kernel takes it at once.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        if let Some(mut connection) = self.connections.remove(&id) {
            // The peer learns of a loss by the end of the connection.
            let _ = connection.flush();
        }
    }

    /// Sends a record of a frame: `record` starts with room for the length.
    pub(crate) fn send_frame(
        &mut self,
        id: ConnectionId,
        token: u64,
        record: &mut [u8],
        poller: &Epoll,
    ) -> Result<(), DropReason> {
        let length = (record.len() - PREFIX) as u32;
        record[..PREFIX].copy_from_slice(&length.to_be_bytes());
        self.send(id, token, record, MAX_WAITING, poller)
    }

    /// Sends another message.
    pub(crate) fn send_control(
        &mut self,
        id: ConnectionId,
        token: u64,
        message: &[u8],
        poller: &Epoll,
    ) -> Result<(), DropReason> {
        let record = [&(message.len() as u32).to_be_bytes(), message].concat();
        self.send(id, token, &record, MAX_WAITING + MAX_WAITING_CONTROL, poller)
    }

    /// The kernel takes more, or a dialled connection has become one. `true`:
    /// the latter.
    pub(crate) fn writable(&mut self, id: ConnectionId, token: u64, poller: &Epoll) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(false) };
        let opened = connection.opening;
        if opened {
            if let Some(error) = connection.stream.take_error()? {
                return Err(error);
            }
            connection.opening = false;
        }
        connection.flush()?;
        if connection.waiting.is_empty() {
            poller.modify(connection.stream.as_fd(), token, Interest::Readable)?;
        }
        Ok(opened)
    }

    /// Reads once. `buffer` (of [`STREAM_BUFFER`] bytes) then holds so many bytes
    /// of records, the last perhaps not whole: hand the rest back with
    /// [`TcpLinks::keep`]. `None`: nothing at present.
    pub(crate) fn read(&mut self, id: ConnectionId, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(None) };
        let kept = connection.partial.len();
        match connection.stream.read(&mut buffer[kept..]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the peer")),
            Ok(read) => {
                buffer[..kept].copy_from_slice(&connection.partial);
                connection.partial = Vec::new();
                Ok(Some(kept + read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the start of a record until the rest comes.
    pub(crate) fn keep(&mut self, id: ConnectionId, rest: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.partial = rest.to_vec();
        }
    }

    fn send(
        &mut self,
        id: ConnectionId,
        token: u64,
        record: &[u8],
        limit: usize,
        poller: &Epoll,
    ) -> Result<(), DropReason> {
        let connection = self.connections.get_mut(&id).ok_or(DropReason::LinkDown)?;
        let mut sent = 0;
        if connection.waiting.is_empty() {
            sent = match connection.stream.write(record) {
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                // The poller reports that the connection is broken.
                Err(_) => return Err(DropReason::SendFailed),
            };
            if sent == record.len() {
                return Ok(());
            }
            poller
                .modify(connection.stream.as_fd(), token, Interest::ReadableAndWritable)
                .map_err(|_| DropReason::SendFailed)?;
        }
        // The rest of a record that is half sent has to follow.
        if sent == 0 && connection.waiting.len() - connection.taken + record.len() > limit {
            return Err(DropReason::LinkFull);
        }
        connection.waiting.extend_from_slice(&record[sent..]);
        Ok(())
    }
}

impl AsFd for TcpLinks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Connection {
    fn new(stream: TcpStream, opening: bool) -> Self {
        Self { stream, opening, waiting: Vec::new(), taken: 0, partial: Vec::new() }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.taken < self.waiting.len() {
            match self.stream.write(&self.waiting[self.taken..]) {
                Ok(sent) => self.taken += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // So that a queue that is never empty does not grow without end.
                    if self.taken > MAX_WAITING {
                        self.waiting.drain(..self.taken);
                        self.taken = 0;
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.waiting = Vec::new();
        self.taken = 0;
        Ok(())
    }
}

/// Finds the first record at the start of `bytes`: its length with the prefix.
/// `None`: it isn't whole yet.
pub(crate) fn first_record(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_MESSAGE {
        let problem = format!("the peer sends a record of {length} bytes; {MAX_MESSAGE} is the most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok((rest.len() >= length).then_some(PREFIX + length))
}
