//! The conformance suite against every driver of this crate.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use vm_driver::conformance::{self, Outcome, Report, Subject};
use vm_driver::qemu::guest::Guest;
use vm_driver::{
    Boot, DiskConfig, DiskFormat, Driver, DriverError, NicConfig, VmConfig, VmId, namespace, qemu, simulated,
};
use vnet_core::{MacAddr, NetworkId};

fn nic() -> NicConfig {
    // Tests of different processes may run at once, and its TAP is named after it.
    let mac = MacAddr::local(std::process::id());
    NicConfig { mac, network: NetworkId(1), attachment: vm_driver::Attachment::Tap }
}

fn disk(name: &str, format: DiskFormat) -> DiskConfig {
    DiskConfig { name: name.into(), bytes: 4 << 20, format, image: None }
}

/// All checks passed, and no more than these were skipped.
fn check(report: &Report, skipped: usize) {
    println!("{report}");
    assert!(report.passed(), "{report}");
    let found = report.checks.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Skipped(_))).count();
    assert_eq!(found, skipped, "{report}");
}

struct Simulated(simulated::Machine);

impl Subject for Simulated {
    fn open(&self, root: &Path) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(simulated::open(root, &self.0)?))
    }

    fn config(&self, id: &VmId) -> VmConfig {
        let disks = vec![disk("root", DiskFormat::Raw)];
        VmConfig { nics: vec![nic()], disks, ..VmConfig::new(id.clone(), 64 << 20) }
    }

    fn progress(&self, _: &dyn Driver, id: &VmId) -> u64 {
        self.0.ticks(id).unwrap_or(0)
    }

    fn pass_time(&self, time: Duration) {
        self.0.advance(time);
    }

    fn kill(&self, _: &dyn Driver, id: &VmId) {
        self.0.kill(id);
    }
}

#[test]
fn simulated() {
    let folder = tempfile::tempdir().unwrap();
    check(&conformance::run(&Simulated(simulated::Machine::new()), folder.path()), 1 + 4);
}

/// What the last line of a log that begins with `tick ` says.
fn ticks(log: &Path) -> u64 {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // The last line may be half of one.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let count = |line: &str| line.trim().strip_prefix("tick ")?.parse().ok();
    whole.lines().rev().find_map(count).unwrap_or(0)
}

/// `kill -9` of a VM's monitor; it is gone then.
fn kill(driver: &dyn Driver, id: &VmId) {
    let pid = driver.status(id).expect("it is known").pid.expect("it runs");
    let process = rustix::process::Pid::from_raw(pid.cast_signed()).expect("it is not 0");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it runs");
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !state().is_empty() && !state().contains(") Z ") {
        thread::sleep(Duration::from_millis(1));
    }
}

struct Namespace;

impl Subject for Namespace {
    fn open(&self, root: &Path) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(namespace::open(root)?))
    }

    fn config(&self, id: &VmId) -> VmConfig {
        let count = "trap 'exit 0' TERM; i=0; test -e /sys/class/net/lo || exit 3; \
                     while :; do i=$((i+1)); echo tick $i; sleep 0.01; done";
        let command = ["sh", "-c", count].map(str::to_owned).to_vec();
        let boot = Boot::Program { command };
        VmConfig { nics: vec![nic()], boot, ..VmConfig::new(id.clone(), 64 << 20) }
    }

    fn progress(&self, driver: &dyn Driver, id: &VmId) -> u64 {
        ticks(&driver.root().join(id.as_str()).join(namespace::LOG))
    }

    fn pass_time(&self, time: Duration) {
        thread::sleep(time);
    }

    fn kill(&self, driver: &dyn Driver, id: &VmId) {
        kill(driver, id);
    }
}

#[test]
fn namespaces() {
    let folder = tempfile::tempdir().unwrap();
    // No memory, no screen, no moving of suspended VMs.
    check(&conformance::run(&Namespace, folder.path()), 3);
}

struct Qemu(Guest);

impl Subject for Qemu {
    fn last_words(&self, driver: &dyn Driver, id: &VmId) -> String {
        let read = |name: &str| fs::read(driver.root().join(id.as_str()).join(name)).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        format!("{}\n{}", text(qemu::files::LOG), text(qemu::files::CONSOLE_LOG))
    }

    fn open(&self, root: &Path) -> Result<Box<dyn Driver>, DriverError> {
        Ok(Box::new(qemu::open(root, qemu::Options::default())?))
    }

    fn config(&self, id: &VmId) -> VmConfig {
        let disks = vec![disk("root", DiskFormat::Raw), disk("data", DiskFormat::Qcow2)];
        let nics = vec![nic()];
        let boot = self.0.boot(None, "scribble=1");
        VmConfig { nics, disks, boot, ..VmConfig::new(id.clone(), 128 << 20) }
    }

    fn progress(&self, driver: &dyn Driver, id: &VmId) -> u64 {
        ticks(&driver.root().join(id.as_str()).join(qemu::files::CONSOLE_LOG))
    }

    fn pass_time(&self, time: Duration) {
        thread::sleep(time);
    }

    fn kill(&self, driver: &dyn Driver, id: &VmId) {
        kill(driver, id);
    }
}

#[test]
fn real_qemu() {
    let folder = tempfile::tempdir().unwrap();
    check(&conformance::run(&Qemu(Guest::find().unwrap()), folder.path()), 0);
}
