//! An encrypted, authenticated connection: `Noise_IK_25519_ChaChaPoly_SHA256`
//! (The Noise Protocol Framework, revision 34).
//!
//! On the wire each Noise message stands behind its length (2 octets, most significant
//! first). Inside, a record is its kind (1 octet), its length (4 octets, most
//! significant first, at most [`MAX_RECORD`]) and its body.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use snow::StatelessTransportState;

use super::stream::Stream;
use crate::delta::DeltaError;

const PATTERN: &str = "Noise_IK_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"VMMP 2 DELTA";

/// The longest record, in bytes.
pub const MAX_RECORD: usize = 32 << 20;

/// The longest Noise message, and what fits into one besides its tag.
const MAX_NOISE: usize = 65_535;
const MAX_PLAIN: usize = MAX_NOISE - 16;

/// The keys of one provider.
#[derive(Clone)]
pub struct Keys {
    /// Nobody else's to know.
    pub private: [u8; 32],
    /// For all to know.
    pub public: [u8; 32],
}

impl Keys {
    /// New ones, from the system's random numbers.
    pub fn generate() -> Result<Self, DeltaError> {
        let pair = snow::Builder::new(PATTERN.parse()?).generate_keypair()?;
        let key = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| snow::Error::Input);
        Ok(Self { private: key(pair.private)?, public: key(pair.public)? })
    }

    /// The keys in a file of two lines, private and public, in hexadecimal digits. One
    /// that isn't there is made, for its owner alone to read.
    ///
    /// # Errors
    /// The file can't be read or made, or holds something else.
    pub fn load_or_make(path: &Path) -> Result<Self, DeltaError> {
        let using = || format!("use the key file {}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut lines = text.lines().map(parse_key);
                let (Some(Some(private)), Some(Some(public))) = (lines.next(), lines.next()) else {
                    let wrong = "two lines of 64 hexadecimal digits are wanted; remove it for new keys";
                    let wrong = std::io::Error::new(std::io::ErrorKind::InvalidData, wrong);
                    return Err(DeltaError::io(using())(wrong));
                };
                Ok(Self { private, public })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let keys = Self::generate()?;
                let text = format!("{}\n{}\n", show_key(&keys.private), show_key(&keys.public));
                let made = fs::File::options().write(true).create_new(true).mode(0o600).open(path);
                made.and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()
                })
                .map_err(DeltaError::io(using()))?;
                Ok(keys)
            }
            Err(error) => Err(DeltaError::io(using())(error)),
        }
    }
}

/// A key in hexadecimal digits.
pub fn show_key(key: &[u8; 32]) -> String {
    key.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Reads a key of 64 hexadecimal digits.
pub fn parse_key(text: &str) -> Option<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (octet, digits) in key.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(key)
}

/// The two directions of a connection.
pub struct Channel {
    /// The public key of whoever is at the other end.
    pub peer: [u8; 32],
    /// What is said.
    pub writer: Writer,
    /// What is heard.
    pub reader: Reader,
}

/// Ends a connection from anywhere.
#[derive(Debug)]
pub struct Closer(Stream);

impl Closer {
    /// Ends it.
    pub fn close(&self) {
        // It may have ended already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// The direction in which is spoken.
pub struct Writer {
    stream: Stream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    bytes: Arc<AtomicU64>,
}

/// The direction in which is heard.
pub struct Reader {
    stream: Stream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    taken: usize,
    sealed: Vec<u8>,
    bytes: Arc<AtomicU64>,
}

impl Channel {
    /// Secures a connection that was made to the peer whose public key is `peer`.
    pub fn connect(stream: impl Into<Stream>, keys: &Keys, peer: &[u8; 32]) -> Result<Self, DeltaError> {
        let mut stream = stream.into();
        let mut noise = snow::Builder::new(PATTERN.parse()?)
            .prologue(PROLOGUE)?
            .local_private_key(&keys.private)?
            .remote_public_key(peer)?
            .build_initiator()?;
        let mut buffer = [0; 512];
        let length = noise.write_message(&[], &mut buffer)?;
        write_short(&mut stream, &buffer[..length])?;
        let answer = read_short(&mut stream)?;
        noise.read_message(&answer, &mut buffer)?;
        Self::new(stream, *peer, noise.into_stateless_transport_mode()?)
    }

    /// Secures a connection that a peer has made, if its public key is `allowed`.
    pub fn accept(stream: impl Into<Stream>, keys: &Keys, allowed: &[[u8; 32]]) -> Result<Self, DeltaError> {
        let mut stream = stream.into();
        let mut noise = snow::Builder::new(PATTERN.parse()?)
            .prologue(PROLOGUE)?
            .local_private_key(&keys.private)?
            .build_responder()?;
        let mut buffer = [0; 512];
        let first = read_short(&mut stream)?;
        noise.read_message(&first, &mut buffer)?;
        let key = noise.get_remote_static().and_then(|key| key.first_chunk::<32>());
        let key = *key.ok_or(snow::Error::Input)?;
        if !allowed.contains(&key) {
            return Err(DeltaError::Unauthorised { key: show_key(&key) });
        }
        let length = noise.write_message(&[], &mut buffer)?;
        write_short(&mut stream, &buffer[..length])?;
        Self::new(stream, key, noise.into_stateless_transport_mode()?)
    }

    /// Ends the connection from anywhere, whoever waits for it.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn closer(&self) -> Result<Closer, DeltaError> {
        self.reader.stream.try_clone().map(Closer).map_err(DeltaError::io("have a hold of the connection"))
    }

    /// How long the other side may be silent, or not listen; `None`: for ever.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_patience(&self, patience: Option<std::time::Duration>) -> Result<(), DeltaError> {
        self.reader.stream.set_patience(patience).map_err(DeltaError::io("set the connection's patience"))
    }

    fn new(stream: Stream, peer: [u8; 32], noise: StatelessTransportState) -> Result<Self, DeltaError> {
        if let Stream::Tcp(stream) = &stream {
            stream.set_nodelay(true).map_err(DeltaError::io("set up the connection"))?;
        }
        let other = stream.try_clone().map_err(DeltaError::io("set up the connection"))?;
        let noise = Arc::new(noise);
        let bytes = Arc::new(AtomicU64::new(0));
        Ok(Self {
            peer,
            writer: Writer {
                stream: other,
                noise: Arc::clone(&noise),
                nonce: 0,
                plain: Vec::with_capacity(MAX_PLAIN),
                sealed: vec![0; MAX_NOISE + 2],
                bytes: Arc::clone(&bytes),
            },
            reader: Reader {
                stream,
                noise,
                nonce: 0,
                plain: Vec::new(),
                taken: 0,
                sealed: vec![0; MAX_NOISE],
                bytes,
            },
        })
    }
}

impl Writer {
    /// Says a record.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), DeltaError> {
        if body.len() > MAX_RECORD {
            return Err(DeltaError::protocol(format!(
                "a record of {} bytes is too long to send",
                body.len()
            )));
        }
        self.plain.clear();
        self.plain.push(kind);
        self.plain.extend((body.len() as u32).to_be_bytes());
        let mut rest = body;
        loop {
            let count = rest.len().min(MAX_PLAIN - self.plain.len());
            self.plain.extend_from_slice(&rest[..count]);
            rest = &rest[count..];
            let length = self.noise.write_message(self.nonce, &self.plain, &mut self.sealed[2..])?;
            self.nonce += 1;
            self.sealed[..2].copy_from_slice(&(length as u16).to_be_bytes());
            self.stream.write_all(&self.sealed[..length + 2]).map_err(DeltaError::io("send to the peer"))?;
            self.bytes.fetch_add(length as u64 + 2, Relaxed);
            self.plain.clear();
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// Ends the connection, in both directions.
    pub fn close(&self) {
        // It may have ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// What has crossed so far, in both directions.
    pub fn wire_bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Has the other side hung up? Only where it never speaks.
    pub fn has_ended(&self) -> bool {
        self.stream.has_ended()
    }
}

impl Reader {
    /// Hears the next record: its kind and body.
    pub fn receive(&mut self) -> Result<(u8, Vec<u8>), DeltaError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, a, b, c, d] = head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_RECORD {
            return Err(DeltaError::protocol(format!("a record of {length} bytes, more than {MAX_RECORD}")));
        }
        let mut body = vec![0; length];
        self.fill(&mut body)?;
        Ok((kind, body))
    }

    /// What has crossed so far, in both directions.
    pub fn wire_bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn fill(&mut self, mut to: &mut [u8]) -> Result<(), DeltaError> {
        while !to.is_empty() {
            if self.taken == self.plain.len() {
                self.next_message()?;
            }
            let count = to.len().min(self.plain.len() - self.taken);
            to[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
            self.taken += count;
            to = &mut to[count..];
        }
        Ok(())
    }

    fn next_message(&mut self) -> Result<(), DeltaError> {
        let hear = || DeltaError::io("hear the peer");
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).map_err(hear())?;
        let sealed = &mut self.sealed[..usize::from(u16::from_be_bytes(head))];
        self.stream.read_exact(sealed).map_err(hear())?;
        self.plain.resize(MAX_NOISE, 0);
        let length = self.noise.read_message(self.nonce, sealed, &mut self.plain)?;
        self.plain.truncate(length);
        self.taken = 0;
        self.nonce += 1;
        self.bytes.fetch_add(sealed.len() as u64 + 2, Relaxed);
        Ok(())
    }
}

fn write_short(stream: &mut Stream, message: &[u8]) -> Result<(), DeltaError> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).map_err(DeltaError::io("send to the peer"))
}

fn read_short(stream: &mut Stream) -> Result<Vec<u8>, DeltaError> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).map_err(DeltaError::io("hear the peer"))?;
    let length = usize::from(u16::from_be_bytes(head));
    if length > 512 {
        return Err(DeltaError::protocol(format!("a first message of {length} bytes")));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).map_err(DeltaError::io("hear the peer"))?;
    Ok(message)
}
