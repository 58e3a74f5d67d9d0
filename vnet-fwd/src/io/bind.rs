//! The sockets that links end at.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::config::StartError;

/// Binds UDP and TCP to the same port.
pub(crate) fn bind(address: SocketAddr) -> Result<(UdpSocket, TcpListener), StartError> {
    let failed = |protocol| move |source| StartError::Bind { address, protocol, source };
    // A port that is free for one may be taken for the other.
    for _ in 0..16 {
        let listener = TcpListener::bind(address).map_err(failed("TCP"))?;
        let bound = listener.local_addr().map_err(failed("TCP"))?;
        match UdpSocket::bind(bound) {
            Ok(socket) => return Ok((socket, listener)),
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed("UDP")(error)),
        }
    }
    Err(failed("UDP")(io::ErrorKind::AddrInUse.into()))
}
