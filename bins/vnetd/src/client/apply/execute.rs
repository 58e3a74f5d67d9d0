//! Carrying out a plan: one round of requests per step, all daemons side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vnet_core::change::{LinkReplacement, Plan, Stage};
use vnet_core::control::{ControlError, ErrorKind, LinkSpec, LinkStatus, Reply, Request};
use vnet_core::network::RuleVersion;
use vnet_core::{HostName, Link, LinkId, Rule};

use super::goal::Goal;
use super::round::Round;
use super::{Applied, ApplyError, ApplyOptions, Cause, HandOver, Progress, Rollback};
use crate::client::{Call, Client, ClientError, Overlay};

// All daemons of a large overlay answer within this time, or something is wrong.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);
const LINKS_WITHIN_AT_LEAST: Duration = Duration::from_secs(10);
// Links on a LAN come up within a millisecond or two; distant ones may take longer.
const FIRST_LOOK: Duration = Duration::from_millis(1);
const LAST_LOOK: Duration = Duration::from_millis(16);

pub(super) struct Executor<'a, P> {
    client: &'a mut Client,
    overlay: &'a Overlay,
    goal: &'a Goal,
    options: &'a ApplyOptions,
    begun: Instant,
    progress: P,
    hand_over: &'a mut HandOver<'a>,
}

/// Times since the beginning.
#[derive(Default)]
struct Times {
    links_up: Option<Duration>,
    in_force: Option<Duration>,
}

impl<'a, P: FnMut(&Progress)> Executor<'a, P> {
    pub(super) fn new(
        client: &'a mut Client,
        overlay: &'a Overlay,
        goal: &'a Goal,
        options: &'a ApplyOptions,
        begun: Instant,
        progress: P,
        hand_over: &'a mut HandOver<'a>,
    ) -> Self {
        Self { client, overlay, goal, options, begun, progress, hand_over }
    }

    pub(super) fn run(mut self) -> Result<Applied, ApplyError> {
        let surveyed = self.begun.elapsed();
        (self.progress)(&Progress::Surveyed { daemons: self.overlay.daemons.len() });
        let timeout = self.client.timeout();
        self.client.set_timeout(ROUND_TIMEOUT);
        let result = self.run_stages();
        self.client.set_timeout(timeout);
        let (times, leftovers) = result?;
        let links_up = times.links_up.unwrap_or(surveyed);
        Ok(Applied {
            proposal: self.goal.proposal.clone(),
            surveyed,
            links_up,
            in_force: times.in_force.unwrap_or(links_up),
            total: self.begun.elapsed(),
            leftovers,
        })
    }

    fn run_stages(&mut self) -> Result<(Times, Vec<String>), ApplyError> {
        let plan = &self.goal.proposal.plan;
        // From here on a failure doesn't matter to frames: old rules and links wait unused.
        let cleanup = plan
            .stages
            .iter()
            .position(|stage| matches!(stage, Stage::RetireRules { .. } | Stage::LinksDown { .. }))
            .unwrap_or(plan.stages.len());
        let (change, cleanup) = plan.stages.split_at(cleanup);
        let mut times = Times::default();
        let mut started = 0;
        if let Err(cause) = self.change(change, &mut started, &mut times) {
            let rollback = match plan.rollback(started) {
                Some(back) if started > 0 => self.roll_back(&back, cause_is_fatal(&cause)),
                _ => Rollback::NotNeeded,
            };
            return Err(ApplyError { cause, rollback });
        }
        let after = self.begun.elapsed();
        times.in_force.get_or_insert(after);
        (self.progress)(&Progress::InForce { after });
        if cleanup.is_empty() {
            return Ok((times, Vec::new()));
        }
        // Without new rules no frame needs the links that go.
        if matches!(change.last(), Some(Stage::Drain)) {
            sleep(self.options.drain);
        }
        (self.progress)(&Progress::CleaningUp);
        let leftovers = self.clean_up(cleanup);
        Ok((times, leftovers))
    }

    fn change(&mut self, stages: &[Stage], started: &mut usize, times: &mut Times) -> Result<(), Cause> {
        let mut round = Round::default();
        for (host, link) in &self.goal.proposal.strays {
            round.delete_link(host, link);
        }
        if stages.is_empty() && !round.is_empty() {
            return self.send(round, &[ErrorKind::NotFound]);
        }
        self.announce(stages);
        for (at, stage) in stages.iter().enumerate() {
            *started = at + 1;
            match stage {
                Stage::LinksUp { links } => {
                    for link in links {
                        self.add_link(&mut round, link);
                    }
                    // New rules wait unused, so that they may go along with the links.
                    if !matches!(stages.get(at + 1), Some(Stage::PrepareRules { .. })) {
                        self.bring_up(std::mem::take(&mut round), links.iter().map(Link::id), times)?;
                    }
                }
                Stage::LinksReplaced { links } => {
                    self.replace_links(&mut round, links);
                    let ids = links.iter().map(|link| link.new.id());
                    self.bring_up(std::mem::take(&mut round), ids, times)?;
                }
                Stage::PrepareRules { version, rules } => {
                    for (host, rules) in rules {
                        self.prepare(&mut round, host, *version, rules);
                    }
                    let links = match at.checked_sub(1).map(|before| &stages[before]) {
                        Some(Stage::LinksUp { links }) => links.as_slice(),
                        _ => &[],
                    };
                    self.bring_up(std::mem::take(&mut round), links.iter().map(Link::id), times)?;
                }
                Stage::CommitRules { version, hosts } => {
                    (self.hand_over)(self.client).map_err(|why| Cause::HandOver { why })?;
                    for host in hosts {
                        self.commit(&mut round, host, *version);
                    }
                    self.send(std::mem::take(&mut round), &[])?;
                    times.in_force = Some(self.begun.elapsed());
                }
                // The clean-up, and the wait before it.
                Stage::Drain | Stage::RetireRules { .. } | Stage::LinksDown { .. } => {}
            }
        }
        Ok(())
    }

    /// Removes what nothing needs any more; returns what resists.
    fn clean_up(&mut self, stages: &[Stage]) -> Vec<String> {
        let mut round = Round::default();
        for stage in stages {
            match stage {
                Stage::RetireRules { .. } => {
                    for (host, versions) in &self.goal.stale {
                        for version in versions {
                            self.retire(&mut round, host, *version);
                        }
                    }
                }
                Stage::LinksDown { links } => links.iter().for_each(|link| round.delete_both_ends(link)),
                _ => {}
            }
        }
        self.send_all(round, &[ErrorKind::NotFound]).into_iter().map(|failure| failure.to_string()).collect()
    }

    fn roll_back(&mut self, plan: &Plan, reconnect: bool) -> Rollback {
        (self.progress)(&Progress::RollingBack);
        if reconnect {
            match Client::connect(self.client.address()) {
                Ok(client) => *self.client = client,
                Err(error) => return Rollback::Incomplete(vec![error.to_string()]),
            }
            self.client.set_timeout(ROUND_TIMEOUT);
        }
        let mut failures = Vec::new();
        for stage in &plan.stages {
            let mut round = Round::default();
            match stage {
                Stage::CommitRules { hosts, .. } => {
                    for host in hosts {
                        let before = self.overlay.version(host, self.options.network);
                        self.commit(&mut round, host, before);
                    }
                }
                Stage::Drain => sleep(self.options.drain),
                Stage::RetireRules { version, hosts } => {
                    hosts.iter().for_each(|host| self.retire(&mut round, host, *version));
                }
                Stage::LinksDown { links } => links.iter().for_each(|link| round.delete_both_ends(link)),
                Stage::LinksReplaced { links } => self.replace_links(&mut round, links),
                // A way back adds no links and prepares no rules.
                Stage::LinksUp { .. } | Stage::PrepareRules { .. } => {}
            }
            // Where the way forth had not come, there is nothing to take back.
            failures.extend(self.send_all(round, &[ErrorKind::NotFound]));
        }
        match failures.len() {
            0 => Rollback::Done,
            _ => Rollback::Incomplete(failures.iter().map(Cause::to_string).collect()),
        }
    }

    fn announce(&mut self, stages: &[Stage]) {
        let (mut links, mut rules) = (0, 0);
        for stage in stages {
            match stage {
                Stage::LinksUp { links: new } => links += new.len(),
                Stage::LinksReplaced { links: new } => links += new.len(),
                Stage::PrepareRules { rules: new, .. } => rules = new.values().map(BTreeSet::len).sum(),
                _ => {}
            }
        }
        (self.progress)(&Progress::Preparing { links, rules });
    }
}

/// The parts of rounds.
impl<P: FnMut(&Progress)> Executor<'_, P> {
    fn add_link(&self, round: &mut Round, link: &Link) {
        for host in [&link.a, &link.b] {
            let peer = if *host == link.a { &link.b } else { &link.a };
            let spec = LinkSpec { link: link.clone(), peer: self.options.addresses.get(peer).copied() };
            round.add(host, format!("add `{link}`"), Request::AddLink(spec));
        }
    }

    fn replace_links(&self, round: &mut Round, links: &[LinkReplacement]) {
        for LinkReplacement { old, new } in links {
            for host in [&old.a, &old.b] {
                // The link may be gone or new already where this is tried again.
                round.add(host, format!("delete `{old}`"), Request::DeleteLink(old.id()));
            }
            self.add_link(round, new);
        }
    }

    fn prepare(&self, round: &mut Round, host: &HostName, version: RuleVersion, rules: &BTreeSet<Rule>) {
        let what = format!("prepare {} rules as version {version}", rules.len());
        let rules = rules.iter().cloned().collect();
        round.add(host, what, Request::PrepareRules { network: self.options.network, version, rules });
    }

    fn commit(&self, round: &mut Round, host: &HostName, version: RuleVersion) {
        let request = Request::CommitRules { network: self.options.network, version };
        round.add(host, format!("change over to rule version {version}"), request);
    }

    fn retire(&self, round: &mut Round, host: &HostName, version: RuleVersion) {
        let request = Request::RetireRules { network: self.options.network, version };
        round.add(host, format!("forget rule version {version}"), request);
    }
}

/// Sending rounds and waiting for what comes of them.
impl<P: FnMut(&Progress)> Executor<'_, P> {
    /// Sends a round and waits for these links to carry frames at both ends.
    fn bring_up(
        &mut self,
        round: Round,
        links: impl Iterator<Item = LinkId>,
        times: &mut Times,
    ) -> Result<(), Cause> {
        self.send(round, &[ErrorKind::NotFound])?;
        let links: BTreeSet<LinkId> = links.collect();
        if links.is_empty() {
            return Ok(());
        }
        self.wait_for_links(&links)?;
        times.links_up = Some(self.begun.elapsed());
        Ok(())
    }

    fn wait_for_links(&mut self, links: &BTreeSet<LinkId>) -> Result<(), Cause> {
        let bound = self.overlay.daemons.values().map(|daemon| daemon.status.configuration_bound_ms).max();
        let bound = Duration::from_millis(bound.unwrap_or(0)).max(LINKS_WITHIN_AT_LEAST);
        let within = self.options.links_within.unwrap_or(bound);
        let deadline = Instant::now() + within;
        let mut pending: BTreeMap<HostName, BTreeMap<LinkId, String>> = BTreeMap::new();
        for link in links {
            for host in <[&HostName; 2]>::from(link.ends()) {
                pending.entry(host.clone()).or_default().insert(link.clone(), "not looked at yet".to_owned());
            }
        }
        let mut pause = FIRST_LOOK;
        loop {
            self.look_at_links(&mut pending)?;
            let down: BTreeMap<&LinkId, &String> = pending.values().flatten().collect();
            (self.progress)(&Progress::LinksUp { up: links.len() - down.len(), of: links.len() });
            if pending.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let links = down.into_iter().map(|(link, why)| (link.clone(), why.clone())).collect();
                return Err(Cause::LinksDown { links, within });
            }
            sleep(pause);
            pause = (pause * 3 / 2).min(LAST_LOOK);
        }
    }

    /// Asks the daemons whose links are not all up.
    fn look_at_links(
        &mut self,
        pending: &mut BTreeMap<HostName, BTreeMap<LinkId, String>>,
    ) -> Result<(), Cause> {
        let hosts: Vec<HostName> = pending.keys().cloned().collect();
        let calls: Vec<Call> =
            hosts.iter().map(|host| (Some(host.clone()), Request::ListDownLinks)).collect();
        let answers = self.client.call_many(calls)?;
        for (host, answer) in hosts.into_iter().zip(answers) {
            let links = match answer {
                Ok(Reply::Links(links)) => links,
                Ok(_) => return Err(unexpected(&host)),
                Err(source) => {
                    return Err(Cause::Refused {
                        host,
                        what: "list the links that are down".to_owned(),
                        source,
                    });
                }
            };
            let Some(waiting) = pending.get_mut(&host) else { continue };
            let down: BTreeMap<LinkId, String> =
                links.into_iter().map(|LinkStatus { link, state, .. }| (link.id(), state.why)).collect();
            waiting.retain(|link, why| {
                down.get(link).is_some_and(|now| {
                    why.clone_from(now);
                    true
                })
            });
            if waiting.is_empty() {
                pending.remove(&host);
            }
        }
        Ok(())
    }

    fn send(&mut self, round: Round, tolerated: &[ErrorKind]) -> Result<(), Cause> {
        match self.send_all(round, tolerated).into_iter().next() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// Has every daemon do its part; returns what failed.
    fn send_all(&mut self, round: Round, tolerated: &[ErrorKind]) -> Vec<Cause> {
        let mut parts = Vec::new();
        let mut calls: Vec<Call> = Vec::new();
        for (host, requests) in round.into_parts() {
            let (whats, requests): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
            calls.push((Some(host.clone()), Request::Batch(requests)));
            parts.push((host, whats));
        }
        if calls.is_empty() {
            return Vec::new();
        }
        let answers = match self.client.call_many(calls) {
            Ok(answers) => answers,
            Err(error) => return vec![error.into()],
        };
        let mut failures = Vec::new();
        for ((host, whats), answer) in parts.into_iter().zip(answers) {
            match answer {
                Ok(Reply::Batch(answers)) if answers.len() == whats.len() => {
                    for (what, answer) in whats.into_iter().zip(answers) {
                        if let Err(source) = answer
                            && !tolerated.contains(&source.kind)
                        {
                            failures.push(Cause::Refused { host: host.clone(), what, source });
                        }
                    }
                }
                Ok(_) => failures.push(unexpected(&host)),
                Err(source) => {
                    failures.push(Cause::Refused { host, what: "do its part".to_owned(), source });
                }
            }
        }
        failures
    }
}

fn unexpected(host: &HostName) -> Cause {
    let error = ControlError::new(ErrorKind::Unsupported, "it answered with something else");
    Cause::Refused { host: host.clone(), what: "do its part".to_owned(), source: error }
}

fn cause_is_fatal(cause: &Cause) -> bool {
    matches!(cause, Cause::Client(error) if error.is_fatal() || matches!(error, ClientError::Timeout { .. }))
}
