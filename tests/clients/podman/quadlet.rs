//! Units of Quadlet, which came with podman 4.4: a volume of the driver and a container that uses it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Podman, Volume};
use crate::calls::Calls;
use crate::lab::ssh_server::ALICE;
use crate::lab::volume;
use crate::lab::{Lab, poll};

crate::cases![
    units_make_the_volume_and_the_container_uses_it,
    a_units_container_comes_back_after_a_reboot,
    a_changed_unit_counts_after_the_removal_of_the_volume,
    options_of_a_volume_unit_are_not_for_the_driver,
];

/// Two units of Quadlet, `NAME.volume` and `NAME.container`. Dropped, they stop and go, and the volume with them.
struct Units<'a> {
    podman: &'a Podman<'a>,
    volume: Volume<'a>,
}

const DIRECTORY: &str = "/etc/containers/systemd";

impl<'a> Units<'a> {
    fn write(podman: &'a Podman<'a>, name: &str) -> Result<Self> {
        let directory = podman.lab.server.export(name, ALICE)?;
        let driver = podman.lab.volume_of_a_client(name, &directory);
        let units = Self { podman, volume: Volume { podman, driver } };
        let container = format!(
            "[Container]\nImage=localhost/busybox\nPull=never\nNetwork=none\nVolume={name}.volume:/d\n\
             Exec=sh -euc 'echo start >> /d/starts; trap exit TERM; while :; do sleep 0.1; done'\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        let host = &podman.lab.host;
        host.sh(&format!("mkdir -p {DIRECTORY}; podman tag busybox localhost/busybox"))?;
        host.put(&format!("{DIRECTORY}/{name}.container"), container.as_bytes())?;
        units.write_volume(&format!("PodmanArgs={}", volume::options(&directory)))?;
        Ok(units)
    }

    fn write_volume(&self, options: &str) -> Result<()> {
        let name = self.name();
        let unit = format!("[Volume]\nVolumeName={name}\nDriver=sshfs\n{options}\n");
        self.podman.lab.host.put(&format!("{DIRECTORY}/{name}.volume"), unit.as_bytes())?;
        self.podman.lab.host.sh("systemctl daemon-reload").map(drop)
    }

    fn name(&self) -> &str {
        &self.volume.driver.name
    }

    fn systemctl(&self, action: &str) -> Result<()> {
        self.podman.lab.host.sh(&format!("systemctl {action} {}.service", self.name())).map(drop)
    }

    /// Waits until the container has written for the nth time.
    fn wait_until_started(&self, times: usize) -> Result<()> {
        let starts = format!("grep -c start {}/starts", self.volume.driver.directory);
        poll::until_true("the container to write", Duration::from_secs(30), || {
            Ok(self.podman.lab.server.sh(&starts)? == times.to_string())
        })
    }
}

impl Drop for Units<'_> {
    fn drop(&mut self) {
        let name = self.name();
        let script = format!(
            "systemctl stop {name}.service {name}-volume.service
             rm {DIRECTORY}/{name}.volume {DIRECTORY}/{name}.container; systemctl daemon-reload"
        );
        // After a failed case the guest may be in any state; the case has reported what matters.
        let _ = self.podman.lab.host.try_sh(&script);
    }
}

fn units_make_the_volume_and_the_container_uses_it(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let units = Units::write(&podman, "units")?;
    units.systemctl("start")?;
    units.wait_until_started(1)?;
    units.volume.driver.wait_until_used_by(1)?;
    units.systemctl("restart")?;
    units.wait_until_started(2)?;
    units.systemctl("stop")?;
    units.volume.driver.wait_until_used_by(0)?;
    ensure!(podman.volumes()? == ["units"], "the volume went with the container");
    calls.ensure("units", "Create Mount Unmount Mount Unmount")?;
    ensure!(units.volume.served("starts")? == "start\nstart");
    Ok(())
}

fn a_units_container_comes_back_after_a_reboot(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let units = Units::write(&podman, "booted")?;
    units.systemctl("start")?;
    units.wait_until_started(1)?;
    lab.host.shut_down()?;
    lab.host.boot()?;
    units.wait_until_started(2)?;
    lab.wait_for_docker()?;
    units.volume.driver.wait_until_used_by(1)?;
    lab.ensure_no_ordering_cycle()?;
    units.systemctl("stop")?;
    units.volume.driver.wait_until_used_by(0)
}

/// `podman volume create --ignore` leaves a volume that is there as it is.
fn a_changed_unit_counts_after_the_removal_of_the_volume(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let units = Units::write(&podman, "changed")?;
    let is_read_only = || -> Result<bool> {
        lab.host.sh("systemctl restart changed-volume.service")?;
        Ok(units.volume.inspect()?["Options"].get("ro").is_some())
    };
    ensure!(!is_read_only()?);
    units.write_volume(&format!("PodmanArgs={} --opt ro", volume::options("/srv/changed")))?;
    ensure!(!is_read_only()?, "a volume that was there has changed");
    units.volume.podman("rm")?.success()?;
    ensure!(is_read_only()?, "the unit has made the volume as it was before");
    Ok(())
}

/// They are those of mount(8), which is why the page has `PodmanArgs=`.
fn options_of_a_volume_unit_are_not_for_the_driver(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let units = Units::write(&podman, "mount-options")?;
    units.write_volume("Options=sshcmd=alice@storage:")?;
    let generated = lab.host.try_sh("/usr/lib/systemd/system-generators/podman-system-generator --dryrun")?;
    ensure!(generated.stderr.contains("key Options can't be used without Device"), "{generated}");
    Ok(())
}
