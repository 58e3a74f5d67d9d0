//! Changes of what the daemon keeps: checked, written to the journal, carried out.

use std::collections::BTreeSet;

use vnet_core::control::{ControlError, ErrorKind, LinkSpec, Request};
use vnet_fwd::{LinkChange, PlaneError};

use super::Daemon;
use super::requests::refused;
use crate::journal::{Entry, JournalError, Mark};
use crate::state::Effect;

/// What was written of a change before it is carried out.
enum Kept {
    /// Things are that way already.
    Needless,
    /// It is to be carried out. `None`: this daemon has no journal.
    Entry(Option<Mark>),
}

impl Daemon {
    /// Makes a change: it is checked, kept, and carried out, or nothing at all happens.
    pub(super) fn change(&mut self, request: &Request) -> Result<(), ControlError> {
        let Kept::Entry(mark) = self.keep_change(request)? else { return Ok(()) };
        if let Err(error) = self.enact(request) {
            self.take_back(mark);
            return Err(refused(error));
        }
        self.state.apply(request);
        if let Request::SetConfigurationBound(_) = request {
            self.traffic.configure(&self.config, self.state.bound_ms);
        }
        self.compact_if_long();
        Ok(())
    }

    /// Makes changes of [different links](different_links). They are handed to the
    /// data plane together: where hundreds of threads share a core, each call of it
    /// takes a turn of all of them.
    pub(super) fn change_links(&mut self, requests: &[Request]) -> Vec<Result<(), ControlError>> {
        let mut results = Vec::with_capacity(requests.len());
        let (mut kept, mut first_mark) = (Vec::new(), None);
        for (at, request) in requests.iter().enumerate() {
            results.push(self.keep_change(request).map(|entry| {
                if let Kept::Entry(mark) = entry {
                    first_mark = first_mark.or(mark);
                    kept.push(at);
                }
            }));
        }
        let changes = kept.iter().filter_map(|at| self.link_change(&requests[*at])).collect();
        let outcomes = match self.plane.change_links(changes) {
            Ok(outcomes) => outcomes,
            Err(error) => vec![Err(error); kept.len()],
        };
        if outcomes.iter().any(Result::is_err) {
            self.take_back(first_mark);
        }
        let all_made = outcomes.iter().all(Result::is_ok);
        for (at, outcome) in kept.into_iter().zip(outcomes) {
            let request = &requests[at];
            results[at] = outcome.map_err(refused);
            if results[at].is_err() {
                continue;
            }
            if !all_made {
                self.keep(&Entry::Change(request.clone()));
            }
            self.link_changed(request);
            self.state.apply(request);
        }
        self.compact_if_long();
        results
    }

    /// Has the data plane do what `request` says.
    pub(super) fn enact(&mut self, request: &Request) -> Result<(), PlaneError> {
        match request {
            Request::AllowPeer(peer) => self.plane.allow(&peer.host, peer.key)?,
            Request::ForbidPeer(host) => self.plane.forbid(host)?,
            Request::AddLink(_) | Request::DeleteLink(_) => {
                let changes = self.link_change(request).into_iter().collect();
                self.plane.change_links(changes)?.into_iter().collect::<Result<(), _>>()?;
                self.link_changed(request);
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

    /// What a request about a link asks of the data plane.
    fn link_change(&self, request: &Request) -> Option<LinkChange> {
        match request {
            Request::AddLink(spec) => {
                let peer = self.link_peer(spec);
                Some(LinkChange::Add(LinkSpec { link: spec.link.clone(), peer }))
            }
            Request::DeleteLink(id) => Some(LinkChange::Remove(id.clone())),
            _ => None,
        }
    }

    /// The data plane has done so.
    fn link_changed(&mut self, request: &Request) {
        match request {
            Request::AddLink(spec) => {
                let peer = self.link_peer(spec);
                self.addresses.linked(spec.link.id(), peer);
            }
            Request::DeleteLink(id) => self.addresses.unlinked(id),
            _ => {}
        }
    }

    fn keep_change(&mut self, request: &Request) -> Result<Kept, ControlError> {
        if self.state.check(request)? == Effect::Nothing {
            return Ok(Kept::Needless);
        }
        let entry = |journal: &mut crate::journal::Journal| journal.append(&Entry::Change(request.clone()));
        self.journal.as_mut().map(entry).transpose().map(Kept::Entry).map_err(not_kept)
    }

    /// Takes back what was kept since `mark`.
    fn take_back(&mut self, mark: Option<Mark>) {
        if let (Some(journal), Some(mark)) = (&mut self.journal, mark)
            && let Err(error) = journal.undo(mark)
        {
            tracing::error!("{error}");
        }
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
}

/// How many of the first requests are changes of links, each of another one, so that
/// it does not matter in which order they are checked and carried out.
pub(super) fn different_links(requests: &[Request]) -> usize {
    let mut seen = BTreeSet::new();
    let is_another = |request: &&Request| match request {
        Request::AddLink(spec) => seen.insert(spec.link.id()),
        Request::DeleteLink(id) => seen.insert(id.clone()),
        _ => false,
    };
    requests.iter().take_while(is_another).count()
}

fn not_kept(error: JournalError) -> ControlError {
    ControlError::new(ErrorKind::Failed, format!("nothing was changed, since it can't be kept: {error}"))
}
