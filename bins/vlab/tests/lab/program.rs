//! The program `vlab`, and the errors of entering.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use libtest_mimic::{Failed, Trial};

use crate::who::Who;

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn() -> Result<(), Failed>| Trial::test(format!("program::{name}"), run);
    vec![
        trial("run_hands_over_streams_and_exit_code", run_hands_over_streams_and_exit_code),
        trial("inherited_signal_settings_do_no_harm", inherited_signal_settings_do_no_harm),
        trial("interrupts_are_for_the_command", interrupts_are_for_the_command),
        trial("run_on_a_machine", run_on_a_machine),
        trial("run_prints_json", run_prints_json),
        trial("check_prints_a_table", check_prints_a_table),
        trial("errors_say_where_and_what_to_do", errors_say_where_and_what_to_do),
        trial("shell_is_in_its_machine", shell_is_in_its_machine),
        trial("forbidden_namespaces_say_what_to_do", || Who::unprivileged().play("forbidden-namespaces")),
    ]
}

/// What [`trials`] run in a laboratory.
pub(crate) const SCENARIOS: &[(&str, fn())] = &[("forbidden-namespaces", forbidden_namespaces)];

/// A limit holds in the user namespace where it is set, and so for nobody else.
fn forbidden_namespaces() {
    fs::write("/proc/sys/user/max_net_namespaces", "0").unwrap();
    let output = Command::new("/proc/self/exe").output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("refuses the namespaces that the laboratory lives in"), "{error}");
    assert!(error.contains("run `sudo sysctl user.max_net_namespaces=15000`"), "{error}");
}

fn vlab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vlab"));
    command.args(arguments);
    command
}

fn run_hands_over_streams_and_exit_code() -> Result<(), Failed> {
    use std::io::Write;
    use std::process::Stdio;
    let script = "read line; echo \"$line $VARIABLE $1\"; pwd; exit 7";
    let mut child = vlab(&["run", "papers", "--", "sh", "-c", script, "sh", "an argument"])
        .env("VARIABLE", "a variable")
        .current_dir("/usr")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no input")?.write_all(b"a line\n")?;
    let output = child.wait_with_output()?;
    expect(output.status.code() == Some(7), &output)?;
    expect(output.stdout == b"a line a variable an argument\n/usr\n", &output)
}

/// A parent that ignores SIGCHLD lets its children ignore it, too.
fn inherited_signal_settings_do_no_harm() -> Result<(), Failed> {
    let script = "trap '' CHLD INT; exec \"$0\" run papers -- sh -c 'true & exit 5'";
    let output = Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_vlab")]).output()?;
    expect(output.status.code() == Some(5), &output)
}

/// Ctrl-C on a terminal is for the command, once; the laboratory stays for it.
fn interrupts_are_for_the_command() -> Result<(), Failed> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?.into_string()?;
    let slave = fs::File::options().read(true).write(true).open(name)?;

    let script = "n=0; trap 'n=$((n + 1))' INT; echo ready; read line; sleep 0.5; exit $((40 + n))";
    let mut child = Command::new("setsid")
        .args(["--ctty", env!("CARGO_BIN_EXE_vlab"), "run", "papers", "--", "sh", "-c", script])
        .stdin(slave)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let mut keys = fs::File::from(terminal);
    keys.write_all(b"\x03")?;
    keys.write_all(b"a line\n")?;
    let output = child.wait_with_output()?;
    expect(line == "ready\n" && output.status.code() == Some(41), &output)
}

fn run_on_a_machine() -> Result<(), Failed> {
    let output = vlab(&["run", "papers", "--on", "vm2", "--", "cat", "/proc/net/fib_trie"]).output()?;
    expect(output.status.success() && text(&output.stdout).contains("10.88.0.2"), &output)?;
    let output = vlab(&["run", "papers", "--on", "vm99", "--", "true"]).output()?;
    expect(output.status.code() == Some(1), &output)?;
    expect(text(&output.stderr).contains("no host or VM is named `vm99`; there are fast1"), &output)
}

fn run_prints_json() -> Result<(), Failed> {
    use std::io::Read;
    use std::process::Stdio;
    let mut child =
        vlab(&["run", "papers", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // It waits for a signal, and the table is complete when its brackets are.
    let mut out = String::new();
    let mut stdout = child.stdout.take().ok_or("no output")?;
    let mut byte = [0];
    let value: serde_json::Value = loop {
        if stdout.read(&mut byte)? == 0 {
            return Err(format!("ends early: {out}").into());
        }
        out.push(byte[0].into());
        if out.ends_with("\n}\n") {
            break serde_json::from_str(&out)?;
        }
    };
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)?;
    let status = child.wait()?;
    if status.code() != Some(130) {
        return Err(format!("Ctrl-C gives {status}").into());
    }
    let vm = &value["vms"][0];
    if vm["host"] != "fast1" || vm["netns"] != "/run/netns/vm1" || !vm["attachment"].is_object() {
        return Err(format!("{vm:#}").into());
    }
    Ok(())
}

fn check_prints_a_table() -> Result<(), Failed> {
    let output = vlab(&["check", "papers"]).output()?;
    let out = text(&output.stdout);
    expect(output.status.success(), &output)?;
    expect(out.starts_with("papers: 9 hosts at 4 sites, 8 VMs\n\nNAME   SITE"), &output)?;
    expect(out.contains("fast - slow    40 Mbit/s  1 ms"), &output)?;
    let output = vlab(&["check", "papers", "--json"]).output()?;
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    expect(value["hosts"][8]["name"] == "proxy" && value["hosts"][8]["up"] == "5 Mbit/s", &output)
}

fn errors_say_where_and_what_to_do() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("bad.toml");
    let check = |content: &str| -> Result<Output, Failed> {
        fs::write(&file, content)?;
        Ok(vlab(&["check"]).arg(&file).output()?)
    };
    let output = check("name = 'x'\n[[site]]\nname = 'a'\nlatency = '5 minutes'\n")?;
    let error = text(&output.stderr);
    expect(output.status.code() == Some(1), &output)?;
    expect(
        error.contains("bad.toml") && error.contains("line 4") && error.contains("(ns, us, ms, s)"),
        &output,
    )?;
    let output = check("name = 'x'\n[[host]]\nname='h'\nsite='a'\nup='1 Mbit/s'\ndown='1 Mbit/s'\n")?;
    expect(
        text(&output.stderr).contains("bad.toml: host `h`: no site is named `a`; there are none"),
        &output,
    )?;
    let output = vlab(&["check"]).arg(Path::new("/no/such/file")).output()?;
    expect(text(&output.stderr).contains("cannot read /no/such/file: No such file"), &output)?;
    let output = vlab(&["run"]).output()?;
    expect(output.status.code() == Some(2), &output)?;
    let output = vlab(&["run", "papers", "--", "true"]).env("VLAB_NICS", "wire").output()?;
    expect(text(&output.stderr).contains("VLAB_NICS is `wire`; it may be auto, tap or veth"), &output)
}

fn shell_is_in_its_machine() -> Result<(), Failed> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = vlab(&["shell", "papers", "slow2"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .ok_or("no input")?
        .write_all(b"echo $VLAB_MACHINE\ncat /proc/net/fib_trie\nexit 3\n")?;
    let output = child.wait_with_output()?;
    expect(output.status.code() == Some(3), &output)?;
    let out = text(&output.stdout);
    expect(out.starts_with("slow2\n") && out.contains("10.77.0.6"), &output)
}

fn expect(condition: bool, output: &Output) -> Result<(), Failed> {
    if condition {
        return Ok(());
    }
    Err(format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
