//! Lets the kernel start programs for arm64 as it starts others, for this test program and its children alone.
//!
//! The daemon starts itself again, as supervisor, probe and ssh's helper, so it is not enough to start the daemon with
//! qemu in front: the kernel must know what to do (binfmt_misc). What it is told holds for a user namespace and those
//! below it, and ends with that; so this process moves into one of its own, in which all users are who they were.

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Stdio},
};

/// The emulator.
pub const QEMU: &str = "qemu-aarch64-static";

/// Where the kernel is told.
const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// What a program for arm64 begins with, and which of those bits count: 64 bits, little endian, an executable with or
/// without a fixed address, the machine's number (elf(5)).
const MAGIC: &str = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

/// Begins it. This process must have one thread only, as Linux wants it for a new user namespace.
pub fn begin() -> io::Result<()> {
    enter_user_namespace()?;
    let none = None::<&str>;
    mount(Some("binfmt_misc"), BINFMT_MISC, Some("binfmt_misc"), MsFlags::empty(), none)?;
    // F: the emulator is opened now, so that a sandbox without it can start programs, too.
    fs::write(format!("{BINFMT_MISC}/register"), format!(":arm64:M::{MAGIC}:{MASK}:/usr/bin/{QEMU}:F"))
}

/// Whether `program` starts. Before Linux 6.7 all of a machine is told the same, so this program tells it nothing; it is
/// enough that somebody else has.
pub fn check(program: &Path, begun: io::Result<()>) -> Result<(), String> {
    let Err(error) = Command::new(program).arg("--version").output() else { return Ok(()) };
    let begun = begun.err().map(|begun| format!(" ({begun})")).unwrap_or_default();
    Err(format!(
        "the kernel cannot start the program: {error}{begun}; use Linux 6.7, or let this machine start such \
         programs with {QEMU} (systemctl restart systemd-binfmt)"
    ))
}

fn enter_user_namespace() -> io::Result<()> {
    // Only who has stayed outside may say who is who in it.
    let script = "read -r go; for map in uid_map gid_map; do echo 0 0 4294967295 >/proc/$PPID/$map; done";
    let mut outside = Command::new("sh").args(["-euc", script]).stdin(Stdio::piped()).spawn()?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    outside.stdin.take().expect("a pipe").write_all(b"go\n")?;
    let status = outside.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("cannot map users: {status}"))) }
}
