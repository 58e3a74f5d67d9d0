//! Packet sockets on existing devices.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, BorrowedFd};

use smallvec::SmallVec;

use super::open::OpenError;
use super::port::Port;
use super::sys;
use crate::offload::{OFFLOAD_HEADER, OffloadHeader, Offloads};

/// Where a VLAN tag stands in a frame: behind the addresses.
const VLAN_AT: usize = 12;

/// Length of a VLAN tag.
const VLAN_TAG: u16 = 4;

/// A packet socket (`packet(7)`), promiscuous, on one device.
///
/// A virtual device may hand over frames whose checksum is still to be filled
/// in, and super-frames; the kernel takes both for any device.
pub(crate) struct PacketPort {
    socket: File,
    offloads: Offloads,
}

impl PacketPort {
    /// Opens the device in this thread's network namespace.
    pub(crate) fn open(device: &str, offload: bool) -> Result<Self, OpenError> {
        let named = || device.to_owned();
        let index = sys::device_index(device).ok_or_else(|| OpenError::NoDevice { device: named() })?;
        let refused = |what| move |source| OpenError::Refused { device: device.to_owned(), what, source };
        if !sys::is_device_up(device).map_err(refused("asking for its state"))? {
            return Err(OpenError::DeviceDown { device: named() });
        }
        let socket = sys::packet_socket(index).map_err(refused("opening a packet socket on it"))?;
        // (Datagrams of UDP only since 6.2, and there is no way to ask.)
        Ok(Self { socket, offloads: Offloads { checksum: offload, tcp: offload, udp: false } })
    }
}

impl Port for PacketPort {
    fn readiness(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
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

    fn receive_offloaded(&mut self, buffer: &mut [u8]) -> io::Result<(usize, OffloadHeader)> {
        let mut header = [0; OFFLOAD_HEADER];
        let (length, vlan) = sys::receive_packet(&self.socket, &mut header, buffer)?;
        let mut header = OffloadHeader::from_device(&header);
        Ok(match vlan {
            Some(tag) if length >= VLAN_AT && length + tag.len() <= buffer.len() => {
                buffer.copy_within(VLAN_AT..length, VLAN_AT + tag.len());
                buffer[VLAN_AT..][..tag.len()].copy_from_slice(&tag);
                if header != OffloadHeader::default() {
                    header.header_length = header.header_length.saturating_add(VLAN_TAG);
                    header.checksum_start = header.checksum_start.saturating_add(VLAN_TAG);
                }
                (length + tag.len(), header)
            }
            _ => (length, header),
        })
    }

    fn send_offloaded(&mut self, left: &OffloadHeader, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let header = left.to_device();
        let mut all: SmallVec<[IoSlice<'_>; 96]> = SmallVec::from_iter([IoSlice::new(&header)]);
        all.extend_from_slice(parts);
        self.socket.write_vectored(&all).map(|_| ())
    }
}
