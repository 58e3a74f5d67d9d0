//! An application that changes its topology all the time.
//!
//! One process per VM sends datagrams to its neighbours in the shape of the
//! moment. Whose turn it is follows from the system's monotonic clock, which all VMs
//! of a laboratory share, so that nobody has to be told.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use vlab::{Machine, Process};
use vnet_core::InterfaceName;
use vnet_core::shape::Shape;

use crate::bed::Testbed;
use crate::error::Error;
use crate::role::Role;

const PORT: u16 = 9020;

/// The length of a datagram.
const DATAGRAM: usize = 1000;

/// The least time from one datagram to each neighbour to the next.
const PACE: Duration = Duration::from_millis(5);

/// And the least of it for each datagram of all VMs: what the machine takes to carry
/// one, with some to spare.
const SHARE: Duration = Duration::from_micros(60);

/// What one VM does.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    index: usize,
    peers: Vec<SocketAddr>,
    period: Duration,
    shapes: Vec<Shape>,
}

impl Member {
    fn arguments(&self) -> Vec<String> {
        let peers = self.peers.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",");
        let shapes = self.shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(",");
        vec![self.index.to_string(), peers, self.period.as_nanos().to_string(), shapes]
    }

    /// Reads the arguments of a member's process.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let [index, peers, period, shapes] = arguments else { return None };
        let peers: Vec<SocketAddr> = peers.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let shapes: Vec<Shape> = shapes.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let period = Duration::from_nanos(period.parse().ok()?);
        let index: usize = index.parse().ok()?;
        (index < peers.len() && !period.is_zero()).then_some(Self { index, peers, period, shapes })
    }

    /// Sends until it is killed.
    pub(crate) fn run(&self) -> io::Result<()> {
        let socket = UdpSocket::bind(self.peers[self.index])?;
        let turns: Vec<(Vec<usize>, Duration)> = self
            .shapes
            .iter()
            .map(|shape| {
                let edges = shape.edges(self.peers.len()).map_err(io::Error::other)?;
                let pace = PACE.max(SHARE * 2 * edges.len() as u32);
                Ok((neighbours_of(&edges, self.index), pace))
            })
            .collect::<io::Result<_>>()?;
        loop {
            let (neighbours, pace) = &turns[turn(monotonic_ns(), self.period, self.shapes.len())];
            for &to in neighbours {
                // One that is lost is lost.
                let _ = socket.send_to(&[0; DATAGRAM], self.peers[to]);
            }
            thread::sleep(*pace);
        }
    }
}

fn neighbours_of(edges: &[(usize, usize)], index: usize) -> Vec<usize> {
    let other = |&(a, b): &(usize, usize)| match index {
        _ if a == index => Some(b),
        _ if b == index => Some(a),
        _ => None,
    };
    edges.iter().filter_map(other).collect()
}

/// Which of `shapes` has its turn.
fn turn(now_ns: u64, period: Duration, shapes: usize) -> usize {
    ((u128::from(now_ns) / period.as_nanos()) % shapes as u128) as usize
}

/// The clock that says whose turn it is, in nanoseconds.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A running application whose shapes take turns. Dropping it ends it.
pub struct Alternation {
    period: Duration,
    shapes: Vec<Shape>,
    _processes: Vec<Process>,
}

impl Alternation {
    /// Starts a process in each of `vms`; each of `shapes` has its turn for `period`.
    pub fn start(
        bed: &Testbed,
        vms: &[InterfaceName],
        shapes: &[Shape],
        period: Duration,
    ) -> Result<Self, Error> {
        let mut peers: Vec<SocketAddr> = Vec::new();
        for vm in vms {
            peers.push((bed.lab().vm(vm)?.ip(), PORT).into());
        }
        let mut processes = Vec::new();
        for (index, vm) in vms.iter().enumerate() {
            let member = Member { index, peers: peers.clone(), period, shapes: shapes.to_vec() };
            let mut command = Role::Alternation.command(member.arguments());
            processes.push(bed.lab().vm(vm)?.spawn_logged(&mut command, "alternation")?);
        }
        Ok(Self { period, shapes: shapes.to_vec(), _processes: processes })
    }

    /// How many turns there have been up to now since the clock began, and how
    /// long this one has gone on.
    pub fn turns(&self) -> (u64, Duration) {
        let now = u128::from(monotonic_ns());
        let period = self.period.as_nanos();
        ((now / period) as u64, Duration::from_nanos((now % period) as u64))
    }

    /// The shape that has its turn after so many turns.
    pub fn shape(&self, turns: u64) -> &Shape {
        &self.shapes[(turns % self.shapes.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_round() {
        let period = Duration::from_millis(50);
        let turns: Vec<usize> = (0..6).map(|n| turn(n * 25_000_000, period, 2)).collect();
        assert_eq!(turns, [0, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn arguments_read_back() {
        let member = Member {
            index: 1,
            peers: vec!["10.0.0.1:9".parse().unwrap(), "10.0.0.2:9".parse().unwrap()],
            period: Duration::from_millis(50),
            shapes: vec![Shape::Ring, Shape::Star],
        };
        let again = Member::parse(&member.arguments()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{member:?}"));
        assert!(Member::parse(&["7".into()]).is_none());
    }
}
