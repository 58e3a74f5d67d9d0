//! The adaptation loop.
#![forbid(unsafe_code)]
pub mod decide;
pub mod execute;
pub mod figures;
pub mod inventory;
pub mod policy;
