//! The versions of other programs: the oldest that this driver works with, and those that it does better with.

use std::fmt;

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32);

/// Something with a version.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What it is called.
    pub name: &'static str,
    /// The oldest that works.
    pub needs: Version,
    /// In front of the number, where it tells its version.
    prefix: &'static str,
}

/// That of Debian 11, the oldest that has the others.
pub const LINUX: Part = Part { name: "Linux", needs: Version(5, 10), prefix: "" };
/// `SSH_ASKPASS_REQUIRE`, and `${…}` in `IdentityFile`.
pub const OPENSSH: Part = Part { name: "OpenSSH", needs: Version(8, 4), prefix: "OpenSSH_" };
/// `/dev/fd/N` as the mountpoint.
pub const SSHFS: Part = Part { name: "sshfs", needs: Version(3, 7), prefix: "SSHFS version " };
/// `LoadCredential=`.
pub const SYSTEMD: Part = Part { name: "systemd", needs: Version(247, 0), prefix: "systemd " };

/// The first Linux that can put a mount beneath another (`MOVE_MOUNT_BENEATH`).
pub const LINUX_MOUNTS_BENEATH: Version = Version(6, 5);
/// The first Linux that keeps signals within a unit (landlock(7), scopes).
pub const LINUX_SCOPES: Version = Version(6, 12);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(major, 0) => write!(f, "{major}"),
            Self(major, minor) => write!(f, "{major}.{minor}"),
        }
    }
}

impl Part {
    /// The line in which it tells its version.
    #[must_use]
    pub fn line<'a>(&self, told: &'a str) -> Option<&'a str> {
        told.lines().find(|line| line.contains(self.prefix))
    }

    /// The version in what it tells, if it can be understood: 9.2 of `OpenSSH_9.2p1`.
    #[must_use]
    pub fn version(&self, told: &str) -> Option<Version> {
        let (_, number) = self.line(told)?.split_once(self.prefix)?;
        let (major, rest) = digits(number);
        let minor = rest.strip_prefix('.').map(|rest| digits(rest).0).filter(|minor| !minor.is_empty());
        Some(Version(major.parse().ok()?, minor.map_or(Some(0), |minor| minor.parse().ok())?))
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_the_programs_tell_them() {
        for (part, told, version) in [
            (SYSTEMD, "systemd 252 (252.36-1~deb12u1)\n+PAM", Some(Version(252, 0))),
            (SYSTEMD, "systemd 257.7-1~deb13u1", Some(Version(257, 7))),
            (SSHFS, "fusermount3 version: 3.14.0\nSSHFS version 3.7.3\n", Some(Version(3, 7))),
            (SSHFS, "SSHFS version 2.10\nFUSE library version: 2.9.9", Some(Version(2, 10))),
            (OPENSSH, "OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.15", Some(Version(9, 2))),
            (OPENSSH, "OpenSSH_10.0p2 Debian-7, OpenSSL 3.5.1", Some(Version(10, 0))),
            (OPENSSH, "dropbear", None),
            (LINUX, "6.1.0-18-amd64", Some(Version(6, 1))),
            (LINUX, "6.18.44-fc", Some(Version(6, 18))),
            (LINUX, "", None),
        ] {
            assert_eq!(part.version(told), version, "{told}");
        }
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let linux = |release| LINUX.version(release).unwrap();
        assert!(linux("5.4.0-100-generic") < LINUX.needs && linux("5.10.0-30-amd64") >= LINUX.needs);
        assert!(linux("6.4.16") < LINUX_MOUNTS_BENEATH && linux("6.12.1") >= LINUX_MOUNTS_BENEATH);
        assert_eq!(
            (SYSTEMD.needs.to_string(), SSHFS.needs.to_string()),
            ("247".to_owned(), "3.7".to_owned())
        );
    }
}
