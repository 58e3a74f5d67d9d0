//! Carrying out requests, one after the other.

use std::time::Instant;

use vnet_core::control::{Body, ControlError, Envelope, ErrorKind, Notice, Reply, Request, Response};
use vnet_fwd::PlaneError;

use super::Daemon;
use super::changes::different_links;
use crate::control::record::Record;
use crate::control::router::{Answer, ConnectionId, Routed};

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
            Request::Batch(requests) => Ok(Reply::Batch(self.carry_out_all(from, requests, now))),
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

    /// Carries out a batch, changes of different links in one go.
    fn carry_out_all(
        &mut self,
        from: Option<ConnectionId>,
        requests: Vec<Request>,
        now: Instant,
    ) -> Vec<Response> {
        let mut responses = Vec::with_capacity(requests.len());
        let mut rest = requests.as_slice();
        while let Some(first) = rest.first() {
            let run = different_links(rest);
            if run > 1 {
                let changed = self.change_links(&rest[..run]);
                responses.extend(changed.into_iter().map(|result| result.map(|()| Reply::Done)));
            } else {
                responses.push(self.carry_out_one(from, first.clone(), now));
            }
            rest = &rest[run.max(1)..];
        }
        responses
    }

    fn carry_out_one(&mut self, from: Option<ConnectionId>, request: Request, now: Instant) -> Response {
        match request {
            Request::Batch(_) | Request::Register { .. } => {
                Err(ControlError::new(ErrorKind::Invalid, "a batch holds neither batches nor registrations"))
            }
            request => self.carry_out(from, request, now),
        }
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
