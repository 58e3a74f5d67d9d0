//! What can be wrong with a program, and where.

use std::fmt;

use crate::link::{Link, LinkId};
use crate::name::{HostName, NameError};

use super::MAX_PROGRAM;
use super::ast::{HostRule, Position};
use super::lexer::Lexer;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is longer than [`MAX_PROGRAM`].
    #[error("a program of {bytes} bytes is longer than {MAX_PROGRAM}; expected a shorter one")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Another word was expected.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What may stand here.
        expected: &'static str,
        /// What does: a word in backquotes or `the end of the text`.
        found: String,
    },
    /// A word that can't be a name.
    #[error("expected {expected}; {error}")]
    BadName {
        /// What may stand here.
        expected: &'static str,
        /// Why it isn't one.
        error: NameError,
    },
    /// A `LINK` after a `FORWARD` of the same block.
    #[error(
        "expected FORWARD, ADD, DELETE or END, found `LINK`: \
         the links of a block come before its rules; move it up or start a new block"
    )]
    LinkAfterRule,
    /// `NOT NONE`.
    #[error("expected a MAC address after NOT, found `NONE`: write `ANY NONE` to match every address")]
    NotNone,
    /// `NONE` without `ANY` as a source.
    #[error(
        "expected a MAC address as the source, found `NONE`: write `ANY NONE` to match every source; \
         `NONE` alone is the default destination"
    )]
    SourceNone,
    /// Two `HOST`s with one name.
    #[error("expected a machine that isn't declared yet: host `{host}` is{}", at_line(.line))]
    DuplicateHost {
        /// The name.
        host: HostName,
        /// The line of the first one, where known.
        line: Option<usize>,
    },
    /// A machine without `HOST`.
    #[error("expected a declared machine: there is no `HOST ... AT {host} ...`{}", did_you_mean(.similar))]
    UndeclaredHost {
        /// The name.
        host: HostName,
        /// A declared name that looks like it.
        similar: Option<HostName>,
    },
    /// A link from a machine to itself.
    #[error("expected two different ends: the link joins `{host}` to itself")]
    SelfLink {
        /// The machine.
        host: HostName,
    },
    /// A link that neither of its ends opens.
    #[error("expected one of the ends `{}` and `{}` to open the link, found `{}`", .link.a, .link.b, .link.opener)]
    OpenerNotAnEnd {
        /// The link.
        link: Link,
    },
    /// A link between two machines that have one.
    #[error("expected machines without a link between them: `{present}` is there already; DELETE it first")]
    DuplicateLink {
        /// The link that is there.
        present: Link,
    },
    /// Deletion of a link that isn't there.
    #[error("expected a link that is there: none joins `{}` and `{}`", .link.ends().0, .link.ends().1)]
    NoSuchLink {
        /// The link.
        link: LinkId,
    },
    /// Deletion of a link of another kind or opener.
    #[error("expected the link as it is: `{present}`")]
    LinkDiffers {
        /// The link that is there.
        present: Link,
    },
    /// An edge of another machine's.
    #[error("expected an edge that starts at `{machine}`, which holds the rule; this one starts at `{from}`")]
    EdgeElsewhere {
        /// The machine of the rule.
        machine: HostName,
        /// The first machine of the edge.
        from: HostName,
    },
    /// An edge from a machine to itself.
    #[error("expected an edge to another machine: this one leads from `{host}` to itself")]
    SelfEdge {
        /// The machine.
        host: HostName,
    },
    /// A rule that is there already.
    #[error("expected a rule that isn't there yet; this one is")]
    DuplicateRule {
        /// The rule.
        rule: HostRule,
    },
    /// Deletion of a rule that isn't there.
    #[error("expected a rule that is there: `{}` has no such rule", .rule.machine)]
    NoSuchRule {
        /// The rule.
        rule: HostRule,
    },
}

fn at_line(line: &Option<usize>) -> String {
    line.map(|line| format!(", at line {line}")).unwrap_or_default()
}

fn did_you_mean(similar: &Option<HostName>) -> String {
    similar.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Something wrong in a program that may have come from a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Fault {
    /// What is wrong.
    pub problem: Box<Problem>,
    /// Where the statement that it is about begins; `None` if it was not read from a text.
    pub statement: Option<Position>,
    /// Which word of the statement it is about, from 0.
    pub word: usize,
}

impl Fault {
    /// The fault with its place in `text`, which the program was read from,
    /// and which came from `file`.
    pub fn locate(self, file: &str, text: &str) -> LangError {
        let start = self.statement.unwrap_or(Position { offset: 0, line: 1, column: 1 });
        let word = self.statement.and_then(|start| Lexer::from(text, start).nth(self.word));
        let (position, length) = word.map_or((start, 0), |w| (w.position, w.text.chars().count()));
        LangError::new(file, text, position, length, *self.problem)
    }
}

/// Something wrong in a text.
///
/// It prints as `file:line:column: what is wrong` and the line with a mark
/// under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LangError {
    /// Where the text came from.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Box<Problem>,
    /// The line, or the part of a long line around the place.
    excerpt: String,
    /// Where in the excerpt the place is, in characters, and how long.
    mark: (usize, usize),
}

/// How much of a long line is shown on either side of the place, in characters.
const CONTEXT: usize = 60;

impl LangError {
    pub(super) fn new(file: &str, text: &str, position: Position, length: usize, problem: Problem) -> Self {
        let (before, after) = text.split_at_checked(position.offset).unwrap_or_default();
        let before: Vec<char> = before.chars().rev().take_while(|c| *c != '\n').take(CONTEXT).collect();
        let after = after.chars().take_while(|c| *c != '\n').take(CONTEXT);
        let mark = (before.len(), length.clamp(1, CONTEXT));
        // One column for each character, whatever it is.
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let excerpt: String = before.into_iter().rev().chain(after).map(visible).collect();
        Self {
            file: file.to_owned(),
            line: position.line,
            column: position.column,
            problem: Box::new(problem),
            excerpt,
            mark,
        }
    }
}

impl fmt::Display for LangError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.problem)?;
        let margin = self.line.to_string().len();
        writeln!(f, "{:margin$} |", "")?;
        writeln!(f, "{} | {}", self.line, self.excerpt)?;
        let (start, length) = self.mark;
        write!(f, "{:margin$} | {:start$}{:^<length$}", "", "", "")
    }
}

impl std::error::Error for LangError {}
