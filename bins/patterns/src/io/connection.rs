//! A non-blocking connection: bytes in through the decoder, frames out.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::payload::Payload;
use crate::wire::{Decoder, Event, HELLO_BYTES, Header, Hello, WireError};

/// How much is read or written before other connections get their turn.
const TURN: usize = 256 << 10;

/// A connection and what is half way through it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    control: Vec<u8>,
    written: usize,
    message: Option<Message>,
    blocked: bool,
}

#[derive(Debug)]
struct Message {
    payload: Payload,
    offset: u64,
    length: u64,
}

/// What a turn of writing came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Bytes of payload that went out.
    pub(super) payload: u64,
    /// Did a message end?
    pub(super) message_ended: bool,
}

impl Connection {
    /// A connection over a stream that is connected.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            decoder: Decoder::default(),
            control: Vec::new(),
            written: 0,
            message: None,
            blocked: false,
        })
    }

    /// The other end.
    pub(super) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Puts a hello in line.
    pub(super) fn hello(&mut self, hello: &Hello) {
        self.control.extend_from_slice(&hello.encode());
    }

    /// Puts a frame in line; the message with `payload` if it is a data frame.
    pub(super) fn frame(&mut self, header: Header, sender: usize, payload: Payload) {
        // There are at most `MAX_RANKS` ranks.
        self.control.extend_from_slice(&header.encode(sender as u32));
        if let Header::Data { length, .. } = header {
            self.message = Some(Message { payload, offset: 0, length });
        }
    }

    /// Has everything in line been written?
    pub(super) fn is_idle(&self) -> bool {
        self.message.is_none() && self.control.is_empty()
    }

    /// The socket has room again.
    pub(super) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Writes what is in line, as much as the socket takes and a turn allows.
    pub(super) fn write(&mut self) -> io::Result<Written> {
        let mut done = Written::default();
        let mut budget = TURN;
        while !self.blocked && !self.is_idle() && budget > 0 {
            match self.write_once() {
                Ok(bytes) => {
                    budget = budget.saturating_sub(bytes);
                    let payload = self.advance(bytes, &mut done);
                    done.payload += payload;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_once(&self) -> io::Result<usize> {
        let control = &self.control[self.written..];
        let mut slices = [IoSlice::new(control), IoSlice::new(&[]), IoSlice::new(&[])];
        if let Some(Message { payload, offset, length }) = self.message {
            let mut at = offset;
            for slice in &mut slices[1..] {
                let rest = usize::try_from(length - at).unwrap_or(usize::MAX);
                let run = payload.run(at, rest);
                *slice = IoSlice::new(run);
                at += run.len() as u64;
            }
        }
        match (&self.stream).write_vectored(&slices)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            bytes => Ok(bytes),
        }
    }

    /// Moves past `bytes` written; how many of them were payload.
    fn advance(&mut self, bytes: usize, done: &mut Written) -> u64 {
        let control = bytes.min(self.control.len() - self.written);
        self.written += control;
        if self.written == self.control.len() {
            self.control.clear();
            self.written = 0;
        }
        let payload = (bytes - control) as u64;
        if let Some(message) = &mut self.message {
            message.offset += payload;
            if message.offset == message.length {
                self.message = None;
                done.message_ended = true;
            }
        }
        payload
    }

    /// Reads once into `buffer` and hands over the events found in it.
    /// `None`: nothing to read now; `Some(0)`: the other end has closed.
    pub(super) fn read<E: From<io::Error> + From<WireError>>(
        &mut self,
        buffer: &mut [u8],
        mut handle: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let bytes = match (&self.stream).read(buffer) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(e) => return Err(e.into()),
        };
        let mut input = &buffer[..bytes];
        while let Some(event) = self.decoder.next(&mut input)? {
            handle(event)?;
        }
        Ok(Some(bytes))
    }

    /// A buffer for [`Connection::read`].
    pub(super) fn buffer() -> Vec<u8> {
        vec![0; TURN]
    }

    /// Reads the hello and nothing beyond it; `None`: not all of it is there yet.
    pub(super) fn read_hello(&mut self) -> Result<Option<Hello>, GreetingError> {
        // Whoever connects waits for the answer after its hello, so a read of
        // this size can't reach beyond it unless the other is no patterns.
        let mut buffer = [0; HELLO_BYTES];
        let mut hello = None;
        let read = self.read(&mut buffer, |event| -> Result<(), GreetingError> {
            if let Event::Hello(found) = event {
                hello = Some(found);
            }
            Ok(())
        })?;
        match (read, hello) {
            (Some(0), None) => Err(GreetingError::Closed),
            _ => Ok(hello),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Why no hello came.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("closed without a hello")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Starts to connect; the stream is connected, or has an error, once writable.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket.into()),
        Err(e) => Err(e.into()),
    }
}
