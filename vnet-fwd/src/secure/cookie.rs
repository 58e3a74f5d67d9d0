//! Protection against floods of handshakes, after WireGuard (Donenfeld, NDSS
//! 2017, section 5.3): a stranger who doesn't know our public key costs one MAC
//! and hears nothing; under load, one who does has to show that it receives
//! what is sent to its address before it costs a key agreement.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, digest, hmac};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _};
use vnet_core::PublicKey;
use vnet_core::key::KEY;

use super::cipher::{Cipher, Key, TAG};
use super::wire::{self, Kind, MAC, SALT};
use crate::limit::RateLimit;

/// A cookie serves for this long.
const LIFE: Duration = Duration::from_secs(120);

/// First messages that are looked at without proof of an address: so many at
/// once, so that a large overlay can come up in one go, and then one for each
/// pause. Each costs 20 microseconds at least.
const FREE: u32 = 512;
const PAUSE: Duration = Duration::from_millis(4);

/// Cookies given: so many at once, and then one for each pause.
const GIFTS: u32 = 256;
const GIFT_PAUSE: Duration = Duration::from_millis(2);

/// First messages from one proved address under load: so many at once, and then
/// one for each pause.
const OWN: u32 = 32;
const OWN_PAUSE: Duration = Duration::from_millis(50);

/// Addresses share so many limits.
const BUCKETS: usize = 1024;

/// The secret part of a proof of address.
pub(super) type Cookie = [u8; MAC];

/// The key of MAC 1 of messages to the owner of a public key.
#[derive(Clone)]
pub(super) struct Mac1(hmac::Key);

/// The key that cookies from the owner of a public key are encrypted under.
pub(super) struct CookieKey(hmac::Key);

/// What to do with a first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Look at it.
    Admit,
    /// Drop it.
    Refuse,
    /// Drop it, and send this cookie.
    Answer(Cookie),
}

/// Who may cost us a key agreement.
pub(super) struct Gate {
    free: RateLimit,
    /// For those who come over a connection, which proves their address.
    connected: RateLimit,
    gifts: RateLimit,
    /// Made at the first proof under load.
    own: Vec<RateLimit>,
    /// The secret that cookies are made of, and the one before it.
    secrets: [[u8; KEY]; 2],
    since: Instant,
    /// Mixes addresses, so that nobody can pick those that share a limit.
    salt: u64,
}

impl Mac1 {
    pub(super) fn new(receiver: &PublicKey) -> Self {
        Self(labelled(b"virtuoso mac 1", receiver))
    }

    /// Appends MAC 1 to a message.
    pub(super) fn append(&self, message: &mut Vec<u8>) {
        let mac = cut(hmac::sign(&self.0, message));
        message.extend(mac);
    }

    /// Is `mac` that of the bytes before it?
    pub(super) fn is_right(&self, message: &[u8], mac: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&cut(hmac::sign(&self.0, message)), mac).is_ok()
    }
}

/// Appends MAC 2 to a message: zeros without a cookie.
pub(super) fn append_mac2(cookie: Option<&Cookie>, message: &mut Vec<u8>) {
    let mac = cookie.map_or([0; MAC], |cookie| mac2(cookie, message));
    message.extend(mac);
}

impl CookieKey {
    pub(super) fn new(giver: &PublicKey) -> Self {
        Self(labelled(b"virtuoso cookie", giver))
    }

    /// The message that gives `cookie` for the first message with this index and MAC 1.
    pub(super) fn wrap(&self, cookie: &Cookie, index: &[u8], mac1: &[u8], rng: &mut StdRng) -> Vec<u8> {
        let mut salt = [0; SALT];
        rng.fill_bytes(&mut salt);
        let mut sealed = *cookie;
        let tag = self.key(&salt).seal(0, mac1, &mut sealed);
        [&[Kind::Cookie as u8], index, &salt, &sealed, &tag].concat()
    }

    /// The cookie in a message, if it answers the first message with this MAC 1.
    pub(super) fn unwrap(&self, message: &mut [u8], mac1: &[u8]) -> Option<Cookie> {
        let (salt, sealed) = message.get_mut(4..)?.split_first_chunk_mut::<SALT>()?;
        debug_assert_eq!(sealed.len(), MAC + TAG);
        let cookie = self.key(salt).open(0, mac1, sealed).ok()?;
        (&*cookie).try_into().ok()
    }

    fn key(&self, salt: &[u8; SALT]) -> Key {
        let mut key = [0; KEY];
        key.copy_from_slice(hmac::sign(&self.0, salt).as_ref());
        Key::new(Cipher::ChaCha20Poly1305, &key)
    }
}

impl Gate {
    pub(super) fn new(rng: &mut StdRng, now: Instant) -> Self {
        Self {
            free: RateLimit::new(FREE, PAUSE),
            connected: RateLimit::new(FREE, PAUSE),
            gifts: RateLimit::new(GIFTS, GIFT_PAUSE),
            own: Vec::new(),
            secrets: [rng.random(), rng.random()],
            since: now,
            salt: rng.random(),
        }
    }

    /// A first message with a right MAC 1 came from `from`; `None`: over a
    /// connection, which proves the address.
    pub(super) fn admit(
        &mut self,
        from: Option<SocketAddr>,
        message: &[u8],
        rng: &mut StdRng,
        now: Instant,
    ) -> Admission {
        let Some(from) = from else {
            return if self.connected.allow(now) { Admission::Admit } else { Admission::Refuse };
        };
        if self.free.allow(now) {
            return Admission::Admit;
        }
        self.renew(rng, now);
        let (before, mac) = message.split_at(message.len() - MAC);
        let proves = |secret: &[u8; KEY]| {
            let right = mac2(&cookie(secret, from), before);
            constant_time::verify_slices_are_equal(&right, mac).is_ok()
        };
        if self.secrets.iter().any(proves) {
            let bucket = self.bucket(from);
            self.own.resize(BUCKETS, RateLimit::new(OWN, OWN_PAUSE));
            return if self.own[bucket].allow(now) { Admission::Admit } else { Admission::Refuse };
        }
        if !self.gifts.allow(now) {
            return Admission::Refuse;
        }
        Admission::Answer(cookie(&self.secrets[0], from))
    }

    fn renew(&mut self, rng: &mut StdRng, now: Instant) {
        if now.saturating_duration_since(self.since) >= LIFE {
            self.secrets = [rng.random(), self.secrets[0]];
            self.since = now;
        }
    }

    fn bucket(&self, from: SocketAddr) -> usize {
        let address = match from.ip().to_canonical() {
            std::net::IpAddr::V4(ip) => u64::from(ip.to_bits()),
            // A host has 2^64 addresses as a rule.
            std::net::IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        // Steele, Lea and Flood, OOPSLA 2014: the finalizer of SplitMix64.
        let mut mixed = address ^ self.salt;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as usize % BUCKETS
    }
}

/// How long a cookie that was given is worth trying: somewhat less than its life.
pub(super) const WORTH_TRYING: Duration = Duration::from_secs(115);

/// MAC 1 of a first message.
pub(super) fn mac1_of(first: &[u8]) -> &[u8] {
    &first[wire::first_parts(first).1]
}

fn labelled(label: &[u8], key: &PublicKey) -> hmac::Key {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(label);
    context.update(&key.0);
    hmac::Key::new(hmac::HMAC_SHA256, context.finish().as_ref())
}

fn mac2(cookie: &Cookie, message: &[u8]) -> [u8; MAC] {
    cut(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, cookie), message))
}

fn cookie(secret: &[u8; KEY], from: SocketAddr) -> Cookie {
    let mut place = [0; 18];
    let ip = match from.ip().to_canonical() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    };
    place[..16].copy_from_slice(&ip.octets());
    place[16..].copy_from_slice(&from.port().to_be_bytes());
    cut(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &place))
}

fn cut(tag: hmac::Tag) -> [u8; MAC] {
    let mut mac = [0; MAC];
    mac.copy_from_slice(&tag.as_ref()[..MAC]);
    mac
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a test starts its own clock
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn address(n: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n], 7700))
    }

    #[test]
    fn under_load_an_address_has_to_be_proved() {
        let (mut rng, now) = (StdRng::seed_from_u64(1), Instant::now());
        let mut gate = Gate::new(&mut rng, now);
        let mut message = vec![9; 200];
        append_mac2(None, &mut message);
        for _ in 0..FREE {
            assert_eq!(gate.admit(Some(address(1)), &message, &mut rng, now), Admission::Admit);
        }
        let Admission::Answer(cookie) = gate.admit(Some(address(1)), &message, &mut rng, now) else {
            panic!("no cookie under load");
        };
        message.truncate(200);
        append_mac2(Some(&cookie), &mut message);
        assert_eq!(gate.admit(Some(address(1)), &message, &mut rng, now), Admission::Admit);
        assert!(matches!(gate.admit(Some(address(2)), &message, &mut rng, now), Admission::Answer(_)));
        // The secret has changed once, which the cookie outlives, and a second time.
        let mut later = now + LIFE;
        for survives in [true, false] {
            while gate.admit(Some(address(9)), &message, &mut rng, later) == Admission::Admit {}
            assert_eq!(gate.admit(Some(address(1)), &message, &mut rng, later) == Admission::Admit, survives);
            later += LIFE;
        }
    }

    #[test]
    fn a_proved_address_may_not_ask_without_end() {
        let (mut rng, now) = (StdRng::seed_from_u64(1), Instant::now());
        let mut gate = Gate::new(&mut rng, now);
        let mut message = vec![9; 200];
        while gate.admit(Some(address(9)), &message, &mut rng, now) == Admission::Admit {}
        let proof = cookie(&gate.secrets[0], address(1));
        append_mac2(Some(&proof), &mut message);
        let admitted =
            (0..10_000).filter(|_| gate.admit(Some(address(1)), &message, &mut rng, now) == Admission::Admit);
        assert_eq!(admitted.count(), OWN as usize);
    }

    #[test]
    fn a_flood_gets_few_answers() {
        let (mut rng, now) = (StdRng::seed_from_u64(1), Instant::now());
        let mut gate = Gate::new(&mut rng, now);
        let message = vec![9; 200];
        let mut answers = 0;
        for n in 0..100_000_u64 {
            let now = now + Duration::from_micros(100 * n);
            let from = SocketAddr::from(((n as u32 * 7919).to_be_bytes(), 7700));
            answers +=
                u32::from(matches!(gate.admit(Some(from), &message, &mut rng, now), Admission::Answer(_)));
        }
        assert!(answers <= GIFTS + 5_000, "{answers} answers in 10 s");
    }

    #[test]
    fn a_cookie_reaches_the_one_who_asked() {
        let mut rng = StdRng::seed_from_u64(1);
        let key = CookieKey::new(&PublicKey([1; 32]));
        let wrapped = key.wrap(&[5; MAC], &[0, 1, 2], &[7; MAC], &mut rng);
        assert_eq!(Kind::of(&wrapped), Some(Kind::Cookie));
        assert_eq!(key.unwrap(&mut wrapped.clone(), &[7; MAC]), Some([5; MAC]));
        assert_eq!(key.unwrap(&mut wrapped.clone(), &[8; MAC]), None);
        let other = CookieKey::new(&PublicKey([2; 32]));
        let mut wrapped = wrapped;
        assert_eq!(other.unwrap(&mut wrapped, &[7; MAC]), None);
    }
}
