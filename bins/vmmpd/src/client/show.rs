//! What people see of a migration.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use vmmp::Progress;

/// A line on a terminal that grows with a migration.
pub(super) struct Bar {
    begun: Instant,
    is_shown: bool,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), is_shown: std::io::stderr().is_terminal() }
    }

    pub(super) fn show(&self, progress: Progress) {
        if self.is_shown {
            eprint!("\r\x1b[K{}", line(progress, self.begun.elapsed()));
            // A bar that can't be shown is no reason to stop.
            let _ = std::io::stderr().flush();
        }
    }

    pub(super) fn end(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// How far it is, how fast it goes and how long it will take.
pub(super) fn line(progress: Progress, since: Duration) -> String {
    const WIDTH: u64 = 30;
    let Progress { done, total, sent } = progress;
    let total = total.max(done).max(1);
    let filled = done.saturating_mul(WIDTH) / total;
    let bar: String = (0..WIDTH).map(|i| if i < filled { '#' } else { '.' }).collect();
    let seconds = since.as_secs_f64().max(1e-3);
    let rate = done as f64 / seconds;
    let left = match rate > 0.0 {
        true => format!("{:.0} s left", (total - done.min(total)) as f64 / rate),
        false => "waiting".to_owned(),
    };
    format!(
        "[{bar}] {:3} %  {:.1} of {:.1} MB, {:.1} MB sent, {:.1} MB/s, {left}",
        done.saturating_mul(100) / total,
        done as f64 / 1e6,
        total as f64 / 1e6,
        sent as f64 / 1e6,
        sent as f64 / 1e6 / seconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long() {
        let progress = Progress { done: 50_000_000, total: 100_000_000, sent: 20_000_000 };
        let line = line(progress, Duration::from_secs(5));
        assert_eq!(
            line,
            "[###############...............]  50 %  50.0 of 100.0 MB, 20.0 MB sent, 4.0 MB/s, 5 s left"
        );
        assert!(super::line(Progress::default(), Duration::ZERO).contains("waiting"));
    }
}
