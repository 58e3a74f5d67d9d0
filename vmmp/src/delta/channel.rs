//! An encrypted, authenticated connection: `Noise_IK_25519_ChaChaPoly_SHA256`
//! (The Noise Protocol Framework, revision 34).
//!
//! On the wire each Noise message stands behind its length (2 octets, most significant
//! first). Inside, a record is its kind (1 octet), its length (4 octets, most
//! significant first, at most [`MAX_RECORD`]) and its body.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use snow::StatelessTransportState;

use super::error::DeltaError;

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
}

/// The two directions of a connection.
pub struct Channel {
    /// What is said.
    pub writer: Writer,
    /// What is heard.
    pub reader: Reader,
}

/// The direction in which is spoken.
pub struct Writer {
    stream: TcpStream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    bytes: Arc<AtomicU64>,
}

/// The direction in which is heard.
pub struct Reader {
    stream: TcpStream,
    noise: Arc<StatelessTransportState>,
    nonce: u64,
    plain: Vec<u8>,
    taken: usize,
    sealed: Vec<u8>,
    bytes: Arc<AtomicU64>,
}

impl Channel {
    /// Secures a connection that was made to the peer whose public key is `peer`.
    pub fn connect(mut stream: TcpStream, keys: &Keys, peer: &[u8; 32]) -> Result<Self, DeltaError> {
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
        Self::new(stream, noise.into_stateless_transport_mode()?)
    }

    /// Secures a connection that a peer has made, if its public key is `allowed`.
    pub fn accept(mut stream: TcpStream, keys: &Keys, allowed: &[[u8; 32]]) -> Result<Self, DeltaError> {
        let mut noise = snow::Builder::new(PATTERN.parse()?)
            .prologue(PROLOGUE)?
            .local_private_key(&keys.private)?
            .build_responder()?;
        let mut buffer = [0; 512];
        let first = read_short(&mut stream)?;
        noise.read_message(&first, &mut buffer)?;
        let key = noise.get_remote_static().unwrap_or_default();
        if !allowed.iter().any(|allowed| allowed == key) {
            let key = key.iter().map(|octet| format!("{octet:02x}")).collect();
            return Err(DeltaError::Unauthorised { key });
        }
        let length = noise.write_message(&[], &mut buffer)?;
        write_short(&mut stream, &buffer[..length])?;
        Self::new(stream, noise.into_stateless_transport_mode()?)
    }

    fn new(stream: TcpStream, noise: StatelessTransportState) -> Result<Self, DeltaError> {
        stream.set_nodelay(true).map_err(DeltaError::io("set up the connection"))?;
        let other = stream.try_clone().map_err(DeltaError::io("set up the connection"))?;
        let noise = Arc::new(noise);
        let bytes = Arc::new(AtomicU64::new(0));
        Ok(Self {
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
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// What has crossed so far, in both directions.
    pub fn wire_bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
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

fn write_short(stream: &mut TcpStream, message: &[u8]) -> Result<(), DeltaError> {
    let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
    bytes.extend(message);
    stream.write_all(&bytes).map_err(DeltaError::io("send to the peer"))
}

fn read_short(stream: &mut TcpStream) -> Result<Vec<u8>, DeltaError> {
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
