//! Traffic matrices.

use std::collections::HashMap;

use vnet_core::MacAddr;
use vnet_core::control::TrafficView;

/// The most vertices that a matrix may have: its entries then take 32 MiB.
pub const MAX_VERTICES: usize = 2048;

/// The most that a vertex may send to another; sums over a matrix stay finite.
pub const MAX_AMOUNT: f64 = 1e100;

/// How much each vertex sends to each other: bytes, or bytes per second.
///
/// Entries are between 0 and [`MAX_AMOUNT`]; nothing is sent to oneself.
///
/// ```
/// use vttif::TrafficMatrix;
///
/// let matrix = TrafficMatrix::from_csv("source,destination,bytes\na,b,100\nb,a,20\nb,c,7\n")?;
/// assert_eq!(matrix.len(), 3);
/// assert_eq!(matrix.labels(), ["a", "b", "c"]);
/// assert_eq!(matrix.get(0, 1), 100.0);
/// assert_eq!(matrix.both_ways(0, 1), 120.0);
/// # Ok::<(), vttif::MatrixError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficMatrix {
    labels: Vec<String>,
    /// Row by row.
    entries: Vec<f64>,
}

/// A matrix that can't be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixError {
    /// There are more vertices than [`MAX_VERTICES`].
    #[error("the matrix has more than {MAX_VERTICES} vertices; infer from a part of it")]
    TooManyVertices,
    /// An index is out of range.
    #[error("vertex {vertex} does not exist: the matrix has {vertices}, numbered from 0")]
    NoVertex {
        /// The index.
        vertex: usize,
        /// The number of vertices.
        vertices: usize,
    },
    /// An amount is negative, above [`MAX_AMOUNT`] or not a number.
    #[error(
        "the traffic from {source_label} to {destination} is {amount}, but must be between 0 and {MAX_AMOUNT:e}"
    )]
    Amount {
        /// The sender's label.
        source_label: String,
        /// The receiver's label.
        destination: String,
        /// The amount.
        amount: f64,
    },
    /// A line of a CSV text is not `source,destination,bytes`.
    #[error("line {line}: {why}")]
    Csv {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what was expected.
        why: String,
    },
}

impl TryFrom<&TrafficView> for TrafficMatrix {
    type Error = MatrixError;

    /// The rates of a view, in bytes per second; addresses are the labels.
    fn try_from(view: &TrafficView) -> Result<Self, MatrixError> {
        let mut matrix = Self::with_labels(view.vertices.iter().map(MacAddr::to_string).collect())?;
        for (source, destination, rate) in &view.rates {
            matrix.add(*source as usize, *destination as usize, *rate)?;
        }
        Ok(matrix)
    }
}

impl TrafficMatrix {
    /// A matrix of `vertices` that send nothing, labelled with their numbers from 0.
    pub fn new(vertices: usize) -> Result<Self, MatrixError> {
        Self::with_labels((0..vertices).map(|v| v.to_string()).collect())
    }

    /// A matrix of vertices with these labels that send nothing.
    pub fn with_labels(labels: Vec<String>) -> Result<Self, MatrixError> {
        if labels.len() > MAX_VERTICES {
            return Err(MatrixError::TooManyVertices);
        }
        let entries = vec![0.0; labels.len() * labels.len()];
        Ok(Self { labels, entries })
    }

    /// A matrix from (source, destination, amount) by label. Vertices are in
    /// the order of their labels, numbers at the end as numbers: `vm9` comes
    /// before `vm10`. Amounts of the same pair add up, and what somebody sends
    /// to itself is left out.
    pub fn from_entries<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str, f64)>,
    ) -> Result<Self, MatrixError> {
        let mut index: HashMap<&str, usize> = HashMap::new();
        let mut labels = Vec::new();
        let mut list = Vec::new();
        for (source, destination, amount) in entries {
            let [source, destination] = [source, destination].map(|label| {
                *index.entry(label).or_insert_with(|| {
                    labels.push(label);
                    labels.len() - 1
                })
            });
            if labels.len() > MAX_VERTICES {
                return Err(MatrixError::TooManyVertices);
            }
            list.push((source, destination, amount));
        }
        let mut order: Vec<usize> = (0..labels.len()).collect();
        order.sort_by_key(|v| natural(labels[*v]));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        let mut matrix = Self::with_labels(order.iter().map(|v| labels[*v].to_owned()).collect())?;
        for (source, destination, amount) in list {
            matrix.add(place[source], place[destination], amount)?;
        }
        Ok(matrix)
    }

    /// Reads lines of `source,destination,bytes`; the first may be that
    /// heading. Empty lines and lines that begin with `#` are skipped.
    pub fn from_csv(text: &str) -> Result<Self, MatrixError> {
        let mut entries = Vec::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        let mut is_first = true;
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let error = |why: String| MatrixError::Csv { line: number, why };
            let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
            let [source, destination, amount] = fields[..] else {
                let why = format!("{} fields, but source,destination,bytes are expected", fields.len());
                return Err(error(why));
            };
            let is_heading = is_first && amount.parse::<f64>().is_err();
            is_first = false;
            if is_heading {
                continue;
            }
            if source.is_empty() || destination.is_empty() {
                return Err(error("the source or the destination is empty".to_owned()));
            }
            let shown = || amount.chars().take(40).collect::<String>();
            let amount = match amount.parse::<f64>() {
                Ok(amount) if (0.0..=MAX_AMOUNT).contains(&amount) => amount,
                _ => return Err(error(format!("`{}` is not a number of bytes (0 or more)", shown()))),
            };
            entries.push((source, destination, amount));
        }
        Self::from_entries(entries)
    }

    /// Adds to what `source` sends to `destination`.
    pub fn add(&mut self, source: usize, destination: usize, amount: f64) -> Result<(), MatrixError> {
        let vertices = self.len();
        if let Some(vertex) = [source, destination].into_iter().find(|vertex| *vertex >= vertices) {
            return Err(MatrixError::NoVertex { vertex, vertices });
        }
        let entry = &mut self.entries[source * vertices + destination];
        let sum = *entry + amount;
        if !(amount >= 0.0 && sum <= MAX_AMOUNT) {
            let [source_label, destination] = [source, destination].map(|v| self.labels[v].clone());
            return Err(MatrixError::Amount { source_label, destination, amount });
        }
        if source != destination {
            *entry = sum;
        }
        Ok(())
    }

    /// Sets an entry that the caller knows to be in range; others are left as they are.
    pub(crate) fn set(&mut self, source: usize, destination: usize, amount: f64) {
        let vertices = self.len();
        if source < vertices && destination < vertices && source != destination {
            self.entries[source * vertices + destination] =
                if amount > 0.0 { amount.min(MAX_AMOUNT) } else { 0.0 };
        }
    }

    /// The number of vertices.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Are there no vertices?
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The vertices' labels.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What `source` sends to `destination`; 0 for a vertex that isn't there.
    pub fn get(&self, source: usize, destination: usize) -> f64 {
        let vertices = self.len();
        if source < vertices && destination < vertices {
            self.entries[source * vertices + destination]
        } else {
            0.0
        }
    }

    /// What two vertices send each other.
    pub fn both_ways(&self, a: usize, b: usize) -> f64 {
        self.get(a, b) + self.get(b, a)
    }

    /// All that is sent.
    pub fn total(&self) -> f64 {
        self.entries.iter().sum()
    }

    /// The largest entry.
    pub fn max(&self) -> f64 {
        self.entries.iter().fold(0.0, |max, entry| entry.max(max))
    }

    /// The entries that aren't 0: (source, destination, amount), row by row.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let vertices = self.len();
        let all = self.entries.iter().enumerate();
        all.filter(|(_, amount)| **amount > 0.0).map(move |(i, amount)| (i / vertices, i % vertices, *amount))
    }
}

/// A key that orders texts as people do: the text, then the number at its end.
fn natural(label: &str) -> (&str, u64, &str) {
    let text = label.trim_end_matches(|c: char| c.is_ascii_digit());
    (text, label[text.len()..].parse().unwrap_or(0), label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let matrix = TrafficMatrix::from_csv("10,9,5\n9,10,1\n").unwrap();
        assert_eq!(matrix.labels(), ["9", "10"]);
        let other = TrafficMatrix::from_csv("vm10,vm9,5\nvm9,proxy,1\nvm9,010,1\n").unwrap();
        assert_eq!(other.labels(), ["010", "proxy", "vm9", "vm10"]);
        assert_eq!(matrix.entries().collect::<Vec<_>>(), [(0, 1, 1.0), (1, 0, 5.0)]);
    }

    #[test]
    fn errors_name_the_line_and_what_was_expected() {
        let error = |text: &str| TrafficMatrix::from_csv(text).unwrap_err().to_string();
        assert_eq!(error("a,b,1\n\na,b\n"), "line 3: 2 fields, but source,destination,bytes are expected");
        assert_eq!(error("a,b,1\na,b,-1\n"), "line 2: `-1` is not a number of bytes (0 or more)");
        assert_eq!(error("a,b,1\na,b,NaN\n"), "line 2: `NaN` is not a number of bytes (0 or more)");
        assert_eq!(error("a,b,-inf"), "line 1: `-inf` is not a number of bytes (0 or more)");
        assert_eq!(error("a,b,1\n,b,1\n"), "line 2: the source or the destination is empty");
        let many: String = (0..=MAX_VERTICES).map(|v| format!("0,{v},1\n")).collect();
        assert_eq!(TrafficMatrix::from_csv(&many), Err(MatrixError::TooManyVertices));
    }

    #[test]
    fn amounts_that_overflow_are_refused() {
        let mut matrix = TrafficMatrix::new(2).unwrap();
        matrix.add(0, 1, MAX_AMOUNT).unwrap();
        assert!(matches!(matrix.add(0, 1, MAX_AMOUNT), Err(MatrixError::Amount { .. })));
        assert!(matches!(matrix.add(0, 2, 1.0), Err(MatrixError::NoVertex { vertex: 2, vertices: 2 })));
        assert_eq!(matrix.get(0, 1), MAX_AMOUNT);
        assert!(matrix.total().is_finite());
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_without_panic(text in "[0-9a,\"\n\r.e-]{0,200}") {
            if let Ok(matrix) = TrafficMatrix::from_csv(&text) {
                prop_assert!(matrix.entries().all(|(a, b, amount)| a != b && amount > 0.0 && amount.is_finite()));
            }
        }
    }
}
