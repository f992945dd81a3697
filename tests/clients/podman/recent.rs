//! What podman learnt after Debian 12 has taken its version, 4.3: units of Quadlet (4.4), and removal of a mounted volume
//! with its containers, at which 4.3 waits for itself for ever, also with volumes of its own driver that it has to mount.

use anyhow::{Result, ensure};

use super::{Podman, Volume, options_for};
use crate::calls::Calls;
use crate::lab::ssh_server::ALICE;
use crate::lab::{Lab, Volume as DriverVolume};

crate::cases![
    removal_by_force_takes_running_containers_along,
    creating_again_with_ignore_is_fine,
    units_make_the_volume_and_the_container_uses_it,
    a_units_container_comes_back_after_a_reboot,
    options_of_a_volume_unit_are_not_for_the_driver,
];

fn removal_by_force_takes_running_containers_along(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("forced-down")?;
    let container = volume.hold("forced-down-user")?;
    container.exec("echo 1 > /d/one; mkdir /d/a; echo 2 > /d/a/two")?;
    let before = lab.server.checksums("/srv/forced-down")?;
    volume.podman("rm --force --time 1")?.success()?;
    ensure!(podman.podman("ps --all --quiet")?.is_empty(), "the container is still there");
    calls.ensure("forced-down", "Create Mount Unmount Remove")?;
    ensure!(lab.server.checksums("/srv/forced-down")? == before, "the server lost something");
    ensure!(before.lines().count() == 2, "the test wrote too little: {before}");
    Ok(())
}

fn creating_again_with_ignore_is_fine(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("again")?;
    let options = options_for(&volume.driver.directory);
    podman.podman(&format!("volume create --ignore --driver sshfs {options} again"))?;
    let refusal = podman.try_podman(&format!("volume create --driver sshfs {options} again"))?.failure()?;
    ensure!(refusal.contains("volume already exists"), "{refusal}");
    calls.ensure("again", "Create")
}

/// Two units of Quadlet, `NAME.volume` and `NAME.container`. Dropped, they stop and go, and the volume with them.
struct Units<'a> {
    podman: &'a Podman<'a>,
    volume: Volume<'a>,
}

const DIRECTORY: &str = "/etc/containers/systemd";

impl<'a> Units<'a> {
    fn write(podman: &'a Podman<'a>, name: &str) -> Result<Self> {
        let directory = podman.lab.server.export(name, ALICE)?;
        let driver: DriverVolume<'a> = podman.lab.volume_made_elsewhere(name, &directory);
        let units = Self { podman, volume: Volume { podman, driver } };
        let volume =
            format!("[Volume]\nVolumeName={name}\nDriver=sshfs\nPodmanArgs={}\n", options_for(&directory));
        let container = format!(
            "[Container]\nImage=localhost/busybox\nPull=never\nNetwork=none\nVolume={name}.volume:/d\n\
             Exec=sh -euc 'echo start >> /d/starts; trap exit TERM; while :; do sleep 0.1; done'\n\
             [Install]\nWantedBy=multi-user.target\n"
        );
        let host = &podman.lab.host;
        host.sh(&format!("mkdir -p {DIRECTORY}; podman tag busybox localhost/busybox"))?;
        host.put(&format!("{DIRECTORY}/{name}.volume"), volume.as_bytes())?;
        host.put(&format!("{DIRECTORY}/{name}.container"), container.as_bytes())?;
        host.sh("systemctl daemon-reload")?;
        Ok(units)
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
        crate::lab::poll::until_true("the container to write", std::time::Duration::from_secs(30), || {
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

/// They are those of mount(8), which is why the page has `PodmanArgs=`.
fn options_of_a_volume_unit_are_not_for_the_driver(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let units = Units::write(&podman, "mount-options")?;
    let unit = "[Volume]\nVolumeName=mount-options\nDriver=sshfs\nOptions=sshcmd=alice@storage:\n";
    lab.host.put(&format!("{DIRECTORY}/mount-options.volume"), unit.as_bytes())?;
    let generated = lab.host.try_sh("/usr/lib/systemd/system-generators/podman-system-generator --dryrun")?;
    ensure!(generated.stderr.contains("key Options can't be used without Device"), "{generated}");
    drop(units);
    Ok(())
}
