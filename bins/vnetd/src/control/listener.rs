//! Where clients come in.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;

use super::connection::Socket;

/// Why the daemon can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon is there.
    #[error("another daemon listens on {}; stop it, or give this one its own socket (--control)", path.display())]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// The file is not a socket.
    #[error("{} is there and is not a socket; move it away, or name another (--control)", path.display())]
    NotSocket {
        /// The file.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("can't listen on {address}: {source}")]
    Io {
        /// The socket or address.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A Unix socket, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct UnixSocketFile(PathBuf);

impl Drop for UnixSocketFile {
    fn drop(&mut self) {
        // It may be gone already; the next daemon replaces it otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

/// Listens on the Unix socket `path`, in the place of one whose daemon is dead.
/// The caller alone may connect.
pub(crate) async fn bind_unix(path: &Path) -> Result<(UnixListener, UnixSocketFile), ListenError> {
    let failed = |source| ListenError::Io { address: path.display().to_string(), source };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type()) => {
            return Err(ListenError::NotSocket { path: path.to_owned() });
        }
        Ok(_) => match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(ListenError::Taken { path: path.to_owned() }),
        },
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok((listener, UnixSocketFile(path.to_owned())))
}

/// Listens on the TCP address.
pub(crate) async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    // Tokio sets SO_REUSEADDR, so that a restart needn't wait for old connections.
    TcpListener::bind(address)
        .await
        .map_err(|source| ListenError::Io { address: format!("TCP {address}"), source })
}

/// Accepts clients on the Unix socket for ever.
pub(crate) async fn accept_unix(listener: UnixListener, accepted: Sender<Socket>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if accepted.send(Socket::Unix(stream)).await.is_err() {
                    return;
                }
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Accepts clients on the TCP address for ever.
pub(crate) async fn accept_tcp(listener: TcpListener, accepted: Sender<Socket>) {
    loop {
        let socket = match listener.accept().await {
            Ok((stream, _)) => Socket::tcp(stream),
            Err(error) => Err(error),
        };
        match socket {
            Ok(socket) => {
                if accepted.send(socket).await.is_err() {
                    return;
                }
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

// Out of descriptors or memory, or the client has gone already: others can wait a moment.
async fn pause_after(error: &io::Error) {
    tracing::debug!("a control client was not accepted: {error}");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
