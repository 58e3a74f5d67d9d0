//! The longest datagram that a path carries, found by probing: Datagram
//! Packetization Layer Path MTU Discovery (RFC 8899).
//!
//! | phase (RFC 8899, section 5.2) | datagrams in use | probes |
//! | --- | --- | --- |
//! | [`Phase::Base`] | 1200 bytes | one of 1200 bytes |
//! | [`Phase::Searching`] | the longest confirmed | longer ones: the longest of all, the usual ones, then halving |
//! | [`Phase::Complete`] | the longest confirmed | the same length once a second while it is used; longer ones after 10 minutes |
//! | [`Phase::Error`] | 548 bytes or the longest confirmed | between that and 1200 bytes; 1200 after a minute |
//!
//! A length counts as too long after three probes without an answer. When that
//! happens to the length in use, the path has become a black hole, and the search
//! starts again from 1200 bytes. What ICMP says is not authentic: it has the length
//! in use probed at once, and says what to try next, but decides nothing. Our own
//! kernel's word that a datagram is too long for its device is taken.

use std::time::{Duration, Instant};

/// What is assumed of any path, in bytes of datagram (`BASE_PLPMTU`).
const BASE: usize = 1200;

/// What is used where not even that passes (`MIN_PLPMTU`): with its headers the 576
/// bytes that every host takes (RFC 1122, section 3.3.2).
pub(super) const LEAST: usize = 548;

/// The longest packet that is tried: the usual jumbo frame.
const LONGEST_PACKET: usize = 9000;

/// Packets on usual paths: Ethernet, PPPoE, tunnels (6in4, GRE, VXLAN, WireGuard, others), the
/// least of IPv6.
const USUAL_PACKETS: [usize; 10] = [1500, 1492, 1480, 1476, 1450, 1440, 1420, 1400, 1360, 1280];

/// `MAX_PROBES`.
const MAX_PROBES: u32 = 3;

/// A search ends when the longest that passes is known so well.
const STEP: usize = 8;

/// Time to the next search (`PMTU_RAISE_TIMER`).
const RAISE_AFTER: Duration = Duration::from_secs(600);

/// The same where the path does not even carry the base.
const RETRY_BASE_AFTER: Duration = Duration::from_secs(60);

/// How long the length in use is believed while it is used.
const BELIEVED_FOR: Duration = Duration::from_secs(1);

/// Where the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody searches: the link is down, or not over UDP, or the peer does not answer probes.
    Disabled,
    /// Whether the path carries the least that is assumed is being asked.
    Base,
    /// Longer datagrams are being tried.
    Searching,
    /// The longest is known.
    Complete,
    /// The path carries less than is assumed of any.
    Error,
}

impl Phase {
    /// Its name in status.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Disabled => "",
            Self::Base => "base",
            Self::Searching => "searching",
            Self::Complete => "complete",
            Self::Error => "error",
        }
    }
}

/// A probe that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Probe {
    size: usize,
    /// How many of this size were sent.
    sent: u32,
    /// When the last of them is given up.
    due: Instant,
}

/// The state of one path. All lengths are those of UDP payloads.
#[derive(Clone, Debug)]
pub(super) struct PathMtu {
    phase: Phase,
    /// When the search of this path may begin.
    since: Instant,
    /// What IP and UDP put in front.
    headers: usize,
    /// The length in use.
    confirmed: usize,
    /// The shortest that is known not to pass.
    refuted: usize,
    /// Has the longest of all been tried in this search?
    tried_longest: bool,
    /// What ICMP says of the path.
    hint: Option<usize>,
    probe: Option<Probe>,
    /// Until when the length in use is believed.
    believed: Instant,
    /// Datagrams longer than the least have been sent since it was last confirmed.
    used: bool,
    search_again: Instant,
    /// What the last search that ended has found.
    found: Option<usize>,
}

impl PathMtu {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Disabled,
            since: now,
            headers: 28,
            confirmed: BASE,
            refuted: 0,
            tried_longest: false,
            hint: None,
            probe: None,
            believed: now,
            used: false,
            search_again: now,
            found: None,
        }
    }

    /// Starts over, on a path of which nothing is known; IP and UDP put `headers`
    /// in front of datagrams. Until it is used it can wait for `turn`.
    pub(super) fn start(&mut self, headers: usize, turn: Duration, now: Instant) {
        let found = self.found;
        *self = Self { phase: Phase::Base, since: now + turn, headers, found, ..Self::new(now) };
        self.refuted = self.longest() + 1;
    }

    /// Leaves the path alone.
    pub(super) fn stop(&mut self, now: Instant) {
        let found = self.found;
        *self = Self { found, ..Self::new(now) };
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The longest datagram that is to be sent.
    #[inline]
    pub(super) fn limit(&self) -> usize {
        if self.phase == Phase::Disabled { usize::MAX } else { self.confirmed }
    }

    /// What the last search that came to an end has found; it outlives the
    /// path's failures, so that nobody has to follow each of them.
    pub(super) fn found(&self) -> Option<usize> {
        self.found
    }

    /// As a packet with the headers of IP and UDP.
    pub(super) fn packet(&self, datagram: usize) -> usize {
        datagram + self.headers
    }

    /// A datagram of this length is being sent. `true`: the deadline has changed.
    #[inline]
    pub(super) fn use_length(&mut self, length: usize) -> bool {
        let first = length > LEAST && !self.used && self.phase != Phase::Disabled;
        self.used |= first;
        first
    }

    /// When [`PathMtu::on_time`] wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.phase == Phase::Disabled {
            return None;
        }
        let doubt = (self.used && self.confirmed > LEAST).then_some(self.believed);
        let next = match (self.probe, self.candidate()) {
            (Some(probe), _) => return Some(probe.due),
            (None, Some(_)) => self.since,
            (None, None) => self.search_again,
        };
        Some(doubt.map_or(next, |doubt| doubt.min(next)))
    }

    /// The length of the probe to send now, if one is due. Its answer is waited
    /// for until `timeout` from now.
    pub(super) fn on_time(&mut self, now: Instant, timeout: Duration) -> Option<usize> {
        if self.phase == Phase::Disabled {
            return None;
        }
        if let Some(probe) = &mut self.probe {
            if now < probe.due {
                return None;
            }
            if probe.sent < MAX_PROBES {
                probe.sent += 1;
                probe.due = now + timeout;
                return Some(probe.size);
            }
            let size = probe.size;
            self.give_up(size, now);
        }
        if self.candidate().is_none() && now >= self.search_again {
            self.search_again(now);
        }
        let doubted = self.used && self.confirmed > LEAST && now >= self.believed;
        let size = match doubted {
            true => Some(self.confirmed),
            false => self.candidate().filter(|_| now >= self.since),
        };
        if let Some(size) = size {
            self.probe = Some(Probe { size, sent: 1, due: now + timeout });
        }
        size
    }

    /// The peer has got a probe of this length.
    pub(super) fn acknowledged(&mut self, size: usize, now: Instant) {
        if self.phase == Phase::Disabled || size > self.longest() {
            return;
        }
        if self.probe.is_some_and(|probe| probe.size <= size) {
            self.probe = None;
        }
        self.since = self.since.min(now);
        if size >= self.confirmed {
            (self.confirmed, self.believed, self.used) = (size, now + BELIEVED_FOR, false);
        }
        self.refuted = self.refuted.max(size + 1);
        if self.phase == Phase::Base || (self.phase == Phase::Error && size >= BASE) {
            self.phase = Phase::Searching;
        }
        self.end_search(now);
    }

    /// Our own kernel refuses datagrams of `size`; perhaps it says that it takes
    /// those of `limit`.
    pub(super) fn refused(&mut self, size: usize, limit: Option<usize>, now: Instant) {
        if self.phase == Phase::Disabled {
            return;
        }
        let limit = limit.filter(|limit| *limit < size);
        self.tried_longest |= limit.is_none();
        self.refuted = self.refuted.min(limit.map_or(size, |limit| limit + 1)).max(LEAST + 1);
        self.probe.take_if(|probe| probe.size >= self.refuted);
        if self.confirmed >= self.refuted {
            // A device with a smaller MTU: what is behind it need not be the path that was known.
            self.confirmed = limit.unwrap_or(BASE).min(self.refuted - 1);
            (self.believed, self.used, self.probe) = (now, true, None);
            self.phase = if self.confirmed < BASE { Phase::Error } else { Phase::Searching };
        }
        self.end_search(now);
    }

    /// ICMP says that the path carries datagrams of `limit`.
    pub(super) fn hinted(&mut self, limit: usize, now: Instant) {
        if self.phase == Phase::Disabled || limit < LEAST {
            return;
        }
        self.hint = Some(limit);
        if limit < self.confirmed {
            // Probed at once, whatever else is under way.
            (self.believed, self.used) = (now, true);
            self.probe.take_if(|probe| probe.size != self.confirmed);
        }
    }

    /// What to try next, while searching.
    fn candidate(&self) -> Option<usize> {
        let (least, most) = (self.confirmed, self.refuted.saturating_sub(1));
        match self.phase {
            Phase::Disabled | Phase::Complete => None,
            Phase::Base => Some(BASE),
            Phase::Searching | Phase::Error if most <= least => None,
            Phase::Searching | Phase::Error => {
                let fits = |size: &usize| (least + 1..=most).contains(size);
                if let Some(hint) = self.hint.filter(fits) {
                    return Some(hint);
                }
                if !self.tried_longest {
                    return Some(most);
                }
                let usual = USUAL_PACKETS.iter().map(|packet| packet - self.headers);
                let usual: Vec<usize> = usual.filter(fits).collect();
                match usual[..] {
                    // By far the most usual path.
                    [first, ..] if self.packet(first) == USUAL_PACKETS[0] => Some(first),
                    [] => (most - least >= STEP).then_some(least + (most - least).div_ceil(2)),
                    _ => Some(usual[usual.len() / 2]),
                }
            }
        }
    }

    /// All probes of `size` were lost.
    fn give_up(&mut self, size: usize, now: Instant) {
        self.probe = None;
        match self.phase {
            Phase::Base => {
                (self.phase, self.confirmed, self.refuted) = (Phase::Error, LEAST, BASE);
                self.tried_longest = true;
            }
            _ if size <= self.confirmed && self.confirmed > LEAST => {
                // A black hole.
                let (phase, base) = match self.confirmed > BASE {
                    true => (Phase::Base, BASE),
                    false => (Phase::Error, LEAST),
                };
                (self.phase, self.confirmed, self.refuted) = (phase, base, size.max(base + 1));
                (self.tried_longest, self.used) = (true, false);
            }
            _ => {
                self.refuted = self.refuted.min(size).max(self.confirmed + 1);
                self.tried_longest = true;
            }
        }
        self.end_search(now);
    }

    fn search_again(&mut self, now: Instant) {
        self.refuted = self.longest() + 1;
        (self.tried_longest, self.hint) = (false, None);
        self.phase = if self.phase == Phase::Error { Phase::Base } else { Phase::Searching };
        self.search_again = now + RAISE_AFTER;
    }

    /// Is there nothing left to try?
    fn end_search(&mut self, now: Instant) {
        let over = self.probe.is_none() && self.candidate().is_none();
        let again = match self.phase {
            Phase::Searching if over => RAISE_AFTER,
            Phase::Error if over => RETRY_BASE_AFTER,
            _ => return,
        };
        if self.phase == Phase::Searching {
            self.phase = Phase::Complete;
        }
        self.search_again = now + again;
        self.found = Some(self.confirmed);
    }

    fn longest(&self) -> usize {
        LONGEST_PACKET - self.headers
    }
}
