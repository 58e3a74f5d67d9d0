//! What the tests need of the machine: shown, and set up where that is allowed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::guest;

const TUN: &str = "/dev/net/tun";

/// Programs that tests of real VMs run, and Debian's packages that have them.
const PROGRAMS: [(&str, &str); 4] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/bin/qemu-img", "qemu-utils"),
    ("/bin/busybox", "busybox-static"),
    ("/sbin/mkfs.ext4", "e2fsprogs"),
];

/// Something that the tests need.
struct Need {
    what: &'static str,
    /// `None`: it is there.
    missing: Option<Missing>,
}

struct Missing {
    why: String,
    /// What a person does about it.
    remedy: &'static str,
    /// Does it itself, as root.
    fix: Option<fn() -> anyhow::Result<()>>,
}

pub(crate) fn check() -> anyhow::Result<()> {
    let mut missing = 0;
    for need in needs() {
        match &need.missing {
            None => println!("there      {}", need.what),
            Some(m) => {
                missing += 1;
                let can =
                    if m.fix.is_some() && is_root() { "`cargo xtask test` does it" } else { "you do it" };
                println!("missing    {}: {}; {can}: {}", need.what, m.why, m.remedy);
            }
        }
    }
    if missing > 0 {
        bail!("{missing} of the things that the tests need are missing");
    }
    Ok(())
}

pub(crate) fn prepare() -> anyhow::Result<()> {
    satisfy(needs())
}

/// What real VMs need, and nothing else.
pub(crate) fn prepare_guest() -> anyhow::Result<()> {
    satisfy(guest_needs())
}

fn satisfy(needs: Vec<Need>) -> anyhow::Result<()> {
    for need in needs {
        let Some(missing) = need.missing else { continue };
        match missing.fix {
            Some(fix) if is_root() => {
                eprintln!("{}: {}; doing `{}`", need.what, missing.why, missing.remedy);
                fix().with_context(|| format!("could not set up {}", need.what))?;
            }
            _ => bail!("{}: {}. Do this, then try again: {}", need.what, missing.why, missing.remedy),
        }
    }
    Ok(())
}

fn needs() -> Vec<Need> {
    let mut needs = vec![
        Need { what: "privileges", missing: root_missing() },
        Need { what: "user namespaces", missing: user_namespaces_missing() },
        Need { what: "TAP devices", missing: tun_missing() },
    ];
    needs.extend(guest_needs());
    needs
}

fn guest_needs() -> Vec<Need> {
    vec![
        Need { what: "programs for real VMs", missing: programs_missing() },
        Need { what: "a guest for real VMs", missing: guest_missing() },
    ]
}

fn programs_missing() -> Option<Missing> {
    let missing: Vec<_> = PROGRAMS.iter().filter(|(path, _)| !Path::new(path).exists()).collect();
    (!missing.is_empty()).then(|| Missing {
        why: missing.iter().map(|(path, _)| format!("{path} is not there")).collect::<Vec<_>>().join(", "),
        remedy: "apt-get update; apt-get install qemu-system-x86 qemu-utils busybox-static e2fsprogs",
        fix: Some(install_programs),
    })
}

fn install_programs() -> anyhow::Result<()> {
    apt_get(&["update", "-qq"])?;
    let packages = PROGRAMS.map(|(_, package)| package);
    let install = ["-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends"];
    // Both of QEMU's packages must be of one version, also where one of them is
    // there from another suite.
    apt_get(&[&install[..], &["--allow-downgrades"], &packages].concat()).or_else(|_| {
        let suite = ["qemu-system-x86/stable", "qemu-utils/stable"];
        apt_get(&[&install[..], &["--allow-downgrades"], &suite, &packages[2..]].concat())
    })
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    crate::steps::run(&mut command)
}

fn guest_missing() -> Option<Missing> {
    (!guest::is_there()).then(|| Missing {
        why: format!("{} does not hold it", guest::folder().display()),
        remedy: "cargo xtask guest",
        fix: Some(guest::make),
    })
}

// The tests use root's TAP devices and also change to an ordinary user.
fn root_missing() -> Option<Missing> {
    (!is_root()).then(|| Missing {
        why: "the tests make network namespaces and TAP devices, and run parts as another user".into(),
        remedy: "run `sudo -E env PATH=\"$PATH\" cargo xtask test`",
        fix: None,
    })
}

fn user_namespaces_missing() -> Option<Missing> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    let forbidden = [
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    forbidden.into_iter().find(|(path, value, _)| read(path).as_deref() == Some(value)).map(
        |(path, value, remedy)| Missing {
            why: format!("{path} is {value}, which forbids them to ordinary users"),
            remedy,
            fix: None,
        },
    )
}

fn tun_missing() -> Option<Missing> {
    let Ok(metadata) = fs::metadata(TUN) else {
        return Some(Missing {
            why: format!("{TUN} is not there"),
            remedy: "modprobe tun; mkdir -p /dev/net; mknod -m 0666 /dev/net/tun c 10 200",
            fix: Some(make_tun),
        });
    };
    // As udev sets it: the device itself checks the privileges of who makes a TAP.
    (metadata.mode() & 0o666 != 0o666).then(|| Missing {
        why: format!("{TUN} has mode {:03o}, so ordinary users can't make TAPs", metadata.mode() & 0o777),
        remedy: "chmod 0666 /dev/net/tun",
        fix: Some(open_tun),
    })
}

fn make_tun() -> anyhow::Result<()> {
    let _ = Command::new("modprobe").arg("tun").status();
    fs::create_dir_all("/dev/net")?;
    if !Path::new(TUN).exists() {
        let status = Command::new("mknod").args(["-m", "0666", TUN, "c", "10", "200"]).status()?;
        if !status.success() {
            bail!("mknod failed: {status}; does this kernel have the tun driver (CONFIG_TUN)?");
        }
    }
    open_tun()
}

fn open_tun() -> anyhow::Result<()> {
    fs::set_permissions(TUN, fs::Permissions::from_mode(0o666)).with_context(|| format!("chmod 0666 {TUN}"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}
