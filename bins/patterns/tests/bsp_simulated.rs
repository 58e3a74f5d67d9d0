//! Ranks as state machines over a simulated network that delivers in any order,
//! breaks connections and restarts ranks: whatever it does, every rank gets
//! through all iterations, nobody gets a message twice or out of turn, and no
//! message comes before those that it stands for.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, VecDeque};

use patterns::bsp::{Bsp, Ending, Step};
use patterns::wire::{Goodbye, Header};
use patterns::{Operation, Pattern, Role};
use proptest::prelude::*;
use vnet_core::Shape;

const MESSAGE: u64 = 10;

/// What happens next; the numbers choose whom it happens to.
#[derive(Clone, Debug)]
enum Fate {
    /// Connections take frames: bit i is for direction i of the channels.
    Send(u64),
    /// Frames arrive: as many of direction i as bits 2i and 2i+1 say.
    Deliver(u64),
    /// Compute phases end: bit i is for rank i.
    Compute(u64),
    /// A connection breaks; what was under way is lost.
    Break(usize),
    /// Both ends say hello again.
    Connect(usize),
    /// A rank dies and is started again, with nothing known.
    Restart(usize),
}

struct Node {
    bsp: Bsp,
    peers: Vec<usize>,
    computing: bool,
    ended: Option<Ending>,
    /// The next message due from each peer.
    due: Vec<Option<u64>>,
    /// Iterations that each peer had completed when it connected, if it was in the run.
    known: Vec<Option<u64>>,
}

impl Node {
    fn new(pattern: &Pattern, rank: usize, iterations: u64) -> Self {
        let peers = pattern.peers(rank);
        Self {
            bsp: Bsp::new(peers.iter().map(|(_, role)| *role), MESSAGE, Some(iterations)),
            peers: peers.iter().map(|(peer, _)| *peer).collect(),
            computing: false,
            ended: None,
            due: vec![None; peers.len()],
            known: vec![None; peers.len()],
        }
    }

    fn steps(&mut self) {
        let joining = self.bsp.is_joining();
        let first = self.bsp.step();
        if joining && !self.bsp.is_joining() {
            let least = self.known.iter().flatten().min();
            let start = self.bsp.iterations();
            assert!(least.is_none_or(|least| start >= *least), "it starts with {start}, not {least:?}");
        }
        self.take(first);
        while let Some(step) = self.bsp.step() {
            self.take(Some(step));
            if self.ended.is_some() {
                break;
            }
        }
    }

    fn take(&mut self, step: Option<Step>) {
        match step {
            Some(Step::Compute) => self.computing = true,
            Some(Step::Leave(ending)) => self.ended = Some(ending),
            None => {}
        }
    }
}

struct World {
    pattern: Pattern,
    iterations: u64,
    nodes: Vec<Node>,
    /// Frames under way from one rank to another, of connections that are up.
    wires: BTreeMap<(usize, usize), VecDeque<Header>>,
    /// Below which iteration each rank has ended all compute phases, in any of its lives.
    computed: Vec<u64>,
    lost: usize,
    messages: usize,
}

impl World {
    fn new(pattern: Pattern, iterations: u64) -> Self {
        let ranks = pattern.ranks();
        let nodes = (0..ranks).map(|rank| Node::new(&pattern, rank, iterations)).collect();
        let computed = vec![0; ranks];
        let mut world =
            Self { pattern, iterations, nodes, wires: BTreeMap::new(), computed, lost: 0, messages: 0 };
        for (a, b) in world.pattern.edges() {
            world.connect(a, b);
        }
        world
    }

    fn index(&self, rank: usize, peer: usize) -> usize {
        self.nodes[rank].peers.iter().position(|p| *p == peer).unwrap()
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.wires.contains_key(&(a, b)) {
            return;
        }
        let state = |rank: usize| (self.nodes[rank].bsp.is_joining(), self.nodes[rank].bsp.iterations());
        let (of_a, of_b) = (state(a), state(b));
        for (rank, peer, (joining, iterations)) in [(a, b, of_b), (b, a, of_a)] {
            let i = self.index(rank, peer);
            self.nodes[rank].bsp.connected(i, joining);
            self.nodes[rank].known[i] = (!joining).then_some(iterations);
            self.wires.insert((rank, peer), VecDeque::new());
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (rank, peer) in [(a, b), (b, a)] {
            if self.wires.remove(&(rank, peer)).is_some() {
                let i = self.index(rank, peer);
                self.lost += usize::from(self.nodes[rank].bsp.disconnected(i));
            }
        }
    }

    fn send(&mut self, from: usize, to: usize) -> bool {
        let i = self.index(from, to);
        let Some(wire) = self.wires.get_mut(&(from, to)) else { return false };
        let Some(header) = self.nodes[from].bsp.next_frame(i) else { return false };
        wire.push_back(header);
        if matches!(header, Header::Data { .. }) {
            self.nodes[from].bsp.sent(i);
        }
        true
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let i = self.index(to, from);
        let Some(header) = self.wires.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        let node = &mut self.nodes[to];
        match header {
            Header::Resume { next } => node.bsp.resumed(i, next).expect("one resume frame, and first"),
            Header::Data { iteration, length } => {
                node.bsp.receiving(i, iteration, length).expect("the message that is due");
                // The independent record: consecutive from the first one on.
                let due = node.due[i].replace(iteration + 1);
                assert!(due.is_none_or(|due| due == iteration), "{from} to {to}: {iteration} after {due:?}");
                node.bsp.received(i);
                self.messages += 1;
                self.check_causes(from, to, iteration);
            }
            Header::Goodbye(goodbye) => {
                assert_eq!(goodbye, Goodbye::Done);
                node.bsp.heard_goodbye(i, goodbye);
            }
            Header::Refusal(_) => panic!("nobody refuses"),
        }
        true
    }

    /// Everybody that a message stands for must have computed before.
    fn check_causes(&self, from: usize, to: usize, iteration: u64) {
        let role = self.pattern.peers(to).iter().find(|(peer, _)| *peer == from).unwrap().1;
        let causes = match role {
            Role::Partner => vec![from],
            Role::Child => self.subtree(from),
            Role::Parent => (0..self.nodes.len()).collect(),
        };
        for rank in causes {
            assert!(self.computed[rank] > iteration, "{from} to {to}: {iteration} before {rank} computed");
        }
    }

    fn subtree(&self, root: usize) -> Vec<usize> {
        let mut ranks = vec![root];
        for (peer, role) in self.pattern.peers(root) {
            if *role == Role::Child {
                ranks.extend(self.subtree(*peer));
            }
        }
        ranks
    }

    fn compute(&mut self, rank: usize) -> bool {
        self.nodes[rank].steps();
        let computing = std::mem::take(&mut self.nodes[rank].computing);
        if computing {
            let iteration = self.nodes[rank].bsp.iterations();
            self.computed[rank] = self.computed[rank].max(iteration + 1);
            self.nodes[rank].bsp.computed();
            self.nodes[rank].steps();
        }
        computing
    }

    fn restart(&mut self, rank: usize) {
        // A rank that has said goodbye is not waited for any more.
        if self.nodes[rank].ended.is_some() {
            return;
        }
        for peer in self.nodes[rank].peers.clone() {
            self.disconnect(rank, peer);
        }
        self.nodes[rank] = Node::new(&self.pattern, rank, self.iterations);
    }

    fn meet(&mut self, fate: &Fate, edges: &[(usize, usize)]) {
        let edge = |n: usize| edges[n % edges.len()];
        let directed = edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).enumerate();
        match *fate {
            Fate::Send(bits) => {
                for (i, (from, to)) in directed {
                    if bits.rotate_right(i as u32) & 1 == 1 {
                        self.nodes[from].steps();
                        while self.send(from, to) {}
                    }
                }
            }
            Fate::Deliver(bits) => {
                for (i, (from, to)) in directed {
                    for _ in 0..bits.rotate_right(2 * i as u32) & 3 {
                        self.deliver(from, to);
                    }
                }
            }
            Fate::Compute(bits) => {
                for rank in (0..self.nodes.len()).filter(|rank| bits >> rank & 1 == 1) {
                    self.compute(rank);
                }
            }
            Fate::Break(n) => self.disconnect(edge(n).0, edge(n).1),
            Fate::Connect(n) => self.connect(edge(n).0, edge(n).1),
            Fate::Restart(n) => self.restart(n % self.nodes.len()),
        }
    }

    /// Everything heals and everything under way arrives.
    fn settle(&mut self, edges: &[(usize, usize)]) {
        loop {
            let mut moved = false;
            for &(a, b) in edges {
                for (rank, peer) in [(a, b), (b, a)] {
                    if self.nodes[rank].bsp.expects(self.index(rank, peer)) {
                        moved |= !self.wires.contains_key(&(rank, peer));
                        self.connect(rank, peer);
                    }
                }
            }
            for rank in 0..self.nodes.len() {
                moved |= self.compute(rank);
            }
            for &(a, b) in edges {
                for (from, to) in [(a, b), (b, a)] {
                    while self.send(from, to) {
                        moved = true;
                    }
                    while self.deliver(from, to) {
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
    }
}

fn fate(faults: u32) -> impl Strategy<Value = Fate> {
    let n = || 0_usize..10_000;
    prop_oneof![
        40 => any::<u64>().prop_map(Fate::Send),
        40 => any::<u64>().prop_map(Fate::Deliver),
        30 => any::<u64>().prop_map(Fate::Compute),
        4 * faults + 1 => n().prop_map(Fate::Connect),
        3 * faults => n().prop_map(Fate::Break),
        faults => n().prop_map(Fate::Restart),
    ]
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let operation =
        prop::sample::select(vec![Operation::Neighbour, Operation::Reduction, Operation::AllToAll]);
    let shape = prop::sample::select(Shape::all().to_vec());
    (shape, operation, 2_usize..9).prop_filter_map("no such shape", |(shape, operation, ranks)| {
        Pattern::new(&shape, operation, ranks).ok()
    })
}

proptest! {
    #[test]
    fn every_rank_gets_through_whatever_the_network_does(
        pattern in pattern(),
        iterations in 0_u64..20,
        fates in prop::collection::vec(fate(2), 0..400),
    ) {
        let edges = pattern.edges();
        let mut world = World::new(pattern, iterations);
        for fate in &fates {
            world.meet(fate, &edges);
        }
        world.settle(&edges);
        for (rank, node) in world.nodes.iter().enumerate() {
            prop_assert_eq!(node.bsp.iterations(), iterations, "rank {} of {:?}", rank, edges);
            prop_assert_eq!(node.ended, Some(Ending::Done));
            prop_assert!(node.bsp.is_over());
        }
    }

    #[test]
    fn without_faults_each_message_is_sent_once_and_nothing_is_lost(
        pattern in pattern(),
        iterations in 0_u64..20,
        fates in prop::collection::vec(fate(0), 0..400),
    ) {
        let edges = pattern.edges();
        let mut world = World::new(pattern, iterations);
        for fate in &fates {
            world.meet(fate, &edges);
        }
        world.settle(&edges);
        for &(a, b) in &edges {
            world.disconnect(a, b);
        }
        prop_assert_eq!(world.lost, 0);
        prop_assert_eq!(world.messages as u64, 2 * edges.len() as u64 * iterations);
    }

    #[test]
    fn one_rank_that_stops_stops_all(
        pattern in pattern(),
        fates in prop::collection::vec(fate(0), 0..200),
        who in 0_usize..10,
    ) {
        let edges = pattern.edges();
        let mut world = World::new(pattern, u64::MAX);
        for fate in &fates {
            world.meet(fate, &edges);
        }
        let who = who % world.nodes.len();
        world.nodes[who].bsp.stop();
        let mut rounds = 0;
        while !world.nodes.iter().all(|node| node.bsp.is_over()) {
            rounds += 1;
            prop_assert!(rounds < 1000, "the stop did not get around");
            for &(a, b) in &edges {
                for (from, to) in [(a, b), (b, a)] {
                    while world.send(from, to) {}
                    while deliver_any(&mut world, from, to) {}
                }
            }
        }
        for (rank, node) in world.nodes.iter_mut().enumerate() {
            let stopped = matches!(node.bsp.step(), Some(Step::Leave(Ending::StoppedBy(_)))) != (rank == who);
            prop_assert!(stopped);
        }
        for (a, b) in edges {
            world.disconnect(a, b);
        }
        prop_assert_eq!(world.lost, 0);
    }
}

/// Like [`World::deliver`], with goodbyes of those who stop.
fn deliver_any(world: &mut World, from: usize, to: usize) -> bool {
    let i = world.index(to, from);
    let front = world.wires.get(&(from, to)).and_then(VecDeque::front);
    if let Some(Header::Goodbye(goodbye @ Goodbye::Stop)) = front.copied() {
        world.wires.get_mut(&(from, to)).unwrap().pop_front();
        world.nodes[to].bsp.heard_goodbye(i, goodbye);
        return true;
    }
    world.deliver(from, to)
}
