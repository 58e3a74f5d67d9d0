//! A VNC client of a few lines: as much of RFC 6143 as it takes to see a picture.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What a VNC client is shown.
#[derive(Debug)]
pub(super) struct Screen {
    /// In pixels.
    pub(super) width: u16,
    /// In pixels.
    pub(super) height: u16,
    /// What the server calls it.
    pub(super) name: String,
    /// How many bytes of a picture have come.
    pub(super) picture_bytes: usize,
}

/// Opens a screen as any VNC client does, without a password, and takes a picture.
pub(super) fn look(address: SocketAddr, patience: Duration) -> Result<Screen> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    // 7.1.1: versions.
    let greeting: [u8; 12] = read(&mut stream)?;
    if !greeting.starts_with(b"RFB 003.") {
        return Err(Error::other(format!("{address} greets with {greeting:?}")));
    }
    stream.write_all(b"RFB 003.008\n")?;
    // 7.1.2: kinds of security, of which 1 is none.
    let [count] = read(&mut stream)?;
    let mut kinds = vec![0; usize::from(count)];
    stream.read_exact(&mut kinds)?;
    if !kinds.contains(&1) {
        return Err(Error::other(format!("{address} wants security of the kinds {kinds:?}, not none")));
    }
    stream.write_all(&[1])?;
    if read(&mut stream)? != [0; 4] {
        return Err(Error::other(format!("{address} does not let us in")));
    }
    // 7.3.1, 7.3.2: we share it; the server says what it shows.
    stream.write_all(&[1])?;
    let [width, height] = [read(&mut stream)?, read(&mut stream)?].map(u16::from_be_bytes);
    let format: [u8; 16] = read(&mut stream)?;
    let mut name = vec![0; u32::from_be_bytes(read(&mut stream)?).min(1024) as usize];
    stream.read_exact(&mut name)?;
    // 7.5.2, 7.5.3: pixels as they are (encoding 0), all of them.
    stream.write_all(&[2, 0, 0, 1, 0, 0, 0, 0])?;
    let [[a, b], [c, d]] = [width, height].map(u16::to_be_bytes);
    stream.write_all(&[3, 0, 0, 0, 0, 0, a, b, c, d])?;
    // 7.6.1: an update, and its first rectangle.
    let [kind, _] = read(&mut stream)?;
    let rectangles = u16::from_be_bytes(read(&mut stream)?);
    if (kind, rectangles > 0) != (0, true) {
        return Err(Error::other(format!("{address} answers with message {kind}, {rectangles} rectangles")));
    }
    let [_, _, wide, high] = [(); 4].map(|()| read(&mut stream));
    let pixels = usize::from(u16::from_be_bytes(wide?)) * usize::from(u16::from_be_bytes(high?));
    let _encoding: [u8; 4] = read(&mut stream)?;
    let mut picture = vec![0; pixels * usize::from(format[0]) / 8];
    stream.read_exact(&mut picture)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    Ok(Screen { width, height, name, picture_bytes: picture.len() })
}

fn read<const N: usize>(stream: &mut TcpStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
