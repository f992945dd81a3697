//! What the host must have: systemd, a kernel with FUSE, sshfs, ssh; and which versions of them.

use super::{Finding, Host};
use crate::{admin::command, mount::mountinfo};
use nix::sys::utsname::uname;
use std::{fs::OpenOptions, path::Path, process::Output, time::Duration};

/// These programs only print their version.
const PATIENCE: Duration = Duration::from_secs(10);

/// Major and minor number.
type Version = (u32, u32);

/// Credentials of units.
const SYSTEMD: Version = (247, 0);
const KERNEL: Version = (5, 10);
/// `MOVE_MOUNT_BENEATH`.
const SEAMLESS: Version = (6, 5);
/// Scopes of Landlock.
const SCOPES: Version = (6, 12);
/// A mountpoint that is an open device.
const SSHFS: Version = (3, 7);
/// `SSH_ASKPASS_REQUIRE`, and `${…}` in `IdentityFile`.
const SSH: Version = (8, 4);

pub fn systemd(_host: &Host) -> Vec<Finding> {
    if !libsystemd::daemon::booted() {
        return vec![Finding::problem(
            "systemd is not PID 1: mounts end with the daemon, and have no sandbox",
            "run the driver on a host that systemd has booted",
        )];
    }
    vec![program("systemctl", "--version", "systemd ", SYSTEMD, "upgrade the system: units need credentials")]
}

pub fn kernel(_host: &Host) -> Vec<Finding> {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    vec![judge_kernel(&release)]
}

fn judge_kernel(release: &str) -> Finding {
    let Some(version) = version_behind(release, "") else {
        return Finding::warning(format!("Linux {release:?}: no version that is understood"), "check it");
    };
    if version < KERNEL {
        return Finding::problem(format!("Linux {release} is older than 5.10"), "upgrade the kernel");
    }
    let mut notes = Vec::new();
    if version < SEAMLESS {
        notes.push(
            "before 6.5, a fresh mount lies on the dead one in a container instead of taking its place",
        );
    }
    if version < SCOPES {
        notes.push("before 6.12, the processes of one mount can end those of another");
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    Finding::ok(format!("Linux {release}{notes}"))
}

pub fn fuse(_host: &Host) -> Vec<Finding> {
    let device = match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Finding::ok("/dev/fuse can be opened"),
        Err(e) => Finding::problem(
            format!("/dev/fuse cannot be opened: {e}"),
            "modprobe fuse; in a container or virtual server, its host must pass the device on",
        ),
    };
    let control = Path::new("/sys/fs/fuse/connections");
    let control = match mountinfo::at(control) {
        Ok(Some(mount)) if mount.filesystem == "fusectl" => Finding::ok("its control files are mounted"),
        _ => Finding::warning(
            "its control files are not mounted: containers cannot be given a fresh mount when sshfs dies, and a mount that \
             hangs cannot be ended by force",
            "systemctl start sys-fs-fuse-connections.mount, or mount -t fusectl fusectl /sys/fs/fuse/connections",
        ),
    };
    vec![device, control]
}

pub fn sshfs(_host: &Host) -> Vec<Finding> {
    vec![program(
        "sshfs",
        "--version",
        "SSHFS version ",
        SSHFS,
        "install sshfs 3.7 or later: apt install sshfs",
    )]
}

pub fn ssh(_host: &Host) -> Vec<Finding> {
    vec![program("ssh", "-V", "OpenSSH_", SSH, "install OpenSSH 8.4 or later: apt install openssh-client")]
}

fn program(name: &str, argument: &str, before: &str, least: Version, remedy: &str) -> Finding {
    match command::run(command::of(name, &[argument]), PATIENCE) {
        Ok(Output { stdout, stderr, .. }) => {
            let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            judge(name, &said, before, least, remedy)
        }
        Err(e) => Finding::problem(e.to_string(), remedy),
    }
}

/// Judges the version in what a program says.
fn judge(name: &str, said: &str, before: &str, least: Version, remedy: &str) -> Finding {
    let line = said.lines().find(|line| line.contains(before)).unwrap_or_default();
    match version_behind(line, before) {
        Some(version) if version < least => {
            Finding::problem(format!("{line} is older than {}.{}", least.0, least.1), remedy)
        }
        Some(_) => Finding::ok(line),
        None => Finding::warning(format!("{name} says nothing of its version"), remedy),
    }
}

/// `9.2` of `OpenSSH_9.2p1`; what has no minor number has the number 0.
fn version_behind(text: &str, before: &str) -> Option<Version> {
    let rest = &text[text.find(before)? + before.len()..];
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('.');
    Some((major, minor.then(|| numbers.next()?.parse().ok()).flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn versions_as_the_programs_tell_them() {
        for (text, before, version) in [
            ("systemd 252 (252.36-1~deb12u1)", "systemd ", Some((252, 0))),
            ("SSHFS version 3.7.3", "SSHFS version ", Some((3, 7))),
            ("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15", "OpenSSH_", Some((9, 2))),
            ("OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1", "OpenSSH_", Some((10, 0))),
            ("6.1.0-18-amd64", "", Some((6, 1))),
            ("6.18", "", Some((6, 18))),
            ("no version", "SSHFS version ", None),
            ("", "", None),
        ] {
            assert_eq!(version_behind(text, before), version, "{text}");
        }
    }

    #[test]
    fn what_is_too_old_is_a_problem() {
        for (said, state) in [
            ("SSHFS version 3.7.3\nFUSE library version 3.14.0", State::Ok),
            ("SSHFS version 2.10", State::Problem),
            ("SSHFS version 3.6.0", State::Problem),
            ("FUSE library version 3.14.0", State::Warning),
        ] {
            assert_eq!(judge("sshfs", said, "SSHFS version ", SSHFS, "").state, state, "{said}");
        }
    }

    #[test]
    fn kernels_and_what_they_lack() {
        assert_eq!(judge_kernel("5.4.0").state, State::Problem);
        let (old, new) = (judge_kernel("6.1.0-18-amd64"), judge_kernel("6.12.1"));
        assert!(old.state == State::Ok && old.what.contains("6.5") && old.what.contains("6.12"));
        assert_eq!(new, Finding::ok("Linux 6.12.1"));
    }
}
