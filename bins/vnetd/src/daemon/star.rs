//! The star: daemons register with the Proxy, and each keeps a link to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, lookup_host};
use vnet_core::control::{
    Body, ControlError, Envelope, ErrorKind, LinkSpec, Notice, PeerAddress, Reply, Request, Response,
};
use vnet_core::{HostName, Link};

use super::registry::Registered;
use super::{Daemon, Event};
use crate::config::Role;
use crate::control::connection::Socket;
use crate::control::record::Record;
use crate::control::router::ConnectionId;
use crate::journal::Entry;

/// The Proxy's side.
impl Daemon {
    pub(super) fn register(
        &mut self,
        from: ConnectionId,
        host: HostName,
        data_port: u16,
        incarnation: u64,
        now: Instant,
    ) -> Response {
        let refuse = |kind, message| Err(ControlError::new(kind, message));
        if self.config.role != Role::Proxy {
            let message = format!("{} is not the Proxy; daemons register with that", self.config.name);
            return refuse(ErrorKind::Unsupported, message);
        }
        if host == self.config.name {
            let message = format!("the Proxy itself is named {host}; give the daemon another name");
            return refuse(ErrorKind::Conflict, message);
        }
        let Some(ends) = self.connections.get(&from).and_then(|connection| connection.ends) else {
            return refuse(ErrorKind::Invalid, "daemons register over TCP, which shows their address".into());
        };
        let address = SocketAddr::new(ends.peer, data_port);
        let registered = Registered { connection: from, address, incarnation, key: None };
        match self.registry.insert(host.clone(), registered) {
            None => self.note("session", || format!("{host} registered, its links end at {address}")),
            Some(old) if old.incarnation == incarnation => {
                self.note("session", || format!("{host} registered again"));
            }
            Some(_) => self.warn(
                "session",
                format!("another {host} registered from {address}: was it restarted, or are there two of that name?"),
            ),
        }
        self.trust(from);
        if let Some(old) = self.router.register(from, host.clone(), now) {
            self.close(old, "the daemon registered over another connection");
        }
        let peer = PeerAddress { host: host.clone(), address };
        self.learn(std::slice::from_ref(&peer), now);
        self.tell_others(&peer);
        self.add_star_link(&host, &self.config.name.clone());
        let mut daemons: Vec<_> =
            self.registry.addresses_for(ends.peer).filter(|daemon| daemon.host != host).collect();
        if let Some(data) = self.plane.address() {
            let ip = if data.ip().is_unspecified() { ends.local } else { data.ip() };
            let address = SocketAddr::new(ip, data.port());
            daemons.push(PeerAddress { host: self.config.name.clone(), address });
        }
        Ok(Reply::Registered { proxy: self.config.name.clone(), daemons })
    }

    pub(super) fn session_lost(&mut self, host: &HostName, id: ConnectionId, why: &str) {
        if self.registry.remove(host, id) {
            self.warn("session", format!("lost {host}: {why}"));
        }
    }

    fn tell_others(&mut self, peer: &PeerAddress) {
        let Ok(record) = Record::new(&Envelope { id: 0, body: Body::Notice(Notice::Peer(peer.clone())) })
        else {
            return;
        };
        for id in self.registry.others(&peer.host, peer.address) {
            self.send(id, &record);
        }
    }
}

/// The daemon's side.
impl Daemon {
    pub(super) fn connect_to_proxy(&self) {
        let Role::Member { proxy } = &self.config.role else { return };
        let (proxy, events) = (proxy.clone(), self.events.clone());
        let source = self.config.data.ip();
        let source = (!source.is_unspecified()).then_some(SocketAddr::new(source, 0));
        let timeout = self.config.timing.connect_timeout;
        tokio::spawn(async move {
            let outcome = connect(&proxy, source, timeout).await;
            // The daemon has stopped if it doesn't listen.
            let _ = events.send(Event::Uplink(outcome));
        });
    }

    pub(super) fn uplink_outcome(&mut self, outcome: Result<Socket, String>, now: Instant) {
        match outcome {
            Err(why) => self.uplink_lost(why, now),
            Ok(socket) => {
                let connection = self.adopt(socket);
                let Some(uplink) = &mut self.uplink else {
                    return self.close(connection, "there is no Proxy");
                };
                uplink.connected(connection, now);
                self.trust(connection);
                let id = self.router.own_request(connection, now);
                let register = Request::Register {
                    host: self.config.name.clone(),
                    data_port: self.plane.address().map_or(0, |address| address.port()),
                    incarnation: self.incarnation,
                };
                match Record::new(&Envelope { id, body: Body::Request(None, register) }) {
                    Ok(record) => self.send(connection, &record),
                    Err(error) => self.close(connection, error.to_string()),
                }
                self.introduce_self(connection);
            }
        }
    }

    pub(super) fn registration_answer(&mut self, from: ConnectionId, record: &Record, now: Instant) {
        if !self.uplink.as_ref().is_some_and(|uplink| uplink.is_on(from)) {
            return;
        }
        match record.envelope().map(|envelope| envelope.body) {
            Ok(Body::Response(Ok(Reply::Registered { proxy, daemons }))) => {
                if let Some(uplink) = &mut self.uplink {
                    uplink.registered(now);
                }
                self.router.set_proxy(from, now);
                self.proxy = Some(proxy.clone());
                self.note("proxy", || format!("registered with the Proxy {proxy}"));
                self.learn(&daemons, now);
                self.allow_proxy(&proxy);
                self.add_star_link(&self.config.name.clone(), &proxy);
                self.traffic.start_over(now);
            }
            Ok(Body::Response(Err(error))) => self.close(from, format!("the Proxy refuses: {error}")),
            Ok(_) => self.close(from, "the Proxy answered the registration with something else"),
            Err(error) => self.close(from, error.to_string()),
        }
    }

    /// There is no session with the Proxy, or no longer one.
    pub(super) fn uplink_lost(&mut self, why: String, now: Instant) {
        let Some(uplink) = &mut self.uplink else { return };
        let had = uplink.session().is_some();
        let is_new = uplink.state(now).why != why;
        uplink.failed(why.clone(), now);
        let proxy = match &self.config.role {
            Role::Member { proxy } => proxy.clone(),
            _ => return,
        };
        if had {
            self.warn("proxy", format!("lost the Proxy at {proxy}: {why}; trying again until it is back"));
        } else if is_new {
            self.warn("proxy", format!("can't register with the Proxy at {proxy}: {why}; trying again"));
        }
    }
}

/// Both sides.
impl Daemon {
    /// Keeps in mind where daemons are.
    pub(super) fn learn(&mut self, peers: &[PeerAddress], now: Instant) {
        for peer in peers {
            if peer.host != self.config.name
                && self.state.peers.insert(peer.host.clone(), peer.address) != Some(peer.address)
            {
                self.keep(&Entry::Peer(peer.clone()));
            }
        }
        self.refresh_links(now);
    }

    /// Adds this end of the link between a daemon, which opens it, and its Proxy.
    fn add_star_link(&mut self, daemon: &HostName, proxy: &HostName) {
        let Some(kind) = self.config.star_link else { return };
        let link = Link { kind, opener: daemon.clone(), a: proxy.clone(), b: daemon.clone() };
        if self.state.links.contains_key(&link.id()) {
            return;
        }
        let id = link.id();
        if let Err(error) = self.change(&Request::AddLink(LinkSpec { link, peer: None })) {
            self.warn("star", format!("can't add the link {id}: {error}"));
        }
    }

    /// Logs an ordinary event, but not again and again.
    pub(super) fn note(&mut self, topic: &'static str, message: impl FnOnce() -> String) {
        if self.quiet.admits(topic, Instant::now()) {
            tracing::info!("{}", message());
        }
    }
}

async fn connect(proxy: &str, source: Option<SocketAddr>, timeout: Duration) -> Result<Socket, String> {
    let attempt = async {
        let mut last = "its name has no address".to_owned();
        for address in lookup_host(proxy).await.map_err(|error| error.to_string())? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
            let socket = socket.map_err(|error| error.to_string())?;
            if let Some(source) = source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
                socket.bind(source).map_err(|error| format!("can't connect from {source}: {error}"))?;
            }
            match socket.connect(address).await.and_then(Socket::tcp) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    };
    tokio::time::timeout(timeout, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("no connection within {timeout:?}")))
}
