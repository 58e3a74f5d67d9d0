//! However a laboratory ends, nothing of it stays.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal};
use vlab::{Lab, LabSpec, Machine};

use crate::who::Who;

/// Marks, in its environment, everything that a victim starts.
const MARK: &str = "VLAB_TEST_MARK";

/// Scenarios to be ended.
pub(crate) const VICTIMS: &[(&str, fn())] = &[
    ("victim-waits", victim_waits),
    ("victim-panics", victim_panics),
    ("victim-aborts", victim_aborts),
    ("victim-exits", victim_exits),
    ("victim-handles-term", victim_handles_term),
];

/// How a victim ends, and what its outer process returns then.
#[derive(Clone, Copy)]
enum End {
    /// By itself.
    Itself,
    /// By a signal to its outer process.
    Outer(Signal),
    /// By a signal to the process in the laboratory.
    Inner(Signal),
    /// By a signal to the laboratory's first process.
    Init(Signal),
    /// By a signal to the whole group, as from a terminal.
    Group(Signal),
}

/// What happens, to which victim, how, and how the outer process must end.
type Case = (&'static str, &'static str, End, fn(ExitStatus) -> bool);

pub(crate) fn trials() -> Vec<Trial> {
    let cases: [Case; 10] = [
        ("exit", "victim-exits", End::Itself, |s| s.code() == Some(42)),
        ("panic", "victim-panics", End::Itself, |s| s.code() == Some(101)),
        ("abort", "victim-aborts", End::Itself, |s| s.code() == Some(128 + 6)),
        ("kill_outer", "victim-waits", End::Outer(Signal::KILL), |s| s.signal() == Some(9)),
        ("kill_inner", "victim-waits", End::Inner(Signal::KILL), |s| s.code() == Some(128 + 9)),
        ("kill_init", "victim-waits", End::Init(Signal::KILL), |s| s.code() == Some(128 + 9)),
        ("terminate_outer", "victim-waits", End::Outer(Signal::TERM), |s| s.code() == Some(128 + 15)),
        ("interrupt_outer", "victim-waits", End::Outer(Signal::INT), |s| s.code() == Some(128 + 2)),
        ("interrupt_group", "victim-waits", End::Group(Signal::INT), |s| s.code() == Some(128 + 2)),
        ("terminate_ends_with_its_shell", "victim-handles-term", End::Outer(Signal::TERM), |s| {
            s.code() == Some(128 + 15)
        }),
    ];
    let mut trials = Vec::new();
    for who in Who::all() {
        for (name, victim, end, expected) in cases {
            trials.push(Trial::test(format!("{who}::nothing_stays_after::{name}"), move || {
                nothing_stays(who, victim, end, expected)
            }));
        }
    }
    trials
}

fn nothing_stays(who: Who, victim: &str, end: End, expected: fn(ExitStatus) -> bool) -> Result<(), Failed> {
    use std::os::unix::process::CommandExt;
    let mark = format!("{}-{:?}", std::process::id(), Instant::now());
    let mut command = who.command(victim);
    command.env(MARK, &mark).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut outer = command.process_group(0).spawn()?;

    // The victim says which network namespaces it has made.
    let mut line = String::new();
    BufReader::new(outer.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let namespaces: HashSet<String> = line.split_whitespace().map(str::to_owned).collect();
    if namespaces.len() < 17 {
        outer.kill()?;
        return Err(format!("the victim did not start: {line:?}").into());
    }
    end.bring(&outer)?;
    let status = wait(&mut outer)?;
    if !expected(status) {
        return Err(format!("the outer process ended with {status}").into());
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = leftovers(&mark, &namespaces);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("still there: {left:#?}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl End {
    fn bring(self, outer: &Child) -> Result<(), Failed> {
        let init = || child_of(outer.id().try_into()?);
        match self {
            Self::Itself => {}
            Self::Outer(signal) => rustix::process::kill_process(Pid::from_child(outer), signal)?,
            Self::Init(signal) => rustix::process::kill_process(init()?, signal)?,
            Self::Inner(signal) => {
                let inner = child_of(init()?.as_raw_nonzero().get())?;
                rustix::process::kill_process(inner, signal)?;
            }
            Self::Group(signal) => rustix::process::kill_process_group(Pid::from_child(outer), signal)?,
        }
        Ok(())
    }
}

/// The only child of a process.
fn child_of(pid: i32) -> Result<Pid, Failed> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path)?;
    let child = children.split_whitespace().next().and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    child.ok_or_else(|| format!("{path} is `{children}`").into())
}

fn wait(child: &mut Child) -> Result<ExitStatus, Failed> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    Err("the outer process does not end".into())
}

/// Processes with the mark, and whatever keeps one of the namespaces: a
/// process in it, a descriptor, or a mount.
fn leftovers(mark: &str, namespaces: &HashSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = process.path();
        let Some(_) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // All of this may vanish, or be none of our business, at any moment.
        let environment = fs::read(path.join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(mark) {
            left.push(format!("process {}", path.display()));
        }
        let descriptors = fs::read_dir(path.join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        for link in descriptors.chain([path.join("ns/net")]) {
            let target = fs::read_link(&link).unwrap_or_default();
            if namespaces.contains(&*target.to_string_lossy()) {
                left.push(format!("{} -> {}", link.display(), target.display()));
            }
        }
        let mounts = fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
        if mounts.split_whitespace().any(|word| namespaces.contains(word)) {
            left.push(format!("a mount of {}", path.display()));
        }
    }
    left
}

/// Builds a laboratory with processes that would stay for long, and says
/// which network namespaces there are.
fn build() -> Lab {
    let lab = Lab::build(&LabSpec::papers()).unwrap();
    let mut names: Vec<_> = lab.hosts().iter().map(|host| host.netns().path()).collect();
    names.extend(lab.vms().iter().map(|vm| vm.netns().path()));
    let namespaces: Vec<String> = names
        .iter()
        .map(|path| {
            use std::os::unix::fs::MetadataExt;
            format!("net:[{}]", fs::metadata(path).unwrap().ino())
        })
        .collect();
    // Left to themselves, in their own session, ignoring what they can.
    for host in lab.hosts() {
        let script = "trap '' INT TERM HUP; setsid sleep 1000 & sleep 1000 & exit";
        host.command("sh").arg("-c").arg(script).stdout(Stdio::null()).status().unwrap();
    }
    println!("{}", namespaces.join(" "));
    lab
}

fn victim_waits() {
    let _lab = build();
    std::thread::sleep(Duration::from_secs(1000));
}

fn victim_panics() {
    let _lab = build();
    panic!("as the test wants it");
}

fn victim_aborts() {
    let _lab = build();
    std::process::abort();
}

fn victim_exits() {
    let _lab = build();
    std::process::exit(42);
}

/// The signal goes to the program itself, not to what it runs: a shell that
/// ignores it does not keep the laboratory.
fn victim_handles_term() {
    let lab = build();
    let mut shell = Command::new("sh");
    lab.hosts()[0].netns().place(&mut shell);
    shell.arg("-c").arg("trap '' TERM; sleep 1000").status().unwrap();
}
