//! Words to a program, by recursive descent.

use crate::link::{Link, LinkKind};
use crate::mac::MacAddr;
use crate::name::{HostName, InterfaceName, NameError, UserName};
use crate::rule::{Action, Destination, EdgeRef, Rule, Source};
use crate::topology::Host;

use super::MAX_PROGRAM;
use super::ast::{Config, HostRule, Operation, Position, Positioned, Program};
use super::error::{LangError, Problem};
use super::lexer::{Lexer, Word};

/// Reads `text`, which came from `file`, as a program.
pub fn parse(file: &str, text: &str) -> Result<Program, LangError> {
    let mut parser =
        Parser { file, text, words: Lexer::new(text), current: None, end: Lexer::new(text).position() };
    if text.len() > MAX_PROGRAM {
        return Err(parser.error(Problem::TooLong { bytes: text.len() }));
    }
    parser.advance();
    parser.program()
}

struct Parser<'a> {
    file: &'a str,
    text: &'a str,
    words: Lexer<'a>,
    current: Option<Word<'a>>,
    /// Behind the word before the current one.
    end: Position,
}

type Parsed<T> = Result<T, LangError>;

impl<'a> Parser<'a> {
    fn program(&mut self) -> Parsed<Program> {
        self.keyword("BEGIN", "BEGIN")?;
        let mut program = Program::default();
        while self.is_at("HOST") {
            program.hosts.push(self.positioned(Self::host)?);
        }
        let mut expected = "HOST, ADD, DELETE or END";
        loop {
            let operation = match self.word() {
                Some("ADD") => Operation::Add,
                Some("DELETE") => Operation::Delete,
                _ => break,
            };
            self.advance();
            let config = self.config(operation)?;
            expected = if config.rules.is_empty() {
                "LINK, FORWARD, ADD, DELETE or END"
            } else {
                "FORWARD, ADD, DELETE or END"
            };
            program.configs.push(config);
        }
        self.keyword("END", expected)?;
        match self.current {
            None => Ok(program),
            Some(_) => Err(self.unexpected("nothing after END")),
        }
    }

    fn host(&mut self) -> Parsed<Host> {
        self.keyword("HOST", "HOST")?;
        let username = self.name("a user name", UserName::new)?;
        self.keyword("AT", "AT")?;
        Ok(Host {
            username,
            machine: self.name("a machine", HostName::new)?,
            port: self.port()?,
            interface: self.name("an interface", InterfaceName::new)?,
        })
    }

    fn config(&mut self, operation: Operation) -> Parsed<Config> {
        let mut config = Config::new(operation, [], []);
        while self.is_at("LINK") {
            config.links.push(self.positioned(Self::link)?);
        }
        while self.is_at("FORWARD") {
            config.rules.push(self.positioned(Self::rule)?);
        }
        if self.is_at("LINK") {
            return Err(self.error(Problem::LinkAfterRule));
        }
        Ok(config)
    }

    fn link(&mut self) -> Parsed<Link> {
        self.keyword("LINK", "LINK")?;
        let kind = match self.word() {
            Some("TCP") => LinkKind::Tcp,
            Some("UDP") => LinkKind::Udp,
            _ => return Err(self.unexpected("TCP or UDP")),
        };
        self.advance();
        Ok(Link {
            kind,
            opener: self.name("the machine that opens the link", HostName::new)?,
            a: self.name("the machine at the first end of the link", HostName::new)?,
            b: self.name("the machine at the second end of the link", HostName::new)?,
        })
    }

    fn rule(&mut self) -> Parsed<HostRule> {
        self.keyword("FORWARD", "FORWARD")?;
        let is_edge = match self.word() {
            Some("EDGE") => true,
            Some("INTERFACE") => false,
            _ => return Err(self.unexpected("EDGE or INTERFACE")),
        };
        self.advance();
        let machine = self.name("the machine that holds the rule", HostName::new)?;
        let source = self.source()?;
        let destination = self.destination()?;
        let action = if is_edge {
            Action::Edge(EdgeRef {
                from: self.name("the machine where the edge starts", HostName::new)?,
                to: self.name("the machine where the edge ends", HostName::new)?,
            })
        } else {
            Action::Interface(self.name("an interface", InterfaceName::new)?)
        };
        Ok(HostRule { machine, rule: Rule { source, destination, action } })
    }

    fn source(&mut self) -> Parsed<Source> {
        Ok(match self.qualifier() {
            Qualifier::Any => {
                self.any_address()?;
                Source::Any
            }
            Qualifier::Not => Source::Not(self.address_after_not()?),
            Qualifier::Nothing if self.is_at("NONE") => return Err(self.error(Problem::SourceNone)),
            Qualifier::Nothing => Source::Exact(self.address("a source: NOT, ANY or a MAC address")?),
        })
    }

    fn destination(&mut self) -> Parsed<Destination> {
        Ok(match self.qualifier() {
            Qualifier::Any => {
                self.any_address()?;
                Destination::Any
            }
            Qualifier::Not => Destination::Not(self.address_after_not()?),
            Qualifier::Nothing if self.is_at("NONE") => {
                self.advance();
                Destination::Default
            }
            Qualifier::Nothing => {
                Destination::Exact(self.address("a destination: NOT, ANY, NONE or a MAC address")?)
            }
        })
    }

    fn qualifier(&mut self) -> Qualifier {
        let qualifier = match self.word() {
            Some("ANY") => Qualifier::Any,
            Some("NOT") => Qualifier::Not,
            _ => return Qualifier::Nothing,
        };
        self.advance();
        qualifier
    }

    fn address_after_not(&mut self) -> Parsed<MacAddr> {
        if self.is_at("NONE") {
            return Err(self.error(Problem::NotNone));
        }
        self.address("a MAC address")
    }

    /// What follows ANY: it matches every address, whatever stands there.
    fn any_address(&mut self) -> Parsed<()> {
        if self.is_at("NONE") {
            self.advance();
            return Ok(());
        }
        self.address("NONE or a MAC address").map(drop)
    }

    fn address(&mut self, expected: &'static str) -> Parsed<MacAddr> {
        let mac = self.word().and_then(|word| word.parse().ok());
        let mac = mac.ok_or_else(|| self.unexpected(expected))?;
        self.advance();
        Ok(mac)
    }

    fn port(&mut self) -> Parsed<u16> {
        let port = self.word().filter(|w| w.bytes().all(|b| b.is_ascii_digit())).and_then(|w| w.parse().ok());
        match port {
            Some(port @ 1..) => {
                self.advance();
                Ok(port)
            }
            _ => Err(self.unexpected("a port from 1 to 65535")),
        }
    }

    fn name<T>(&mut self, expected: &'static str, new: fn(&str) -> Result<T, NameError>) -> Parsed<T> {
        let Some(word) = self.word() else { return Err(self.unexpected(expected)) };
        match new(word) {
            Ok(name) => {
                self.advance();
                Ok(name)
            }
            Err(NameError::Keyword { .. }) => Err(self.unexpected(expected)),
            Err(error) => Err(self.error(Problem::BadName { expected, error })),
        }
    }

    fn keyword(&mut self, keyword: &str, expected: &'static str) -> Parsed<()> {
        if !self.is_at(keyword) {
            return Err(self.unexpected(expected));
        }
        self.advance();
        Ok(())
    }

    fn positioned<T>(&mut self, part: fn(&mut Self) -> Parsed<T>) -> Parsed<Positioned<T>> {
        let position = self.position();
        Ok(Positioned { item: part(self)?, position: Some(position) })
    }

    fn word(&self) -> Option<&'a str> {
        self.current.map(|word| word.text)
    }

    fn is_at(&self, keyword: &str) -> bool {
        self.word() == Some(keyword)
    }

    fn advance(&mut self) {
        self.end = self.words.position();
        self.current = self.words.next();
    }

    fn position(&self) -> Position {
        self.current.map_or(self.end, |word| word.position)
    }

    fn unexpected(&self, expected: &'static str) -> LangError {
        let found = match self.word() {
            Some(word) => format!("`{}`", clipped(word)),
            None => "the end of the text".to_owned(),
        };
        self.error(Problem::Unexpected { expected, found })
    }

    fn error(&self, problem: Problem) -> LangError {
        let length = self.word().map_or(0, |word| word.chars().count());
        LangError::new(self.file, self.text, self.position(), length, problem)
    }
}

enum Qualifier {
    Any,
    Not,
    Nothing,
}

/// Enough of a word to recognise it by.
fn clipped(word: &str) -> String {
    const MOST: usize = 40;
    let mut clipped: String = word.chars().take(MOST).flat_map(char::escape_debug).collect();
    if word.chars().nth(MOST).is_some() {
        clipped.push_str("...");
    }
    clipped
}
