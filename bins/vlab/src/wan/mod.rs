//! The emulated wide-area network: frames and times in, frames and times out.
//!
//! Every NIC belongs to a site. A frame passes three pipes: the sender's
//! access link, the path between the two sites (or the inside of their common
//! site, or the path of these two NICs alone), and the receiver's access link.
//! The path is shared by all NICs of its sites. A group address crosses each
//! path once and is copied behind it.
//!
//! Nothing here does I/O or reads a clock.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use vlab::wan::{Figures, Wan};
//! use vnet_core::{Bandwidth, MacAddr};
//!
//! let mut wan = Wan::new(1);
//! let site = wan.add_site(Figures::delay(Duration::from_millis(1)));
//! let access = Figures::rate(Bandwidth::from_mbit(8));
//! let a = wan.add_nic(site, MacAddr::local(1), access, access);
//! let b = wan.add_nic(site, MacAddr::local(2), access, access);
//!
//! let mut frame = vec![0; 1000];
//! frame[..6].copy_from_slice(&MacAddr::local(2).0);
//! let start = Instant::now();
//! wan.ingest(start, a, frame.into());
//!
//! // 1 ms up, 1 ms across, 1 ms down.
//! let mut out = Vec::new();
//! wan.advance(start + Duration::from_micros(2999), &mut out);
//! assert!(out.is_empty());
//! assert_eq!(wan.next_deadline(), Some(start + Duration::from_millis(3)));
//! wan.advance(start + Duration::from_millis(3), &mut out);
//! assert_eq!(out[0].0, b);
//! ```

mod cross;
mod figures;
mod pipe;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use vnet_core::MacAddr;

pub use cross::{CrossArrivals, CrossTraffic};
pub use figures::{Counters, Figures, QueueLimit};
use pipe::{Due, Passing, Pipe, Target};

/// A network card of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NicId(pub u32);

/// A site of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u32);

/// One direction of one part of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PipeId {
    /// The access link of a NIC, towards the network.
    Up(NicId),
    /// The access link of a NIC, away from the network.
    Down(NicId),
    /// From the first site to the second, or inside one site.
    Sites(SiteId, SiteId),
    /// From the first NIC to the second, instead of the path of their sites.
    Nics(NicId, NicId),
}

/// Frames that no pipe has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Strays {
    /// Too short for an Ethernet header.
    pub runt: u64,
    /// To an address that no NIC has.
    pub unknown_destination: u64,
    /// Between sites that no path joins.
    pub no_path: u64,
    /// Between two NICs that are cut off from each other.
    pub cut: u64,
}

struct Nic {
    site: SiteId,
    up: usize,
    down: usize,
}

/// The state of the network.
pub struct Wan {
    seed: u64,
    pipes: Vec<Pipe>,
    /// Which pipe each of `pipes` is, and the other way round.
    names: Vec<PipeId>,
    ids: HashMap<PipeId, usize>,
    sites: Vec<Vec<NicId>>,
    nics: Vec<Nic>,
    by_mac: HashMap<MacAddr, NicId>,
    cut_pairs: HashSet<(NicId, NicId)>,
    /// NIC pairs that have a path of their own, by sender.
    private: HashMap<NicId, Vec<NicId>>,
    due: BinaryHeap<Reverse<(Instant, u64, usize, Due)>>,
    events: u64,
    strays: Strays,
}

impl Wan {
    /// An empty network. What it loses and delays by chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            pipes: Vec::new(),
            names: Vec::new(),
            ids: HashMap::new(),
            sites: Vec::new(),
            nics: Vec::new(),
            by_mac: HashMap::new(),
            cut_pairs: HashSet::new(),
            private: HashMap::new(),
            due: BinaryHeap::new(),
            events: 0,
            strays: Strays::default(),
        }
    }

    /// Adds a site; `inside` is what lies between two of its NICs.
    pub fn add_site(&mut self, inside: Figures) -> SiteId {
        let site = SiteId(self.sites.len() as u32);
        self.sites.push(Vec::new());
        self.add_pipe(PipeId::Sites(site, site), inside);
        site
    }

    /// Adds a NIC to `site`. A second NIC with the same address takes over
    /// from the first.
    ///
    /// # Panics
    /// When `site` is not of this network.
    pub fn add_nic(&mut self, site: SiteId, mac: MacAddr, up: Figures, down: Figures) -> NicId {
        let nic = NicId(self.nics.len() as u32);
        let up = self.add_pipe(PipeId::Up(nic), up);
        let down = self.add_pipe(PipeId::Down(nic), down);
        self.nics.push(Nic { site, up, down });
        self.sites[site.0 as usize].push(nic);
        self.by_mac.insert(mac, nic);
        nic
    }

    /// Sets the figures of a pipe. A pair of sites or NICs that had no path
    /// of its own has one from now on. False: no such site or NIC.
    pub fn set(&mut self, now: Instant, id: PipeId, figures: Figures) -> bool {
        if let Some(&index) = self.ids.get(&id) {
            let due = self.pipes[index].set_figures(now, figures);
            self.schedule(index, due);
            return true;
        }
        let site = |s: SiteId| (s.0 as usize) < self.sites.len();
        let nic = |n: NicId| (n.0 as usize) < self.nics.len();
        match id {
            PipeId::Sites(a, b) if site(a) && site(b) => {}
            PipeId::Nics(a, b) if nic(a) && nic(b) => self.private.entry(a).or_default().push(b),
            _ => return false,
        }
        self.add_pipe(id, figures);
        true
    }

    /// Sets the traffic of others through a pipe. False: no such pipe.
    pub fn set_cross(&mut self, now: Instant, id: PipeId, traffic: Option<CrossTraffic>) -> bool {
        let Some(&index) = self.ids.get(&id) else { return false };
        self.pipes[index].set_cross(now, traffic);
        true
    }

    /// Cuts (or heals) a pipe: what waits and what is in flight is lost, and
    /// so is all that comes. False: no such pipe.
    pub fn set_cut(&mut self, id: PipeId, cut: bool) -> bool {
        let Some(&index) = self.ids.get(&id) else { return false };
        self.pipes[index].set_cut(cut);
        true
    }

    /// Cuts two NICs off from each other, both ways, or joins them again;
    /// other traffic on their path goes on.
    pub fn set_pair_cut(&mut self, a: NicId, b: NicId, cut: bool) {
        for pair in [(a, b), (b, a)] {
            if cut {
                self.cut_pairs.insert(pair);
            } else {
                self.cut_pairs.remove(&pair);
            }
        }
    }

    /// The figures of a pipe.
    pub fn figures(&self, id: PipeId) -> Option<Figures> {
        Some(self.pipes[*self.ids.get(&id)?].figures())
    }

    /// The counters of a pipe.
    pub fn counters(&self, id: PipeId) -> Option<Counters> {
        Some(self.pipes[*self.ids.get(&id)?].counters())
    }

    /// Every pipe, its site (the first one, for a path) and its counters.
    pub fn pipes(&self) -> impl Iterator<Item = (PipeId, SiteId, Counters)> {
        self.names.iter().zip(&self.pipes).map(|(id, pipe)| {
            let site = match *id {
                PipeId::Up(nic) | PipeId::Down(nic) | PipeId::Nics(nic, _) => self.nics[nic.0 as usize].site,
                PipeId::Sites(site, _) => site,
            };
            (*id, site, pipe.counters())
        })
    }

    /// Frames that no pipe has counted.
    pub fn strays(&self) -> Strays {
        self.strays
    }

    /// Takes a frame that `from` sends now. Times must not go backwards.
    ///
    /// # Panics
    /// When `from` is not of this network.
    pub fn ingest(&mut self, now: Instant, from: NicId, frame: Arc<[u8]>) {
        let Some(&destination) = frame.first_chunk::<6>().filter(|_| frame.len() >= 14) else {
            self.strays.runt += 1;
            return;
        };
        let destination = MacAddr(destination);
        let to = if destination.is_multicast() {
            Target::All
        } else if let Some(nic) = self.by_mac.get(&destination) {
            Target::One(*nic)
        } else {
            self.strays.unknown_destination += 1;
            return;
        };
        let up = self.nics[from.0 as usize].up;
        self.enter(now, up, Passing { frame, from, to });
    }

    /// Does all that is due up to `now`, and adds the frames that arrive, in
    /// order of time, to `out`.
    pub fn advance(&mut self, now: Instant, out: &mut Vec<(NicId, Arc<[u8]>)>) {
        while let Some(&Reverse((at, _, index, due))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            match due {
                Due::Sent => {
                    for due in self.pipes[index].sent(at) {
                        self.schedule(index, due);
                    }
                }
                Due::Arrived => {
                    if let Some(passing) = self.pipes[index].arrived(at) {
                        self.hand_on(at, index, passing, out);
                    }
                }
            }
        }
    }

    /// When [`Wan::advance`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// `passing` has come through pipe `index`; where it goes next follows
    /// from which of its three pipes that was.
    fn hand_on(&mut self, at: Instant, index: usize, passing: Passing, out: &mut Vec<(NicId, Arc<[u8]>)>) {
        match (self.names[index], passing.to) {
            (PipeId::Up(from), Target::One(to)) => match self.path(from, to) {
                Some(path) => self.enter(at, path, passing),
                None => self.strays.no_path += 1,
            },
            (PipeId::Up(_), Target::All) => self.spread(at, passing),
            (PipeId::Sites(_, site), Target::All) => self.copy_to_site(at, site, &passing),
            (PipeId::Sites(..) | PipeId::Nics(..), Target::One(to)) => self.descend(at, to, passing),
            (PipeId::Nics(_, to), Target::All) | (PipeId::Down(to), _) => out.push((to, passing.frame)),
        }
    }

    /// A group address enters every path that leads away from its sender.
    fn spread(&mut self, at: Instant, passing: Passing) {
        let home = self.nics[passing.from.0 as usize].site;
        let inhabited = |site: &u32| !self.sites[*site as usize].is_empty();
        for site in (0..self.sites.len() as u32).filter(inhabited).collect::<Vec<_>>() {
            match self.ids.get(&PipeId::Sites(home, SiteId(site))) {
                Some(&path) => self.enter(at, path, passing.clone()),
                None => self.strays.no_path += 1,
            }
        }
        for to in self.private.get(&passing.from).cloned().unwrap_or_default() {
            if let Some(&path) = self.ids.get(&PipeId::Nics(passing.from, to)) {
                self.enter(at, path, Passing { to: Target::One(to), ..passing.clone() });
            }
        }
    }

    /// A group address has reached `site`: a copy for every NIC there.
    fn copy_to_site(&mut self, at: Instant, site: SiteId, passing: &Passing) {
        let private = self.private.get(&passing.from);
        let reached = |to: &NicId| *to != passing.from && !private.is_some_and(|list| list.contains(to));
        let receivers: Vec<_> = self.sites[site.0 as usize].iter().copied().filter(reached).collect();
        for to in receivers {
            self.descend(at, to, Passing { to: Target::One(to), ..passing.clone() });
        }
    }

    fn descend(&mut self, at: Instant, to: NicId, passing: Passing) {
        if !self.cut_pairs.is_empty() && self.cut_pairs.contains(&(passing.from, to)) {
            self.strays.cut += 1;
        } else {
            self.enter(at, self.nics[to.0 as usize].down, passing);
        }
    }

    fn path(&self, from: NicId, to: NicId) -> Option<usize> {
        if !self.private.is_empty()
            && let Some(&path) = self.ids.get(&PipeId::Nics(from, to))
        {
            return Some(path);
        }
        let site = |nic: NicId| self.nics[nic.0 as usize].site;
        self.ids.get(&PipeId::Sites(site(from), site(to))).copied()
    }

    fn enter(&mut self, at: Instant, index: usize, passing: Passing) {
        let due = self.pipes[index].enter(at, passing);
        self.schedule(index, due);
    }

    fn schedule(&mut self, index: usize, due: Option<(Instant, Due)>) {
        if let Some((at, due)) = due {
            self.events += 1;
            self.due.push(Reverse((at, self.events, index, due)));
        }
    }

    fn add_pipe(&mut self, id: PipeId, figures: Figures) -> usize {
        let index = self.pipes.len();
        let seed = self.seed.wrapping_add((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.pipes.push(Pipe::new(figures, seed));
        self.names.push(id);
        self.ids.insert(id, index);
        index
    }
}
