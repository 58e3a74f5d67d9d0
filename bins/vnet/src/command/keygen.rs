//! `vnet keygen`: keys of daemons.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use vnet_core::PublicKey;
use vnet_fwd::PrivateKey;

use crate::cli::Global;
use crate::output;

/// Make a key for a daemon, or show the public key of one
///
/// A daemon without a key makes one itself when it starts for the first time, in
/// its state directory. The private key is for the daemon's host alone; the
/// public key is for `vnet peer add` on the others.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vnet keygen /etc/vnetd/private.key            a new key; prints the public one
  vnet keygen --show /etc/vnetd/private.key     the public key of one that is there")]
pub(crate) struct Options {
    /// The file of the private key; a new one must not be there yet
    file: PathBuf,
    /// Make nothing: print the public key of this file
    #[arg(long)]
    show: bool,
}

#[derive(Serialize)]
struct Key {
    file: PathBuf,
    public_key: PublicKey,
}

pub(crate) fn run(global: &Global, options: Options) -> Result<()> {
    let key = if options.show {
        PrivateKey::load(&options.file)?
    } else {
        let key = PrivateKey::generate().context("the kernel gives no random numbers")?;
        key.store(&options.file)?;
        key
    };
    let key = Key { file: options.file, public_key: key.public() };
    output::show(global.json, &key, || format!("{}\n", key.public_key))
}
