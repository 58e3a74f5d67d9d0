//! Shapes that are not quite there: with a monitor that talks to everybody, or
//! with a few edges too many or too few.

use std::collections::BTreeMap;

use super::edges::{self, Cut, Edge};
use super::evidence;
use super::graph::Graph;
use super::layers::{self, Found};
use super::template::{self, Template};

/// The fraction of the others that a monitor talks to: everybody but for a few ...
const WIDE_REACH: f64 = 0.9;

/// ... or most, if nobody else does and what is left says more.
const REACH: f64 = 0.6;

/// Edges of less than this fraction of the strongest weight aren't looked at
/// for a monitor.
const HUB_WEIGHT: f64 = 0.02;

/// More vertices than this that talk to most others are no monitors.
const MOST_HUBS: usize = 3;

/// What the shape without a monitor must say, in bits.
const HUB_SURPRISE: f64 = 8.0;
const DOUBTFUL_HUB_SURPRISE: f64 = 20.0;

/// Shapes with fewer edges than this must be exact.
const FEWEST_EDGES: usize = 12;

/// The surprise of a shape with an edge too many or too few must exceed this.
const INEXACT_SURPRISE: f64 = 24.0;

/// An edge too many is looked for among so many weakest edges of a layer.
const WEAKEST: usize = 12;

/// How many ways to add a missing edge are tried.
const MOST_ADDITIONS: usize = 256;

/// How many cuts are looked at, those at the widest gaps.
const CUTS: usize = 6;

/// The fraction of edges that an all-to-all topology may lack.
const MISSING_OF_ALL: f64 = 0.03;

/// A layer among the others than one vertex that talks to most of them.
pub(crate) fn without_hub(all: &[Edge], pruned: bool) -> Option<Found> {
    let found = hubs(all).into_iter().filter_map(|(hub, least)| {
        let (at_hub, others): (Vec<Edge>, Vec<Edge>) =
            all.iter().partition(|edge| edge.a == hub || edge.b == hub);
        if others.is_empty() {
            return None;
        }
        let found = with_some_of(&others, &at_hub, hub).or_else(|| layers::best_cut(&others, pruned));
        found.filter(|found| found.surprise >= least)
    });
    found.max_by(|x, y| x.surprise.total_cmp(&y.surprise))
}

/// Vertices that may be monitors, and what the shape of the others must say.
fn hubs(all: &[Edge]) -> Vec<(u32, f64)> {
    let strong: Vec<Edge> =
        all.iter().copied().take_while(|edge| edge.weight >= HUB_WEIGHT * all[0].weight).collect();
    let members = edges::members(&strong);
    let graph = edges::graph(&strong, &members);
    let others = (members.len() - 1) as f64;
    let reaching = |reach: f64| {
        let reaches = |v: &usize| graph.degree(*v) as f64 >= (reach * others).max(3.0);
        (0..members.len()).filter(reaches).map(|v| members[v]).collect::<Vec<u32>>()
    };
    let (wide, most) = (reaching(WIDE_REACH), reaching(REACH));
    match (wide.len(), most.len()) {
        (1..=MOST_HUBS, _) => wide.into_iter().map(|hub| (hub, HUB_SURPRISE)).collect(),
        (0, 1) => most.into_iter().map(|hub| (hub, DOUBTFUL_HUB_SURPRISE)).collect(),
        _ => Vec::new(),
    }
}

/// The hub has a place in the shape, too: its strongest edges belong there.
fn with_some_of(others: &[Edge], at_hub: &[Edge], hub: u32) -> Option<Found> {
    let cuts = edges::cuts(others);
    let end = cuts.last().copied();
    cuts.into_iter().take(CUTS).chain(end).find_map(|cut| complete(others, cut, at_hub, hub))
}

fn complete(others: &[Edge], cut: Cut, at_hub: &[Edge], hub: u32) -> Option<Found> {
    let inside = &others[..cut.inside];
    let weakest = inside[inside.len() - 1].weight;
    let usable: Vec<Edge> = at_hub.iter().copied().filter(|edge| edge.weight >= weakest / 2.0).collect();
    if usable.is_empty() {
        return None;
    }
    let members = edges::members(&[inside, &usable].concat());
    let index = edges::indices(&members);
    let graph = edges::graph(inside, &members);
    let mut is_usable = vec![false; members.len()];
    for edge in &usable {
        is_usable[index[other(edge, hub) as usize] as usize] = true;
    }
    let recognised = template::templates(members.len()).into_iter().filter_map(|template| {
        let around = template.recognise_around(&graph, index[hub as usize] as usize, &is_usable)?;
        let belongs = |edge: &Edge| around.neighbours.contains(&index[other(edge, hub) as usize]);
        // They carry the application's data and the monitor's.
        let strongest = &usable[..around.neighbours.len()];
        strongest.iter().all(belongs).then_some((strongest.len(), template, around.recognition))
    });
    let (neighbours, template, recognition) = recognised.max_by_key(|(neighbours, ..)| *neighbours)?;
    Some(Found {
        inside: inside.iter().chain(&usable[..neighbours]).copied().collect(),
        gap: cut.gap,
        names: template.names,
        surprise: evidence::surprise(members.len(), template.edges, recognition.symmetry_bits),
        positions: members.into_iter().zip(recognition.positions).collect(),
        missing: Vec::new(),
        score: 0.0,
    })
}

const fn other(edge: &Edge, end: u32) -> u32 {
    if edge.a == end { edge.b } else { edge.a }
}

/// A layer that has a shape but for an edge or two.
pub(crate) fn almost(all: &[Edge], pruned: bool) -> Option<Found> {
    let everyone = edges::members(all).len();
    let cuts = edges::cuts(all);
    let end = cuts.last().copied();
    let mut cuts: Vec<Cut> = cuts.into_iter().take(CUTS).chain(end).collect();
    cuts.dedup_by_key(|cut| cut.inside);
    let found = cuts.into_iter().filter_map(|cut| {
        let inside = &all[..cut.inside];
        let found = nearly_all_to_all(inside, cut)
            .or_else(|| with_one_more(inside, cut))
            .or_else(|| without_the_worst(inside, cut))?;
        let cover = found.positions.len() as f64 / everyone as f64;
        let score = evidence::score(all, cut, cover, found.surprise, pruned)?;
        Some(Found { score, ..found })
    });
    found.max_by(|x, y| x.score.total_cmp(&y.score))
}

fn nearly_all_to_all(inside: &[Edge], cut: Cut) -> Option<Found> {
    let members = edges::members(inside);
    let pairs = members.len() * (members.len() - 1) / 2;
    let missing = pairs - inside.len();
    if missing == 0 || missing as f64 > MISSING_OF_ALL * pairs as f64 + 0.2 {
        return None;
    }
    let template = template::templates(members.len()).into_iter().find(|t| t.edges == pairs)?;
    let graph = edges::graph(inside, &members);
    let absent = (0..members.len()).flat_map(|a| (a + 1..members.len()).map(move |b| (a, b)));
    let absent = absent.filter(|(a, b)| !graph.has_edge(*a, *b)).map(|(a, b)| (members[a], members[b]));
    Some(Found {
        inside: inside.to_vec(),
        gap: cut.gap,
        names: template.names,
        positions: members.iter().copied().zip((0..).map(|v| vec![v])).collect(),
        missing: absent.collect(),
        surprise: evidence::surprise(members.len(), pairs, 0.0),
        score: 0.0,
    })
}

/// An edge is missing.
fn with_one_more(inside: &[Edge], cut: Cut) -> Option<Found> {
    let members = edges::members(inside);
    let templates = fitting(members.len(), inside.len() + 1);
    if templates.is_empty() {
        return None;
    }
    let graph = edges::graph(inside, &members);
    let mut edges = inside.to_vec();
    for template in &templates {
        let Some(lacking) = lacking(&graph.degrees(), &template.degrees()) else { continue };
        for (a, b) in additions(&graph, lacking).take(MOST_ADDITIONS) {
            let added = Edge { a: members[a], b: members[b], weight: 0.0 };
            edges.push(added);
            let found = layers::recognise(&edges, cut.gap);
            edges.pop();
            if let Some(found) = found.filter(|found| found.surprise >= INEXACT_SURPRISE) {
                return Some(Found { inside: inside.to_vec(), missing: vec![added.ends()], ..found });
            }
        }
    }
    None
}

/// One or two edges are too many.
fn without_the_worst(inside: &[Edge], cut: Cut) -> Option<Found> {
    let members = edges::members(inside).len();
    let weakest = inside.len().saturating_sub(WEAKEST)..inside.len();
    let ones = weakest.clone().map(|i| (i, i));
    let twos = weakest.clone().flat_map(|i| (i + 1..weakest.end).map(move |j| (i, j)));
    let may_lose = |edges| !fitting(members, edges).is_empty();
    let ones = ones.filter(|_| may_lose(inside.len() - 1));
    let has_two = inside.len() > 2 && may_lose(inside.len() - 2);
    ones.chain(twos.filter(|_| has_two)).find_map(|(i, j)| {
        let kept = inside.iter().enumerate().filter(|(at, _)| *at != i && *at != j);
        let kept: Vec<Edge> = kept.map(|(_, edge)| *edge).collect();
        let found = layers::recognise(&kept, cut.gap)?;
        (found.surprise >= INEXACT_SURPRISE && found.positions.len() == members).then_some(found)
    })
}

fn fitting(vertices: usize, edges: usize) -> Vec<Template> {
    let is_fit = |template: &Template| template.edges == edges && edges >= FEWEST_EDGES;
    template::templates(vertices).into_iter().filter(is_fit).collect()
}

/// The degrees of the two vertices that lack an edge, given all degrees in
/// ascending order and what they should be.
fn lacking(degrees: &[usize], wanted: &[usize]) -> Option<(usize, usize)> {
    let mut surplus: BTreeMap<usize, i64> = BTreeMap::new();
    for (is, should) in degrees.iter().zip(wanted) {
        *surplus.entry(*is).or_default() += 1;
        *surplus.entry(*should).or_default() -= 1;
    }
    let total = |degree: &usize| surplus.get(degree).copied().unwrap_or(0);
    // Each of the two counts for the degree that it has, and against the next.
    let candidates: Vec<usize> =
        surplus.keys().copied().chain(surplus.keys().filter_map(|degree| degree.checked_sub(1))).collect();
    candidates.iter().enumerate().find_map(|(i, a)| {
        let b = candidates[i..].iter().find(|b| {
            let expected = |degree: usize| {
                let counts = |has: usize| i64::from(degree == has) - i64::from(degree == has + 1);
                counts(*a) + counts(**b)
            };
            surplus.keys().chain([a, *b]).all(|degree| total(degree) == expected(*degree))
        });
        b.map(|b| (*a, *b))
    })
}

/// Pairs of vertices of these degrees that an edge of a grid or tree may be
/// missing between: two or three steps apart without it, or not joined at all.
fn additions(graph: &Graph, degrees: (usize, usize)) -> impl Iterator<Item = (usize, usize)> {
    let is_connected = graph.components() == 1;
    let may_lack = move |a: usize, b: usize| {
        let has = (graph.degree(a), graph.degree(b));
        has == degrees || has == (degrees.1, degrees.0)
    };
    (0..graph.len()).flat_map(move |a| {
        let mut is_near = vec![!is_connected; graph.len()];
        let neighbours = |v: usize| graph.neighbours(v).iter().map(|u| *u as usize);
        for c in neighbours(a).flat_map(neighbours) {
            is_near[c] = true;
            neighbours(c).for_each(|d| is_near[d] = true);
        }
        let others =
            (a + 1..graph.len()).filter(move |b| is_near[*b] && may_lack(a, *b) && !graph.has_edge(a, *b));
        others.map(move |b| (a, b))
    })
}
