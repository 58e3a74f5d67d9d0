//! Encryption over a simulated network that delays, reorders, repeats and loses,
//! with a simulated clock; and under attack. Each test prints its seed when it
//! fails.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use vnet_core::HostName;
use vnet_fwd::PrivateKey;
use vnet_fwd::link::Path;
use vnet_fwd::secure::{
    Cipher, Ciphers, Guard, Opened, PeerId, Rejected, SEAL_BACK, SEAL_FRONT, SecureOptions,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

fn key(n: usize) -> PrivateKey {
    PrivateKey::from_bytes([n as u8 + 1; 32])
}

fn path(n: usize) -> Path {
    Path::Udp(SocketAddr::from((Ipv4Addr::new(10, 0, 0, n as u8 + 1), 7700)))
}

const OPTIONS: fn() -> SecureOptions = SecureOptions::default;

fn guard(n: usize, options: SecureOptions, now: Instant) -> Guard {
    let mut guard = Guard::new(&key(n), options, [n as u8 + 77; 32], Duration::from_secs(1 << 30), now);
    for other in (0..2).filter(|other| *other != n) {
        guard.allow(host(other), key(other).public()).unwrap();
    }
    guard
}

fn peer(guard: &Guard) -> PeerId {
    (0..2).find_map(|n| guard.peer(&host(n))).unwrap()
}

fn seal(guard: &mut Guard, text: &[u8]) -> Option<Vec<u8>> {
    let mut packet = [&[0; SEAL_FRONT], text, &[0; SEAL_BACK]].concat();
    guard.seal(peer(guard), &mut packet).ok()?;
    Some(packet)
}

fn open(
    guard: &mut Guard,
    from: Path,
    mut packet: Vec<u8>,
    now: Instant,
) -> Result<Option<Vec<u8>>, Rejected> {
    Ok(match guard.open(from, &mut packet, now)? {
        Opened::Message { text, .. } => Some(packet[text].to_vec()),
        Opened::Handled => None,
    })
}

/// Two guards that agree on keys without losses: `a` has begun.
fn pair(options: [SecureOptions; 2], now: Instant) -> [Guard; 2] {
    let mut guards = [guard(0, options[0], now), guard(1, options[1], now)];
    let id = peer(&guards[0]);
    guards[0].greet(id, path(1), b"hello", now).unwrap();
    settle(&mut guards, now);
    guards
}

/// Carries everything to its receiver; greetings are answered. Returns what was said.
fn settle(guards: &mut [Guard; 2], now: Instant) -> Vec<Vec<u8>> {
    let mut said = Vec::new();
    loop {
        let mut quiet = true;
        for from in 0..2 {
            while let Some((_, mut packet)) = guards[from].poll_transmit() {
                quiet = false;
                let to = &mut guards[1 - from];
                if let Ok(Opened::Message { text, peer, greeting, .. }) =
                    to.open(path(from), &mut packet, now)
                {
                    said.push(packet[text].to_vec());
                    if greeting {
                        to.respond(peer, b"welcome", now).unwrap();
                    }
                }
            }
        }
        if quiet {
            return said;
        }
    }
}

#[test]
fn the_first_messages_ride_in_the_handshake() {
    let now = Instant::now();
    let mut guards = [guard(0, OPTIONS(), now), guard(1, OPTIONS(), now)];
    let id = peer(&guards[0]);
    guards[0].greet(id, path(1), b"hello", now).unwrap();
    assert_eq!(settle(&mut guards, now), [b"hello".to_vec(), b"welcome".to_vec()]);
    for from in 0..2 {
        let packet = seal(&mut guards[from], b"a frame").unwrap();
        let got = open(&mut guards[1 - from], path(from), packet, now);
        assert_eq!(got, Ok(Some(b"a frame".to_vec())));
    }
}

#[test]
fn ends_use_a_cipher_that_both_have_or_say_that_there_is_none() {
    let now = Instant::now();
    let only = |cipher| SecureOptions { ciphers: Ciphers::only(cipher), ..OPTIONS() };
    for ours in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let guards = pair([only(ours), OPTIONS()], now);
        assert_eq!(guards.map(|guard| guard.session(peer(&guard)).map(|s| s.cipher)), [Some(ours); 2]);
    }
    let guards = pair([only(Cipher::Aes256Gcm), only(Cipher::ChaCha20Poly1305)], now);
    assert!(guards[0].session(peer(&guards[0])).is_none());
    let (_, why) = guards[1].complaint(peer(&guards[1])).unwrap();
    assert!(why.contains("no cipher in common"), "{why}");
}

#[test]
fn only_peers_on_the_list_are_heard() {
    let now = Instant::now();
    let mut guards = [guard(0, OPTIONS(), now), guard(1, OPTIONS(), now)];
    guards[1].forbid(&host(0));
    let id = peer(&guards[0]);
    guards[0].greet(id, path(1), b"hello", now).unwrap();
    let (_, packet) = guards[0].poll_transmit().unwrap();
    assert_eq!(open(&mut guards[1], path(0), packet.clone(), now), Err(Rejected::Stranger));
    assert!(guards[1].poll_transmit().is_none(), "nothing is said to a stranger");
    guards[1].allow(host(0), key(0).public()).unwrap();
    assert_eq!(open(&mut guards[1], path(0), packet.clone(), now), Ok(Some(b"hello".to_vec())));
    assert_eq!(open(&mut guards[1], path(0), packet, now), Err(Rejected::Stale), "once is enough");
}

#[test]
fn a_peer_that_is_forbidden_is_not_heard_any_more() {
    let now = Instant::now();
    let mut guards = pair([OPTIONS(); 2], now);
    let packet = seal(&mut guards[0], b"x").unwrap();
    guards[1].forbid(&host(0));
    assert_eq!(open(&mut guards[1], path(0), packet, now), Err(Rejected::UnknownSession));
}

#[test]
fn a_restart_of_either_end_is_no_obstacle() {
    let now = Instant::now();
    for restarted in 0..2 {
        let mut guards = pair([OPTIONS(); 2], now);
        let later = now + ms(10);
        guards[restarted] =
            Guard::new(&key(restarted), OPTIONS(), [9; 32], Duration::from_secs((1 << 30) + 5), later);
        guards[restarted].allow(host(1 - restarted), key(1 - restarted).public()).unwrap();
        let id = peer(&guards[restarted]);
        guards[restarted].greet(id, path(1 - restarted), b"back", later).unwrap();
        assert_eq!(settle(&mut guards, later), [b"back".to_vec(), b"welcome".to_vec()]);
        for from in 0..2 {
            let packet = seal(&mut guards[from], b"x").unwrap();
            assert_eq!(open(&mut guards[1 - from], path(from), packet, later), Ok(Some(b"x".to_vec())));
        }
    }
}

#[test]
fn both_may_begin_at_once() {
    let now = Instant::now();
    for order in 0..2 {
        let mut guards = [guard(0, OPTIONS(), now), guard(1, OPTIONS(), now)];
        for (n, guard) in guards.iter_mut().enumerate() {
            guard.greet(peer(guard), path(1 - n), b"hello", now).unwrap();
        }
        if order == 1 {
            guards.swap(0, 1);
            // `settle` takes places for names, which is all the same to guards.
        }
        let said = settle(&mut guards, now);
        assert_eq!(said.iter().filter(|text| *text == b"welcome").count(), 1, "one handshake is enough");
        for from in 0..2 {
            let packet = seal(&mut guards[from], b"x").unwrap();
            assert_eq!(open(&mut guards[1 - from], path(from), packet, now), Ok(Some(b"x".to_vec())));
        }
    }
}

#[test]
fn the_newest_message_says_where_the_peer_is() {
    let now = Instant::now();
    let mut guards = pair([OPTIONS(); 2], now);
    let packets: Vec<_> = (0..3).map(|_| seal(&mut guards[0], b"x").unwrap()).collect();
    let is_newest = |guard: &mut Guard, packet: &[u8]| match guard.open(path(5), &mut packet.to_vec(), now) {
        Ok(Opened::Message { newest, .. }) => newest,
        other => panic!("{other:?}"),
    };
    assert!(is_newest(&mut guards[1], &packets[0]));
    assert!(is_newest(&mut guards[1], &packets[2]));
    assert!(!is_newest(&mut guards[1], &packets[1]));
}

/// What the network does to a packet.
#[derive(Clone, Copy, Debug)]
struct Weather {
    loss: f64,
    repeat: f64,
    most_delay_ms: u64,
}

struct World {
    now: Instant,
    rng: StdRng,
    weather: Weather,
    guards: [Guard; 2],
    /// Arrivals: to whom, and what.
    queue: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    serial: u64,
    /// The naive model: what was sealed by each end and not lost, and what was delivered to the other.
    arrives: [HashSet<u64>; 2],
    delivered: [HashSet<u64>; 2],
}

impl World {
    fn new(options: SecureOptions, weather: Weather, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            now,
            rng: StdRng::seed_from_u64(seed),
            weather,
            guards: pair([options; 2], now),
            queue: BTreeMap::new(),
            serial: 0,
            arrives: Default::default(),
            delivered: Default::default(),
        }
    }

    /// Sends a packet; `false`: every copy is lost.
    fn send(&mut self, to: usize, packet: &[u8]) -> bool {
        let copies = 1 + usize::from(self.rng.random_bool(self.weather.repeat));
        let mut arrives = false;
        for _ in 0..copies {
            if !self.rng.random_bool(self.weather.loss) {
                let delay = ms(self.rng.random_range(1..=self.weather.most_delay_ms));
                self.serial += 1;
                self.queue.insert((self.now + delay, self.serial), (to, packet.to_vec()));
                arrives = true;
            }
        }
        arrives
    }

    fn transmit(&mut self) {
        for from in 0..2 {
            while let Some((to, packet)) = self.guards[from].poll_transmit() {
                assert_eq!(to, path(1 - from));
                self.send(1 - from, &packet);
            }
        }
    }

    fn step(&mut self) {
        self.now += ms(1);
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= self.now
        {
            let (to, mut packet) = entry.remove();
            if let Ok(Opened::Message { text, .. }) =
                self.guards[to].open(path(1 - to), &mut packet, self.now)
            {
                let number = u64::from_be_bytes(packet[text][..8].try_into().unwrap());
                assert!(self.delivered[1 - to].insert(number), "message {number} was delivered twice");
            }
            self.transmit();
        }
        for guard in &mut self.guards {
            if guard.deadline().is_some_and(|at| at <= self.now) {
                guard.on_time(self.now);
            }
        }
        self.transmit();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the network does, every message that arrives is delivered, once,
    /// though keys change many times; and nothing else is delivered.
    #[test]
    fn what_arrives_is_delivered_once_while_keys_change(
        seed: u64, loss in 0.0..0.3, repeat in 0.0..0.3, most_delay_ms in 1_u64..100,
        rekey_ms in 500_u64..3000, by_count: bool,
    ) {
        println!("seed {seed}");
        let options = if by_count {
            SecureOptions { rekey_after_messages: rekey_ms as u32, ..OPTIONS() }
        } else {
            SecureOptions { rekey_after: ms(rekey_ms), ..OPTIONS() }
        };
        let mut world = World::new(options, Weather { loss, repeat, most_delay_ms }, seed);
        let mut number = 0;
        for _ in 0..10_000 {
            for from in 0..2 {
                for _ in 0..world.rng.random_range(0..4) {
                    number += 1;
                    let text = u64::to_be_bytes(number);
                    let packet = seal(&mut world.guards[from], &text).expect("there are keys at all times");
                    if world.send(1 - from, &packet) {
                        world.arrives[from].insert(number);
                    }
                }
            }
            world.step();
        }
        for _ in 0..200 {
            world.step();
        }
        for (arrives, delivered) in world.arrives.iter().zip(&world.delivered) {
            let mut lost: Vec<_> = arrives.difference(delivered).collect();
            lost.sort_unstable();
            prop_assert!(lost.is_empty(), "{} are lost: {:?}", lost.len(), &lost[..lost.len().min(20)]);
            prop_assert_eq!(arrives.len(), delivered.len());
        }
        let handshakes = world.guards[0].session(peer(&world.guards[0])).unwrap().handshakes;
        prop_assert!(handshakes >= 3, "{} handshakes", handshakes);
    }
}

#[test]
fn keys_that_cannot_be_renewed_are_destroyed() {
    let now = Instant::now();
    let mut guards = pair([OPTIONS(); 2], now);
    let mut at = now;
    let mut tries = 0;
    while let Some(due) = guards[0].deadline() {
        assert!(due < now + Duration::from_secs(200));
        at = at.max(due);
        guards[0].on_time(at);
        while guards[0].poll_transmit().is_some() {
            tries += 1;
        }
    }
    assert!((5..60).contains(&tries), "{tries} tries");
    assert_eq!(seal(&mut guards[0], b"x"), None);
}

const ATTACKS: usize = 1_000_000;

/// How many attacks of each sort a run makes: all in a release build, fewer where
/// the code is slow.
fn attacks() -> usize {
    if cfg!(debug_assertions) { ATTACKS / 20 } else { ATTACKS }
}

/// Makes an attack many times: nothing may be delivered or answered.
fn attack(name: &str, mut make: impl FnMut(&mut [Guard; 2], &mut StdRng) -> Vec<u8>) {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), name);
    println!("{name}: seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let now = Instant::now();
    let mut guards = pair([OPTIONS(); 2], now);
    for n in 0..attacks() {
        let now = now + Duration::from_micros(n as u64 % 1_000_000);
        let mut packet = make(&mut guards, &mut rng);
        let outcome = guards[1].open(path(0), &mut packet, now);
        assert!(outcome.is_err(), "{name} {n}: {outcome:?}");
        assert!(guards[1].poll_transmit().is_none(), "{name} {n} was answered");
    }
    let packet = seal(&mut guards[0], b"still here").unwrap();
    assert_eq!(open(&mut guards[1], path(0), packet, now), Ok(Some(b"still here".to_vec())), "after {name}");
}

#[test]
fn messages_that_were_seen_are_not_delivered_again() {
    let mut seen = Vec::new();
    attack("replay", move |guards, rng| {
        if seen.len() < 6000 {
            // A number that is far behind, and one that was seen, each time.
            let packet = seal(&mut guards[0], &[7; 60]).unwrap();
            let got = open(&mut guards[1], path(0), packet.clone(), Instant::now());
            assert_eq!(got, Ok(Some(vec![7; 60])));
            seen.push(packet);
        }
        seen[rng.random_range(0..seen.len())].clone()
    });
}

#[test]
fn messages_that_were_cut_are_not_delivered() {
    attack("truncated", |guards, rng| {
        let mut packet = seal(&mut guards[0], &[7; 60]).unwrap();
        packet.truncate(rng.random_range(0..packet.len()));
        packet
    });
}

#[test]
fn messages_with_a_wrong_bit_are_not_delivered() {
    attack("flipped", |guards, rng| {
        let mut packet = seal(&mut guards[0], &[7; 60]).unwrap();
        let bit = rng.random_range(0..packet.len() * 8);
        packet[bit / 8] ^= 1 << (bit % 8);
        packet
    });
}

#[test]
fn foreign_messages_are_not_delivered() {
    attack("foreign", |guards, rng| {
        let mut packet = vec![0; rng.random_range(0..1300)];
        rng.fill_bytes(&mut packet);
        if let [kind, a, b, c, ..] = &mut packet[..] {
            *kind = rng.random_range(0x80..=0x85);
            if rng.random_bool(0.5) {
                // The index of the session, as a stranger on the path may know.
                let real = seal(&mut guards[0], b"").unwrap();
                [*a, *b, *c] = [real[1], real[2], real[3]];
            }
        }
        packet
    });
}

#[test]
fn first_messages_are_not_answered_unless_they_are_whole_and_of_a_peer() {
    let now = Instant::now();
    let mut stranger = Guard::new(&key(9), OPTIONS(), [3; 32], Duration::from_secs(1 << 31), now);
    let mut stranger_id = None;
    attack("first messages", move |guards, rng| {
        let sort = rng.random_range(0..3);
        if sort == 0 {
            // Of somebody who knows this daemon's key and is not on its list: looked at now and then.
            let target = guards[1].public_key();
            let id = *stranger_id.get_or_insert_with(|| stranger.allow(host(1), target).unwrap());
            if rng.random_range(0..1000) == 0 {
                stranger.greet(id, path(1), b"let me in", now).unwrap();
                return stranger.poll_transmit().unwrap().1;
            }
        }
        let mut packet = vec![0; rng.random_range(90..600)];
        rng.fill_bytes(&mut packet);
        packet[0] = 0x81;
        packet
    });
}

#[test]
fn a_flood_with_the_public_key_known_does_not_keep_a_peer_out() {
    let now = Instant::now();
    let mut guards = [guard(0, OPTIONS(), now), guard(1, OPTIONS(), now)];
    let mut stranger = Guard::new(&key(9), OPTIONS(), [3; 32], Duration::from_secs(1 << 31), now);
    let id = stranger.allow(host(1), guards[1].public_key()).unwrap();
    stranger.greet(id, path(1), b"let me in", now).unwrap();
    let (_, flood) = stranger.poll_transmit().unwrap();
    let mut answers = 0;
    // 10,000 a second, from addresses that are made up, for 5 s.
    for n in 0..50_000_u32 {
        let now = now + Duration::from_micros(u64::from(n) * 100);
        let from = Path::Udp(SocketAddr::from((n.to_be_bytes(), 7700)));
        assert!(guards[1].open(from, &mut flood.clone(), now).is_err());
        while let Some((to, packet)) = guards[1].poll_transmit() {
            answers += 1;
            assert!(to == from && packet.len() < flood.len(), "no amplification");
        }
        if n == 25_000 {
            let mut tries = 0;
            let id = peer(&guards[0]);
            let said = loop {
                tries += 1;
                guards[0].greet(id, path(1), b"hello", now + ms(tries)).unwrap();
                let said = settle(&mut guards, now + ms(tries));
                if !said.is_empty() {
                    break said;
                }
                assert!(tries < 20, "the peer does not get in");
            };
            assert_eq!(said[0], b"hello");
        }
    }
    assert!(answers < 5_000, "{answers} answers");
}
