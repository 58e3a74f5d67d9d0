//! Envelopes to bytes and back: the one place that knows `bincode`.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Body, Envelope, Notice, Reply, Request, Response};

/// The protocol version that this crate speaks.
pub const VERSION: u8 = 1;

/// The longest record, in bytes, without its length field.
pub const MAX_RECORD: usize = 16 << 20;

/// The most requests or answers in a batch, so that a short record of them
/// can't fill the receiver's memory.
pub const MAX_BATCH: usize = 65_536;

const LENGTH: usize = 4;
const HEAD: usize = 8;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const NOTICE: u8 = 3;

/// The reply number of an error.
const ERROR: u16 = 0;

/// Bytes that are not a control message, or a message too long to send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The record is longer than [`MAX_RECORD`].
    #[error("a control message of {length} bytes is longer than {MAX_RECORD}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The record is too short for its header.
    #[error("a control message of {length} bytes is shorter than its header of {HEAD}")]
    TooShort {
        /// Its length.
        length: usize,
    },
    /// The peer speaks another version.
    #[error("control protocol version {version}; this end speaks {VERSION}: upgrade the older of the two")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// A number that stands for no message.
    #[error("no {class} has the number {number}")]
    UnknownMessage {
        /// Request, reply or notice.
        class: &'static str,
        /// The number found.
        number: u16,
    },
    /// The body does not fit its message.
    #[error("the body of {class} {number} is malformed: {why}")]
    Malformed {
        /// Request, reply or notice.
        class: &'static str,
        /// Which one.
        number: u16,
        /// What was wrong.
        why: String,
    },
}

/// The envelope as a record, its length included.
pub fn encode(envelope: &Envelope) -> Result<Vec<u8>, CodecError> {
    let mut out = vec![0; LENGTH + HEAD];
    let (class, number) = match &envelope.body {
        Body::Request(target, request) => {
            put("request", number_of_request(request), target, &mut out)?;
            (REQUEST, put_request(request, &mut out)?)
        }
        Body::Response(response) => (RESPONSE, put_response(response, &mut out)?),
        Body::Notice(notice) => (NOTICE, put_notice(notice, &mut out)?),
    };
    let length = out.len() - LENGTH;
    if length > MAX_RECORD {
        return Err(CodecError::TooLong { length });
    }
    out[..4].copy_from_slice(&(length as u32).to_be_bytes());
    out[4] = VERSION;
    out[5] = class;
    out[6..8].copy_from_slice(&number.to_be_bytes());
    out[8..12].copy_from_slice(&envelope.id.to_be_bytes());
    Ok(out)
}

/// Reads the record at the start of `bytes`: the envelope and the length of
/// its record, or `None` if the record isn't whole yet.
pub fn decode(bytes: &[u8]) -> Result<Option<(Envelope, usize)>, CodecError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_RECORD {
        return Err(CodecError::TooLong { length });
    }
    if length < HEAD {
        return Err(CodecError::TooShort { length });
    }
    let Some(record) = rest.get(..length) else { return Ok(None) };
    let (head, body) = record.split_at(HEAD);
    if head[0] != VERSION {
        return Err(CodecError::UnknownVersion { version: head[0] });
    }
    let number = u16::from_be_bytes([head[2], head[3]]);
    let id = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let mut input = Input { class: "message", number, bytes: body };
    let body = match head[1] {
        REQUEST => {
            input.class = "request";
            let target = input.take()?;
            Body::Request(target, take_request(&mut input, true)?)
        }
        RESPONSE => {
            input.class = "reply";
            Body::Response(take_response(&mut input, true)?)
        }
        NOTICE => {
            input.class = "notice";
            Body::Notice(take_notice(&mut input)?)
        }
        class => return Err(CodecError::UnknownMessage { class: "class of message", number: class.into() }),
    };
    input.end()?;
    Ok(Some((Envelope { id, body }, LENGTH + length)))
}

/// Cuts a stream of bytes into envelopes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what has arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole envelope. After an error the stream can't be read on:
    /// close the connection.
    pub fn next_envelope(&mut self) -> Result<Option<Envelope>, CodecError> {
        match decode(&self.buffer[self.start..])? {
            Some((envelope, used)) => {
                self.start += used;
                Ok(Some(envelope))
            }
            None => Ok(None),
        }
    }
}

fn number_of_request(request: &Request) -> u16 {
    match request {
        Request::AddLink(_) => 1,
        Request::DeleteLink(_) => 2,
        Request::AddRule(_) => 3,
        Request::DeleteRule(_) => 4,
        Request::ListInterfaces => 5,
        Request::ListLinks => 6,
        Request::ListRules => 7,
        Request::SetConfigurationBound(_) => 8,
        Request::AddInterface(_) => 9,
        Request::DeleteInterface(_) => 10,
        Request::Status => 11,
        Request::Traffic => 12,
        Request::TrafficView(_) => 13,
        Request::Batch(_) => 14,
        Request::PrepareRules { .. } => 15,
        Request::CommitRules { .. } => 16,
        Request::RetireRules { .. } => 17,
        Request::Register { .. } => 18,
        Request::Ping => 19,
        Request::Shutdown => 20,
        Request::ListDownLinks => 21,
        Request::Paths => 22,
        Request::Probe(_) => 23,
        Request::AllowPeer(_) => 24,
        Request::ForbidPeer(_) => 25,
        Request::ListPeers => 26,
    }
}

fn put_request(request: &Request, out: &mut Vec<u8>) -> Result<u16, CodecError> {
    let number = number_of_request(request);
    let class = "request";
    match request {
        Request::AddLink(spec) => put(class, number, spec, out),
        Request::DeleteLink(id) => put(class, number, id, out),
        Request::AddRule(entry) | Request::DeleteRule(entry) => put(class, number, entry, out),
        Request::SetConfigurationBound(ms) => put(class, number, ms, out),
        Request::AddInterface(spec) => put(class, number, spec, out),
        Request::DeleteInterface(name) => put(class, number, name, out),
        Request::AllowPeer(peer) => put(class, number, peer, out),
        Request::ForbidPeer(host) => put(class, number, host, out),
        Request::TrafficView(network) => put(class, number, network, out),
        Request::Probe(train) => put(class, number, train, out),
        Request::Batch(requests) => {
            put_batch_length(class, number, requests.len(), out)?;
            for request in requests {
                if matches!(request, Request::Batch(_)) {
                    return Err(nested(class, number));
                }
                put(class, number, &number_of_request(request), out)?;
                put_request(request, out)?;
            }
            Ok(())
        }
        Request::PrepareRules { network, version, rules } => {
            put(class, number, &(network, version, rules), out)
        }
        Request::CommitRules { network, version } | Request::RetireRules { network, version } => {
            put(class, number, &(network, version), out)
        }
        Request::Register { host, data_port, incarnation } => {
            put(class, number, &(host, data_port, incarnation), out)
        }
        Request::ListInterfaces
        | Request::ListLinks
        | Request::ListRules
        | Request::Status
        | Request::Traffic
        | Request::Ping
        | Request::Shutdown
        | Request::ListDownLinks
        | Request::Paths
        | Request::ListPeers => Ok(()),
    }?;
    Ok(number)
}

fn take_request(input: &mut Input<'_>, may_nest: bool) -> Result<Request, CodecError> {
    Ok(match input.number {
        1 => Request::AddLink(input.take()?),
        2 => Request::DeleteLink(input.take()?),
        3 => Request::AddRule(input.take()?),
        4 => Request::DeleteRule(input.take()?),
        5 => Request::ListInterfaces,
        6 => Request::ListLinks,
        7 => Request::ListRules,
        8 => Request::SetConfigurationBound(input.take()?),
        9 => Request::AddInterface(input.take()?),
        10 => Request::DeleteInterface(input.take()?),
        11 => Request::Status,
        12 => Request::Traffic,
        13 => Request::TrafficView(input.take()?),
        14 if may_nest => Request::Batch(input.take_batch(|input| take_request(input, false))?),
        15 => {
            let (network, version, rules) = input.take()?;
            Request::PrepareRules { network, version, rules }
        }
        16 => {
            let (network, version) = input.take()?;
            Request::CommitRules { network, version }
        }
        17 => {
            let (network, version) = input.take()?;
            Request::RetireRules { network, version }
        }
        18 => {
            let (host, data_port, incarnation) = input.take()?;
            Request::Register { host, data_port, incarnation }
        }
        19 => Request::Ping,
        20 => Request::Shutdown,
        21 => Request::ListDownLinks,
        22 => Request::Paths,
        23 => Request::Probe(input.take()?),
        24 => Request::AllowPeer(input.take()?),
        25 => Request::ForbidPeer(input.take()?),
        26 => Request::ListPeers,
        number => return Err(CodecError::UnknownMessage { class: "request", number }),
    })
}

fn number_of_response(response: &Response) -> u16 {
    match response {
        Err(_) => ERROR,
        Ok(Reply::Done) => 1,
        Ok(Reply::Interfaces(_)) => 2,
        Ok(Reply::Links(_)) => 3,
        Ok(Reply::Rules(_)) => 4,
        Ok(Reply::Status(_)) => 5,
        Ok(Reply::Traffic(_)) => 6,
        Ok(Reply::TrafficView(_)) => 7,
        Ok(Reply::Batch(_)) => 8,
        Ok(Reply::Registered { .. }) => 9,
        Ok(Reply::Paths(_)) => 10,
        Ok(Reply::Peers { .. }) => 11,
    }
}

fn put_response(response: &Response, out: &mut Vec<u8>) -> Result<u16, CodecError> {
    let number = number_of_response(response);
    let class = "reply";
    match response {
        Err(error) => put(class, number, error, out),
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Interfaces(list)) => put(class, number, list, out),
        Ok(Reply::Links(list)) => put(class, number, list, out),
        Ok(Reply::Rules(list)) => put(class, number, list, out),
        Ok(Reply::Status(status)) => put(class, number, status, out),
        Ok(Reply::Traffic(report)) => put(class, number, report, out),
        Ok(Reply::TrafficView(view)) => put(class, number, view, out),
        Ok(Reply::Paths(paths)) => put(class, number, paths, out),
        Ok(Reply::Batch(responses)) => {
            put_batch_length(class, number, responses.len(), out)?;
            for response in responses {
                if matches!(response, Ok(Reply::Batch(_))) {
                    return Err(nested(class, number));
                }
                put(class, number, &number_of_response(response), out)?;
                put_response(response, out)?;
            }
            Ok(())
        }
        Ok(Reply::Registered { proxy, daemons }) => put(class, number, &(proxy, daemons), out),
        Ok(Reply::Peers { own, peers }) => put(class, number, &(own, peers), out),
    }?;
    Ok(number)
}

fn take_response(input: &mut Input<'_>, may_nest: bool) -> Result<Response, CodecError> {
    Ok(match input.number {
        ERROR => Err(input.take()?),
        1 => Ok(Reply::Done),
        2 => Ok(Reply::Interfaces(input.take()?)),
        3 => Ok(Reply::Links(input.take()?)),
        4 => Ok(Reply::Rules(input.take()?)),
        5 => Ok(Reply::Status(input.take()?)),
        6 => Ok(Reply::Traffic(input.take()?)),
        7 => Ok(Reply::TrafficView(input.take()?)),
        8 if may_nest => Ok(Reply::Batch(input.take_batch(|input| take_response(input, false))?)),
        9 => {
            let (proxy, daemons) = input.take()?;
            Ok(Reply::Registered { proxy, daemons })
        }
        10 => Ok(Reply::Paths(input.take()?)),
        11 => {
            let (own, peers) = input.take()?;
            Ok(Reply::Peers { own, peers })
        }
        number => return Err(CodecError::UnknownMessage { class: "reply", number }),
    })
}

fn put_notice(notice: &Notice, out: &mut Vec<u8>) -> Result<u16, CodecError> {
    let class = "notice";
    Ok(match notice {
        Notice::Traffic(report) => {
            put(class, 1, report, out)?;
            1
        }
        Notice::Peer(peer) => {
            put(class, 2, peer, out)?;
            2
        }
        Notice::Heartbeat => 3,
        Notice::Paths(reports) => {
            put(class, 4, reports, out)?;
            4
        }
        Notice::Introduce(introduction) => {
            put(class, 5, introduction, out)?;
            5
        }
    })
}

fn take_notice(input: &mut Input<'_>) -> Result<Notice, CodecError> {
    Ok(match input.number {
        1 => Notice::Traffic(input.take()?),
        2 => Notice::Peer(input.take()?),
        3 => Notice::Heartbeat,
        4 => Notice::Paths(input.take()?),
        5 => Notice::Introduce(input.take()?),
        number => return Err(CodecError::UnknownMessage { class: "notice", number }),
    })
}

const fn configuration() -> Configuration<LittleEndian, Varint, Limit<MAX_RECORD>> {
    bincode::config::standard().with_limit::<MAX_RECORD>()
}

fn put<T: Serialize + ?Sized>(
    class: &'static str,
    number: u16,
    value: &T,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, out, configuration())
        .map(drop)
        .map_err(|error| CodecError::Malformed { class, number, why: error.to_string() })
}

fn put_batch_length(
    class: &'static str,
    number: u16,
    length: usize,
    out: &mut Vec<u8>,
) -> Result<(), CodecError> {
    if length > MAX_BATCH {
        return Err(too_many(class, number, length));
    }
    put(class, number, &(length as u32), out)
}

fn too_many(class: &'static str, number: u16, length: usize) -> CodecError {
    let why = format!("a batch of {length} is longer than {MAX_BATCH}; send several");
    CodecError::Malformed { class, number, why }
}

fn nested(class: &'static str, number: u16) -> CodecError {
    CodecError::Malformed { class, number, why: "batches do not nest".to_owned() }
}

struct Input<'a> {
    class: &'static str,
    number: u16,
    bytes: &'a [u8],
}

impl Input<'_> {
    fn take<T: DeserializeOwned>(&mut self) -> Result<T, CodecError> {
        let (value, used) = bincode::serde::decode_from_slice(self.bytes, configuration())
            .map_err(|error| self.malformed(error.to_string()))?;
        self.bytes = &self.bytes[used..];
        Ok(value)
    }

    fn take_batch<T>(
        &mut self,
        mut take: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let outer = self.number;
        let count: u32 = self.take()?;
        if count as usize > MAX_BATCH {
            return Err(too_many(self.class, self.number, count as usize));
        }
        // Not reserved up front: the count is the peer's word.
        let mut items = Vec::new();
        for _ in 0..count {
            self.number = self.take()?;
            items.push(take(self)?);
        }
        self.number = outer;
        Ok(items)
    }

    fn end(&self) -> Result<(), CodecError> {
        match self.bytes.len() {
            0 => Ok(()),
            extra => Err(self.malformed(format!("{extra} bytes follow it"))),
        }
    }

    fn malformed(&self, why: String) -> CodecError {
        CodecError::Malformed { class: self.class, number: self.number, why }
    }
}
