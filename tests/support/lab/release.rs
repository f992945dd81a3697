//! The Debian releases the lab has as guests, and how they differ.

use std::fmt;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Debian 12: systemd 252, Docker 20.10.
    Bookworm,
    /// Debian 13: systemd 257, Docker 26.1.
    Trixie,
    /// What Debian 14 will be: systemd 262, Docker 28.5 when this was written. Packages and clients are tried on it.
    Forky,
}

/// What is installed on a host before a test does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All that the tests of the driver need, Docker among it.
    Full,
    /// What the packages depend on and what installs them. Docker's packages lie beside, not installed.
    Bare,
}

/// What every guest has: the package's dependencies, an SSH client, and a static busybox for images.
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
    "procps",
    "busybox-static",
    "curl",
    "mandoc",
];

/// An SSH server and what the documentation speaks of.
const FULL: &[&str] = &["openssh-server", "prometheus-node-exporter", "bash-completion"];

/// The package managers of other families, and what checks signatures.
const BARE: &[&str] = &["rpm", "dnf", "gpgv"];

impl Kind {
    /// What apt installs afterwards, because debootstrap cannot configure all of it on Debian 12: clients beside Docker's
    /// own. Debian 12's docker-compose is the old one, in Python.
    pub const fn clients(self) -> &'static [&'static str] {
        match self {
            Self::Full => &["docker-compose", "podman", "uidmap"],
            Self::Bare => &[],
        }
    }
}

impl Release {
    /// All, in the order they appeared.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    /// Debian's name of it.
    pub const fn codename(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// Another one, for the SSH server.
    pub const fn other(self) -> Self {
        match self {
            Self::Bookworm => Self::Trixie,
            Self::Trixie | Self::Forky => Self::Bookworm,
        }
    }

    /// What debootstrap installs.
    pub fn packages(self, kind: Kind) -> Vec<&'static str> {
        match kind {
            Kind::Full => [COMMON, FULL, self.docker()].concat(),
            Kind::Bare => [COMMON, BARE].concat(),
        }
    }

    /// The packages that are Docker. docker-cli is no longer pulled in by docker.io.
    pub const fn docker(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &["docker.io"],
            Self::Trixie | Self::Forky => &["docker.io", "docker-cli"],
        }
    }

    /// `volume-subpath` is of Docker 26.
    pub const fn knows_subpaths(self) -> bool {
        matches!(self, Self::Trixie | Self::Forky)
    }

    /// systemd since 257 refuses to boot on a version 1 cgroup hierarchy; 252 takes what the machine has.
    pub const fn needs_unified_cgroups(self) -> bool {
        matches!(self, Self::Trixie | Self::Forky)
    }

    /// Lines for `sshd_config`. OpenSSH since 9.8 locks out an address after failed logins, and the tests
    /// fail to log in on purpose.
    pub const fn sshd_config(self) -> &'static str {
        match self {
            Self::Bookworm => "MaxStartups 100\n",
            Self::Trixie | Self::Forky => "MaxStartups 100\nPerSourcePenalties no\n",
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codename())
    }
}
