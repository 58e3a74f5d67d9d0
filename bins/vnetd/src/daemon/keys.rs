//! Keys: this daemon's own, and those that the Proxy introduces.
//!
//! A full mesh of 128 daemons needs 16,256 keys in the right places, which nobody
//! copies by hand. The Proxy already tells every daemon where the others are; with
//! `introduce` it tells their keys, too, so that a new daemon needs one key, the
//! Proxy's, and the Proxy none. The price: whoever has the Proxy's private key can
//! bring any daemon into the overlay. That is no new power of the Proxy, which can
//! tell every daemon what to do anyway. A daemon's name is the first comer's: its key
//! is kept in the Proxy's journal, and another one is refused until an operator
//! deletes it. Keys that operators have given outweigh those of the Proxy.
//!
//! Sessions with the Proxy are not encrypted. So a daemon's word about its key,
//! and the Proxy's word about others', come with a proof that only the two
//! owners of their static keys can make, for this run of the daemon.

use std::sync::Arc;

use vnet_core::control::{Body, Envelope, Introduction, Notice, PeerKey, Request};
use vnet_core::{HostName, PublicKey};
use vnet_fwd::secure::IntroductionKey;
use vnet_fwd::{KeyFileError, PrivateKey};

use super::Daemon;
use crate::config::{Config, Encryption, Role};
use crate::control::record::Record;
use crate::control::router::ConnectionId;

/// The file with the private key, in the state directory.
const KEY_FILE: &str = "private.key";

/// The daemon's private key, made if there is none yet; `None`: links are plain.
pub(super) fn private_key(config: &Config) -> Result<Option<PrivateKey>, KeyFileError> {
    let default = config.state_dir.as_ref().map(|directory| directory.join(KEY_FILE));
    match (config.encryption, config.private_key.clone().or(default)) {
        (Encryption::None, _) => Ok(None),
        (Encryption::Noise, Some(path)) => PrivateKey::load_or_make(&path).map(Some),
        (Encryption::Noise, None) => PrivateKey::generate().map(Some).map_err(|source| KeyFileError::Io {
            action: "do without",
            path: KEY_FILE.into(),
            source,
        }),
    }
}

/// What a daemon's proof of its key is about.
fn of_daemon<'a>(host: &'a HostName, incarnation: &'a [u8; 8], key: &'a PublicKey) -> [&'a [u8]; 4] {
    [b"daemon", host.as_str().as_bytes(), incarnation, &key.0]
}

/// What the Proxy's proof of another daemon's key is about.
fn of_proxy<'a>(
    (to, incarnation): (&'a HostName, &'a [u8; 8]),
    host: &'a HostName,
    key: &'a PublicKey,
) -> [&'a [u8]; 5] {
    [b"proxy", to.as_str().as_bytes(), incarnation, host.as_str().as_bytes(), &key.0]
}

/// The daemon's side.
impl Daemon {
    /// Tells the Proxy this daemon's key.
    pub(super) fn introduce_self(&mut self, connection: ConnectionId) {
        let Some((secret, own)) = self.proxy_secret() else { return };
        let host = self.config.name.clone();
        let proof = secret.prove(&of_daemon(&host, &self.incarnation.to_be_bytes(), &own));
        self.tell(connection, Introduction { host, key: own, proof });
    }

    /// Has the Proxy's key, which the configuration gives, go with its name.
    pub(super) fn allow_proxy(&mut self, proxy: &HostName) {
        if let Some(key) = self.config.proxy_key.filter(|_| self.private_key.is_some()) {
            self.allow_introduced(proxy.clone(), key);
        }
    }

    fn introduced_by_proxy(&mut self, introduction: &Introduction) {
        let Introduction { host, key, proof } = introduction;
        let Some((secret, _)) = self.proxy_secret() else { return };
        let to = (&self.config.name, &self.incarnation.to_be_bytes());
        if !secret.is_proved(&of_proxy(to, host, key), proof) {
            let message = format!(
                "the Proxy introduces {host} without a proof that fits `proxy-key`: is that the Proxy's key?"
            );
            return self.warn("introduction", message);
        }
        if *host != self.config.name {
            self.allow_introduced(host.clone(), *key);
        }
    }

    /// What this daemon shares with its Proxy, and its own public key.
    fn proxy_secret(&self) -> Option<(IntroductionKey, PublicKey)> {
        let (own, proxy) = (self.private_key.as_ref()?, self.config.proxy_key?);
        Some((IntroductionKey::new(own, &proxy)?, own.public()))
    }
}

/// The Proxy's side.
impl Daemon {
    /// A daemon that has registered tells its key.
    fn introduced_by_daemon(&mut self, from: ConnectionId, introduction: &Introduction) {
        let Introduction { host, key, proof } = introduction;
        let Some(own) = &self.private_key else { return };
        let Some(registered) = self.registry.get_mut(host).filter(|daemon| daemon.connection == from) else {
            return self.close(from, "it told a key without being registered");
        };
        let secret = IntroductionKey::new(own, key);
        let incarnation = registered.incarnation.to_be_bytes();
        let Some(secret) =
            secret.filter(|secret| secret.is_proved(&of_daemon(host, &incarnation, key), proof))
        else {
            let message = format!("{host} can't prove that its key is {key}: has it this Proxy's right key?");
            return self.warn("introduction", message);
        };
        if !self.config.introduce {
            return;
        }
        if self.state.keys.get(host).is_some_and(|known| known.key != *key) {
            let message = format!(
                "{host} has another key than before, and is not believed; if that is right: `vnet peer del {} {host}`",
                self.config.name
            );
            return self.warn("introduction", message);
        }
        registered.key = Some((*key, Arc::new(secret)));
        self.allow_introduced(host.clone(), *key);
        self.introduce(host);
    }

    /// Tells all daemons the key of `newcomer`, and `newcomer` theirs.
    fn introduce(&mut self, newcomer: &HostName) {
        type Known = (HostName, ConnectionId, [u8; 8], PublicKey, Arc<IntroductionKey>);
        let known = |(host, daemon): (&HostName, &super::registry::Registered)| -> Option<Known> {
            let (key, secret) = daemon.key.clone()?;
            Some((host.clone(), daemon.connection, daemon.incarnation.to_be_bytes(), key, secret))
        };
        let (new, others): (Vec<_>, Vec<_>) =
            self.registry.iter().filter_map(known).partition(|(host, ..)| host == newcomer);
        let Some(new) = new.first() else { return };
        for other in &others {
            for ((to, connection, incarnation, _, secret), (host, _, _, key, _)) in
                [(new, other), (other, new)]
            {
                let proof = secret.prove(&of_proxy((to, incarnation), host, key));
                self.tell(*connection, Introduction { host: host.clone(), key: *key, proof });
            }
        }
    }
}

/// Both sides.
impl Daemon {
    /// Somebody tells a key.
    pub(super) fn introduced(&mut self, from: ConnectionId, introduction: &Introduction) {
        if self.config.role == Role::Proxy {
            self.introduced_by_daemon(from, introduction);
        } else if self.router.is_proxy(from) {
            self.introduced_by_proxy(introduction);
        } else {
            self.close(from, "it told a key without being the Proxy");
        }
    }

    fn allow_introduced(&mut self, host: HostName, key: PublicKey) {
        let peer = PeerKey { host, key, introduced: true };
        if let Err(error) = self.change(&Request::AllowPeer(peer)) {
            self.warn("introduction", error.to_string());
        }
    }

    fn tell(&mut self, to: ConnectionId, introduction: Introduction) {
        if let Ok(record) =
            Record::new(&Envelope { id: 0, body: Body::Notice(Notice::Introduce(introduction)) })
        {
            self.send(to, &record);
        }
    }
}
