//! The engine in a program with ports of its own: frames as datagrams of Unix sockets.
use std::io;
use std::os::{fd::AsFd, fd::BorrowedFd, unix::net::UnixDatagram};

use vnet_core::{Action, Destination, HostName, InterfaceName, MacAddr, NetworkId, Rule, Source};
use vnet_fwd::{DataPlane, DataPlaneConfig, Port};

struct Datagrams(UnixDatagram);

#[rustfmt::skip]
impl Port for Datagrams {
    fn readiness(&self) -> BorrowedFd<'_> { self.0.as_fd() }
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> { self.0.recv(buffer) }
    fn send(&mut self, frame: &[u8]) -> io::Result<()> { self.0.send(frame).map(drop) }
}

fn main() -> anyhow::Result<()> {
    let plane = DataPlane::start(DataPlaneConfig::new(HostName::new("here")?))?;
    let (mut programs, network, source) = (Vec::new(), NetworkId(1), Source::Any);
    for n in [1, 2] {
        let (port, program) = UnixDatagram::pair()?;
        port.set_nonblocking(true)?;
        let name = InterfaceName::new(&format!("program{n}"))?;
        plane.add_port(name.clone(), network, Box::new(Datagrams(port)))?;
        let destination = Destination::Exact(MacAddr::local(n));
        plane.add_rule(network, Rule { source, destination, action: Action::Interface(name) })?;
        programs.push(program);
    }
    programs[0].send(&[&MacAddr::local(2).0[..], &MacAddr::local(1).0, &[0x88, 0xb5], b"hello"].concat())?;
    let mut frame = [0; 1514];
    let length = programs[1].recv(&mut frame)?;
    println!("{}", String::from_utf8_lossy(&frame[14..length]));
    Ok(())
}
