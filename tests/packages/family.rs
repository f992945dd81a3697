//! deb and rpm: how each is installed, and a host that is given one of them.

use std::fmt;
use std::ops::Deref;

use anyhow::{Result, ensure};

use crate::lab::driver::SOCKET;
use crate::lab::stage::Hosts;
use crate::lab::{Lab, Pairing, Release, dirs};
use crate::older;

/// A family of packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of Debian, Ubuntu, …
    Deb,
    /// Of Fedora, RHEL, openSUSE, …
    Rpm,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Deb, Self::Rpm];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
        })
    }
}

/// Which package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// That under test.
    Current,
    /// The same program in a package of a version before it, with another config.toml.
    Older,
}

/// A host, and the family of packages that it is given.
#[derive(Debug)]
pub struct Site {
    lab: Lab,
    /// Which packages.
    pub family: Family,
}

impl Deref for Site {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Hosts for Site {
    fn labs(&self) -> Vec<&Lab> {
        vec![&self.lab]
    }
}

/// What a host with rpm has and a Debian has under other names. Nothing is in this package but what it says of itself.
const HOST_SPEC: &str = "Name: debian-host
Version: 1
Release: 1
Summary: What this host has by other names
License: MIT
BuildArch: noarch
Provides: fuse-sshfs = 3.7.3, openssh-clients = 9.2, systemd = 252, dbus = 1, coreutils, findutils, sed, /bin/sh
%description
What this host has by other names.
%files
";

/// Where packages lie in the guest.
const DIRECTORY: &str = "/var/tmp/packages";

impl Site {
    /// Boots a host without Docker, and puts the packages on it.
    pub fn start(release: Release, family: Family) -> Result<Self> {
        let site = Self { lab: Lab::start(Pairing::bare(release))?, family };
        site.host.sh(&format!("mkdir {DIRECTORY}"))?;
        match family {
            Family::Deb => {
                site.host.copy_in(&dirs::deb()?, &site.package(Version::Current))?;
                older::repack(&site.host, &site.package(Version::Current), &site.package(Version::Older))?;
            }
            Family::Rpm => {
                site.host.copy_in(&dirs::rpm()?, &site.package(Version::Current))?;
                site.host.copy_in(&older::rpm(), &site.package(Version::Older))?;
                site.host.put(&format!("{DIRECTORY}/debian-host.spec"), HOST_SPEC.as_bytes())?;
                site.host.sh(&format!("rpmbuild -bb {DIRECTORY}/debian-host.spec"))?;
            }
        }
        Ok(site)
    }

    /// The path of a package in the guest.
    pub fn package(&self, version: Version) -> String {
        match version {
            Version::Current => format!("{DIRECTORY}/sshfs-docker.{}", self.family),
            Version::Older => format!("{DIRECTORY}/older.{}", self.family),
        }
    }

    /// Tells rpm what this host has. Debian's rpm knows of nothing, and asks whether that is meant.
    pub fn tell_rpm_what_is_there(&self) -> Result<()> {
        let there = "rpm --query --quiet debian-host || rpm --install ~/rpmbuild/RPMS/noarch/debian-host-1-1.noarch.rpm";
        self.host.sh(there).map(drop)
    }

    /// Installs a package, whichever is installed before: what is edited stays. Tells what was said.
    pub fn install(&self, version: Version) -> Result<String> {
        let package = self.package(version);
        self.host.sh(&match self.family {
            Family::Deb => format!(
                "apt-get install --yes --reinstall --allow-downgrades -o Dpkg::Options::=--force-confold {package} 2>&1"
            ),
            Family::Rpm => format!("rpm --upgrade --oldpackage --replacepkgs {package} 2>&1"),
        })
    }

    /// The package under test is installed then, and listens.
    pub fn install_and_enable(&self) -> Result<()> {
        self.install(Version::Current)?;
        self.enable_driver()
    }

    /// Removes the package. Tells what was said.
    pub fn remove(&self) -> Result<String> {
        self.host.sh(match self.family {
            Family::Deb => "apt-get remove --yes sshfs-docker 2>&1",
            Family::Rpm => "rpm --erase sshfs-docker 2>&1",
        })
    }

    /// Removes the package and all that it knew, as docs/packages.md says.
    pub fn purge(&self) -> Result<()> {
        self.host
            .sh(match self.family {
                Family::Deb => "apt-get purge --yes sshfs-docker 2>&1",
                Family::Rpm => {
                    "cp /usr/share/sshfs-docker/purge.sh /root/ && rpm --erase sshfs-docker && sh /root/purge.sh && rm /root/purge.sh"
                }
            })
            .map(drop)
    }

    /// What the package manager says is installed; empty if it is not.
    pub fn installed_version(&self) -> Result<String> {
        self.host.sh(match self.family {
            Family::Deb => {
                "dpkg-query --show --showformat '${db:Status-Abbrev}${Version}' sshfs-docker 2>/dev/null | sed -n 's/^ii *//p'"
            }
            Family::Rpm => "rpm --query --quiet sshfs-docker && rpm --query --queryformat '%{VERSION}' sshfs-docker || :",
        })
    }

    /// `enabled`, `disabled`, … and `active`, `inactive`, … of the socket.
    pub fn socket(&self) -> Result<(String, String)> {
        let enabled = self.host.sh(&format!("systemctl is-enabled {SOCKET} || :"))?;
        Ok((enabled, self.state(SOCKET)?))
    }

    /// Whether Docker would find a driver by that name, alive or not.
    pub fn has_spec(&self) -> Result<bool> {
        Ok(self
            .host
            .try_sh("test -L /etc/docker/plugins/sshfs.spec || test -e /etc/docker/plugins/sshfs.spec")?
            .ok())
    }

    /// Fails if systemd still has a unit of the package. After a removal that is no purge, Debian remembers what was enabled:
    /// the link of the socket stays, and leads nowhere.
    pub fn ensure_no_unit(&self) -> Result<()> {
        let left = self.host.sh("systemctl list-unit-files --no-legend 'sshfs-docker*' || :
             systemctl list-units --all --no-legend 'sshfs-docker*' | grep -v ' not-found ' || :
             find /run/systemd/system /usr/lib/systemd -name '*sshfs-docker*'")?;
        ensure!(left.is_empty(), "systemd still has: {left}");
        Ok(())
    }

    /// Fails if a file is left that belongs to the package or that it has made.
    pub fn ensure_no_file(&self) -> Result<()> {
        let left = self.host.sh(
            "ls -d /etc/sshfs-docker /etc/docker/plugins /var/lib/sshfs-docker /run/sshfs-docker* 2>/dev/null || :
             find /etc/systemd /usr /var/lib/systemd -name '*sshfs-docker*'",
        )?;
        ensure!(left.is_empty(), "left behind: {left}");
        Ok(())
    }
}
