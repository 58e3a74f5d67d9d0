//! The readers of `vttif`: traffic matrices and captures.

use ::vttif::{ClassifyOptions, classify};
use vttif_cli::capture::{self, CaptureError, Vertices};
use vttif_cli::matrix_file;

/// A matrix file: CSV or JSON.
pub fn matrix(bytes: &[u8]) {
    let matrix = match matrix_file::read(bytes) {
        Ok(matrix) => matrix,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?} is not one line");
            return;
        }
    };
    let mut total = 0.0;
    for (from, to, amount) in matrix.entries() {
        assert!(from < matrix.len() && to < matrix.len());
        assert!(amount.is_finite() && amount >= 0.0, "{amount}");
        total += amount;
    }
    assert!((total - matrix.total()).abs() <= 1e-6 * total, "{total} {}", matrix.total());
    // Larger ones take the fuzzer too long.
    if matrix.len() <= 32 {
        let found = classify(&matrix, &ClassifyOptions::default());
        assert!(!found.layers.is_empty() && !found.layers[0].names.is_empty());
        let share: f64 = found.layers.iter().map(|layer| layer.share).sum();
        assert!((0.0..=1.0 + 1e-9).contains(&share), "{share}");
    }
}

/// A capture: pcap or pcapng.
pub fn capture(bytes: &[u8]) {
    for vertices in [Vertices::Ethernet, Vertices::Ip] {
        let mut packets = 0;
        let read = capture::read::<CaptureError>(bytes, vertices, |packet| {
            assert_ne!(packet.source, packet.destination);
            packets += 1;
            Ok(())
        });
        match read {
            Ok(summary) => assert_eq!(summary.packets, packets + summary.other),
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && !text.contains('\n'), "{text:?} is not one line");
            }
        }
    }
}
