//! What every daemon is asked to do at once.

use std::collections::BTreeMap;

use vnet_core::control::Request;
use vnet_core::{HostName, LinkId};

/// Requests for each daemon, in order, each with what it is in words.
#[derive(Default)]
pub(super) struct Round(BTreeMap<HostName, Vec<(String, Request)>>);

impl Round {
    pub(super) fn add(&mut self, host: &HostName, what: String, request: Request) {
        self.0.entry(host.clone()).or_default().push((what, request));
    }

    pub(super) fn delete_link(&mut self, host: &HostName, link: &LinkId) {
        self.add(host, format!("delete the link {link}"), Request::DeleteLink(link.clone()));
    }

    pub(super) fn delete_both_ends(&mut self, link: &LinkId) {
        let (a, b) = link.ends();
        self.delete_link(a, link);
        self.delete_link(b, link);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_parts(self) -> impl Iterator<Item = (HostName, Vec<(String, Request)>)> {
        self.0.into_iter()
    }
}
