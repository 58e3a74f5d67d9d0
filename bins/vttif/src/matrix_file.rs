//! Traffic matrices in files: CSV or JSON.
//!
//! CSV is `source,destination,bytes`, with or without that heading. JSON is one of
//!
//! - `[{"source": "a", "destination": "b", "bytes": 10}, ...]`
//! - `{"matrix": [[0, 10], [3, 0]], "labels": ["a", "b"]}`, labels optional
//! - what `vnet traffic --json` prints: `{"vertices": [...], "rates": [[0, 1, 10.0], ...], ...}`

use std::io::Read;

use serde::Deserialize;
use serde_json::Value;
use vttif::{MatrixError, TrafficMatrix};

/// The longest file, in bytes.
pub const MAX_FILE: u64 = 128 << 20;

/// A file that holds no matrix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MatrixFileError {
    /// It can't be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is longer than [`MAX_FILE`].
    #[error("the file is longer than {} MiB; infer from a part of it", MAX_FILE >> 20)]
    TooLong,
    /// It is no text.
    #[error("the file is not text (byte {at} is not UTF-8); for a capture, use `vttif capture`")]
    NotText {
        /// The first byte that isn't UTF-8.
        at: usize,
    },
    /// It is JSON, or meant to be, but holds no matrix.
    #[error("{0}; a matrix in JSON is {JSON_FORMS}")]
    Json(String),
    /// It is no matrix.
    #[error(transparent)]
    Matrix(#[from] MatrixError),
}

const JSON_FORMS: &str = "a list of {\"source\", \"destination\", \"bytes\"}, or {\"matrix\": rows} with or \
                          without \"labels\", or what `vnet traffic --json` prints";

/// Reads a whole matrix file.
pub fn read(input: impl Read) -> Result<TrafficMatrix, MatrixFileError> {
    let mut bytes = Vec::new();
    if input.take(MAX_FILE + 1).read_to_end(&mut bytes)? as u64 > MAX_FILE {
        return Err(MatrixFileError::TooLong);
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| MatrixFileError::NotText { at: error.utf8_error().valid_up_to() })?;
    parse(&text)
}

/// Reads a matrix from text: JSON if it begins with a bracket or brace, otherwise CSV.
pub fn parse(text: &str) -> Result<TrafficMatrix, MatrixFileError> {
    let matrix = match text.trim_start().chars().next() {
        Some('[' | '{') => parse_json(text)?,
        _ => TrafficMatrix::from_csv(text)?,
    };
    Ok(matrix)
}

fn parse_json(text: &str) -> Result<TrafficMatrix, MatrixFileError> {
    let value: Value = serde_json::from_str(text).map_err(json_error)?;
    match &value {
        Value::Array(_) => from_entries(value),
        Value::Object(fields) if fields.contains_key("matrix") => from_rows(value),
        Value::Object(fields) if fields.contains_key("rates") => from_rates(value),
        _ => Err(MatrixFileError::Json("the JSON holds no matrix".to_owned())),
    }
}

fn json_error(error: serde_json::Error) -> MatrixFileError {
    MatrixFileError::Json(error.to_string())
}

#[derive(Deserialize)]
struct Entry {
    source: Label,
    destination: Label,
    bytes: f64,
}

/// Labels may be numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Text(String),
    Number(u64),
}

impl Label {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

fn from_entries(value: Value) -> Result<TrafficMatrix, MatrixFileError> {
    let entries: Vec<Entry> = serde_json::from_value(value).map_err(json_error)?;
    let texts: Vec<(String, String, f64)> = entries
        .into_iter()
        .map(|entry| (entry.source.into_text(), entry.destination.into_text(), entry.bytes))
        .collect();
    let entries = texts.iter().map(|(source, destination, bytes)| (&**source, &**destination, *bytes));
    Ok(TrafficMatrix::from_entries(entries)?)
}

#[derive(Deserialize)]
struct Rows {
    matrix: Vec<Vec<f64>>,
    labels: Option<Vec<Label>>,
}

fn from_rows(value: Value) -> Result<TrafficMatrix, MatrixFileError> {
    let Rows { matrix: rows, labels } = serde_json::from_value(value).map_err(json_error)?;
    let vertices = rows.len();
    let labels = match labels {
        Some(labels) if labels.len() != vertices => {
            let why = format!("there are {} labels for {vertices} rows", labels.len());
            return Err(MatrixFileError::Json(why));
        }
        Some(labels) => labels.into_iter().map(Label::into_text).collect(),
        None => (0..vertices).map(|v| v.to_string()).collect(),
    };
    let mut matrix = TrafficMatrix::with_labels(labels)?;
    for (source, row) in rows.iter().enumerate() {
        if row.len() != vertices {
            let why = format!("row {source} has {} entries, but there are {vertices} rows", row.len());
            return Err(MatrixFileError::Json(why));
        }
        for (destination, bytes) in row.iter().enumerate() {
            matrix.add(source, destination, *bytes)?;
        }
    }
    Ok(matrix)
}

#[derive(Deserialize)]
struct Rates {
    vertices: Vec<Label>,
    rates: Vec<(usize, usize, f64)>,
}

fn from_rates(value: Value) -> Result<TrafficMatrix, MatrixFileError> {
    let Rates { vertices, rates } = serde_json::from_value(value).map_err(json_error)?;
    let mut matrix = TrafficMatrix::with_labels(vertices.into_iter().map(Label::into_text).collect())?;
    for (source, destination, rate) in rates {
        matrix.add(source, destination, rate)?;
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_forms_mean_the_same() {
        let csv = parse("source,destination,bytes\na,b,10\nb,a,3\n").unwrap();
        for text in [
            r#"[{"source": "a", "destination": "b", "bytes": 10}, {"source": "b", "destination": "a", "bytes": 3}]"#,
            r#" {"matrix": [[0, 10], [3, 0]], "labels": ["a", "b"]}"#,
            r#"{"vertices": ["a", "b"], "rates": [[0, 1, 10.0], [1, 0, 3.0]], "names": ["pairs"]}"#,
        ] {
            assert_eq!(parse(text).unwrap(), csv);
        }
        assert_eq!(parse(r#"{"matrix": [[0, 1], [0, 0]]}"#).unwrap().labels(), ["0", "1"]);
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let error = |text: &str| parse(text).unwrap_err().to_string();
        assert!(
            error("[1, 2").starts_with("EOF while parsing a list at line 1 column 5; a matrix in JSON is ")
        );
        assert!(error("{}").starts_with("the JSON holds no matrix; "));
        assert!(error(r#"{"matrix": [[0, 1]]}"#).starts_with("row 0 has 2 entries, but there are 1 rows"));
        assert!(error(r#"{"matrix": [[0]], "labels": []}"#).starts_with("there are 0 labels for 1 rows"));
        assert!(error(r#"[{"source": 1, "destination": 2}]"#).starts_with("missing field `bytes`"));
        assert_eq!(
            error(r#"{"matrix": [[0, -1], [0, 0]]}"#),
            "the traffic from 0 to 1 is -1, but must be between 0 and 1e100"
        );
        assert_eq!(
            error(r#"{"vertices": ["a"], "rates": [[0, 7, 1.0]]}"#),
            "vertex 7 does not exist: the matrix has 1, numbered from 0"
        );
        assert_eq!(
            read(&b"a,b\xff"[..]).unwrap_err().to_string(),
            "the file is not text (byte 3 is not UTF-8); for a capture, use `vttif capture`"
        );
    }

    #[test]
    fn endless_input_is_refused() {
        let error = read(std::io::repeat(b' ')).unwrap_err();
        assert_eq!(error.to_string(), "the file is longer than 128 MiB; infer from a part of it");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_fails_without_panic(text in r#"[\[{]?["\[\]{}:, a-z0-9.e-]{0,120}"#) {
            let _ = parse(&text);
        }
    }
}
