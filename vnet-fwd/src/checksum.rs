//! The Internet checksum (RFC 1071), for frames that a device hands over before
//! it has filled theirs in.

/// Fills in the checksum at `start + offset` of `frame` over everything from
/// `start` on. The field holds the sum of the pseudo-header, as Linux leaves it
/// for the device to complete. `None`: there is no such field.
pub(crate) fn complete(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let sum = fold(frame.get(start..)?);
    let field = frame.get_mut(start + offset..)?.first_chunk_mut::<2>()?;
    // Zero would say that there is no checksum (RFC 768); its other form doesn't.
    *field = match !sum {
        0 => [0xff, 0xff],
        checksum => checksum.to_be_bytes(),
    };
    Some(())
}

/// The ones' complement sum of `bytes` as 16-bit integers.
fn fold(bytes: &[u8]) -> u16 {
    let mut words = bytes.chunks_exact(2);
    let mut sum: u64 = words.by_ref().map(|w| u64::from(u16::from_be_bytes([w[0], w[1]]))).sum();
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What a receiver checks: the sum over everything, the pseudo-header
        /// and the checksum included, is all ones.
        #[test]
        fn a_receiver_accepts_it(
            mut frame in proptest::collection::vec(any::<u8>(), 40..200),
            start in 14_usize..30, offset in 0_usize..4, pseudo: u16,
        ) {
            let offset = offset * 2; // as in all protocols
            frame[start + offset..][..2].copy_from_slice(&pseudo.to_be_bytes());
            complete(&mut frame, start, offset).unwrap();
            let with_pseudo = u32::from(fold(&frame[start..])) + u32::from(pseudo);
            let folded = (with_pseudo & 0xffff) + (with_pseudo >> 16);
            prop_assert_eq!(folded, 0xffff);
        }

        #[test]
        fn a_field_outside_of_the_frame_is_refused(
            mut frame in proptest::collection::vec(any::<u8>(), 0..60), start in 0_usize..80, offset in 0_usize..80,
        ) {
            let fits = start <= frame.len() && start + offset + 2 <= frame.len();
            prop_assert_eq!(complete(&mut frame, start, offset).is_some(), fits);
        }
    }

    /// The example of RFC 1071, section 3.
    #[test]
    fn sums_as_the_standard_does() {
        assert_eq!(fold(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
