//! The daemon's end of the socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use vsched::io::{Host, HostError, HostOptions};
use vsched::protocol::{MAX_LINE, Request, Response};

/// More clients at once are turned away.
const MOST_CLIENTS: usize = 64;

/// Answers clients, each in a thread of its own, until it is dropped.
pub struct Server {
    path: PathBuf,
}

impl Server {
    /// Listens at `path`, which only this user may then use.
    pub fn start(path: &Path, host: Arc<Mutex<Host>>, options: HostOptions) -> anyhow::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("could not remove the old {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(path).with_context(|| format!("could not listen at {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        std::thread::Builder::new()
            .name("accept".to_owned())
            .spawn(move || accept(&listener, &host, &options))?;
        Ok(Self { path: path.to_owned() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whoever connects now is refused by the kernel.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, host: &Arc<Mutex<Host>>, options: &HostOptions) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("a client could not connect: {error}");
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            }
        };
        if clients.load(Ordering::Relaxed) >= MOST_CLIENTS {
            tracing::warn!("a client was turned away: there are {MOST_CLIENTS}");
            continue;
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let (host, options, counted) = (Arc::clone(host), options.clone(), Arc::clone(&clients));
        let serve = move || {
            if let Err(error) = serve(&stream, &host, &options) {
                tracing::debug!("a client left: {error}");
            }
            counted.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(error) = std::thread::Builder::new().name("client".to_owned()).spawn(serve) {
            tracing::warn!("no thread for a client: {error}");
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(stream: &UnixStream, host: &Mutex<Host>, options: &HostOptions) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let too_long = line.len() > MAX_LINE;
        let response = match Request::decode(&line) {
            Ok(request) => {
                let mut host = host.lock().unwrap_or_else(PoisonError::into_inner);
                answer(&mut host, options, request)
            }
            Err(error) => Response::Error { message: error.to_string() },
        };
        (&*stream).write_all(&response.encode())?;
        if too_long {
            // Where the next message begins is not known.
            return Ok(());
        }
    }
}

fn answer(host: &mut Host, options: &HostOptions, request: Request) -> Response {
    let answered: Result<Response, HostError> = match request {
        Request::Hello => Ok(Response::Host {
            mechanism: host.mechanism(),
            limits: host.limits(),
            cores: options.cores.clone(),
            capacity: options.capacity.fraction(),
            own_cpu: host.own_cpu(),
        }),
        Request::Attach { name, pids, reservation } => {
            host.attach(&name, &pids, &reservation).map(|task| Response::Attached { task })
        }
        Request::Set { task, reservation } => host.set(task, &reservation).map(|()| Response::Done),
        Request::Hold { task, goal, progress } => host.hold(task, goal, progress).map(|()| Response::Done),
        Request::Release { task } => host.release(task).map(|()| Response::Done),
        Request::Check { reservation } => host.check(&reservation).map(|core| Response::Fits { core }),
        Request::List => Ok(Response::Tasks { tasks: host.list() }),
        Request::History { task } => host.history(task).map(|samples| Response::History { samples }),
        Request::Demand { task, count } => {
            host.demand(task, count).map(|samples| Response::Demand { samples })
        }
    };
    answered.unwrap_or_else(|error| Response::Error { message: error.to_string() })
}
