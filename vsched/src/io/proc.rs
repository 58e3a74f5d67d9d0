//! Processes and threads as `/proc` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use crate::mechanism::Process;

/// What `/proc/PID/stat` says of a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The state: `R` running, `S` sleeping, `T` stopped, `Z` dead, and others.
    pub state: char,
    /// The parent process.
    pub parent: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// The process with this number, if it lives.
pub fn process(pid: u32) -> io::Result<Process> {
    let stat = stat(pid)?;
    if matches!(stat.state, 'Z' | 'X') {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {pid} has ended")));
    }
    Ok(Process { pid, started: stat.started })
}

/// Whether the process still lives, and is not another one with the same number.
pub fn is_alive(process: &Process) -> bool {
    self::process(process.pid).is_ok_and(|now| now == *process)
}

/// What is known of a process.
pub fn stat(pid: u32) -> io::Result<Stat> {
    read_stat(&format!("/proc/{pid}/stat"))
}

fn read_stat(path: &str) -> io::Result<Stat> {
    let text = fs::read_to_string(path)?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}")))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The second field is a name in parentheses, which may itself contain any.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started })
}

/// The threads of a process.
pub fn threads(pid: u32) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.collect())
}

/// The name of a thread.
pub fn thread_name(pid: u32, tid: u32) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm"))?.trim_end().to_owned())
}

/// CPU time of a thread, in ns. (The clock of a thread can't be read from another process.)
pub fn thread_cpu(pid: u32, tid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/task/{tid}/schedstat");
    let text = fs::read_to_string(&path)?;
    let used = text.split_whitespace().next().and_then(|field| field.parse().ok());
    used.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}")))
}

/// `roots` that live and all their descendants.
pub fn tree(roots: &[Process]) -> Vec<Process> {
    let mut found: BTreeSet<Process> = roots.iter().copied().filter(is_alive).collect();
    let mut new: Vec<Process> = found.iter().copied().collect();
    let mut by_parent = None;
    while let Some(parent) = new.pop() {
        let children = match children(parent.pid) {
            Some(children) => children,
            None => by_parent.get_or_insert_with(all_by_parent).get(&parent.pid).cloned().unwrap_or_default(),
        };
        let children = children.into_iter().filter_map(|pid| process(pid).ok());
        new.extend(children.filter(|child| found.insert(*child)));
    }
    found.into_iter().collect()
}

/// The children of all threads; `None`: the kernel doesn't tell (`CONFIG_PROC_CHILDREN`).
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut found = Vec::new();
    let threads = threads(pid).ok()?;
    for tid in &threads {
        let path = format!("/proc/{pid}/task/{tid}/children");
        match fs::read_to_string(&path) {
            Ok(text) => found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            Err(_)
                if Path::new("/proc/self/task").exists()
                    && !Path::new("/proc/thread-self/children").exists() =>
            {
                return None;
            }
            // The thread has ended.
            Err(_) => {}
        }
    }
    Some(found)
}

fn all_by_parent() -> BTreeMap<u32, Vec<u32>> {
    let mut by_parent: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return by_parent };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for (pid, stat) in pids.filter_map(|pid| Some((pid, stat(pid).ok()?))) {
        by_parent.entry(stat.parent).or_default().push(pid);
    }
    by_parent
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn names_in_parentheses_do_no_harm() {
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let text = format!("7 (a) b (c) S {}", fields.join(" "));
        assert_eq!(parse_stat(&text), Some(Stat { state: 'S', parent: 4, started: 22 }));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[test]
    fn descendants_are_found() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'sleep 100; :' & echo up; read x"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 3];
        io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut line).unwrap();
        let root = process(shell.id()).unwrap();
        let found = (0..200)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                tree(&[root])
            })
            .find(|tree| tree.len() >= 3);
        for member in found.iter().flatten() {
            let _ = super::super::sys::kill(member.pid, libc::SIGKILL);
        }
        let _ = shell.wait();
        assert!(found.is_some_and(|tree| tree.contains(&root)));
        assert!(!is_alive(&root));
        assert_eq!(tree(&[root]), []);
    }
}
