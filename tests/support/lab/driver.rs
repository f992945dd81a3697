//! The package under test on the Docker host: installing it, and looking at its units and processes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::guest::Guest;
use super::{Client, Lab, dirs, poll};

/// The unit that listens.
pub const SOCKET: &str = "sshfs-docker.socket";

/// Where it listens.
pub const SOCKET_PATH: &str = "/run/sshfs-docker.sock";

/// The unit of the daemon.
pub const SERVICE: &str = "sshfs-docker.service";

/// The unit that has Docker use the driver.
pub const ANNOUNCE: &str = "sshfs-docker-announce.service";

/// The unit that serves the mount of a volume.
pub fn mount_unit(volume: &str) -> String {
    format!("sshfs-docker-mount-{volume}.service")
}

/// Where the package lies in the guest; the pages of the documentation install it from there once more.
pub const PACKAGE: &str = "/var/tmp/sshfs-docker.deb";

/// How long a unit may take to go once nobody needs it.
pub const SOON: Duration = Duration::from_secs(10);

/// One process, as /proc/PID/status has it.
#[derive(Debug)]
pub struct Process {
    /// The command's name.
    pub name: String,
    /// The user it runs as.
    pub user: String,
    /// Effective capabilities, in hexadecimal.
    pub capabilities: String,
}

impl Lab {
    /// Installs the package with apt. All it depends on is in the guest already, as no mirror is reachable.
    pub fn install_package(&self) -> Result<String> {
        self.host.copy_in(&dirs::deb()?, PACKAGE)?;
        self.host.sh(&format!("apt-get install --yes {PACKAGE}")).context("apt-get install")
    }

    /// What an admin does after the installation. Docker has then been told of the driver, where it runs.
    pub fn enable_driver(&self) -> Result<()> {
        self.host.sh(&format!("systemctl enable --now {SOCKET}; systemctl start {ANNOUNCE}")).map(drop)
    }

    /// Stops the daemon and its socket.
    pub fn deafen(&self) -> Result<Deaf<'_>> {
        self.host.sh(&format!("systemctl stop {SOCKET} {SERVICE}")).map(|_| Deaf(self))
    }

    /// Stops the daemon; the next call starts another.
    pub fn stop_daemon(&self) -> Result<()> {
        self.host.sh(&format!("systemctl stop {SERVICE}")).map(drop)
    }

    /// Speaks the plugin protocol as dockerd does, without dockerd.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.host.path(SOCKET_PATH)?))
    }

    /// One property of a unit.
    pub fn property(&self, unit: &str, property: &str) -> Result<String> {
        self.host.sh(&format!("systemctl show --value --property {property} '{unit}'"))
    }

    /// `active`, `inactive`, `failed`, …
    pub fn state(&self, unit: &str) -> Result<String> {
        self.property(unit, "ActiveState")
    }

    /// The daemon's PID, after making sure that it runs: it may exit when idle.
    pub fn daemon(&self) -> Result<u32> {
        self.docker("volume ls")?;
        self.main_pid(SERVICE)
    }

    /// PID of a unit's main process.
    pub fn main_pid(&self, unit: &str) -> Result<u32> {
        self.property(unit, "MainPID")?.parse().with_context(|| format!("main process of {unit}"))
    }

    /// All processes of a unit.
    pub fn processes(&self, unit: &str) -> Result<Vec<Process>> {
        let script = format!(
            "for cgroup in $(grep -ls '/{unit}$' /proc/[0-9]*/cgroup); do
                 dir=${{cgroup%/cgroup}}
                 echo $(cat $dir/comm) $(stat -c %U $dir) $(awk '$1 == \"CapEff:\" {{ print $2 }}' $dir/status)
             done"
        );
        self.host.sh(&script)?.lines().map(parse_process).collect()
    }

    /// Waits until a mount unit is gone, which it must be soon after the last container.
    pub fn wait_until_gone(&self, unit: &str, limit: Duration) -> Result<()> {
        poll::until_true(&format!("{unit} to be gone"), limit, || {
            Ok(self.property(unit, "LoadState")? == "not-found" && self.processes(unit)?.is_empty())
        })
    }

    /// The mount at a path, as PID 1 of the host sees it: the mountinfo line.
    pub fn mountinfo(&self, path: &str) -> Result<Option<String>> {
        let table = self.host.sh("cat /proc/1/mountinfo")?;
        Ok(table.lines().find(|line| line.split(' ').nth(4) == Some(path)).map(str::to_owned))
    }

    /// Whether the daemon has logged this since the boot.
    pub fn driver_said(&self, words: &str) -> Result<bool> {
        let log = self.host.sh(&format!("journalctl --boot --quiet --no-pager --unit {SERVICE}"))?;
        Ok(log.contains(words))
    }

    /// Fails if systemd had to break a cycle in the order of units at any boot of the host. It says so before there is
    /// a journal.
    pub fn ensure_no_ordering_cycle(&self) -> Result<()> {
        let log = self.host.console_log()?;
        ensure!(log.contains("Reached target"), "not the log of a boot: {log}");
        let cycle = log.lines().find(|line| line.to_lowercase().contains("ordering cycle"));
        ensure!(cycle.is_none(), "systemd found {cycle:?}");
        Ok(())
    }

    /// The Docker host's clock, for [`Lab::journal_since`].
    pub fn now(&self) -> String {
        self.host.try_sh("date +%s.%N").map(|output| output.stdout).unwrap_or_default()
    }

    /// The last words of the driver and its mounts, for the report of a failed case.
    pub fn journal_since(&self, time: &str) -> String {
        let script = format!(
            "journalctl --no-pager --quiet --output short-precise --since @{time} --lines 50 --unit 'sshfs-docker*'"
        );
        self.host.try_sh(&script).map_or_else(|error| format!("{error:#}"), |output| output.stdout)
    }
}

/// Nobody serves calls of the driver as long as this exists, nor starts who would.
#[derive(Debug)]
pub struct Deaf<'a>(&'a Lab);

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.enable_driver() {
            eprintln!("the driver stays deaf: {error:#}");
        }
    }
}

/// Makes a package of another version in a guest: dpkg-deb packs what it has unpacked. `changes` is a script that is told
/// where that lies.
pub fn repack(
    guest: &Guest,
    from: &str,
    to: &str,
    version: &str,
    changes: impl FnOnce(&str) -> String,
) -> Result<()> {
    const TREE: &str = "/var/tmp/repacked";
    guest.sh(&format!(
        "rm -rf {TREE}; dpkg-deb --raw-extract {from} {TREE}
         sed -i 's/^Version: .*/Version: {version}/' {TREE}/DEBIAN/control
         (
         {}
         )
         dpkg-deb -Znone --build {TREE} {to}; rm -rf {TREE}",
        changes(TREE)
    ))?;
    Ok(())
}

fn parse_process(line: &str) -> Result<Process> {
    let [name, user, capabilities] =
        line.split(' ').collect::<Vec<_>>().try_into().ok().with_context(|| format!("process: {line:?}"))?;
    Ok(Process { name: name.into(), user: user.into(), capabilities: capabilities.into() })
}
