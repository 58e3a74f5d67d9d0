//! What a link says of itself to people.

use std::time::{Duration, Instant};

use vnet_core::LinkKind;
use vnet_core::control::{LinkStatus, PortState};

use super::machine::Link;
use super::path_mtu::Phase;
use crate::secure::Guard;

/// The status of a link at `now`. Tries follow each other by `backoff` at most.
pub(super) fn of(link: &Link, guard: Option<&Guard>, backoff: Duration, now: Instant) -> LinkStatus {
    let up = link.session.is_some();
    let state = PortState {
        up,
        why: if up { String::new() } else { why(link, guard, backoff, now) },
        for_ms: now.saturating_duration_since(link.changed).as_millis() as u64,
    };
    let current = link.path().and_then(|path| path.address());
    let counters = link.counters;
    LinkStatus {
        link: link.spec.clone(),
        state,
        peer: current.or(link.target).or(link.learned),
        round_trip_us: link.round_trip.map(|d| d.as_micros() as u64),
        received_frames: counters.received_frames,
        received_bytes: counters.received_bytes,
        sent_frames: counters.sent_frames,
        sent_bytes: counters.sent_bytes,
        send_errors: counters.send_errors,
        times_up: link.times_up,
        encryption: encryption(link, guard).to_owned(),
        path_mtu: (up && link.mtu.phase() != Phase::Disabled)
            .then(|| link.mtu.packet(link.mtu.limit()) as u32),
        path_mtu_search: link.mtu.phase().name().to_owned(),
        split_frames: link.split_frames,
        not_fitting: link.not_fitting,
        lost: link.session.as_ref().map_or(0, |session| session.loss.lost()),
        loss_ppm: link.session.as_ref().and_then(|session| session.loss.recent()),
    }
}

fn encryption(link: &Link, guard: Option<&Guard>) -> &'static str {
    let Some(guard) = guard else { return "none" };
    let session = link.secure.and_then(|peer| guard.session(peer));
    session.map_or("", |session| session.cipher.name())
}

/// Why it is down: what took it down, what is being tried, and what came of it.
fn why(link: &Link, guard: Option<&Guard>, backoff: Duration, now: Instant) -> String {
    // What the last two tries brought; older than that is over.
    let recent = |news: &Option<(Instant, String)>| {
        news.clone().filter(|(at, _)| now.saturating_duration_since(*at) <= backoff * 2).map(|(_, text)| text)
    };
    let (error, refusal) = (recent(&link.error), recent(&link.refusal));
    let mut parts: Vec<String> = link.fell.iter().cloned().collect();
    let address = match link.spec.kind {
        LinkKind::Udp => link.udp_target(),
        LinkKind::Tcp => link.target,
    };
    let tried = link.trying_since.map(|since| now.saturating_duration_since(since).as_secs_f64());
    parts.push(match (address, tried) {
        (None, _) => format!("{}'s address is not known here: waiting for it to open the link", link.peer),
        (Some(address), None) => format!("about to try {address}"),
        (Some(address), Some(seconds)) if refusal.is_some() => {
            format!("asking {address} for {seconds:.1} s")
        }
        (Some(address), Some(seconds)) => format!("no answer from {address} for {seconds:.1} s"),
    });
    parts.extend(error);
    parts.extend(recent(&link.mismatch));
    let complaint = guard.zip(link.secure).and_then(|(guard, peer)| guard.complaint(peer));
    let complaint = complaint.map(|(at, text)| (at, format!("{} is refused: {text}", link.peer)));
    parts.extend(recent(&complaint));
    parts.extend(refusal.map(|text| format!("{} says: {text}", link.peer)));
    parts.join("; ")
}
