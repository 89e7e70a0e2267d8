//! Whether the kernel runs programs for another architecture.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;

/// Class (1: 32 bits, 2: 64 bits), byte order (1: little, 2: big) and machine of an ELF file.
type Machine = (u8, u8, u16);

/// Whether the kernel accepts a program for `architecture` (as images name it), by itself or through
/// a binfmt_misc handler such as qemu. `directory` gets a file for a moment.
///
/// The kernel is asked: the handlers that it has are not to be seen in a container, where
/// `/proc/sys/fs/binfmt_misc` is not mounted. An architecture that is not known here passes, as does
/// everything where nothing can be tried: the step will show.
pub fn runs(architecture: &str, directory: &Path) -> bool {
    let Some(machine) = machine(architecture) else { return true };
    let path = directory.join(format!("probe-{architecture}"));
    let tried = try_to_run(&path, machine);
    let _ = fs::remove_file(&path);
    match tried {
        Ok(()) => true,
        // A handler whose interpreter is not there is none.
        Err(error) => !matches!(Errno::from_io_error(&error), Some(Errno::NOEXEC | Errno::NOENT)),
    }
}

/// Starts a program that has a header and nothing else. Whether it gets far does not matter.
fn try_to_run(path: &Path, machine: Machine) -> io::Result<()> {
    fs::write(path, header(machine))?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    let mut command = Command::new(path);
    let mut child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    child.wait().map(drop)
}

/// # Source
/// `elf.h`: `EM_*`.
fn machine(architecture: &str) -> Option<Machine> {
    Some(match architecture {
        "386" => (1, 1, 3),
        "amd64" => (2, 1, 62),
        "arm" => (1, 1, 40),
        "arm64" => (2, 1, 183),
        "loong64" => (2, 1, 258),
        "mips64" => (2, 2, 8),
        "mips64le" => (2, 1, 8),
        "ppc64" => (2, 2, 21),
        "ppc64le" => (2, 1, 21),
        "riscv64" => (2, 1, 243),
        "s390x" => (2, 2, 22),
        _ => return None,
    })
}

/// An executable with no segments.
fn header((class, order, machine): Machine) -> Vec<u8> {
    const EXECUTABLE: u16 = 2;
    let half = |value: u16| if order == 1 { value.to_le_bytes() } else { value.to_be_bytes() };
    let word = if order == 1 { 1_u32.to_le_bytes() } else { 1_u32.to_be_bytes() };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', class, order, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(half(EXECUTABLE));
    bytes.extend(half(machine));
    bytes.extend(word);
    bytes.resize(64, 0);
    bytes
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed step of a test ends it")]
mod tests {
    use super::*;

    #[test]
    fn the_probe_is_a_program_that_handlers_recognise() {
        // What qemu's handler for aarch64 looks for.
        const MAGIC: [u8; 20] = *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";
        assert_eq!(header(machine("arm64").expect("known"))[..20], MAGIC);
        let big = header(machine("s390x").expect("known"));
        assert_eq!((&big[4..6], &big[16..20]), (&[2, 2][..], &[0, 2, 0, 22][..]));
    }

    #[test]
    fn an_architecture_without_a_handler_is_refused() {
        // Nothing has a handler for this machine, whatever is installed.
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("probe");
        let error = try_to_run(&path, (2, 1, 0xfffe)).expect_err("no such machine");
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOEXEC));
        assert!(runs("no-such-architecture", directory.path()));
        assert!(!directory.path().join("probe-arm64").exists());
    }
}
