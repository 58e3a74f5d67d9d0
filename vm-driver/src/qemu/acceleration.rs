//! Does KVM work here?

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// How guests' instructions are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acceleration {
    /// KVM if a short trial shows that it works, else TCG.
    #[default]
    Auto,
    /// By the processor.
    Kvm,
    /// Translated by QEMU, anywhere.
    Tcg,
}

/// How long the trial's guest may take, in seconds; on hardware it takes a fifth of one.
const PATIENCE_S: &str = "3";

/// What the trial's guest tells QEMU to end with: 2 * 0x10 + 1.
const PASSED: i32 = 0x21;

/// A boot sector that enters protected mode with paging on, as any kernel does
/// early, and writes 0x10 to the port that ends QEMU.
const SECTOR: &[u8] = &[
    0xfa, // cli
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0x0f, 0x01, 0x16, 0x68, 0x7c, // lgdt [0x7c68]
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x0c, 0x01, // or al, 1
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0xea, 0x17, 0x7c, 0x08, 0x00, // jmp 0x08:0x7c17
    // 0x7c17, 32 bits from here on
    0x66, 0xb8, 0x10, 0x00, // mov ax, 0x10
    0x8e, 0xd8, // mov ds, ax
    0xc7, 0x05, 0x00, 0x80, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, // mov dword [0x8000], 0x83
    0xb8, 0x00, 0x80, 0x00, 0x00, // mov eax, 0x8000
    0x0f, 0x22, 0xd8, // mov cr3, eax
    0x0f, 0x20, 0xe0, // mov eax, cr4
    0x0c, 0x10, // or al, 0x10 (PSE)
    0x0f, 0x22, 0xe0, // mov cr4, eax
    0x0f, 0x20, 0xc0, // mov eax, cr0
    0x0d, 0x00, 0x00, 0x00, 0x80, // or eax, 0x80000000
    0x0f, 0x22, 0xc0, // mov cr0, eax
    0xb0, 0x10, // mov al, 0x10
    0xe6, 0xf4, // out 0xf4, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp back to hlt
];

/// Where the descriptors stand in the sector, and the register that names them.
const GDT_AT: usize = 0x50;
const GDT: [u8; 24] = [
    0, 0, 0, 0, 0, 0, 0, 0, // none
    0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, // code, all of memory
    0xff, 0xff, 0, 0, 0, 0x92, 0xcf, 0, // data, all of memory
];
const GDTR: [u8; 6] = [23, 0, 0x50, 0x7c, 0, 0];

/// Runs a tiny guest. `/dev/kvm` can be there and stock guests hang all the same.
pub(super) fn kvm_works(program: &Path) -> bool {
    if std::fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return false;
    }
    try_with(program, &["-accel", "kvm", "-cpu", "host"])
}

fn try_with(program: &Path, acceleration: &[&str]) -> bool {
    let mut sector = [0_u8; 512];
    sector[..SECTOR.len()].copy_from_slice(SECTOR);
    sector[GDT_AT..GDT_AT + GDT.len()].copy_from_slice(&GDT);
    sector[GDT_AT + GDT.len()..GDT_AT + GDT.len() + GDTR.len()].copy_from_slice(&GDTR);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let Ok(mut disk) = tempfile::NamedTempFile::new() else { return false };
    if disk.write_all(&sector).is_err() {
        return false;
    }
    // By a program that ends it even if we are killed meanwhile: where KVM is broken, a guest
    // that hangs takes a processor for ever.
    let status = Command::new("timeout")
        .args(["-s", "KILL", PATIENCE_S])
        .arg(program)
        .args(["-machine", "pc", "-m", "16M", "-nodefaults", "-no-user-config", "-display", "none"])
        .args(acceleration)
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
        .args(["-drive", &format!("if=ide,format=raw,file={}", disk.path().display())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.code() == Some(PASSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trial_passes_where_guests_run() {
        assert!(SECTOR.len() <= GDT_AT, "{} bytes of code", SECTOR.len());
        assert!(try_with(Path::new("qemu-system-x86_64"), &["-accel", "tcg"]));
    }

    #[test]
    fn the_trial_fails_without_qemu() {
        assert!(!try_with(Path::new("/nonexistent/qemu"), &["-accel", "tcg"]));
    }
}
