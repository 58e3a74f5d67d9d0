//! Places for the vertices of a graph.

use std::collections::VecDeque;
use std::f64::consts::TAU;

const ROUNDS: usize = 300;

/// Places in the unit square, one for each of `vertices`.
///
/// A graph in which everybody is joined to everybody is a circle; any other is
/// laid out so that distances on the page are like those in the graph: stress
/// majorisation (Gansner, Koren and North, "Graph drawing by stress
/// majorization", GD 2004) from a classical multidimensional scaling.
pub(super) fn places(vertices: usize, edges: &[(usize, usize)]) -> Vec<(f64, f64)> {
    let distances = distances(vertices, edges);
    let complete = distances.iter().flatten().all(|d| *d <= 1.0);
    fitted(match complete {
        true => circle(vertices),
        false => turned(majorised(scaled(&distances), &distances), edges),
    })
}

fn circle(vertices: usize) -> Vec<(f64, f64)> {
    let angle = |i: usize| TAU * (i as f64 / vertices as f64 - 0.25);
    (0..vertices).map(|i| (angle(i).cos(), angle(i).sin())).collect()
}

/// Hops between vertices; those in different parts of the graph are as far
/// apart as the number of vertices allows within a part, and one more.
fn distances(vertices: usize, edges: &[(usize, usize)]) -> Vec<Vec<f64>> {
    let mut neighbours = vec![Vec::new(); vertices];
    for &(a, b) in edges.iter().filter(|(a, b)| *a < vertices && *b < vertices) {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let apart = (vertices as f64).sqrt() + 1.0;
    let from = |start: usize| {
        let mut row = vec![apart; vertices];
        row[start] = 0.0;
        let mut queue = VecDeque::from([(start, 0.0)]);
        let mut seen = vec![false; vertices];
        seen[start] = true;
        while let Some((vertex, hops)) = queue.pop_front() {
            for &next in &neighbours[vertex] {
                if !seen[next] {
                    seen[next] = true;
                    row[next] = hops + 1.0;
                    queue.push_back((next, hops + 1.0));
                }
            }
        }
        row
    };
    (0..vertices).map(from).collect()
}

/// Classical multidimensional scaling: the two main axes of the centred
/// squared distances, by power iteration.
fn scaled(distances: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let n = distances.len();
    let squared = |i: usize, j: usize| distances[i][j] * distances[i][j];
    let means: Vec<f64> = (0..n).map(|i| (0..n).map(|j| squared(i, j)).sum::<f64>() / n as f64).collect();
    let mean = means.iter().sum::<f64>() / n as f64;
    let centred: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| -0.5 * (squared(i, j) - means[i] - means[j] + mean)).collect())
        .collect();
    let first = axis(&centred, &[]);
    let second = axis(&centred, &first);
    first.into_iter().zip(second).collect()
}

/// The main axis, among those at right angles to `other`.
fn axis(matrix: &[Vec<f64>], other: &[f64]) -> Vec<f64> {
    let n = matrix.len();
    // Any start that no symmetry of the graph is likely to share.
    let mut v: Vec<f64> = (0..n).map(|i| (1.0 + i as f64 * 0.618_034).sin()).collect();
    for _ in 0..ROUNDS {
        let along: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
        let length: f64 = other.iter().map(|b| b * b).sum();
        for (a, b) in v.iter_mut().zip(other) {
            *a -= along / length.max(f64::MIN_POSITIVE) * b;
        }
        v = matrix.iter().map(|row| row.iter().zip(&v).map(|(m, x)| m * x).sum()).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        v.iter_mut().for_each(|x| *x /= length);
    }
    let spread = matrix.iter().map(|row| row.iter().map(|m| m.abs()).sum::<f64>()).fold(0.0, f64::max).sqrt();
    v.iter().map(|x| x * spread).collect()
}

fn majorised(mut places: Vec<(f64, f64)>, distances: &[Vec<f64>]) -> Vec<(f64, f64)> {
    for _ in 0..ROUNDS {
        for i in 0..places.len() {
            let (mut x, mut y, mut weights) = (0.0, 0.0, 0.0);
            for (j, &(xj, yj)) in places.iter().enumerate().filter(|(j, _)| *j != i) {
                let wanted = distances[i][j];
                let weight = 1.0 / (wanted * wanted);
                let (dx, dy) = (places[i].0 - xj, places[i].1 - yj);
                let scale = wanted / dx.hypot(dy).max(1e-9);
                x += weight * (xj + dx * scale);
                y += weight * (yj + dy * scale);
                weights += weight;
            }
            if weights > 0.0 {
                places[i] = (x / weights, y / weights);
            }
        }
    }
    places
}

/// Turned so that edges lie level or upright as far as they can, broad rather
/// than high, and with the first vertex to the left and at the top.
fn turned(places: Vec<(f64, f64)>, edges: &[(usize, usize)]) -> Vec<(f64, f64)> {
    let ends = edges.iter().filter_map(|&(a, b)| Some((places.get(a)?, places.get(b)?)));
    // Directions times four: those that differ by a right angle add up.
    let (x, y) = ends.fold((0.0, 0.0), |(x, y), (a, b)| {
        let direction = 4.0 * (b.1 - a.1).atan2(b.0 - a.0);
        (x + direction.cos(), y + direction.sin())
    });
    let (sin, cos) = (y.atan2(x) / 4.0).sin_cos();
    let turned: Vec<_> = places.into_iter().map(|(x, y)| (x * cos + y * sin, y * cos - x * sin)).collect();
    let (width, height) = (extent(turned.iter().map(|p| p.0)), extent(turned.iter().map(|p| p.1)));
    let is_high = height.1 - height.0 > width.1 - width.0;
    let broad: Vec<_> = turned.into_iter().map(|(x, y)| if is_high { (y, x) } else { (x, y) }).collect();
    let Some(&first) = broad.first() else { return broad };
    let sums = broad.iter().fold((0.0, 0.0), |sums, p| (sums.0 + p.0, sums.1 + p.1));
    let n = broad.len() as f64;
    let away = |first: f64, sum: f64| if first > sum / n + 1e-6 { -1.0 } else { 1.0 };
    let (across, down) = (away(first.0, sums.0), away(first.1, sums.1));
    broad.into_iter().map(|(x, y)| (x * across, y * down)).collect()
}

/// The least and the greatest value.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}

/// Moved and scaled into the unit square, without distortion.
fn fitted(places: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let (left, right) = extent(places.iter().map(|p| p.0));
    let (top, bottom) = extent(places.iter().map(|p| p.1));
    let size = (right - left).max(bottom - top).max(1e-9);
    let (x0, y0) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
    places.into_iter().map(|(x, y)| ((x - x0) / size + 0.5, (y - y0) / size + 0.5)).collect()
}

#[cfg(test)]
mod tests {
    use vnet_core::Shape;

    use super::*;

    #[test]
    fn every_shape_fits_and_no_two_vertices_meet() {
        for shape in Shape::all() {
            for vertices in [1, 4, 8, 16, 32] {
                let Ok(edges) = shape.edges(vertices) else { continue };
                let places = places(vertices, &edges);
                assert_eq!(places.len(), vertices);
                for (i, a) in places.iter().enumerate() {
                    assert!((-1e-9..=1.0 + 1e-9).contains(&a.0) && (-1e-9..=1.0 + 1e-9).contains(&a.1));
                    for b in &places[i + 1..] {
                        let distance = (a.0 - b.0).hypot(a.1 - b.1);
                        assert!(distance > 0.02, "{shape} of {vertices}: {distance}");
                    }
                }
            }
        }
    }

    #[test]
    fn odd_graphs_are_laid_out_too() {
        assert!(places(0, &[]).is_empty());
        assert_eq!(places(1, &[]), [(0.5, 0.5)]);
        assert_eq!(places(5, &[(0, 1), (3, 4), (7, 9)]).len(), 5);
        assert!(places(5, &[(0, 1)]).iter().all(|(x, y)| x.is_finite() && y.is_finite()));
    }

    #[test]
    fn a_bus_is_a_straight_line() {
        let places = places(8, &Shape::Bus.edges(8).unwrap());
        assert!(places.iter().all(|(_, y)| (y - 0.5).abs() < 0.01), "{places:?}");
    }

    #[test]
    fn the_edges_of_a_mesh_lie_level_and_upright() {
        let edges = Shape::Mesh(vec![4, 3]).edges(12).unwrap();
        let places = places(12, &edges);
        for (a, b) in edges {
            let (dx, dy) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
            assert!(dx.abs().min(dy.abs()) < 0.05, "{a} {b}: {dx} {dy}");
        }
    }
}
