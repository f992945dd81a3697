//! The oldest versions that this driver works with. They are looked at when a mount has failed: one that works costs nothing.

use nix::sys::utsname::uname;
use std::{fmt, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(2);

/// Major and minor.
type Version = (u32, u32);

/// Something that is older than it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooOld {
    name: &'static str,
    has: String,
    needs: &'static str,
}

impl fmt::Display for TooOld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, has, needs } = self;
        write!(f, "this host has {name} {has}, and {needs} is the oldest that works: upgrade it")
    }
}

/// Something with a version.
struct Part {
    name: &'static str,
    /// In front of the number, where it tells its version.
    prefix: &'static str,
    needs: &'static str,
}

const LINUX: Part = Part { name: "Linux", prefix: "", needs: "5.10" };

/// Each with the command that tells.
///
/// - OpenSSH 8.4: `SSH_ASKPASS_REQUIRE`, and `${…}` in `IdentityFile`.
/// - sshfs 3.7: `/dev/fd/N` as the mountpoint.
/// - systemd 247: `LoadCredential=`.
const PROGRAMS: [(Part, &[&str]); 3] = [
    (Part { name: "OpenSSH", prefix: "OpenSSH_", needs: "8.4" }, &["ssh", "-V"]),
    (Part { name: "sshfs", prefix: "SSHFS version ", needs: "3.7" }, &["sshfs", "-V"]),
    (Part { name: "systemd", prefix: "systemd ", needs: "247" }, &["systemctl", "--version"]),
];

impl Part {
    /// Judges what it says. What cannot be read is not held against it.
    fn judge(&self, told: &str) -> Option<TooOld> {
        let (_, number) = told.split_once(self.prefix)?;
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let has = number[..end].trim_end_matches('.');
        (version(has)? < version(self.needs)?).then(|| TooOld {
            name: self.name,
            has: has.to_owned(),
            needs: self.needs,
        })
    }
}

fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next().map_or(Some(0), |minor| minor.parse().ok())?))
}

/// Finds what is too old. A program that is missing is not: it has been told already.
pub async fn find() -> Option<TooOld> {
    let linux = uname().ok().and_then(|names| LINUX.judge(&names.release().to_string_lossy()));
    let [(ssh, ask_ssh), (sshfs, ask_sshfs), (systemd, ask_systemd)] = PROGRAMS;
    let told = tokio::join!(ask(ask_ssh), ask(ask_sshfs), ask(ask_systemd));
    linux
        .or_else(|| ssh.judge(&told.0?))
        .or_else(|| sshfs.judge(&told.1?))
        .or_else(|| systemd.judge(&told.2?))
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
    fn versions_are_compared_by_their_numbers() {
        let [(ssh, _), (sshfs, _), (systemd, _)] = PROGRAMS;
        for (part, told, has) in [
            (&ssh, "OpenSSH_8.2p1 Ubuntu-4ubuntu0.5, OpenSSL 1.1.1f  31 Mar 2020", Some("8.2")),
            (&ssh, "OpenSSH_8.4p1 Debian-5", None),
            (&ssh, "OpenSSH_10.0p2 Debian-7", None),
            (&ssh, "dropbear", None),
            (&sshfs, "SSHFS version 2.10\nFUSE library version: 2.9.9", Some("2.10")),
            (&sshfs, "fusermount3 version: 3.14.0\nSSHFS version 3.7.3\n", None),
            (&systemd, "systemd 245 (245.4-4ubuntu3)\n+PAM", Some("245")),
            (&systemd, "systemd 257.7-1~deb13u1", None),
            (&LINUX, "5.4.0-100-generic", Some("5.4")),
            (&LINUX, "5.10.0-30-amd64", None),
            (&LINUX, "6.18.44-fc", None),
        ] {
            let judged = part.judge(told).map(|old| old.has);
            assert_eq!(judged.as_deref().map(|has| has.trim_end_matches(".0")), has, "{told}");
        }
    }
}
