//! DELTA.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use vmmp::delta::receive::Durability;
use vmmp::delta::{receive, send};
use vmmp::io::channel::{Channel, Keys};

use super::images::{Case, Images};
use super::network::{ADDRESSES, Network};
use super::{Server, run};

const PORT: u16 = 7800;

/// One end of a transfer.
#[derive(Args)]
pub struct End {
    /// Which
    side: Side,
    /// The address of the origin
    address: SocketAddr,
    /// The file
    file: PathBuf,
    /// A file with the keys of both sides
    keys: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Origin,
    Destination,
}

impl End {
    /// Runs it: the origin for ever, the destination once.
    pub fn run(&self) -> anyhow::Result<()> {
        let keys = fs::read(&self.keys)?;
        let key = |i: usize| keys.as_chunks::<32>().0.get(i).copied().context("too few keys");
        let origin = Keys { private: key(0)?, public: key(1)? };
        let destination = Keys { private: key(2)?, public: key(3)? };
        match self.side {
            Side::Origin => {
                let listener = TcpListener::bind(self.address)?;
                loop {
                    let (stream, _) = listener.accept()?;
                    let mut channel = Channel::accept(stream, &origin, &[destination.public])?;
                    send(&self.file, &mut channel, &mut |_| {})?;
                }
            }
            Side::Destination => {
                let mut channel =
                    Channel::connect(TcpStream::connect(self.address)?, &destination, &origin.public)?;
                let report = receive(&self.file, &mut channel, Durability::File, &mut |_| {})?;
                writeln!(std::io::stdout(), "{}", report.wire_bytes)?;
                Ok(())
            }
        }
    }
}

/// An origin that serves, and what a destination needs.
pub struct Ours<'a> {
    network: &'a Network,
    keys: tempfile::NamedTempFile,
    _origin: Server,
}

impl<'a> Ours<'a> {
    /// Starts the origin.
    pub fn start(network: &'a Network, images: &Images) -> anyhow::Result<Self> {
        let mut keys = tempfile::NamedTempFile::new()?;
        for pair in [Keys::generate()?, Keys::generate()?] {
            keys.write_all(&[pair.private, pair.public].concat())?;
        }
        let mut command = network.command(0, &program()?);
        command
            .args(["end", "origin", &format!("{}:{PORT}", ADDRESSES[0])])
            .arg(images.origin())
            .arg(keys.path());
        let origin = Server::start(&mut command)?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { network, keys, _origin: origin })
    }

    /// Transfers the file; how long it took, and how many bytes have crossed.
    pub fn transfer(&self, images: &Images, case: Case) -> anyhow::Result<(Duration, u64)> {
        images.reset(case)?;
        let mut command = self.network.command(1, &program()?);
        command
            .args(["end", "destination", &format!("{}:{PORT}", ADDRESSES[0])])
            .arg(images.destination())
            .arg(self.keys.path());
        let begun = Instant::now();
        let wire = run(&mut command)?;
        let took = begun.elapsed();
        images.check()?;
        Ok((took, wire.trim().parse()?))
    }
}

fn program() -> anyhow::Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}
