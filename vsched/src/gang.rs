//! Gangs: the VMs of one parallel application run at the same time on several hosts.
//!
//! All members have the same period, slice and phase. A phase counts from the
//! Unix epoch, so hosts whose clocks agree (NTP, PTP) start their periods
//! together without talking to each other.

use std::time::Duration;

use crate::admission::{Refusal, largest_slice};
use crate::capacity::Capacity;
use crate::placement::place_one;
use crate::reservation::Reservation;

/// A host as far as a gang has to do with it.
#[derive(Clone, Debug, PartialEq)]
pub struct GangHost {
    /// What may be reserved of each core.
    pub cores: Vec<Capacity>,
    /// What is reserved, and on which core.
    pub placed: Vec<(Reservation, usize)>,
}

/// Why a gang can't be admitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("host {host} has no room: {refusal}")]
pub struct GangRefusal {
    /// The host that stands most against it, by its place in the list.
    pub host: usize,
    /// What stands against it there; the slice would fit on all hosts.
    pub refusal: Refusal,
}

/// The core of each host on which a member of the gang with this reservation fits.
///
/// ```
/// use std::time::Duration;
/// use vsched::{Capacity, GangHost, Reservation, admit_gang};
///
/// let ms = Duration::from_millis;
/// let host = |used| -> Result<_, vsched::ReservationError> {
///     let placed = vec![(Reservation::new(ms(10), ms(used))?, 0)];
///     Ok(GangHost { cores: vec![Capacity::DEFAULT], placed })
/// };
/// let wanted = Reservation::new(ms(50), ms(20))?;
/// assert_eq!(admit_gang(&[host(2)?, host(4)?], &wanted), Ok(vec![0, 0]));
/// let refusal = admit_gang(&[host(2)?, host(7)?], &wanted).unwrap_err();
/// assert_eq!((refusal.host, refusal.refusal.largest_slice), (1, Some(Duration::from_micros(12_500))));
/// # Ok::<(), vsched::ReservationError>(())
/// ```
pub fn admit_gang(hosts: &[GangHost], wanted: &Reservation) -> Result<Vec<usize>, GangRefusal> {
    let mut cores = Vec::with_capacity(hosts.len());
    let mut worst: Option<GangRefusal> = None;
    for (host, room) in hosts.iter().enumerate() {
        match place_one(&room.placed, wanted, &room.cores) {
            Ok(core) => cores.push(core),
            Err(refusal) => {
                let nearer = worst.as_ref().is_none_or(|w| refusal.largest_slice < w.refusal.largest_slice);
                if nearer {
                    worst = Some(GangRefusal { host, refusal });
                }
            }
        }
    }
    worst.map_or(Ok(cores), Err)
}

/// The largest slice with which a gang fits on all hosts, each member on the core that has most room.
pub fn largest_gang_slice(hosts: &[GangHost], wanted: &Reservation) -> Option<Duration> {
    let on_host = |host: &GangHost| {
        let cores = host.cores.iter().enumerate().map(|(core, capacity)| {
            let tasks: Vec<_> =
                host.placed.iter().filter(|(_, at)| *at == core).map(|(task, _)| *task).collect();
            largest_slice(&tasks, wanted, *capacity)
        });
        cores.max().flatten()
    };
    hosts.iter().map(on_host).min().flatten()
}

/// The first start of a period at `phase` that is not before `now` (both since the Unix epoch).
///
/// ```
/// use std::time::Duration;
/// use vsched::next_start;
///
/// let ms = Duration::from_millis;
/// assert_eq!(next_start(ms(1003), ms(10), ms(2)), ms(1012));
/// assert_eq!(next_start(ms(1002), ms(10), ms(2)), ms(1002));
/// ```
pub fn next_start(now: Duration, period: Duration, phase: Duration) -> Duration {
    let (now, period, phase) = (now.as_nanos(), period.as_nanos().max(1), phase.as_nanos());
    let periods = now.saturating_sub(phase).div_ceil(period);
    let start = phase + periods * period;
    Duration::from_nanos(u64::try_from(start).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_slice_of_a_gang_fits_everywhere() {
        let ms = Duration::from_millis;
        let host = |used: &[u64]| GangHost {
            cores: vec![Capacity::new(0.9).unwrap(); used.len()],
            placed: used
                .iter()
                .enumerate()
                .map(|(core, used)| (Reservation::new(ms(10), ms(*used)).unwrap(), core))
                .collect(),
        };
        let hosts = [host(&[1, 5]), host(&[6, 8, 7]), host(&[4])];
        let wanted = Reservation::new(ms(20), ms(20)).unwrap();
        let slice = largest_gang_slice(&hosts, &wanted).unwrap();
        assert_eq!(slice, ms(6));
        assert_eq!(admit_gang(&hosts, &wanted).unwrap_err().refusal.largest_slice, Some(slice));
        assert_eq!(admit_gang(&hosts, &wanted.with_slice(slice).unwrap()), Ok(vec![0, 0, 0]));
    }
}
