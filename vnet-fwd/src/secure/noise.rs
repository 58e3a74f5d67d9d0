//! The handshake `Noise_IK_25519_ChaChaPoly_SHA256`, after "The Noise Protocol
//! Framework", revision 34.
//!
//! ```text
//! <- s                      the initiator knows the responder's static key
//! -> e, es, s, ss           and sends its own, encrypted
//! <- e, ee, se
//! ```
//!
//! The functions here take the random bytes of ephemeral keys and the secret of
//! the two static keys (the same in every handshake, so worth keeping) as
//! arguments.

use aws_lc_rs::{digest, hmac};
use vnet_core::PublicKey;
use vnet_core::key::KEY;
use zeroize::Zeroizing;

use super::cipher::{Cipher, Key, TAG};
use super::keys::{Pair, SharedSecret};

const NAME: &[u8; 32] = b"Noise_IK_25519_ChaChaPoly_SHA256";

/// What both ends must agree on besides: this format.
const PROLOGUE: &[u8] = b"Virtuoso VNET link, version 1";

/// The bytes of the first message around its payload.
pub(super) const FIRST: usize = KEY + KEY + TAG + TAG;

/// The bytes of the second message around its payload.
pub(super) const SECOND: usize = KEY + TAG;

/// The message is not of a handshake with this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// What comes of a handshake: the keys of both directions.
pub(super) struct Secrets {
    pub(super) send: Zeroizing<[u8; KEY]>,
    pub(super) receive: Zeroizing<[u8; KEY]>,
}

/// The initiator between the two messages.
pub(super) struct Initiator {
    state: Symmetric,
    ephemeral: Pair,
}

/// The responder after the first message, which is not authenticated yet.
pub(super) struct Claim {
    state: Symmetric,
    ephemeral: PublicKey,
    /// Whose message it claims to be.
    pub(super) peer: PublicKey,
}

/// The responder before the second message.
pub(super) struct Responder {
    state: Symmetric,
    ephemeral: PublicKey,
    peer: PublicKey,
}

impl Initiator {
    /// Appends the first message to `out`.
    pub(super) fn start(
        own: &Pair,
        peer: &PublicKey,
        shared: &SharedSecret,
        random: &[u8; KEY],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Self, Refused> {
        let mut state = Symmetric::new(peer);
        let ephemeral = Pair::from_secret(random);
        out.extend(ephemeral.public.0);
        state.mix_hash(&ephemeral.public.0);
        let key = state.mix_key(&ephemeral.agree(peer).ok_or(Refused)?);
        state.append(&key, &own.public.0, out);
        let key = state.mix_key(shared);
        state.append(&key, payload, out);
        Ok(Self { state, ephemeral })
    }

    /// Takes the second message; decrypts its payload in place and returns it.
    pub(super) fn finish<'a>(
        &self,
        own: &Pair,
        message: &'a mut [u8],
    ) -> Result<(Secrets, &'a mut [u8]), Refused> {
        let (ephemeral, payload) = split_key(message)?;
        let mut state = self.state.clone();
        state.mix_hash(&ephemeral.0);
        state.mix_key(&self.ephemeral.agree(&ephemeral).ok_or(Refused)?);
        let key = state.mix_key(&own.agree(&ephemeral).ok_or(Refused)?);
        let payload = state.open(&key, payload)?;
        let (send, receive) = state.split();
        Ok((Secrets { send, receive }, payload))
    }
}

impl Claim {
    /// Takes the first message as far as it says who sends it; returns the rest, too.
    pub(super) fn read<'a>(own: &Pair, message: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Refused> {
        let (ephemeral, rest) = split_key(message)?;
        let (peer, payload) = rest.split_at_mut_checked(KEY + TAG).ok_or(Refused)?;
        let mut state = Symmetric::new(&own.public);
        state.mix_hash(&ephemeral.0);
        let key = state.mix_key(&own.agree(&ephemeral).ok_or(Refused)?);
        let peer = state.open(&key, peer)?;
        let peer = PublicKey(peer.try_into().map_err(|_| Refused)?);
        Ok((Self { state, ephemeral, peer }, payload))
    }

    /// Checks that the first message is the peer's; decrypts its payload in place
    /// and returns it.
    pub(super) fn prove<'a>(
        mut self,
        shared: &SharedSecret,
        payload: &'a mut [u8],
    ) -> Result<(Responder, &'a mut [u8]), Refused> {
        let key = self.state.mix_key(shared);
        let payload = self.state.open(&key, payload)?;
        Ok((Responder { state: self.state, ephemeral: self.ephemeral, peer: self.peer }, payload))
    }
}

impl Responder {
    /// Appends the second message to `out`.
    pub(super) fn respond(
        mut self,
        random: &[u8; KEY],
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Secrets, Refused> {
        let ephemeral = Pair::from_secret(random);
        out.extend(ephemeral.public.0);
        self.state.mix_hash(&ephemeral.public.0);
        self.state.mix_key(&ephemeral.agree(&self.ephemeral).ok_or(Refused)?);
        let key = self.state.mix_key(&ephemeral.agree(&self.peer).ok_or(Refused)?);
        self.state.append(&key, payload, out);
        let (receive, send) = self.state.split();
        Ok(Secrets { send, receive })
    }
}

fn split_key(message: &mut [u8]) -> Result<(PublicKey, &mut [u8]), Refused> {
    let (key, rest) = message.split_first_chunk_mut::<KEY>().ok_or(Refused)?;
    Ok((PublicKey(*key), rest))
}

/// Noise's symmetric state. Every key of this pattern seals one text, so that
/// its number is always 0 and the key needn't be kept.
#[derive(Clone)]
struct Symmetric {
    chaining: Zeroizing<[u8; KEY]>,
    hash: [u8; KEY],
}

impl Symmetric {
    fn new(responder: &PublicKey) -> Self {
        let mut state = Self { chaining: Zeroizing::new(*NAME), hash: *NAME };
        state.mix_hash(PROLOGUE);
        state.mix_hash(&responder.0);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.hash);
        context.update(data);
        self.hash.copy_from_slice(context.finish().as_ref());
    }

    fn mix_key(&mut self, secret: &SharedSecret) -> Key {
        let (chaining, key) = hkdf(&self.chaining, &secret[..]);
        self.chaining = chaining;
        Key::new(Cipher::ChaCha20Poly1305, &key)
    }

    /// Appends `text`, encrypted, and its tag.
    fn append(&mut self, key: &Key, text: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(text);
        let tag = key.seal(0, &self.hash, &mut out[start..]);
        out.extend(tag);
        self.mix_hash(&out[start..]);
    }

    fn open<'a>(&mut self, key: &Key, text_and_tag: &'a mut [u8]) -> Result<&'a mut [u8], Refused> {
        let hash = self.hash;
        self.mix_hash(text_and_tag);
        key.open(0, &hash, text_and_tag).map_err(|_| Refused)
    }

    /// The keys of the initiator's messages and of the responder's.
    fn split(&self) -> (Zeroizing<[u8; KEY]>, Zeroizing<[u8; KEY]>) {
        hkdf(&self.chaining, &[])
    }
}

/// Noise's HKDF with two outputs (section 4.3).
fn hkdf(chaining: &[u8; KEY], input: &[u8]) -> (Zeroizing<[u8; KEY]>, Zeroizing<[u8; KEY]>) {
    let sign = |key: &[u8], data: &[&[u8]]| {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
        data.iter().for_each(|part| context.update(part));
        let mut out = Zeroizing::new([0; KEY]);
        out.copy_from_slice(context.sign().as_ref());
        out
    };
    let secret = sign(chaining, &[input]);
    let first = sign(&secret[..], &[&[1]]);
    let second = sign(&secret[..], &[&first[..], &[2]]);
    (first, second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snow::params::NoiseParams;

    use super::*;
    use crate::secure::keys::PrivateKey;

    struct Ends {
        initiator: Pair,
        responder: Pair,
        shared: SharedSecret,
    }

    fn ends(initiator: &[u8; 32], responder: &[u8; 32]) -> Ends {
        let (initiator, responder) = (Pair::from_secret(initiator), Pair::from_secret(responder));
        let shared = initiator.agree(&responder.public).unwrap();
        Ends { initiator, responder, shared }
    }

    fn snow_builder(key: &[u8; 32]) -> snow::Builder<'_> {
        let params: NoiseParams = std::str::from_utf8(NAME).unwrap().parse().unwrap();
        snow::Builder::new(params).local_private_key(key).unwrap().prologue(PROLOGUE).unwrap()
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..300)
    }

    proptest! {
        #[test]
        fn our_initiator_speaks_with_snow(
            a: [u8; 32], b: [u8; 32], e: [u8; 32], hello in payload(), answer in payload(), text in payload(),
        ) {
            let ends = ends(&a, &b);
            let mut snow = snow_builder(&b).build_responder().unwrap();
            let mut first = Vec::new();
            let initiator =
                Initiator::start(&ends.initiator, &ends.responder.public, &ends.shared, &e, &hello, &mut first)
                    .unwrap();
            prop_assert_eq!(first.len(), FIRST + hello.len());
            let mut buffer = [0; 1000];
            let length = snow.read_message(&first, &mut buffer).unwrap();
            prop_assert_eq!(&buffer[..length], &hello);
            prop_assert_eq!(snow.get_remote_static().unwrap(), &ends.initiator.public.0);
            let length = snow.write_message(&answer, &mut buffer).unwrap();
            prop_assert_eq!(length, SECOND + answer.len());
            let (secrets, got) = initiator.finish(&ends.initiator, &mut buffer[..length]).unwrap();
            prop_assert_eq!(&*got, &answer[..]);
            agrees(&secrets, snow, &text)?;
        }

        #[test]
        fn our_responder_speaks_with_snow(
            a: [u8; 32], b: [u8; 32], e: [u8; 32], hello in payload(), answer in payload(), text in payload(),
        ) {
            let ends = ends(&a, &b);
            let builder = snow_builder(&a).remote_public_key(&ends.responder.public.0).unwrap();
            let mut snow = builder.build_initiator().unwrap();
            let mut buffer = [0; 1000];
            let length = snow.write_message(&hello, &mut buffer).unwrap();
            let (claim, rest) = Claim::read(&ends.responder, &mut buffer[..length]).unwrap();
            prop_assert_eq!(claim.peer, ends.initiator.public);
            let (responder, got) = claim.prove(&ends.shared, rest).unwrap();
            prop_assert_eq!(&*got, &hello[..]);
            let mut second = Vec::new();
            let secrets = responder.respond(&e, &answer, &mut second).unwrap();
            let length = snow.read_message(&second, &mut buffer).unwrap();
            prop_assert_eq!(&buffer[..length], &answer);
            agrees(&secrets, snow, &text)?;
        }

        #[test]
        fn a_message_that_was_touched_is_refused(
            a: [u8; 32], b: [u8; 32], e: [u8; 32], f: [u8; 32], bit: prop::sample::Index, second: bool,
        ) {
            let ends = ends(&a, &b);
            let flip = |message: &mut [u8]| {
                // The top bit of an X25519 key says nothing (RFC 7748, section 5), but is hashed.
                let bit = bit.index(message.len() * 8);
                message[bit / 8] ^= 1 << (bit % 8);
            };
            let mut message = Vec::new();
            let initiator =
                Initiator::start(&ends.initiator, &ends.responder.public, &ends.shared, &e, b"hi", &mut message)
                    .unwrap();
            if !second {
                flip(&mut message);
            }
            let read = Claim::read(&ends.responder, &mut message)
                .and_then(|(claim, rest)| Ok(claim.prove(&ends.shared, rest)?.0));
            if !second {
                prop_assert!(read.is_err());
                return Ok(());
            }
            let mut answer = Vec::new();
            read.unwrap().respond(&f, b"ho", &mut answer).unwrap();
            flip(&mut answer);
            prop_assert!(initiator.finish(&ends.initiator, &mut answer).is_err());
        }
    }

    /// The keys are those of the other end of the handshake.
    fn agrees(secrets: &Secrets, snow: snow::HandshakeState, text: &[u8]) -> Result<(), TestCaseError> {
        let mut snow = snow.into_stateless_transport_mode().unwrap();
        let mut buffer = [0; 1000];
        let length = snow.write_message(7, text, &mut buffer).unwrap();
        let opened = Key::new(Cipher::ChaCha20Poly1305, &secrets.receive).open(7, &[], &mut buffer[..length]);
        prop_assert_eq!(opened.map(|t| t.to_vec()), Ok(text.to_vec()));
        let mut sealed = text.to_vec();
        let tag = Key::new(Cipher::ChaCha20Poly1305, &secrets.send).seal(9, &[], &mut sealed);
        sealed.extend(tag);
        let length = snow.read_message(9, &sealed, &mut buffer).unwrap();
        prop_assert_eq!(&buffer[..length], text);
        let _ = &mut snow;
        Ok(())
    }

    #[test]
    fn the_key_of_another_does_not_open_the_first_message() {
        let ends = ends(&[1; 32], &[2; 32]);
        let mut message = Vec::new();
        let (own, peer) = (&ends.initiator, &ends.responder.public);
        Initiator::start(own, peer, &ends.shared, &[3; 32], b"", &mut message).unwrap();
        let other = Pair::new(&PrivateKey::from_bytes([4; 32]));
        assert!(Claim::read(&other, &mut message).is_err());
    }
}
