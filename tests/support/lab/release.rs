//! The Debian releases the lab has as guests, and how they differ.

use std::fmt;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: systemd 252, Docker 20.10.
    Bookworm,
    /// Debian 13: systemd 257, Docker 26.1.
    Trixie,
}

/// What every guest has: the package's dependencies, Docker, an SSH server, a static busybox for images, and what the
/// documentation speaks of.
const COMMON: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "ca-certificates",
    "iproute2",
    "iptables",
    "fuse3",
    "sshfs",
    "openssh-client",
    "openssh-server",
    "docker.io",
    "procps",
    "busybox-static",
    // What reads the metrics.
    "prometheus-node-exporter",
    "curl",
    "bash-completion",
    "mandoc",
];

impl Release {
    /// Both, in the order they appeared.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Debian's name of it.
    pub const fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Bookworm => Self::Trixie,
            Self::Trixie => Self::Bookworm,
        }
    }

    /// What debootstrap installs.
    pub fn packages(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Bookworm => &[],
            // docker-cli is no longer pulled in by docker.io. The docker-compose of Debian 12 is another program, in Python,
            // and its podman one that debootstrap cannot configure.
            Self::Trixie => &["docker-cli", "docker-compose", "podman"],
        };
        [COMMON, own].concat()
    }

    /// `volume-subpath` is of Docker 26.
    pub const fn knows_subpaths(self) -> bool {
        matches!(self, Self::Trixie)
    }

    /// systemd 257 refuses to boot on a version 1 cgroup hierarchy; 252 takes what the machine has.
    pub const fn needs_unified_cgroups(self) -> bool {
        matches!(self, Self::Trixie)
    }

    /// Lines for `sshd_config`. OpenSSH since 9.8 locks out an address after failed logins, and the tests
    /// fail to log in on purpose.
    pub const fn sshd_config(self) -> &'static str {
        match self {
            Self::Bookworm => "MaxStartups 100\n",
            Self::Trixie => "MaxStartups 100\nPerSourcePenalties no\n",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codename())
    }
}
