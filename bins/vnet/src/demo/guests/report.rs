//! What the application in guests reports: lines on their serial lines, between others, by
//! clocks of their own.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use anyhow::Context;
use patterns::report::{Moment, Record, Throughput};
use vnet_core::InterfaceName;

use super::Clock;
use crate::demo::machines::Work;

/// What a report's lines begin with.
const BEGIN: &str = "{\"kind\"";

/// From how many records the difference of two clocks is taken: few enough to follow a clock
/// that stood still while its guest moved.
const CLOCK_RECORDS: usize = 16;

/// The ranks of the application, one in each guest.
pub(super) struct Ranks {
    clock: Clock,
    ranks: Vec<Rank>,
    throughput: Throughput,
    failures: Vec<String>,
}

struct Rank {
    vm: InterfaceName,
    /// One at each host where the guest may be.
    consoles: Vec<Console>,
    /// How much later the host's clock is than the guest's, in nanoseconds, of the last records.
    /// The least is the truest: the others were longer on their way.
    differences: VecDeque<u64>,
    /// The moment of the last record, by the host's clock.
    last_ns: u64,
    started_ns: Option<u64>,
}

/// What a guest has written to its serial line at one host.
struct Console {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
}

impl Ranks {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, ranks: Vec::new(), throughput: Throughput::new(0), failures: Vec::new() }
    }

    /// Adds a guest whose serial line is written to the first of these files that is there.
    pub(super) fn add(&mut self, vm: InterfaceName, consoles: Vec<PathBuf>) {
        let console = |path| Console { path, file: None, partial: Vec::new() };
        let consoles = consoles.into_iter().map(console).collect();
        self.ranks.push(Rank { vm, consoles, differences: VecDeque::new(), last_ns: 0, started_ns: None });
        self.throughput = Throughput::new(self.ranks.len());
    }
}

impl Work for Ranks {
    fn poll(&mut self) -> anyhow::Result<()> {
        let now = self.clock.ns(self.clock.now());
        for rank in &mut self.ranks {
            for mut record in rank.read().with_context(|| format!("read what {} reports", rank.vm))? {
                let at = moment(&mut record);
                at.monotonic_ns = rank.by_host_clock(at.monotonic_ns, now);
                match &record {
                    Record::Start(start) => rank.started_ns = Some(start.at.monotonic_ns),
                    Record::ConnectionLost(lost) => self
                        .failures
                        .push(format!("{} lost its connection to rank {}: {}", rank.vm, lost.peer, lost.why)),
                    _ => {}
                }
                self.throughput.add_record(&record);
            }
        }
        Ok(())
    }

    fn started_ns(&self) -> Option<u64> {
        let starts: Option<Vec<u64>> = self.ranks.iter().map(|rank| rank.started_ns).collect();
        starts?.into_iter().max()
    }

    fn first_started_ns(&self) -> Option<u64> {
        self.ranks.iter().filter_map(|rank| rank.started_ns).min()
    }

    fn throughput(&self) -> &Throughput {
        &self.throughput
    }

    fn failures(&self) -> &[String] {
        &self.failures
    }

    /// It ends with its guests.
    fn stop(&mut self) -> anyhow::Result<()> {
        self.poll()
    }
}

impl Rank {
    /// The records that have come since.
    fn read(&mut self) -> std::io::Result<Vec<Record>> {
        let mut records = Vec::new();
        for console in &mut self.consoles {
            console.read(&mut records)?;
        }
        Ok(records)
    }

    /// What the host's clock showed when the guest's showed `guest_ns`; never less than before, as
    /// counters of the application would seem to go back then.
    fn by_host_clock(&mut self, guest_ns: u64, now_ns: u64) -> u64 {
        if self.differences.len() == CLOCK_RECORDS {
            self.differences.pop_front();
        }
        self.differences.push_back(now_ns.saturating_sub(guest_ns));
        let by_host = guest_ns + self.differences.iter().min().copied().unwrap_or(0);
        self.last_ns = self.last_ns.max(by_host);
        self.last_ns
    }
}

impl Console {
    fn read(&mut self, records: &mut Vec<Record>) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                // The guest isn't there, or not yet.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        file.read_to_end(&mut self.partial)?;
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // Whatever else the guest says is not for us, and neither is a line that another one
            // has cut in two.
            let record = line.find(BEGIN).and_then(|at| serde_json::from_str(line[at..].trim()).ok());
            records.extend(record);
        }
        Ok(())
    }
}

fn moment(record: &mut Record) -> &mut Moment {
    match record {
        Record::Start(start) => &mut start.at,
        Record::Sample(sample) => &mut sample.at,
        Record::ConnectionLost(lost) => &mut lost.at,
        Record::ConnectionRestored(restored) => &mut restored.at,
        Record::Summary(summary) => &mut summary.total.at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_between_other_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        let sample = r#"{"kind":"sample","unix_ms":1,"monotonic_ns":5000,"rank":0,"iterations":3,"bytes_sent":1,"bytes_received":1,"connections_lost":0}"#;
        std::fs::write(&path, format!("tick 1\r\n{sample}\r\ntick 2\r\n{}", &sample[..20])).unwrap();
        let mut console = Console { path: path.clone(), file: None, partial: Vec::new() };
        let mut records = Vec::new();
        console.read(&mut records).unwrap();
        assert!(matches!(records[..], [Record::Sample(_)]), "{records:?}");
        let mut file = File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, format!("{}\r\n", &sample[20..]).as_bytes()).unwrap();
        console.read(&mut records).unwrap();
        assert_eq!(records.len(), 2);
    }

    #[test]
    fn the_quickest_of_the_last_records_tells_the_difference_of_the_clocks() {
        let vm = InterfaceName::new("vm1").unwrap();
        let mut rank =
            Rank { vm, consoles: Vec::new(), differences: VecDeque::new(), last_ns: 0, started_ns: None };
        assert_eq!(rank.by_host_clock(100, 1150), 1150);
        assert_eq!(rank.by_host_clock(200, 1210), 1210);
        assert_eq!(rank.by_host_clock(300, 1390), 1310);
        // Its clock stood still.
        for at in 0..CLOCK_RECORDS as u64 {
            rank.by_host_clock(400 + at, 2400 + at);
        }
        assert_eq!(rank.by_host_clock(500, 2505), 2500);
        // It stepped back.
        assert_eq!(rank.by_host_clock(400, 2405), 2500);
    }
}
