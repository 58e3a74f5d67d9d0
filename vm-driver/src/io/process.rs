//! Processes of monitors, which may be older than this one.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How often the end of a process is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// Starts a process that outlives this one, with its output added to `log`.
pub(crate) fn spawn(command: &mut Command, log: &Path) -> io::Result<Child> {
    let log = fs::File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).spawn()
}

/// Is there a process of this id, not only waiting to be collected, that has
/// `mark` among its arguments?
pub(crate) fn is_ours(pid: u32, mark: &str) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    state(pid).is_some_and(|state| state != 'Z')
        && arguments.split(|byte| *byte == 0).any(|word| contains(word, mark.as_bytes()))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len().max(1)).any(|window| window == part)
}

/// The state of a process, as in /proc/PID/stat.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it is in parentheses, and may have some of its own.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Sends a signal; a process that is gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match rustix::process::kill_process(pid, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => Ok(result?),
    }
}

/// Waits until `is_done`, but not longer than `patience`. Is it?
pub(crate) fn wait_until(patience: Duration, mut is_done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if is_done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(LOOK);
    }
}

/// Gives every thread of a process this nice value.
pub(crate) fn set_nice(pid: u32, nice: i32) -> io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = entry?.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        match rustix::process::setpriority_process(thread, nice) {
            // The thread has ended.
            Err(rustix::io::Errno::SRCH) => {}
            result => result?,
        }
    }
    Ok(())
}

/// The last lines of a log, for an error.
pub(crate) fn last_lines(path: &Path) -> String {
    const MOST: usize = 600;
    let text = fs::read(path).unwrap_or_default();
    let end = &text[text.len().saturating_sub(MOST)..];
    let shown: Vec<String> = String::from_utf8_lossy(end)
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    shown[shown.len().saturating_sub(4)..].join(" | ")
}
