//! What touches the kernel: TAP devices and processes.

pub(crate) mod process;
mod sys;
pub(crate) mod tap;
