//! The Internet checksum (RFC 1071), for frames that a device hands over before
//! it has filled theirs in.

/// Fills in the checksum at `start + offset` of `frame` over everything from
/// `start` on. The field holds the sum of the pseudo-header, as Linux leaves it
/// for the device to complete. `None`: there is no such field.
pub(crate) fn complete(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let sum = sum(frame.get(start..)?);
    let field = frame.get_mut(start + offset..)?.first_chunk_mut::<2>()?;
    // Zero would say that there is no checksum (RFC 768); its other form doesn't.
    *field = match !sum {
        0 => [0xff, 0xff],
        checksum => checksum.to_be_bytes(),
    };
    Some(())
}

/// The ones' complement sum of `bytes` as 16-bit integers.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    // The sum does not depend on the byte order that it is taken in, but for
    // being swapped at the end (RFC 1071, section 2), nor on the width.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum += u64::from(u32::from_ne_bytes(last));
    u16::from_be_bytes(fold(sum).to_ne_bytes())
}

/// Folds a sum of 16-bit integers into one.
pub(crate) const fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the standard says it.
    fn naive(bytes: &[u8]) -> u16 {
        let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        bytes.chunks(2).map(word).fold(0, |sum, word| {
            let sum = sum + word;
            (sum & 0xffff) + (sum >> 16)
        }) as u16
    }

    proptest! {
        #[test]
        fn sums_as_the_naive_loop_does(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }

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
            let with_pseudo = u64::from(sum(&frame[start..])) + u64::from(pseudo);
            prop_assert_eq!(fold(with_pseudo), 0xffff);
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
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
