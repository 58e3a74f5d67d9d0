//! Packet sockets on existing devices.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::open::OpenError;
use super::port::Port;
use super::sys;
use crate::checksum;
use crate::stats::{DropReason, Drops};

/// Where a VLAN tag stands in a frame: behind the addresses.
const VLAN_AT: usize = 12;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is still to be filled in.
const NEEDS_CHECKSUM: u8 = 1;

/// A packet socket (`packet(7)`), promiscuous, on one device.
///
/// A virtual device may hand over frames whose checksum is still to be filled
/// in, which is done here, and frames that are still to be cut into segments,
/// which are dropped and counted as `unsegmented`: turn segmentation offload off
/// on the device (`ethtool -K DEVICE tso off gso off gro off`).
pub(crate) struct PacketPort {
    socket: File,
    unsegmented: u64,
}

impl PacketPort {
    /// Opens the device in this thread's network namespace.
    pub(crate) fn open(device: &str) -> Result<Self, OpenError> {
        let named = || device.to_owned();
        let index = sys::device_index(device).ok_or_else(|| OpenError::NoDevice { device: named() })?;
        let refused = |what| move |source| OpenError::Refused { device: device.to_owned(), what, source };
        if !sys::is_device_up(device).map_err(refused("asking for its state"))? {
            return Err(OpenError::DeviceDown { device: named() });
        }
        let socket = sys::packet_socket(index).map_err(refused("opening a packet socket on it"))?;
        Ok(Self { socket, unsegmented: 0 })
    }
}

impl Port for PacketPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut offload = [0; sys::OFFLOAD_HEADER];
            let (length, vlan) = sys::receive_packet(&self.socket, &mut offload, buffer)?;
            let [flags, segmentation, _, _, _, _, s0, s1, o0, o1] = offload;
            if segmentation != 0 {
                self.unsegmented += 1;
                continue;
            }
            if flags & NEEDS_CHECKSUM != 0 {
                let (start, offset) = (u16::from_ne_bytes([s0, s1]), u16::from_ne_bytes([o0, o1]));
                // A field outside of the frame is the kernel's mistake; the
                // receiver finds the checksum wrong.
                let _ = checksum::complete(&mut buffer[..length], start.into(), offset.into());
            }
            return Ok(match vlan {
                Some(tag) if length >= VLAN_AT && length + tag.len() <= buffer.len() => {
                    buffer.copy_within(VLAN_AT..length, VLAN_AT + tag.len());
                    buffer[VLAN_AT..][..tag.len()].copy_from_slice(&tag);
                    length + tag.len()
                }
                _ => length,
            });
        }
    }

    fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let offload = [0; sys::OFFLOAD_HEADER];
        self.socket.write_vectored(&[IoSlice::new(&offload), IoSlice::new(frame)]).map(|_| ())
    }

    fn take_drops(&mut self, drops: &mut Drops) {
        drops.add(DropReason::Unsegmented, std::mem::take(&mut self.unsegmented));
    }
}
