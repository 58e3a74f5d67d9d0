//! The search for a place for one request.

use crate::online::ground::{Ground, Reach, Route};
use crate::online::{Embedding, Request};

const NOWHERE: u32 = u32::MAX;

/// Hosts around a partner that are looked at.
const NEIGHBOURHOOD: usize = 160;

/// What a busy host costs more than an idle one, in bandwidth-hops per unit of compute.
const CROWDING: f64 = 0.2;

/// Hosts tried for a virtual node before a start is given up.
const TRIES: usize = 4;

/// Starts that are worked out even when the first is good.
const LEAST_STARTS: usize = 3;

pub(super) struct Embed<'a> {
    ground: &'a mut Ground,
    request: &'a Request,
    /// Links of each virtual node.
    links_of: Vec<Vec<usize>>,
    host: Vec<u32>,
    route: Vec<Option<Route>>,
    taken: Vec<bool>,
    reach: Reach,
    score: Vec<(u32, f64)>,
    /// The work at which the search ends.
    limit: u64,
}

impl<'a> Embed<'a> {
    pub(super) fn new(ground: &'a mut Ground, request: &'a Request, effort: u64) -> Self {
        let mut links_of = vec![Vec::new(); request.compute.len()];
        for (link, (a, b, _)) in request.links.iter().enumerate() {
            links_of[*a].push(link);
            links_of[*b].push(link);
        }
        Self {
            links_of,
            host: vec![NOWHERE; request.compute.len()],
            route: vec![None; request.links.len()],
            taken: vec![false; ground.hosts()],
            reach: Reach::default(),
            score: vec![(0, 0.0); ground.hosts()],
            limit: ground.work + effort,
            ground,
            request,
        }
    }

    /// The best embedding found; the ground is left as it was.
    pub(super) fn run(mut self) -> Option<Embedding> {
        if self.request.compute.len() > self.ground.hosts() {
            return None;
        }
        let order = self.order();
        let first = *order.first()?;
        let need = self.request.compute[first];
        let hosts = 0..self.ground.hosts();
        let mut seeds: Vec<usize> = hosts.filter(|host| self.ground.compute_left(*host) >= need).collect();
        seeds.sort_by(|x, y| self.ground.appeal(*y).total_cmp(&self.ground.appeal(*x)).then(x.cmp(y)));
        let least: f64 = self.request.links.iter().map(|(_, _, bandwidth)| bandwidth).sum();
        let mut best: Option<(f64, Embedding)> = None;
        for (index, seed) in spread(seeds.len()).map(|index| seeds[index]).enumerate() {
            if self.ground.work > self.limit {
                break;
            }
            if self.place_all(&order, seed as u32) {
                self.improve(&order);
                let cost = self.cost();
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, self.embedding()));
                }
            }
            self.clear();
            let hops = |embedding: &Embedding| -> f64 {
                let links = self.request.links.iter().zip(&embedding.paths);
                links.map(|((_, _, bandwidth), path)| bandwidth * (path.len() - 1) as f64).sum()
            };
            // No embedding has fewer hops than one per link.
            let perfect = best.as_ref().is_some_and(|(_, e)| hops(e) <= least * (1.0 + 1e-9));
            if perfect && index + 1 >= LEAST_STARTS {
                break;
            }
        }
        best.map(|(_, embedding)| embedding)
    }

    /// Virtual nodes: the one with most bandwidth first, then whoever has most with those before.
    fn order(&self) -> Vec<usize> {
        let nodes = self.request.compute.len();
        let bandwidth =
            |node: usize| -> f64 { self.links_of[node].iter().map(|l| self.request.links[*l].2).sum() };
        let mut pull = vec![0.0f64; nodes];
        let mut waiting: Vec<usize> = (0..nodes).collect();
        let mut order = Vec::with_capacity(nodes);
        while !waiting.is_empty() {
            let best = (0..waiting.len()).max_by(|x, y| {
                let rank = |node: usize| (pull[node], bandwidth(node));
                let (x, y) = (rank(waiting[*x]), rank(waiting[*y]));
                x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1))
            });
            let node = waiting.swap_remove(best.unwrap_or(0));
            for link in &self.links_of[node] {
                let (a, b, bandwidth) = self.request.links[*link];
                pull[if a == node { b } else { a }] += bandwidth;
            }
            order.push(node);
        }
        order
    }

    fn place_all(&mut self, order: &[usize], seed: u32) -> bool {
        self.settle(order[0], seed);
        order[1..].iter().all(|node| self.place(*node))
    }

    /// Puts a virtual node on the best host from which all its links can be routed.
    fn place(&mut self, node: usize) -> bool {
        let candidates = self.candidates(node);
        candidates.into_iter().take(TRIES).any(|(host, _)| {
            self.settle(node, host);
            let routed = self.route_links(node);
            if !routed {
                self.lift(node);
            }
            routed
        })
    }

    /// Hosts for `node` with what they cost, the best first.
    fn candidates(&mut self, node: usize) -> Vec<(u32, f64)> {
        self.score.fill((0, 0.0));
        let mut partners = 0;
        for index in 0..self.links_of[node].len() {
            let (a, b, bandwidth) = self.request.links[self.links_of[node][index]];
            let partner = self.host[if a == node { b } else { a }];
            if partner == NOWHERE {
                continue;
            }
            partners += 1;
            self.ground.reach(partner, bandwidth, NEIGHBOURHOOD, None, &mut self.reach);
            for (host, distance) in &self.reach.settled {
                let score = &mut self.score[*host as usize];
                *score = (score.0 + 1, score.1 + bandwidth * distance);
            }
        }
        let need = self.request.compute[node];
        let fits = |host: usize| !self.taken[host] && self.ground.compute_left(host) >= need;
        let reached = |host: &usize| self.score[*host].0 == partners && fits(*host);
        let cost = |host: usize| (host as u32, self.score[host].1 + self.crowding(host, need));
        let mut candidates: Vec<_> = (0..self.score.len()).filter(reached).map(cost).collect();
        candidates.sort_by(|x, y| x.1.total_cmp(&y.1).then(x.0.cmp(&y.0)));
        candidates
    }

    fn crowding(&self, host: usize, need: f64) -> f64 {
        CROWDING * need * self.ground.use_of(host)
    }

    fn settle(&mut self, node: usize, host: u32) {
        self.host[node] = host;
        self.taken[host as usize] = true;
    }

    /// Takes a virtual node and its routes away.
    fn lift(&mut self, node: usize) {
        for index in 0..self.links_of[node].len() {
            let link = self.links_of[node][index];
            if let Some(route) = self.route[link].take() {
                self.ground.reserve(&route.links, -self.request.links[link].2);
            }
        }
        self.taken[self.host[node] as usize] = false;
        self.host[node] = NOWHERE;
    }

    /// Routes the links of `node` to placed nodes, the widest first; false if one can't be.
    fn route_links(&mut self, node: usize) -> bool {
        let mut links = self.links_of[node].clone();
        links.sort_by(|x, y| self.request.links[*y].2.total_cmp(&self.request.links[*x].2));
        links.into_iter().all(|link| self.route[link].is_some() || self.route_link(link))
    }

    fn route_link(&mut self, link: usize) -> bool {
        let (a, b, bandwidth) = self.request.links[link];
        let (a, b) = (self.host[a], self.host[b]);
        if a == NOWHERE || b == NOWHERE {
            return true;
        }
        let Some(route) = self.ground.path(a, b, bandwidth, &mut self.reach) else { return false };
        self.ground.reserve(&route.links, bandwidth);
        self.route[link] = Some(route);
        true
    }

    /// Moves single virtual nodes to better hosts until none has one.
    fn improve(&mut self, order: &[usize]) {
        let mut unchanged = 0;
        for node in order.iter().copied().cycle() {
            if unchanged >= order.len() || self.ground.work > self.limit {
                return;
            }
            unchanged = if self.improve_node(node) { 0 } else { unchanged + 1 };
        }
    }

    fn improve_node(&mut self, node: usize) -> bool {
        let old_host = self.host[node];
        let old_cost = self.cost_of(node);
        let old_routes: Vec<(usize, Route)> =
            self.links_of[node].iter().filter_map(|link| Some((*link, self.route[*link].clone()?))).collect();
        self.lift(node);
        let best = self.candidates(node).into_iter().find(|(host, _)| *host != old_host);
        if let Some((host, cost)) = best.filter(|(_, cost)| *cost < old_cost - 1e-6) {
            self.settle(node, host);
            if self.route_links(node) && self.cost_of(node) < old_cost - 1e-6 {
                tracing::trace!(node, from = old_host, to = host, cost, "moved");
                return true;
            }
            self.lift(node);
        }
        self.settle(node, old_host);
        for (link, route) in old_routes {
            self.ground.reserve(&route.links, self.request.links[link].2);
            self.route[link] = Some(route);
        }
        false
    }

    fn cost_of(&self, node: usize) -> f64 {
        let route = |link: &usize| {
            let bandwidth = self.request.links[*link].2;
            self.route[*link].as_ref().map_or(0.0, |route| bandwidth * route.distance)
        };
        let host = self.host[node] as usize;
        self.links_of[node].iter().map(route).sum::<f64>() + self.crowding(host, self.request.compute[node])
    }

    fn cost(&self) -> f64 {
        let routes = self.request.links.iter().zip(&self.route);
        let links: f64 = routes.filter_map(|(link, route)| Some(link.2 * route.as_ref()?.distance)).sum();
        let nodes = self.host.iter().zip(&self.request.compute);
        links + nodes.map(|(host, need)| self.crowding(*host as usize, *need)).sum::<f64>()
    }

    fn embedding(&self) -> Embedding {
        let path = |route: &Option<Route>| {
            let hosts = route.iter().flat_map(|route| &route.hosts);
            hosts.map(|host| *host as usize).collect::<Vec<_>>()
        };
        let oriented = |(link, route): (&(usize, usize, f64), &Option<Route>)| {
            let mut path = path(route);
            if path.first() != Some(&(self.host[link.0] as usize)) {
                path.reverse();
            }
            path
        };
        Embedding {
            nodes: self.host.iter().map(|host| *host as usize).collect(),
            paths: self.request.links.iter().zip(&self.route).map(oriented).collect(),
        }
    }

    fn clear(&mut self) {
        for node in 0..self.host.len() {
            if self.host[node] != NOWHERE {
                self.lift(node);
            }
        }
    }
}

/// Indices below `count`, each once: the front ones first, with strides through the rest.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    let front = count.min(4);
    let rest = count - front;
    // A stride near the golden section that shares no factor with the length.
    let mut stride = (rest as f64 * 0.618) as usize;
    while rest > 0 && gcd(stride.max(1), rest) != 1 {
        stride += 1;
    }
    (0..front).chain((0..rest).map(move |index| front + index * stride.max(1) % rest))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
