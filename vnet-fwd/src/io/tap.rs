//! TAP devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::open::OpenError;
use super::port::Port;
use super::sys;

const TUN: &str = "/dev/net/tun";

/// The user's end of a TAP device: whole frames, checksums filled in and
/// segmented by the kernel, since no offload is asked for.
pub(crate) struct TapPort {
    file: File,
}

impl TapPort {
    /// Attaches to the TAP device in this thread's network namespace. Without
    /// `create` it must exist.
    pub(crate) fn open(device: &str, create: bool) -> Result<Self, OpenError> {
        let index = sys::device_index(device);
        if index.is_none() && !create {
            return Err(OpenError::NoDevice { device: device.to_owned() });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(TUN)
            .map_err(|source| OpenError::NoTun { source })?;
        sys::attach_tap(&file, device).map_err(|source| OpenError::attaching(device, source))?;
        if !create && sys::device_index(device) != index {
            // The device went away after the first look, and attaching has made
            // another, which goes with the file.
            return Err(OpenError::NoDevice { device: device.to_owned() });
        }
        if index.is_none() {
            sys::set_device_up(device).map_err(|source| OpenError::Refused {
                device: device.to_owned(),
                what: "taking it up",
                source,
            })?;
        }
        Ok(Self { file })
    }
}

impl Port for TapPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write(frame).map(|_| ())
    }
}
