//! One control connection: bytes to records and back, with limits.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc::Sender;

use super::outbox::{Orders, Outbox};
use super::record::{Cutter, Record};
use super::router::ConnectionId;
use crate::config::Limits;

/// News from a connection.
#[derive(Debug)]
pub(crate) enum FromConnection {
    Record(ConnectionId, Record),
    /// The last word of a connection.
    Closed(ConnectionId, String),
}

/// A stream of either kind.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// The two ends of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: IpAddr,
    pub(crate) peer: IpAddr,
}

/// Bytes of unfinished requests on all connections together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unfinished(Arc<AtomicUsize>);

// Four of the longest requests. A host should not fall to those who send the
// beginnings of requests.
const MAX_UNFINISHED: usize = 64 << 20;
const READ: usize = 64 << 10;
// For the last answers on a connection that the daemon closes.
const FAREWELL: Duration = Duration::from_secs(5);

impl Socket {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        // Answers are small and somebody waits for each.
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }

    /// The addresses of a TCP connection.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let Self::Tcp(stream) = self else { return None };
        let ip = |address: io::Result<SocketAddr>| address.ok().map(|address| address.ip().to_canonical());
        Some(Ends { local: ip(stream.local_addr())?, peer: ip(stream.peer_addr())? })
    }

    async fn ready(&self, interest: Interest) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await.map(drop),
            Self::Tcp(stream) => stream.ready(interest).await.map(drop),
        }
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read(buffer),
            Self::Tcp(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }
}

/// Serves a connection until it closes, then says why.
pub(crate) async fn serve(
    id: ConnectionId,
    socket: Socket,
    outbox: Outbox,
    limits: Limits,
    unfinished: Unfinished,
    daemon: Sender<FromConnection>,
) {
    let mut connection = Connection {
        id,
        socket,
        outbox,
        limits,
        input: Cutter::default(),
        output: Vec::new(),
        written: 0,
        orders: Orders::default(),
        active: Instant::now(),
        share: Share { all: unfinished, bytes: 0 },
    };
    let why = connection.run(&daemon).await;
    // The daemon has stopped if it doesn't listen.
    let _ = daemon.send(FromConnection::Closed(id, why)).await;
}

struct Connection {
    id: ConnectionId,
    socket: Socket,
    outbox: Outbox,
    limits: Limits,
    input: Cutter,
    output: Vec<u8>,
    written: usize,
    orders: Orders,
    active: Instant,
    share: Share,
}

impl Connection {
    async fn run(&mut self, daemon: &Sender<FromConnection>) -> String {
        loop {
            if self.written == self.output.len() {
                self.output.clear();
                self.output.shrink_to(4096);
                self.written = 0;
            }
            self.orders = self.outbox.take(&mut self.output);
            let unsent = self.output.len() - self.written;
            let writes = unsent > 0;
            if self.outbox.is_aborted() || (self.orders.close && !writes) {
                return "the daemon closed it".to_owned();
            }
            // Which client doesn't take answers gets no further requests read.
            let reads = !self.orders.close && (self.orders.trusted || unsent < self.limits.unsent);
            let interest = match (reads, writes) {
                (true, true) => Interest::READABLE.add(Interest::WRITABLE),
                (false, true) => Interest::WRITABLE,
                _ => Interest::READABLE,
            };
            tokio::select! {
                ready = self.socket.ready(interest) => {
                    if let Err(error) = ready {
                        return error.to_string();
                    }
                    if let Err(why) = self.write() {
                        return why;
                    }
                    if reads {
                        match self.read() {
                            Err(why) => return why,
                            Ok(records) => {
                                for record in records {
                                    if daemon.send(FromConnection::Record(self.id, record)).await.is_err() {
                                        return "the daemon stops".to_owned();
                                    }
                                }
                            }
                        }
                    }
                }
                () = self.outbox.changed() => {}
                () = tokio::time::sleep_until((self.active + self.patience()).into()) => {
                    return self.impatience();
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while self.written < self.output.len() {
            match self.socket.try_write(&self.output[self.written..]) {
                Ok(0) => return Err("it takes nothing more".to_owned()),
                Ok(written) => {
                    self.written += written;
                    self.active = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Reads what there is; returns the records that are whole.
    fn read(&mut self) -> Result<Vec<Record>, String> {
        let mut buffer = [0; READ];
        let length = match self.socket.try_read(&mut buffer) {
            Ok(0) => return Err("the peer closed it".to_owned()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error.to_string()),
        };
        self.input.extend(&buffer[..length]);
        let mut records = Vec::new();
        while let Some(record) = self.input.next_record().map_err(|error| error.to_string())? {
            records.push(record);
        }
        // Bytes of a request that never becomes whole are no sign of life.
        if !records.is_empty() || self.share.bytes == 0 {
            self.active = Instant::now();
        }
        if !self.share.set(self.input.pending()) {
            return Err(format!("unfinished requests of all clients exceed {MAX_UNFINISHED} bytes"));
        }
        Ok(records)
    }

    fn patience(&self) -> Duration {
        match self.input.pending() {
            _ if self.orders.close => FAREWELL,
            0 => self.limits.idle,
            _ => self.limits.request,
        }
    }

    fn impatience(&self) -> String {
        match self.input.pending() {
            _ if self.orders.close => "it did not take its last answers".to_owned(),
            0 => format!("nothing was asked for {:?}", self.limits.idle),
            _ => format!("a request was not whole after {:?}", self.limits.request),
        }
    }
}

/// The part that one connection has in [`Unfinished`].
struct Share {
    all: Unfinished,
    bytes: usize,
}

impl Share {
    /// `false` if it is too much.
    fn set(&mut self, bytes: usize) -> bool {
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.0.fetch_sub(self.bytes, Ordering::Relaxed) - self.bytes;
        self.bytes = bytes;
        all <= MAX_UNFINISHED
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0);
    }
}
