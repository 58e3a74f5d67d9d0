//! Where the hosts of a topology stand in a drawing.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use vnet_core::{HostName, Topology};

/// A point, and the direction away from the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    /// Angle of the free side, in radians; x goes right and y goes down.
    pub(super) out: f64,
}

/// The hosts on a circle around the origin, with `spacing` between neighbours,
/// in an order that keeps most links short. A host that is linked to every
/// other while they are not all linked to each other (the hub of a star) stands
/// in the middle.
pub(super) fn places(topology: &Topology, spacing: f64) -> (BTreeMap<&HostName, Place>, f64) {
    let neighbours = neighbours(topology);
    let count = topology.hosts.len();
    let hosts = || topology.hosts.iter().map(|host| &host.machine);
    let is_full = neighbours.values().all(|of| of.len() + 1 >= count);
    let hub = hosts()
        .find(|host| count > 2 && !is_full && neighbours.get(host).is_some_and(|of| of.len() + 1 == count));
    let ring = order(hosts().filter(|host| Some(*host) != hub).collect(), &neighbours);
    let radius = match ring.len() {
        0 | 1 => 0.0,
        n => (spacing / 2.0 / (TAU / 2.0 / n as f64).sin()).max(spacing * 0.9),
    };
    let mut places = BTreeMap::new();
    for (at, host) in ring.iter().enumerate() {
        let angle = TAU * at as f64 / ring.len() as f64 - TAU / 4.0;
        places.insert(*host, Place { x: radius * angle.cos(), y: radius * angle.sin(), out: angle });
    }
    if let Some(hub) = hub {
        // Between the two lowest spokes.
        let out = TAU * ((ring.len() / 2) as f64 + 0.5) / ring.len() as f64 - TAU / 4.0;
        places.insert(hub, Place { x: 0.0, y: 0.0, out });
    }
    (places, radius)
}

fn neighbours(topology: &Topology) -> BTreeMap<&HostName, Vec<&HostName>> {
    let mut neighbours: BTreeMap<&HostName, Vec<&HostName>> = BTreeMap::new();
    for link in topology.links.values() {
        neighbours.entry(&link.a).or_default().push(&link.b);
        neighbours.entry(&link.b).or_default().push(&link.a);
    }
    neighbours
}

/// Walks along links, preferring hosts with few links left, so that rings and
/// buses come out in their order.
fn order<'a>(
    hosts: Vec<&'a HostName>,
    neighbours: &BTreeMap<&HostName, Vec<&'a HostName>>,
) -> Vec<&'a HostName> {
    let mut left = hosts;
    let degree = |host: &HostName, left: &[&HostName]| {
        neighbours.get(host).into_iter().flatten().filter(|of| left.contains(of)).count()
    };
    let mut ordered: Vec<&HostName> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let is_next = |host: &HostName| {
            ordered.last().is_some_and(|last| neighbours.get(last).is_some_and(|of| of.contains(&host)))
        };
        let next = (0..left.len()).min_by_key(|&at| (!is_next(left[at]), degree(left[at], &left), at));
        // `left` isn't empty, so that it has a least element.
        let Some(next) = next else { break };
        ordered.push(left.remove(next));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use vnet_core::Shape;
    use vnet_core::generate::Overlay;

    use super::*;

    fn generate(hosts: u32, shape: Shape) -> Topology {
        Overlay::numbered(hosts, shape).generate().unwrap()
    }

    #[test]
    fn neighbours_in_a_ring_stand_side_by_side() {
        let topology = generate(8, Shape::Ring);
        let (places, _) = places(&topology, 100.0);
        for link in topology.links.values() {
            let (a, b) = (places[&link.a], places[&link.b]);
            assert!(((a.x - b.x).hypot(a.y - b.y) - 100.0).abs() < 1e-6, "{link}");
        }
    }

    #[test]
    fn the_hub_of_a_star_stands_in_the_middle_and_nobody_of_a_mesh_does() {
        let star = generate(6, Shape::Star);
        let (at, _) = places(&star, 100.0);
        assert_eq!((at[&star.hosts[0].machine].x, at[&star.hosts[0].machine].y), (0.0, 0.0));
        let full = generate(6, Shape::AllToAll);
        let (at, radius) = places(&full, 100.0);
        assert!(at.values().all(|place| (place.x.hypot(place.y) - radius).abs() < 1e-6));
    }

    #[test]
    fn hosts_keep_their_distance() {
        for shape in Shape::all() {
            let topology = generate(16, shape);
            let (places, _) = places(&topology, 100.0);
            let places: Vec<_> = places.into_values().collect();
            for (at, one) in places.iter().enumerate() {
                for other in &places[..at] {
                    assert!((one.x - other.x).hypot(one.y - other.y) > 99.0);
                }
            }
        }
    }
}
