//! Version 1.0: the five messages as text, as the peers of the papers send them.
//!
//! | message | text |
//! | --- | --- |
//! | QUERY | `<VMMP 1.0 QUERY MACHINE_ID METHODS>` |
//! | RESULTS | `<VMMP 1.0 RESULTS MACHINE_ID N METHOD_1 ... METHOD_N>` |
//! | REQ | `<VMMP 1.0 REQ MACHINE_ID VERSION ORIG_IP ORIG_PORT CENTRAL_IP CENTRAL_PORT METHOD>` |
//! | HEARTBEAT | `<VMMP 1.0 HEARTBEAT MACHINE_ID>` |
//! | RESP | `<VMMP 1.0 RESP MACHINE_ID VERSION SUCCESS>`, or `FAIL` |
//!
//! Words are separated by one space. `METHODS` in a QUERY is that word. A message
//! ends with its `>`; line ends between messages are skipped. (Virtuoso: A system for
//! virtual machine marketplaces, NWU-CS-04-39, section 7.2.1, where the messages are
//! printed in this form. The text leaves open whether the angle brackets are sent;
//! since nothing else would end a message on a stream, they are.)

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::name::{MachineId, MethodName, NameError};

/// The longest message, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// The most methods in a RESULTS.
pub const MAX_METHODS: usize = 16;

/// A message of version 1.0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Which methods do you have for this machine?
    Query {
        /// The machine.
        machine: MachineId,
    },
    /// These.
    Results {
        /// The machine.
        machine: MachineId,
        /// The methods, the best one first.
        methods: Vec<MethodName>,
    },
    /// Fetch this machine.
    Req {
        /// The machine.
        machine: MachineId,
        /// Its version at the origin.
        version: u64,
        /// Where it is.
        origin: SocketAddr,
        /// Where heartbeats go.
        central: SocketAddr,
        /// How.
        method: MethodName,
    },
    /// It is still coming.
    Heartbeat {
        /// The machine.
        machine: MachineId,
    },
    /// It has come, or not.
    Resp {
        /// The machine.
        machine: MachineId,
        /// Its version now.
        version: u64,
        /// Has it come?
        success: bool,
    },
}

/// Bytes that are not a message of version 1.0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// It has no end, or one too late.
    #[error("a message of more than {MAX_MESSAGE} bytes")]
    TooLong,
    /// It doesn't begin with `<`.
    #[error("a message begins with `<VMMP 1.0 `, not with {found:?}")]
    Start {
        /// The character found.
        found: char,
    },
    /// An octet that is no printable ASCII.
    #[error("octet {octet:#04x} in a message of text")]
    Octet {
        /// The octet.
        octet: u8,
    },
    /// It is of another protocol or version.
    #[error("`{found}` is not `VMMP 1.0`; this end speaks 1.0 as text and 2 as frames")]
    Version {
        /// What stands in its place.
        found: String,
    },
    /// There is no such message.
    #[error("`{found}` is no message: there are QUERY, RESULTS, REQ, HEARTBEAT and RESP")]
    Kind {
        /// The word found.
        found: String,
    },
    /// A word is missing or there is one too many.
    #[error("{kind} has {found} words after its name; {wanted} are wanted: {form}")]
    Words {
        /// The message.
        kind: &'static str,
        /// How many words there are.
        found: usize,
        /// How many there should be.
        wanted: String,
        /// What they mean.
        form: &'static str,
    },
    /// A word is not what it should be.
    #[error("{field} of {kind} is `{found}`: {why}")]
    Field {
        /// The message.
        kind: &'static str,
        /// Which word.
        field: &'static str,
        /// The word.
        found: String,
        /// What it should be.
        why: String,
    },
}

const WORDS: [(&str, &str); 5] = [
    ("QUERY", "MACHINE_ID METHODS"),
    ("RESULTS", "MACHINE_ID N METHOD_1 ... METHOD_N"),
    ("REQ", "MACHINE_ID VERSION ORIG_IP ORIG_PORT CENTRAL_IP CENTRAL_PORT METHOD"),
    ("HEARTBEAT", "MACHINE_ID"),
    ("RESP", "MACHINE_ID VERSION SUCCESS|FAIL"),
];

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<VMMP 1.0 ")?;
        match self {
            Self::Query { machine } => write!(f, "QUERY {machine} METHODS")?,
            Self::Results { machine, methods } => {
                write!(f, "RESULTS {machine} {}", methods.len())?;
                methods.iter().try_for_each(|method| write!(f, " {method}"))?;
            }
            Self::Req { machine, version, origin, central, method } => write!(
                f,
                "REQ {machine} {version} {} {} {} {} {method}",
                origin.ip(),
                origin.port(),
                central.ip(),
                central.port()
            )?,
            Self::Heartbeat { machine } => write!(f, "HEARTBEAT {machine}")?,
            Self::Resp { machine, version, success } => {
                let word = if *success { "SUCCESS" } else { "FAIL" };
                write!(f, "RESP {machine} {version} {word}")?;
            }
        }
        f.write_str(">")
    }
}

impl FromStr for Message {
    type Err = TextError;

    /// Reads one message, from its `<` to its `>`.
    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.len() > MAX_MESSAGE {
            return Err(TextError::TooLong);
        }
        if let Some(octet) = text.bytes().find(|octet| !(0x20..0x7f).contains(octet)) {
            return Err(TextError::Octet { octet });
        }
        let Some(inner) = text.strip_prefix('<') else {
            return Err(TextError::Start { found: text.chars().next().unwrap_or(' ') });
        };
        let inner = inner.strip_suffix('>').ok_or(TextError::TooLong)?;
        let mut words = inner.split(' ');
        let head: Vec<&str> = words.by_ref().take(2).collect();
        if head != ["VMMP", "1.0"] {
            return Err(TextError::Version { found: head.join(" ") });
        }
        let name = words.next().unwrap_or_default();
        let Some((kind, form)) = WORDS.into_iter().find(|(kind, _)| *kind == name) else {
            return Err(TextError::Kind { found: name.to_owned() });
        };
        let words: Vec<&str> = words.collect();
        Reader { kind, form, words: &words }.message()
    }
}

struct Reader<'a> {
    kind: &'static str,
    form: &'static str,
    words: &'a [&'a str],
}

impl Reader<'_> {
    fn message(&self) -> Result<Message, TextError> {
        match (self.kind, self.words) {
            ("QUERY", [machine, methods]) => {
                if *methods != "METHODS" {
                    return Err(self.field("METHODS", methods, "the word METHODS is wanted"));
                }
                Ok(Message::Query { machine: self.machine(machine)? })
            }
            ("RESULTS", [machine, count, methods @ ..]) => {
                let wanted: usize = self.number("N", count)?;
                if wanted > MAX_METHODS {
                    return Err(self.field("N", count, format!("{MAX_METHODS} methods at most")));
                }
                if wanted != methods.len() {
                    return Err(self.field("N", count, format!("{} methods follow", methods.len())));
                }
                let methods: Result<_, _> = methods.iter().map(|method| self.method(method)).collect();
                Ok(Message::Results { machine: self.machine(machine)?, methods: methods? })
            }
            ("REQ", [machine, version, orig_ip, orig_port, central_ip, central_port, method]) => {
                Ok(Message::Req {
                    machine: self.machine(machine)?,
                    version: self.number("VERSION", version)?,
                    origin: self.address(("ORIG_IP", orig_ip), ("ORIG_PORT", orig_port))?,
                    central: self.address(("CENTRAL_IP", central_ip), ("CENTRAL_PORT", central_port))?,
                    method: self.method(method)?,
                })
            }
            ("HEARTBEAT", [machine]) => Ok(Message::Heartbeat { machine: self.machine(machine)? }),
            ("RESP", [machine, version, outcome]) => {
                let success = match *outcome {
                    "SUCCESS" => true,
                    "FAIL" => false,
                    found => return Err(self.field("SUCCESS|FAIL", found, "one of the two is wanted")),
                };
                Ok(Message::Resp {
                    machine: self.machine(machine)?,
                    version: self.number("VERSION", version)?,
                    success,
                })
            }
            (kind, words) => {
                let least = self.form.split(' ').count();
                let wanted = if kind == "RESULTS" { "2 or more".into() } else { least.to_string() };
                Err(TextError::Words { kind, found: words.len(), wanted, form: self.form })
            }
        }
    }

    fn field(&self, field: &'static str, found: &str, why: impl Into<String>) -> TextError {
        TextError::Field { kind: self.kind, field, found: found.to_owned(), why: why.into() }
    }

    fn machine(&self, word: &str) -> Result<MachineId, TextError> {
        word.parse().map_err(|error: NameError| self.field("MACHINE_ID", word, error.to_string()))
    }

    fn method(&self, word: &str) -> Result<MethodName, TextError> {
        word.parse().map_err(|error: NameError| self.field("METHOD", word, error.to_string()))
    }

    /// A decimal number as it would be written: no sign, no leading zero.
    fn number<T: FromStr>(&self, field: &'static str, word: &str) -> Result<T, TextError> {
        let is_plain =
            word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        let number = if is_plain { word.parse().ok() } else { None };
        number.ok_or_else(|| self.field(field, word, "a decimal number is wanted"))
    }

    fn address(
        &self,
        (ip_field, ip): (&'static str, &str),
        (port_field, port): (&'static str, &str),
    ) -> Result<SocketAddr, TextError> {
        let parsed: IpAddr = ip.parse().map_err(|_| self.field(ip_field, ip, "an IP address is wanted"))?;
        // So that what is read is written the same.
        if parsed.to_string() != ip {
            return Err(self.field(ip_field, ip, format!("write {parsed}")));
        }
        Ok(SocketAddr::new(parsed, self.number(port_field, port)?))
    }
}

/// Finds the messages in a stream of bytes.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, when it is whole. After an error the stream is of no use
    /// any more: where the next message begins isn't known.
    pub fn next_message(&mut self) -> Option<Result<Message, TextError>> {
        let skipped = self.buffer.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        self.buffer.drain(..skipped);
        match self.buffer.first() {
            None => return None,
            Some(b'<') => {}
            Some(other) => return Some(Err(TextError::Start { found: char::from(*other) })),
        }
        let Some(end) = self.buffer.iter().take(MAX_MESSAGE).position(|byte| *byte == b'>') else {
            return (self.buffer.len() >= MAX_MESSAGE).then_some(Err(TextError::TooLong));
        };
        let message: Vec<u8> = self.buffer.drain(..=end).collect();
        Some(match std::str::from_utf8(&message) {
            Ok(text) => text.parse(),
            Err(error) => Err(TextError::Octet { octet: message[error.valid_up_to()] }),
        })
    }
}
