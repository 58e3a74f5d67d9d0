//! What goes to standard output, JSON or text, and how errors are worded.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// Prints `value` as one line of JSON, or the text that `text` makes.
pub(crate) fn show<T: Serialize>(json: bool, value: &T, text: impl FnOnce() -> String) -> Result<()> {
    if json {
        let mut line = serde_json::to_string(value).context("can't write the result as JSON")?;
        line.push('\n');
        print(&line)
    } else {
        print(&text())
    }
}

/// Prints text. That the reader has seen enough (`vnet show | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("can't write to standard output"),
    }
}

/// An error with its causes, but for those that it tells itself.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

/// Columns of text under headings, as wide as they have to be.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned).to_vec()] }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }

    /// The table; nothing if it has no rows but its headings.
    pub(crate) fn text(&self) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let columns = self.rows[0].len();
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cause_is_told_twice() {
        let cause = || anyhow::anyhow!("no such file");
        assert_eq!(sentence(&cause().context("opening a: no such file")), "opening a: no such file");
        assert_eq!(sentence(&cause().context("opening a").context("b")), "b: opening a: no such file");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["HOST", "LINKS"]);
        assert_eq!(table.text(), "");
        table.row(["alpha".to_owned(), "3".to_owned()]);
        assert_eq!(table.text(), "HOST   LINKS\nalpha  3\n");
    }
}
