//! What the journal says of the destination, and what it has to say.

use super::{Destination, Fetch, Stage};
use crate::record::Record;
use crate::timing::Moment;

impl Destination {
    /// Takes a record of the journal in, at a restart.
    pub fn replay(&mut self, record: &Record) {
        match record {
            Record::Started { request, ticket } => {
                let fetch = Fetch::new(request.clone(), *ticket, Moment::ZERO);
                self.fetches.insert(request.id, fetch);
            }
            Record::Owned { id, version } => {
                if let Some(fetch) = self.fetches.get_mut(id) {
                    fetch.version = *version;
                    fetch.stage = Stage::Owned { agent_knows: false, origin_knows: false };
                }
            }
            Record::Aborted { id, reason } => {
                if let Some(fetch) = self.fetches.get_mut(id) {
                    fetch.stage = Stage::Aborted { reason: reason.clone() };
                }
            }
            Record::Closed { id } => {
                self.fetches.remove(id);
            }
            _ => {}
        }
    }

    /// The records that give this state again.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (id, fetch) in &self.fetches {
            records.push(Record::Started { request: fetch.request.clone(), ticket: fetch.ticket });
            match &fetch.stage {
                Stage::Owned { .. } => {
                    records.push(Record::Owned { id: *id, version: fetch.version });
                    // It was settled in the same breath, or at the restart.
                    records.push(Record::Settled { id: *id });
                }
                Stage::Aborted { reason } => {
                    records.push(Record::Aborted { id: *id, reason: reason.clone() });
                }
                _ => {}
            }
        }
        records
    }
}
