//! Which daemon to talk to.

use anyhow::{Result, bail};
use vnet_core::HostName;
use vnetd::client::{Address, Client, ClientError};
use vnetd::config::control_sockets;

/// Connects to the daemon at `control`, or else to one of this machine.
pub(crate) fn connect(control: Option<&Address>) -> Result<Client> {
    match control {
        Some(address) => Ok(Client::connect(address)?),
        None => connect_here(),
    }
}

/// A daemon of this machine: the only one, or the only Proxy.
fn connect_here() -> Result<Client> {
    let sockets = control_sockets()?;
    let mut alive = Vec::new();
    for path in &sockets {
        match Client::connect(&Address::Unix(path.clone())) {
            Ok(client) => alive.push(client),
            // The socket of a daemon that was killed.
            Err(ClientError::Connect { source, .. })
                if source.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut proxies = Vec::new();
    if alive.len() > 1 {
        for at in (0..alive.len()).rev() {
            if alive[at].status(None)?.is_proxy {
                proxies.push(alive.swap_remove(at));
            }
        }
    }
    match (alive.pop(), proxies.pop(), alive.len() + proxies.len()) {
        (Some(client), None, 0) => Ok(client),
        (_, Some(proxy), _) if proxies.is_empty() => Ok(proxy),
        (None, None, _) => bail!(
            "no vnetd is running on this machine; start one (vnetd, or vnet up), or name one with --control ADDRESS"
        ),
        _ => {
            let list: Vec<_> = sockets.iter().map(|path| path.display().to_string()).collect();
            bail!("several daemons run on this machine; choose one with --control: {}", list.join(", "))
        }
    }
}

/// The Proxy, which the daemon at the other end of `client` may be; `None` if it has none.
pub(crate) fn proxy_of(client: &mut Client) -> Result<HostName> {
    let status = client.status(None)?;
    if status.is_proxy {
        return Ok(status.host);
    }
    match (status.daemons.into_iter().next(), status.proxy) {
        (Some(proxy), _) => Ok(proxy.host),
        (None, Some(session)) => bail!("{} has no session with its Proxy: {}", status.host, session.why),
        (None, None) => bail!("{} has no Proxy; connect to the Proxy itself (--control)", status.host),
    }
}
