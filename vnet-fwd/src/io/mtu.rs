//! The MTU of an interface's device: so long that a frame fits one message of every
//! link whole, or what an operator wants.

use super::config::InterfaceMtu;
use super::port::Port;

/// What is known of the MTU of one device.
#[derive(Default)]
pub(crate) struct DeviceMtu {
    /// What its operator gave it.
    given: Option<u32>,
    /// What we have set.
    set: Option<u32>,
    /// What it is.
    current: Option<u32>,
    /// Why it is not what it should be.
    problem: String,
}

impl DeviceMtu {
    /// Sets the MTU of `port` by `policy`; `links` is what all links carry whole.
    pub(crate) fn apply(&mut self, port: &mut dyn Port, policy: InterfaceMtu, links: Option<u32>) {
        let Some(current) = port.mtu() else { return };
        if self.set != Some(current) {
            // It is new to us, or its operator has changed it since.
            self.given = Some(current);
        }
        self.current = Some(current);
        let given = self.given.unwrap_or(current);
        let wanted = match policy {
            InterfaceMtu::Leave => return,
            InterfaceMtu::Fixed(mtu) => mtu,
            InterfaceMtu::Follow => links.map_or(given, |links| links.min(given)),
        };
        self.problem.clear();
        if wanted == current {
            return;
        }
        match port.set_mtu(wanted) {
            Ok(()) => (self.set, self.current) = (Some(wanted), Some(wanted)),
            Err(error) => self.problem = format!("its MTU stays {current}, and should be {wanted}: {error}"),
        }
    }

    /// The MTU, and why it is not what it should be.
    pub(crate) fn status(&self) -> (Option<u32>, String) {
        (self.current, self.problem.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::BorrowedFd;

    use super::*;

    struct Device {
        mtu: u32,
        refuses: bool,
    }

    impl Port for Device {
        fn readiness(&self) -> BorrowedFd<'_> {
            unreachable!("nobody waits for it")
        }

        fn receive(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn send(&mut self, _frame: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn mtu(&self) -> Option<u32> {
            Some(self.mtu)
        }

        fn set_mtu(&mut self, mtu: u32) -> io::Result<()> {
            if self.refuses {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.mtu = mtu;
            Ok(())
        }
    }

    #[test]
    fn it_follows_the_links_and_never_exceeds_what_the_operator_gave() {
        let (mut mtu, mut device) = (DeviceMtu::default(), Device { mtu: 1500, refuses: false });
        for (links, expected) in
            [(None, 1500), (Some(1434), 1434), (Some(1280), 1280), (Some(8900), 1500), (None, 1500)]
        {
            mtu.apply(&mut device, InterfaceMtu::Follow, links);
            assert_eq!((device.mtu, mtu.status()), (expected, (Some(expected), String::new())));
        }
        mtu.apply(&mut device, InterfaceMtu::Follow, Some(1434));
        device.mtu = 1400; // by its operator
        mtu.apply(&mut device, InterfaceMtu::Follow, Some(1450));
        assert_eq!(device.mtu, 1400);
    }

    #[test]
    fn a_fixed_one_is_set_and_another_left() {
        let mut device = Device { mtu: 1500, refuses: false };
        DeviceMtu::default().apply(&mut device, InterfaceMtu::Leave, Some(1280));
        assert_eq!(device.mtu, 1500);
        DeviceMtu::default().apply(&mut device, InterfaceMtu::Fixed(9000), Some(1280));
        assert_eq!(device.mtu, 9000);
    }

    #[test]
    fn a_device_that_refuses_says_so_until_it_does_not() {
        let (mut mtu, mut device) = (DeviceMtu::default(), Device { mtu: 1500, refuses: true });
        mtu.apply(&mut device, InterfaceMtu::Follow, Some(1434));
        let (current, problem) = mtu.status();
        assert_eq!(current, Some(1500));
        assert!(problem.contains("1434"), "{problem}");
        device.refuses = false;
        mtu.apply(&mut device, InterfaceMtu::Follow, Some(1434));
        assert_eq!(mtu.status(), (Some(1434), String::new()));
    }
}
