//! TAP devices.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use smallvec::SmallVec;

use super::open::OpenError;
use super::port::Port;
use super::sys::{self, DeviceHandle};
use crate::offload::{OFFLOAD_HEADER, OffloadHeader, Offloads};

const TUN: &str = "/dev/net/tun";

/// The longest super-frame that we want: with all the headers of its segments it
/// just fits one run of datagrams (65,507 bytes), for segments of about 1400.
const SUPER_FRAME: u32 = 60_000;

/// The user's end of a TAP device, with the virtio-net header in front of each
/// frame, so that the kernel hands over and takes super-frames; or without, where
/// it has no such header or an operator doesn't want it.
pub(crate) struct TapPort {
    file: File,
    device: DeviceHandle,
    has_header: bool,
    offloads: Offloads,
}

impl TapPort {
    /// Attaches to the TAP device in this thread's network namespace. Without
    /// `create` it must exist.
    pub(crate) fn open(device: &str, create: bool, offload: bool) -> Result<Self, OpenError> {
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
        let attached = sys::attach_tap(&file, device, offload);
        attached.map_err(|source| OpenError::attaching(device, source))?;
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
        if offload
            && let Some(index) = sys::device_index(device)
            && let Err(error) = sys::limit_super_frames(index, SUPER_FRAME)
        {
            // They then go as two runs, one of them short.
            tracing::debug!(device, %error, "the kernel doesn't limit the length of super-frames");
        }
        let handle = DeviceHandle::new(device).map_err(|source| OpenError::Refused {
            device: device.to_owned(),
            what: "keeping hold of it",
            source,
        })?;
        Ok(Self { offloads: best_offloads(&file, offload), has_header: offload, file, device: handle })
    }
}

/// Asks the kernel to leave as much undone as it can; some of it is missing in
/// older kernels.
fn best_offloads(file: &File, wanted: bool) -> Offloads {
    let none = Offloads::default();
    let all = Offloads { checksum: true, tcp: true, udp: true };
    let choices = if wanted { &[all, Offloads { udp: false, ..all }][..] } else { &[] };
    let taken = choices.iter().find(|offloads| sys::set_tap_offloads(file, **offloads).is_ok());
    taken.copied().unwrap_or_else(|| {
        // A device that outlives its readers keeps what the last one asked for.
        // This fails only where there is nothing to keep.
        let _ = sys::set_tap_offloads(file, none);
        none
    })
}

impl Port for TapPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive_offloaded(buffer).map(|(length, _)| length)
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        self.send_offloaded(&OffloadHeader::default(), &[IoSlice::new(frame)])
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn mtu(&self) -> Option<u32> {
        self.device.mtu().ok()
    }

    fn set_mtu(&mut self, mtu: u32) -> io::Result<()> {
        self.device.set_mtu(mtu)
    }

    fn receive_offloaded(&mut self, buffer: &mut [u8]) -> io::Result<(usize, OffloadHeader)> {
        if !self.has_header {
            return self.file.read(buffer).map(|length| (length, OffloadHeader::default()));
        }
        let mut header = [0; OFFLOAD_HEADER];
        let parts = &mut [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let length = self.file.read_vectored(parts)?;
        Ok((length.saturating_sub(OFFLOAD_HEADER), OffloadHeader::from_device(&header)))
    }

    fn send_offloaded(&mut self, left: &OffloadHeader, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.has_header {
            return self.file.write_vectored(parts).map(|_| ());
        }
        let header = left.to_device();
        let mut all: SmallVec<[IoSlice<'_>; 96]> = SmallVec::from_iter([IoSlice::new(&header)]);
        all.extend_from_slice(parts);
        self.file.write_vectored(&all).map(|_| ())
    }
}
