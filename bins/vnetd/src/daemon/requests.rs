//! Carrying out requests, one after the other.

use std::time::Instant;

use vnet_core::control::{
    Body, ControlError, Envelope, ErrorKind, LinkSpec, Notice, Reply, Request, Response,
};
use vnet_fwd::PlaneError;

use super::Daemon;
use crate::control::record::Record;
use crate::control::router::{Answer, ConnectionId, Routed};
use crate::journal::{Entry, JournalError};
use crate::state::Effect;

impl Daemon {
    pub(super) fn receive(&mut self, from: ConnectionId, record: Record, now: Instant) {
        if record.is_response() {
            match self.router.answer(from, record) {
                Answer::Back(to, record) => self.send(to, &record),
                Answer::Own(record) => self.registration_answer(from, &record, now),
                Answer::Late => {}
            }
            return;
        }
        let envelope = match record.envelope() {
            Ok(envelope) => envelope,
            Err(error) => {
                // What cannot be read has a number all the same, so that its
                // sender learns why the connection ends.
                self.respond(
                    from,
                    record.id(),
                    Err(ControlError::new(ErrorKind::Invalid, error.to_string())),
                );
                self.close(from, error.to_string());
                return;
            }
        };
        match envelope.body {
            Body::Request(target, request) => {
                self.requests += 1;
                match self.router.request(from, envelope.id, target, request, now) {
                    Routed::Here(request) => {
                        let response = self.carry_out(Some(from), request, now);
                        self.respond(from, envelope.id, response);
                    }
                    Routed::On(to, record) => self.send(to, &record),
                    Routed::Refused(error) => self.respond(from, envelope.id, Err(error)),
                }
            }
            Body::Notice(notice) => self.notice(from, notice, now),
            // Told apart above by its class.
            Body::Response(_) => {}
        }
    }

    /// Carries out a request of `from`; `None` is the daemon itself.
    pub(super) fn carry_out(
        &mut self,
        from: Option<ConnectionId>,
        request: Request,
        now: Instant,
    ) -> Response {
        match request {
            Request::AddLink(_)
            | Request::DeleteLink(_)
            | Request::AddRule(_)
            | Request::DeleteRule(_)
            | Request::SetConfigurationBound(_)
            | Request::AddInterface(_)
            | Request::DeleteInterface(_)
            | Request::AllowPeer(_)
            | Request::ForbidPeer(_)
            | Request::PrepareRules { .. }
            | Request::CommitRules { .. }
            | Request::RetireRules { .. } => self.change(&request).map(|()| Reply::Done),
            Request::ListInterfaces => Ok(Reply::Interfaces(self.plane.interfaces().map_err(refused)?)),
            Request::ListLinks => Ok(Reply::Links(self.links()?)),
            Request::ListDownLinks => {
                let mut links = self.links()?;
                links.retain(|link| !link.state.up);
                Ok(Reply::Links(links))
            }
            Request::ListPeers => Ok(Reply::Peers {
                own: self.plane.public_key().map_err(refused)?,
                peers: self.state.keys.values().cloned().collect(),
            }),
            Request::ListRules => Ok(Reply::Rules(self.plane.rules().map_err(refused)?)),
            Request::Status => self.status(now).map(|status| Reply::Status(Box::new(status))),
            Request::Traffic => {
                let entries = self.plane.traffic().map_err(refused)?;
                Ok(Reply::Traffic(self.traffic.whole(entries)))
            }
            Request::TrafficView(network) => self.traffic_view(network, now).map(Reply::TrafficView),
            Request::Paths => self.path_statuses(now).map(Reply::Paths),
            Request::Probe(train) => self.probe(&train, now).map(|()| Reply::Done),
            Request::Batch(requests) => Ok(Reply::Batch(
                requests.into_iter().map(|request| self.carry_out_one(from, request, now)).collect(),
            )),
            Request::Register { host, data_port, incarnation } => match from {
                Some(from) => self.register(from, host, data_port, incarnation, now),
                None => Err(ControlError::new(ErrorKind::Invalid, "a daemon does not register with itself")),
            },
            Request::Ping => Ok(Reply::Done),
            Request::Shutdown => {
                self.stop = Some("somebody asked for it");
                Ok(Reply::Done)
            }
        }
    }

    fn carry_out_one(&mut self, from: Option<ConnectionId>, request: Request, now: Instant) -> Response {
        match request {
            Request::Batch(_) | Request::Register { .. } => {
                Err(ControlError::new(ErrorKind::Invalid, "a batch holds neither batches nor registrations"))
            }
            request => self.carry_out(from, request, now),
        }
    }

    /// Makes a change: it is checked, kept, and carried out, or nothing at all happens.
    pub(super) fn change(&mut self, request: &Request) -> Result<(), ControlError> {
        if self.state.check(request)? == Effect::Nothing {
            return Ok(());
        }
        let mark = match &mut self.journal {
            Some(journal) => Some(journal.append(&Entry::Change(request.clone())).map_err(not_kept)?),
            None => None,
        };
        if let Err(error) = self.enact(request) {
            if let (Some(journal), Some(mark)) = (&mut self.journal, mark)
                && let Err(error) = journal.undo(mark)
            {
                tracing::error!("{error}");
            }
            return Err(refused(error));
        }
        self.state.apply(request);
        if let Request::SetConfigurationBound(_) = request {
            self.traffic.configure(&self.config, self.state.bound_ms);
        }
        self.compact_if_long();
        Ok(())
    }

    /// Has the data plane do what `request` says.
    pub(super) fn enact(&mut self, request: &Request) -> Result<(), PlaneError> {
        match request {
            Request::AllowPeer(peer) => self.plane.allow(&peer.host, peer.key)?,
            Request::ForbidPeer(host) => self.plane.forbid(host)?,
            Request::AddLink(spec) => {
                let peer = self.link_peer(spec);
                self.plane.add_link(LinkSpec { link: spec.link.clone(), peer })?;
                self.addresses.linked(spec.link.id(), peer);
            }
            Request::DeleteLink(id) => {
                self.plane.remove_link(id)?;
                self.addresses.unlinked(id);
            }
            Request::AddRule(entry) => drop(self.plane.add_rule(entry.network, entry.rule.clone())?),
            Request::DeleteRule(entry) => drop(self.plane.delete_rule(entry.network, &entry.rule)),
            Request::AddInterface(spec) => self.plane.add_interface(spec.clone())?,
            Request::DeleteInterface(name) => self.plane.remove_interface(name)?,
            Request::PrepareRules { network, version, rules } => {
                self.plane.prepare_rules(*network, *version, rules.clone())?;
            }
            Request::CommitRules { network, version } => self.plane.commit_rules(*network, *version)?,
            Request::RetireRules { network, version } => {
                self.plane.retire_rules(*network, *version)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Keeps a record that no client waits for; a failure is in the journal's troubles.
    pub(super) fn keep(&mut self, entry: &Entry) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.append(entry)
        {
            self.warn("journal", error.to_string());
        }
    }

    fn compact_if_long(&mut self) {
        if self.journal.as_ref().is_some_and(|journal| journal.wants_compaction()) {
            self.compact();
        }
    }

    pub(super) fn compact(&mut self) {
        let entries = self.entries();
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.compact(&entries)
        {
            self.warn("journal", error.to_string());
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry::Baseline(self.baseline.clone())];
        entries.extend(self.state.requests().into_iter().map(Entry::Change));
        entries.extend(self.state.peer_addresses().map(Entry::Peer));
        entries
    }

    fn notice(&mut self, from: ConnectionId, notice: Notice, now: Instant) {
        match notice {
            Notice::Heartbeat => {}
            Notice::Introduce(introduction) => self.introduced(from, &introduction),
            Notice::Peer(peer) if self.router.is_proxy(from) => self.learn(&[peer], now),
            Notice::Traffic(report) if self.router.daemon_on(from) == Some(&report.host) => {
                self.traffic_report(&report, now);
            }
            Notice::Paths(reports) if self.router.daemon_on(from).is_some() => {
                if let Some(host) = self.router.daemon_on(from).cloned() {
                    self.path_reports(&host, reports, now);
                }
            }
            // Only sessions have news to tell.
            Notice::Peer(_) | Notice::Traffic(_) | Notice::Paths(_) => {
                self.close(from, "it told news without being registered");
            }
        }
    }

    pub(super) fn respond(&mut self, to: ConnectionId, id: u32, response: Response) {
        let record = Record::new(&Envelope { id, body: Body::Response(response) }).or_else(|error| {
            let error = ControlError::new(ErrorKind::Failed, format!("the answer can't be sent: {error}"));
            Record::new(&Envelope { id, body: Body::Response(Err(error)) })
        });
        match record {
            Ok(record) => self.send(to, &record),
            Err(error) => self.close(to, error.to_string()),
        }
    }
}

pub(super) fn refused(error: PlaneError) -> ControlError {
    ControlError::new(error.kind(), error.to_string())
}

fn not_kept(error: JournalError) -> ControlError {
    ControlError::new(ErrorKind::Failed, format!("nothing was changed, since it can't be kept: {error}"))
}
