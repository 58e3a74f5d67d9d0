//! Reading the configuration again, and doing what has changed in it.

use std::time::Instant;

use vnet_core::control::{ErrorKind, PeerKey, Request};
use vnet_core::{HostName, PublicKey};

use super::Daemon;
use crate::config::{Config, ConfigError, Role};
use crate::io::notify;
use crate::journal::Entry;
use crate::uplink::Uplink;

/// Reads the configuration anew.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigError>>;

impl Daemon {
    /// What was asked for on SIGHUP.
    pub(super) fn reload(&mut self, now: Instant) {
        let Some(read) = &self.reload else {
            tracing::warn!("there is no configuration file to read again; nothing has changed");
            return;
        };
        notify::reloading();
        match read() {
            Err(error) => tracing::error!("the configuration stays as it was: {error}"),
            Ok(new) => {
                self.reconfigure(new, now);
                match self.problems.len() {
                    0 => tracing::info!("the configuration has been read again"),
                    count => {
                        tracing::error!("{count} parts of the new configuration do not work: see the status");
                    }
                }
            }
        }
        notify::ready();
    }

    fn reconfigure(&mut self, new: Config, now: Instant) {
        self.problems = fixed_differences(&self.config, &new)
            .into_iter()
            .map(|key| format!("`{key}` has changed in the configuration, which needs a restart"))
            .collect();
        let old_proxy = self.config.role.clone();
        let old = std::mem::replace(&mut self.config, new);
        // What needs a restart stays as it is until then.
        self.config.name = old.name;
        self.config.data = old.data;
        self.config.control = old.control;
        self.config.control_tcp = old.control_tcp;
        self.config.state_dir = old.state_dir;
        self.config.metrics = old.metrics;
        self.config.encryption = old.encryption;
        self.config.private_key = old.private_key;
        self.config.interface_mtu = old.interface_mtu;
        self.config.split_frames = old.split_frames;
        self.config.offloads = old.offloads;
        self.config.timing.rekey_after = old.timing.rekey_after;
        if is_proxy(&old.role) != is_proxy(&self.config.role) {
            self.config.role = old.role;
        }
        self.apply_baseline();
        self.traffic.configure(&self.config, self.state.bound_ms);
        if self.config.role != old_proxy {
            self.change_proxy(now);
        }
        self.refresh_links(now);
        for problem in &self.problems {
            tracing::warn!("{problem}");
        }
    }

    /// Carries out the difference between what the configuration asks for and
    /// what it asked for last time. What clients changed since stays.
    pub(super) fn apply_baseline(&mut self) {
        let wanted = wanted(&self.config);
        let gone = self.baseline.iter().filter(|old| !wanted.contains(old)).map(opposite);
        let added = wanted.iter().filter(|new| !self.baseline.contains(new)).cloned();
        let changes: Vec<_> = gone.chain(added).collect();
        if changes.is_empty() && wanted == self.baseline {
            return;
        }
        let mut failed = Vec::new();
        for request in changes {
            match self.change(&request) {
                Ok(()) => {}
                // Somebody has deleted it already.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => {
                    self.problems.push(format!("what the configuration asks for failed: {error}"));
                    failed.push(request);
                }
            }
        }
        // What failed is tried again next time.
        self.baseline = wanted;
        self.baseline.retain(|request| !failed.contains(request));
        self.keep(&Entry::Baseline(self.baseline.clone()));
    }

    fn change_proxy(&mut self, now: Instant) {
        let why = "the configuration names another Proxy";
        if let Some(session) = self.uplink.take().and_then(|uplink| uplink.session()) {
            self.close(session, why);
        }
        if let Role::Member { .. } = self.config.role {
            self.uplink = Some(Uplink::new(self.config.timing, self.incarnation, now));
        }
    }
}

/// What the configuration asks for, as requests.
fn wanted(config: &Config) -> Vec<Request> {
    let interfaces = config.interfaces.iter().cloned().map(Request::AddInterface);
    let links = config.links.iter().cloned().map(Request::AddLink);
    let rules = config.rules.iter().cloned().map(Request::AddRule);
    let key =
        |(host, key): (&HostName, &PublicKey)| PeerKey { host: host.clone(), key: *key, introduced: false };
    let keys = config.peer_keys.iter().map(key).map(Request::AllowPeer);
    keys.chain(interfaces).chain(links).chain(rules).collect()
}

fn opposite(request: &Request) -> Request {
    match request {
        Request::AddInterface(spec) => Request::DeleteInterface(spec.name.clone()),
        Request::AddLink(spec) => Request::DeleteLink(spec.link.id()),
        Request::AddRule(entry) => Request::DeleteRule(entry.clone()),
        Request::AllowPeer(peer) => Request::ForbidPeer(peer.host.clone()),
        // The configuration asks for nothing else.
        other => other.clone(),
    }
}

fn is_proxy(role: &Role) -> bool {
    *role == Role::Proxy
}

fn fixed_differences(old: &Config, new: &Config) -> Vec<&'static str> {
    [
        ("name", old.name != new.name),
        ("bind", old.data != new.data),
        ("control", old.control != new.control),
        ("control-tcp", old.control_tcp != new.control_tcp),
        ("proxy", is_proxy(&old.role) != is_proxy(&new.role)),
        ("state-dir", old.state_dir != new.state_dir),
        ("metrics", old.metrics != new.metrics),
        ("encryption", old.encryption != new.encryption),
        ("private-key", old.private_key != new.private_key),
        ("interface-mtu", old.interface_mtu != new.interface_mtu),
        ("split-frames", old.split_frames != new.split_frames),
        ("offloads", old.offloads != new.offloads),
        ("rekey-after", old.timing.rekey_after != new.timing.rekey_after),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
