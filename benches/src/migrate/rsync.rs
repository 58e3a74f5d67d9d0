//! rsync over ssh.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::images::{Case, Images};
use super::network::{ADDRESSES, Network};
use super::{Server, run};

/// An ssh server at the origin.
pub struct Ssh<'a> {
    network: &'a Network,
    key: PathBuf,
    _server: Server,
}

impl<'a> Ssh<'a> {
    /// Starts it, with keys that are made for it.
    pub fn start(network: &'a Network, folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.join("ssh");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        fs::create_dir_all("/run/sshd")?;
        let key = |name: &str| -> anyhow::Result<PathBuf> {
            let path = folder.join(name);
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path))?;
            Ok(path)
        };
        let (host, client) = (key("host")?, key("client")?);
        let config = folder.join("sshd_config");
        fs::write(
            &config,
            format!(
                "Port 22\nHostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM no\n\
                 PermitRootLogin yes\nPidFile none\n",
                host.display(),
                client.display()
            ),
        )?;
        let mut command = network.command(0, "/usr/sbin/sshd");
        let server = Server::start(command.args(["-D", "-f"]).arg(&config))?;
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self { network, key: client, _server: server })
    }

    /// Fetches the file as the destination does; how long it took.
    pub fn transfer(&self, images: &Images, case: Case, variant: &str) -> anyhow::Result<Duration> {
        images.reset(case)?;
        let ssh = format!(
            "ssh -i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
            self.key.display()
        );
        let mut command = self.network.command(1, "rsync");
        command.args(["-t", "-e", &ssh]);
        if variant != "plain" {
            command.args(variant.split('+'));
        }
        command.arg(format!("{}:{}", ADDRESSES[0], images.origin().display())).arg(images.destination());
        let begun = Instant::now();
        run(&mut command)?;
        let took = begun.elapsed();
        images.check()?;
        Ok(took)
    }
}
