//! Docker itself restarts or dies: nothing is lost, and no volume is stuck.

use anyhow::{Result, ensure};

use crate::lab::docker::DOCKER;
use crate::lab::volume::IDLE;
use crate::lab::{Lab, Writer};

crate::cases![
    a_restart_of_docker_brings_a_container_back_with_its_data,
    after_a_crash_of_docker_the_volume_can_be_used_and_removed,
    with_live_restore_a_restart_of_docker_is_not_noticed_by_a_writing_container,
    with_live_restore_a_crash_of_docker_is_not_noticed_by_a_writing_container,
];

fn a_restart_of_docker_brings_a_container_back_with_its_data(lab: &Lab) -> Result<()> {
    let volume = lab.volume("dockerd")?;
    let container = volume.start("dockerd-user", "--restart always", IDLE)?;
    container.exec("echo before > /d/file")?;
    lab.host.sh("systemctl restart docker.service")?;
    container.wait_until_running()?;
    ensure!(container.exec("cat /d/file; echo after > /d/more")? == "before");
    container.remove()?;
    volume.wait_until_unmounted()?;
    volume.remove()?.success().map(drop)
}

fn after_a_crash_of_docker_the_volume_can_be_used_and_removed(lab: &Lab) -> Result<()> {
    let volume = lab.volume("dockerd-crash")?;
    let container = volume.hold("dockerd-crash-user")?;
    lab.host.sh(
        "systemctl kill --signal KILL --kill-whom main docker.service; systemctl restart docker.service",
    )?;
    lab.wait_for_docker()?;
    container.docker("start")?;
    container.exec("echo after the crash > /d/file")?;
    container.remove()?;
    // dockerd replayed its Mount: the id was counted twice and released once. The kernel shows that nobody is left.
    volume.wait_until_swept()?;
    volume.remove()?.success().map(drop)
}

/// Does something to a Docker that leaves containers alone, while one writes; the volume then goes as any other.
fn check_unnoticed(lab: &Lab, name: &str, disturb: impl Fn(&Lab) -> Result<()>) -> Result<()> {
    let _live_restore = lab.live_restore()?;
    let volume = lab.volume(name)?;
    let writer = Writer::start(lab, &volume)?;
    let (docker, mount) = (lab.main_pid(DOCKER)?, lab.main_pid(&volume.unit())?);
    disturb(lab)?;
    ensure!(lab.main_pid(DOCKER)? != docker, "Docker was not disturbed at all");
    writer.wait_for_more()?;
    ensure!(lab.main_pid(&volume.unit())? == mount, "the mount was made anew");
    // Docker does not mount again what it finds running: the one reference must have been kept.
    volume.wait_until_used_by(1)?;
    writer.finish()?;
    volume.wait_until_unmounted()?;
    volume.remove()?.success().map(drop)
}

fn with_live_restore_a_restart_of_docker_is_not_noticed_by_a_writing_container(lab: &Lab) -> Result<()> {
    check_unnoticed(lab, "live-restart", Lab::restart_docker)
}

fn with_live_restore_a_crash_of_docker_is_not_noticed_by_a_writing_container(lab: &Lab) -> Result<()> {
    check_unnoticed(lab, "live-crash", Lab::kill_docker)
}
