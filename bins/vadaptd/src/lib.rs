//! The adaptation loop: VTTIF to VADAPT to VNET.
