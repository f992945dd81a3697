//! What the host must have: systemd, a kernel with FUSE, sshfs, ssh; and which versions of them.

use super::{Finding, Host};
use crate::{
    admin::command,
    mount::mountinfo,
    versions::{LINUX, LINUX_MOUNTS_BENEATH, LINUX_SCOPES, OPENSSH, Part, SSHFS, SYSTEMD},
};
use nix::sys::utsname::uname;
use std::{fs::OpenOptions, path::Path, process::Output, time::Duration};

/// These programs only print their version.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn systemd(_host: &Host) -> Vec<Finding> {
    if !libsystemd::daemon::booted() {
        return vec![Finding::problem(
            "systemd is not PID 1: mounts end with the daemon, and have no sandbox",
            "run the driver on a host that systemd has booted",
        )];
    }
    vec![program("systemctl", "--version", SYSTEMD, "upgrade the system: units need credentials")]
}

pub fn kernel(_host: &Host) -> Vec<Finding> {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    vec![judge_kernel(&release)]
}

fn judge_kernel(release: &str) -> Finding {
    let Some(version) = LINUX.version(release) else {
        return Finding::warning(format!("Linux {release:?}: no version that is understood"), "check it");
    };
    if version < LINUX.needs {
        return Finding::problem(
            format!("Linux {release} is older than {}", LINUX.needs),
            "upgrade the kernel",
        );
    }
    let mut notes = Vec::new();
    if version < LINUX_MOUNTS_BENEATH {
        notes.push(
            "before 6.5, a fresh mount lies on the dead one in a container instead of taking its place",
        );
    }
    if version < LINUX_SCOPES {
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
    vec![program("sshfs", "--version", SSHFS, "install sshfs 3.7 or later: apt install sshfs")]
}

pub fn ssh(_host: &Host) -> Vec<Finding> {
    vec![program("ssh", "-V", OPENSSH, "install OpenSSH 8.4 or later: apt install openssh-client")]
}

fn program(name: &str, argument: &str, part: Part, remedy: &str) -> Finding {
    match command::run(command::of(name, &[argument]), PATIENCE) {
        Ok(Output { stdout, stderr, .. }) => {
            let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            judge(name, &said, part, remedy)
        }
        Err(e) => Finding::problem(e.to_string(), remedy),
    }
}

/// Judges the version in what a program says.
fn judge(name: &str, said: &str, part: Part, remedy: &str) -> Finding {
    let line = part.line(said).unwrap_or_default();
    match part.version(said) {
        Some(version) if version < part.needs => {
            Finding::problem(format!("{line} is older than {}", part.needs), remedy)
        }
        Some(_) => Finding::ok(line),
        None => Finding::warning(format!("{name} says nothing of its version"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn what_is_too_old_is_a_problem() {
        for (said, state) in [
            ("SSHFS version 3.7.3\nFUSE library version 3.14.0", State::Ok),
            ("SSHFS version 2.10", State::Problem),
            ("SSHFS version 3.6.0", State::Problem),
            ("FUSE library version 3.14.0", State::Warning),
        ] {
            assert_eq!(judge("sshfs", said, SSHFS, "").state, state, "{said}");
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
