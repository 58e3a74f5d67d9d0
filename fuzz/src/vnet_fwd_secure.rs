//! The encryption of links: two daemons that exchange messages, and somebody in
//! between who does with them what the input tells.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ::vnet_core::HostName;
use ::vnet_fwd::PrivateKey;
use ::vnet_fwd::link::Path;
use ::vnet_fwd::secure::{Guard, Opened, PeerId, SEAL_BACK, SEAL_FRONT, SecureOptions};

/// One byte for what happens, one for to whom, and what that needs.
pub fn secure(bytes: &[u8]) {
    let mut scene = Scene::new();
    let mut input = bytes.iter().copied();
    while let Some((event, who)) = input.next().zip(input.next()) {
        scene.happens(event, usize::from(who % 2), &mut input);
    }
}

struct Scene {
    guards: [Guard; 2],
    peers: [PeerId; 2],
    now: Instant,
    /// Everything that was sent, to anybody.
    sent: Vec<Vec<u8>>,
    texts: u8,
    /// Which texts each has got.
    got: [Vec<u8>; 2],
}

fn path(n: usize) -> Path {
    Path::Udp(SocketAddr::from((Ipv4Addr::new(192, 0, 2, n as u8), 7700)))
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let keys = [1, 2].map(|n| PrivateKey::from_bytes([n; 32]));
        let options = SecureOptions { rekey_after_messages: 20, ..SecureOptions::default() };
        let guard = |n: usize| Guard::new(&keys[n], options, [n as u8; 32], Duration::from_secs(1), now);
        let mut guards = [guard(0), guard(1)];
        let host = HostName::new("peer").expect("a legal name");
        let publics = [guards[1].public_key(), guards[0].public_key()];
        let mut allow = |n: usize| guards[n].allow(host.clone(), publics[n]).expect("a good key");
        let peers = [allow(0), allow(1)];
        Self { guards, peers, now, sent: Vec::new(), texts: 0, got: Default::default() }
    }

    fn happens(&mut self, event: u8, who: usize, input: &mut impl Iterator<Item = u8>) {
        match event % 5 {
            0 => {
                let steps = u64::from(input.next().unwrap_or(0));
                self.now += Duration::from_millis(steps * steps * 4);
                self.guards[who].on_time(self.now);
                assert!(self.guards[who].deadline().is_none_or(|due| due > self.now), "what is due is done");
            }
            1 => {
                let hello = &b"hello"[..usize::from(input.next().unwrap_or(0) % 6)];
                self.guards[who]
                    .greet(self.peers[who], path(1 - who), hello, self.now)
                    .expect("the peer is on the list");
            }
            2 => {
                let mut packet = [0; SEAL_FRONT + 2 + SEAL_BACK];
                packet[SEAL_FRONT..][..2].copy_from_slice(&[who as u8 + 100, self.texts]);
                if self.texts < u8::MAX && self.guards[who].seal(self.peers[who], &mut packet).is_ok() {
                    self.texts += 1;
                    self.sent.push(packet.to_vec());
                }
            }
            // As it is: late, again, or to the wrong one.
            3 => {
                let which = usize::from(input.next().unwrap_or(0));
                if let Some(packet) = self.sent.iter().rev().nth(which).cloned() {
                    self.arrives(who, packet);
                }
            }
            _ => {
                let which = usize::from(input.next().unwrap_or(0));
                let mut packet = self.sent.iter().rev().nth(which).cloned().unwrap_or_default();
                match input.next().unwrap_or(0) {
                    cut @ 0..64 => packet.truncate(packet.len().saturating_sub(usize::from(cut))),
                    more @ 64..128 => packet.extend((64..more).map_while(|_| input.next())),
                    changes => {
                        for _ in 128..changes.min(136) {
                            let (at, value) = (input.next().unwrap_or(0), input.next().unwrap_or(0));
                            let length = packet.len();
                            if let Some(byte) = packet.get_mut(usize::from(at) % length.max(1)) {
                                *byte ^= value;
                            }
                        }
                    }
                }
                self.arrives(who, packet);
            }
        }
        for guard in &mut self.guards {
            let mut count = 0;
            while let Some((_, packet)) = guard.poll_transmit() {
                count += 1;
                assert!(count <= 2, "one event causes {count} packets and more");
                self.sent.push(packet);
            }
        }
    }

    fn arrives(&mut self, at: usize, mut packet: Vec<u8>) {
        let Ok(Opened::Message { text, peer, greeting, .. }) =
            self.guards[at].open(path(1 - at), &mut packet, self.now)
        else {
            return;
        };
        assert_eq!(peer, self.peers[at]);
        let text = &packet[text];
        if greeting {
            assert!(b"hello".starts_with(text));
            self.guards[at].respond(peer, b"", self.now).expect("there is a greeting to answer");
            return;
        }
        let [sender, number] = *text else { panic!("{text:?} was never sealed") };
        assert_eq!(usize::from(sender), 100 + (1 - at), "a message came back");
        assert!(!self.got[at].contains(&number), "message {number} was delivered twice");
        self.got[at].push(number);
    }
}
