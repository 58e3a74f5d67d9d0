//! Starting daemons, here or elsewhere.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use vnet_core::{Host, PublicKey, Topology};
use vnetd::client::Address;
use vnetd::config::default_control_socket;

use super::Options;

/// Starts the daemons of a description.
pub(super) struct Launcher<'a> {
    topology: &'a Topology,
    proxy: &'a Host,
    place: Place,
    /// Where daemons register, `host:port`.
    registration: String,
    /// Where the client talks to the Proxy.
    pub(super) control: Address,
    /// The Proxy's key, once it is known; `None`: links are plain.
    pub(super) proxy_key: Option<PublicKey>,
}

enum Place {
    /// On this machine, with its files in this directory.
    Here { directory: PathBuf },
    /// On other machines, by a command of these words.
    There { command: Vec<String> },
}

impl<'a> Launcher<'a> {
    pub(super) fn new(options: &Options, topology: &'a Topology, proxy: &'a Host) -> Result<Self> {
        let port = match options.control_port {
            Some(port) => port,
            None => proxy.port.checked_add(1).context("no port follows the Proxy's; give --control-port")?,
        };
        if options.local {
            let directory = match &options.dir {
                Some(directory) => std::path::absolute(directory)?,
                None => {
                    let socket = default_control_socket(&proxy.machine);
                    socket.parent().map(Path::to_owned).unwrap_or_default()
                }
            };
            fs::create_dir_all(&directory)
                .with_context(|| format!("can't make the directory {}", directory.display()))?;
            let control = Address::Unix(directory.join(format!("{}.sock", proxy.machine)));
            let registration = format!("{}:{port}", local_address(topology, proxy)?);
            return Ok(Self {
                topology,
                proxy,
                place: Place::Here { directory },
                registration,
                control,
                proxy_key: None,
            });
        }
        let registration = format!("{}:{port}", proxy.machine);
        let command: Vec<String> = options.command.split_whitespace().map(str::to_owned).collect();
        if !command.iter().any(|word| word.contains("{daemon}")) {
            bail!("the command `{}` has no {{daemon}}, so that it would start nothing", options.command);
        }
        let control = Address::Tcp(registration.clone());
        Ok(Self { topology, proxy, place: Place::There { command }, registration, control, proxy_key: None })
    }

    /// Starts the daemon of `host` and doesn't wait for it.
    pub(super) fn start(&self, host: &Host) -> Result<()> {
        eprintln!("starting the daemon of {}", host.machine);
        match &self.place {
            Place::Here { directory } => self.start_here(host, directory),
            Place::There { command } => self.start_there(host, command),
        }
    }

    /// Where to read why a daemon did not start.
    pub(super) fn log(&self, host: &Host) -> String {
        match &self.place {
            Place::Here { directory } => {
                format!("its log is {}", log_file(directory, host).display())
            }
            Place::There { .. } => format!("its log is vnetd-{0}.log on {0}", host.machine),
        }
    }

    fn start_here(&self, host: &Host, directory: &Path) -> Result<()> {
        let log = log_file(directory, host);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("can't write the log {}", log.display()))?;
        let path = |name: String| directory.join(name).display().to_string();
        let mut flags = self.flags(host, &format!("{}:{}", local_address(self.topology, host)?, host.port));
        flags.extend(["--control".into(), path(format!("{}.sock", host.machine))]);
        flags.extend(["--state-dir".into(), path(format!("{}.state", host.machine))]);
        // Loopback addresses are no names.
        flags.push("--no-dns".into());
        let program = std::env::current_exe().context("can't find this program")?;
        Command::new(&program)
            .args(["daemon", "--"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // So that Ctrl-C here doesn't reach it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        Ok(())
    }

    fn start_there(&self, host: &Host, command: &[String]) -> Result<()> {
        let flags = self.flags(host, &format!("0.0.0.0:{}", host.port));
        let quoted: Vec<String> = flags.iter().map(|flag| quote(flag)).collect();
        let daemon = format!(
            "nohup vnetd {} </dev/null >{} 2>&1 &",
            quoted.join(" "),
            quote(&format!("vnetd-{}.log", host.machine))
        );
        let fill = |word: &String| {
            word.replace("{user}", host.username.as_str())
                .replace("{host}", host.machine.as_str())
                .replace("{daemon}", &daemon)
        };
        let words: Vec<String> = command.iter().map(fill).collect();
        let (program, arguments) = words.split_first().context("the command is empty")?;
        let status = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("can't run {program}"))?;
        if !status.success() {
            bail!("starting the daemon of {} with `{program}` failed: {status}", host.machine);
        }
        Ok(())
    }

    fn flags(&self, host: &Host, bind: &str) -> Vec<String> {
        let mut flags = vec!["--name".into(), host.machine.to_string(), "--bind".into(), bind.to_owned()];
        if host.machine == self.proxy.machine {
            let port = self.registration.rsplit(':').next().unwrap_or_default();
            let ip = bind.rsplit_once(':').map_or("0.0.0.0", |(ip, _)| ip);
            flags.extend(["--proxy".into(), "true".into(), "--control-tcp".into(), format!("{ip}:{port}")]);
            flags.push("--introduce".into());
        } else {
            flags.extend(["--proxy".into(), self.registration.clone()]);
            if let Some(key) = self.proxy_key {
                flags.extend(["--proxy-key".into(), key.to_string()]);
            }
        }
        flags
    }
}

fn log_file(directory: &Path, host: &Host) -> PathBuf {
    directory.join(format!("{}.log", host.machine))
}

/// 127.0.0.1 for the first host, and so on through 127.0.0.0/8.
fn local_address(topology: &Topology, host: &Host) -> Result<Ipv4Addr> {
    let at = topology.hosts.iter().position(|other| other.machine == host.machine);
    let number = at.and_then(|at| u32::try_from(at + 1).ok()).filter(|number| *number < 1 << 24);
    let number = number.context("too many hosts for one machine")?;
    Ok(Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 0, 0, 0)) + number))
}

/// The word as a POSIX shell has to read it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_pass_a_shell_unchanged() {
        for word in ["plain", "", "two words", "it's", "$HOME;rm -rf /", "a\nb"] {
            let out =
                Command::new("sh").arg("-c").arg(format!("printf %s {}", quote(word))).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word);
        }
    }
}
