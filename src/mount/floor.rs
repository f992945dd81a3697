//! What of this host is too old. It is looked at when a mount has failed: one that works costs nothing.

use crate::versions::{LINUX, LINUX_MOUNTS_BENEATH, OPENSSH, Part, SSHFS, SYSTEMD, Version};
use nix::sys::utsname::uname;
use std::{fmt, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that is older than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooOld {
    name: &'static str,
    has: Version,
    needs: Version,
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, has, needs } = self;
        write!(f, "this host has {name} {has}, and {needs} is the oldest that works: upgrade it")
    }
}

/// Judges what a part tells. What cannot be read is not held against it.
fn judge(part: Part, told: &str) -> Option<TooOld> {
    let (has, Part { name, needs, .. }) = (part.version(told)?, part);
    (has < needs).then_some(TooOld { name, has, needs })
}

/// What the kernel says of its version.
fn release() -> Option<String> {
    uname().ok().map(|names| names.release().to_string_lossy().into_owned())
}

/// Whether the kernel can put a mount beneath another one. Of one that cannot be read it is assumed.
pub(super) fn mounts_beneath() -> bool {
    let linux = release().and_then(|release| LINUX.version(&release));
    linux.is_none_or(|linux| linux >= LINUX_MOUNTS_BENEATH)
}

/// Finds what is too old. A program that is missing is not: it has been told already.
pub async fn find() -> Option<TooOld> {
    let linux = release().and_then(|release| judge(LINUX, &release));
    let told = tokio::join!(ask(&["ssh", "-V"]), ask(&["sshfs", "-V"]), ask(&["systemctl", "--version"]));
    linux
        .or_else(|| judge(OPENSSH, &told.0?))
        .or_else(|| judge(SSHFS, &told.1?))
        .or_else(|| judge(SYSTEMD, &told.2?))
}

async fn ask(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // ssh tells it on standard error, sshfs and systemctl on standard output.
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_named_and_what_is_not_understood_is_let_be() {
        let told = |part, told| judge(part, told).map(|too_old| too_old.to_string());
        let old = told(OPENSSH, "OpenSSH_8.2p1 Ubuntu-4ubuntu0.5, OpenSSL 1.1.1f  31 Mar 2020");
        assert_eq!(
            old.as_deref(),
            Some("this host has OpenSSH 8.2, and 8.4 is the oldest that works: upgrade it")
        );
        assert_eq!(told(OPENSSH, "OpenSSH_8.4p1 Debian-5"), None);
        assert_eq!(told(OPENSSH, "dropbear"), None);
    }
}
