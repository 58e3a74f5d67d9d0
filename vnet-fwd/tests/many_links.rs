//! A daemon with many links: its signs of life must not become a load.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use vnet_core::{HostName, Link, LinkKind};
use vnet_fwd::link::{Action, LinkSet, LinkTiming, Path};

/// The hub, and a daemon at the other end of each of its links.
struct Star {
    now: Instant,
    hub: LinkSet,
    rim: Vec<LinkSet>,
    messages: usize,
    downs: usize,
}

fn host(n: usize) -> HostName {
    HostName::new(&format!("host{n}")).unwrap()
}

/// Port 0 is the hub's, the others are those of the rim.
fn address(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7000 + n as u16))
}

impl Star {
    fn new(links: usize) -> Self {
        let now = Instant::now();
        let set = |n: usize| LinkSet::new(host(n), n as u64 + 1, LinkTiming::default(), now);
        let mut star = Self { now, hub: set(0), rim: (1..=links).map(set).collect(), messages: 0, downs: 0 };
        for n in 1..=links {
            let spec = Link { kind: LinkKind::Udp, opener: host(0), a: host(0), b: host(n) };
            star.hub.insert(n - 1, spec.clone(), now).unwrap();
            star.hub.set_target(n - 1, address(n), now);
            star.rim[n - 1].insert(0, spec, now).unwrap();
            star.rim[n - 1].set_target(0, address(0), now);
        }
        star.deliver();
        star
    }

    fn node(&mut self, n: usize) -> &mut LinkSet {
        if n == 0 { &mut self.hub } else { &mut self.rim[n - 1] }
    }

    /// The network takes no time.
    fn deliver(&mut self) {
        let mut is_idle = false;
        while !is_idle {
            is_idle = true;
            for n in 0..=self.rim.len() {
                while let Some(action) = self.node(n).poll_action() {
                    is_idle = false;
                    match action {
                        Action::Send { path: Path::Udp(to), message } => {
                            self.messages += 1;
                            let (at, now) = (usize::from(to.port() - 7000), self.now);
                            self.node(at).receive(Path::Udp(address(n)), &mut message.clone(), now).unwrap();
                        }
                        Action::Down { .. } => self.downs += 1,
                        _ => {}
                    }
                }
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let nodes = std::iter::once(&self.hub).chain(&self.rim);
            let next = nodes.filter_map(LinkSet::deadline).min().filter(|at| *at < end);
            self.now = next.unwrap_or(end).max(self.now);
            let now = self.now;
            std::iter::once(&mut self.hub).chain(&mut self.rim).for_each(|node| node.on_time(now));
            self.deliver();
            if next.is_none() {
                return;
            }
        }
    }
}

#[test]
fn the_more_links_the_rarer_each_is_probed() {
    for links in [4, 31, 127, 500] {
        let mut star = Star::new(links);
        star.run(Duration::from_secs(20));
        assert!((0..links).all(|link| star.hub.is_up(link)), "{links} links");
        star.messages = 0;
        star.run(Duration::from_secs(60));
        let per_second = star.messages as f64 / 60.0;
        println!("{links} links: {per_second:.0} messages/s at the hub");
        // The hub asks and the rim answers; the rim asks by itself where the hub asks rarely.
        let most = 2.2 * (links as f64 / 0.4).min(62.5 * 1.2) + 2.2 * links as f64 / 0.65;
        assert!(per_second <= most, "{links} links: {per_second} messages/s");
        assert!((0..links).all(|link| star.hub.is_up(link)));
        assert_eq!(star.downs, 0, "{links} links");
    }
}
