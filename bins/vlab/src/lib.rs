//! A laboratory.
pub mod text;
pub mod wan;
