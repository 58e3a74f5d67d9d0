//! The readers behind the `vttif` program: traffic matrices and captures.
//!
//! ```
//! let text = r#"[{"source": "a", "destination": "b", "bytes": 10}]"#;
//! let matrix = vttif_cli::matrix_file::parse(text)?;
//! assert_eq!(matrix.labels(), ["a", "b"]);
//! # Ok::<(), vttif_cli::matrix_file::MatrixFileError>(())
//! ```
#![forbid(unsafe_code)]

pub mod capture;
pub mod matrix_file;
pub mod timeline;
