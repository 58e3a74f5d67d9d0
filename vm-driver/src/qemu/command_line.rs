//! The command line of QEMU for a VM.

use std::ffi::OsString;
use std::path::Path;

use serde_json::json;

use crate::config::{Attachment, Boot};
use crate::io::tap;
use crate::store::Record;

use super::{Acceleration, behind, files};

/// What QEMU does first.
#[derive(Clone, Copy, Debug)]
pub(super) enum Begin<'a> {
    /// It stands still, before its first instruction.
    Fresh,
    /// It stands still, with the memory of this file.
    From(&'a Path),
    /// It waits for a migration.
    Wait,
}

/// All arguments.
pub(super) fn arguments(
    record: &Record,
    folder: &Path,
    acceleration: Acceleration,
    begin: Begin<'_>,
) -> Vec<OsString> {
    let config = &record.config;
    // A VM that waits has nothing behind its disks before it has arrived.
    let is_behind = record.behind && !matches!(begin, Begin::Wait);
    let mut line: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
    let path = |name: &str| comma(&folder.join(name));
    add(&["-name", config.id.as_str(), "-machine", "pc"]);
    match acceleration {
        Acceleration::Kvm => add(&["-accel", "kvm", "-cpu", "host"]),
        // One model whatever the host: a guest can go on anywhere.
        _ => add(&["-accel", "tcg", "-cpu", "qemu64"]),
    }
    let memory = kibibytes(config.memory_bytes, acceleration);
    add(&["-smp", &config.cpus.to_string(), "-m", &format!("{memory}K")]);
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-S"]);
    add(&["-pidfile", &folder.join(files::PID).display().to_string()]);
    add(&["-qmp", &format!("unix:{},server=on,wait=off", path(files::QMP))]);
    let serial = format!(
        "socket,id=serial0,path={},server=on,wait=off,logfile={},logappend=on",
        path(files::SERIAL),
        path(files::CONSOLE_LOG)
    );
    add(&["-chardev", &serial, "-serial", "chardev:serial0"]);
    add(&["-device", "virtio-balloon-pci,id=balloon0"]);
    if config.console {
        add(&["-vga", "std", "-vnc", "127.0.0.1:0,to=999"]);
    }
    if let Boot::Kernel { kernel, initrd, command_line } = &config.boot {
        add(&["-kernel", &kernel.display().to_string(), "-append", command_line]);
        if let Some(initrd) = initrd {
            add(&["-initrd", &initrd.display().to_string()]);
        }
        // A kernel that is told to restart after a panic would do it for ever.
        add(&["-no-reboot"]);
    }
    for disk in &config.disks {
        let file = format!("{}-file", disk.name);
        let path = folder.join(disk.file_name());
        let node = json!({"driver": "file", "node-name": file, "filename": path});
        add(&["-blockdev", &node.to_string()]);
        let format = disk.format.name();
        let mut node = json!({"driver": format, "node-name": disk.name, "file": file});
        if is_behind {
            let behind = behind::node(folder, disk);
            add(&["-blockdev", &behind.to_string()]);
            node["backing"] = behind["node-name"].clone();
        }
        add(&["-blockdev", &node.to_string()]);
        add(&["-device", &format!("virtio-blk-pci,drive={},id={}-disk", disk.name, disk.name)]);
    }
    for (number, nic) in config.nics.iter().enumerate() {
        let netdev = match &nic.attachment {
            // Without a header in front of each frame, what the daemon's packet
            // socket sees is whole frames.
            Attachment::Tap => format!(
                "tap,id=net{number},ifname={},script=no,downscript=no,vnet_hdr=off",
                tap::device_name(folder, nic.mac)
            ),
            Attachment::Stream { path } => {
                format!("stream,id=net{number},server=off,addr.type=unix,addr.path={}", comma(path))
            }
        };
        add(&["-netdev", &netdev]);
        add(&["-device", &format!("virtio-net-pci,netdev=net{number},mac={},romfile=", nic.mac)]);
    }
    match begin {
        Begin::Fresh => {}
        Begin::From(memory) => add(&["-incoming", &format!("exec:cat {}", quoted(memory))]),
        Begin::Wait => add(&["-incoming", "defer"]),
    }
    line
}

/// How much memory a guest has, in KiB: whole MiB, and for TCG 8 KiB more.
///
/// When QEMU takes a look at which pages a migration has to send again, it has a fast way
/// for blocks of memory that are a multiple of 64 pages, and that one forgets (in 7.2, at
/// least) to tell TCG that the pages count as clean now: what the guest writes through
/// addresses that TCG has translated before is not seen, and the guest arrives with old
/// contents of some pages. Blocks of other sizes go the slow way, which does tell it.
fn kibibytes(bytes: u64, acceleration: Acceleration) -> u64 {
    let whole = bytes.div_ceil(1 << 20) << 10;
    match acceleration {
        Acceleration::Kvm => whole,
        _ => whole + 8,
    }
}

/// A path inside one of QEMU's options: commas are doubled there.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A word of the shell.
pub(super) fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use vnet_core::{MacAddr, NetworkId};

    use super::*;
    use crate::config::{DiskConfig, DiskFormat, NicConfig, VmConfig};
    use crate::id::VmId;

    #[test]
    fn paths_with_special_characters_stay_one_word() {
        let mut config = VmConfig::new(VmId::new("vm").unwrap(), 3 << 19);
        config.nics.push(NicConfig {
            mac: MacAddr::local(7),
            network: NetworkId(1),
            attachment: Attachment::Stream { path: PathBuf::from("/a,b") },
        });
        let disk = DiskConfig { name: "root".into(), bytes: 512, format: DiskFormat::Qcow2, image: None };
        config.disks.push(disk);
        let memory = PathBuf::from("/it's/memory");
        let record = Record::new(&config, None, 1);
        let line = arguments(&record, Path::new("/x,y"), Acceleration::Tcg, Begin::From(&memory));
        let line: Vec<String> = line.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let has = |word: &str| assert!(line.iter().any(|w| w == word), "{word} is not in {line:#?}");
        has("2056K");
        has("unix:/x,,y/qmp.sock,server=on,wait=off");
        has("stream,id=net0,server=off,addr.type=unix,addr.path=/a,,b");
        has(r#"{"driver":"file","filename":"/x,y/root.qcow2","node-name":"root-file"}"#);
        has(r"exec:cat '/it'\''s/memory'");
    }
}
