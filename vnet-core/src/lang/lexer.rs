//! Text to words.

use super::ast::Position;

/// A word and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) position: Position,
}

/// The words of a text, without blanks and comments. Every text has words;
/// whether they make sense is the parser's business.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: Position,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::from(text, Position { offset: 0, line: 1, column: 1 })
    }

    /// Starts at `position`, which must be one that a lexer of `text` gave.
    pub(super) fn from(text: &'a str, position: Position) -> Self {
        Self { text, position }
    }

    /// Behind the last word.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    fn skip_blanks_and_comments(&mut self) {
        let mut in_comment = false;
        self.advance_while(|c| {
            match c {
                '#' => in_comment = true,
                '\n' => in_comment = false,
                _ => {}
            }
            in_comment || c.is_whitespace()
        });
    }

    fn advance_while(&mut self, mut wanted: impl FnMut(char) -> bool) {
        for c in self.text.get(self.position.offset..).unwrap_or_default().chars() {
            if !wanted(c) {
                break;
            }
            self.position.offset += c.len_utf8();
            if c == '\n' {
                self.position.line += 1;
                self.position.column = 1;
            } else {
                self.position.column += 1;
            }
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        self.skip_blanks_and_comments();
        let position = self.position;
        self.advance_while(|c| !c.is_whitespace() && c != '#');
        let text = self.text.get(position.offset..self.position.offset)?;
        (!text.is_empty()).then_some(Word { text, position })
    }
}
