//! The host goes down with a volume mounted for podman, which counts its users on disk, and comes back.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Podman;
use crate::lab::volume::IDLE;
use crate::lab::{Lab, poll};

crate::cases![a_volume_is_usable_after_a_reboot, a_volume_is_usable_after_a_power_cut];

/// Has `go_down` happen to a container that uses a volume, and uses both afterwards.
fn check_back(lab: &Lab, name: &str, go_down: impl FnOnce() -> Result<()>) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume(name)?;
    let container = volume.start(&format!("{name}-user"), &format!("echo start >> /d/starts; {IDLE}"))?;
    poll::until_true("the container to write", Duration::from_secs(10), || {
        Ok(lab.host.try_sh(&format!("podman exec {name}-user test -e /d/starts"))?.ok())
    })?;
    go_down()?;
    lab.host.boot()?;
    lab.wait_for_docker()?;
    let shown = volume.inspect()?;
    ensure!(shown["Driver"] == "sshfs" && shown["MountCount"] == 0, "after the boot: {shown}");
    container.podman("start")?;
    volume.driver.wait_until_used_by(1)?;
    ensure!(volume.run("cat /d/starts")? == "start\nstart", "the container did not start with its data");
    ensure!(volume.served("starts")? == "start\nstart");
    container.remove()?;
    volume.driver.wait_until_used_by(0)
}

fn a_volume_is_usable_after_a_reboot(lab: &Lab) -> Result<()> {
    check_back(lab, "rebooted", || lab.host.shut_down())
}

fn a_volume_is_usable_after_a_power_cut(lab: &Lab) -> Result<()> {
    check_back(lab, "cut-off", || lab.host.cut_power())
}
