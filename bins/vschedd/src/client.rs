//! The client's end of the socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vsched::protocol::{MAX_LINE, ProtocolError, Request, Response};

/// A daemon that takes longer has a problem.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon at {path}: {source}; start `vschedd`, or name its socket with --socket")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the daemon at {path} doesn't answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer is not one of the protocol.
    #[error("the daemon at {path} answers strangely: {source}")]
    Strange {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: ProtocolError,
    },
    /// The daemon refuses.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let stream = connected.map_err(|source| ClientError::NoDaemon { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer; a refusal is an error.
    pub fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        let broken = |source| ClientError::Broken { path: self.path.clone(), source };
        self.stream.get_mut().write_all(&request.encode()).map_err(broken)?;
        let mut line = Vec::new();
        // One byte more than is allowed, so that a line that is too long is told from one that is not.
        self.stream.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).map_err(broken)?;
        if line.is_empty() {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match Response::decode(&line) {
            Ok(Response::Error { message }) => Err(ClientError::Refused(message)),
            Ok(response) => Ok(response),
            Err(source) => Err(ClientError::Strange { path: self.path.clone(), source }),
        }
    }
}
