//! The migration agent: where every machine is, and all migrations by all users.

mod node;
mod program;
mod users;

pub(crate) use node::random_number;
pub use program::{main_from_env, run};
