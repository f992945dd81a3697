//! Docker starts anew or dies while volumes are in use: they stay whose they are, and none is left over.
//!
//! The numbers of scenarios are those of docs/clients.md. What happens to a container that writes meanwhile is in tests/lab
//! (engine, policies).

use anyhow::{Result, ensure};

use crate::lab::Lab;

crate::cases![
    a_volume_is_still_the_drivers_after_a_restart_of_docker,
    with_live_restore_a_volume_stays_in_use_whatever_the_restart_policy,
    with_live_restore_a_second_container_shares_the_mount_and_the_last_one_ends_it,
    with_live_restore_docker_cp_does_not_take_the_mount_away,
    a_stop_of_docker_with_mounted_volumes_leaves_no_mount,
    a_mount_that_was_not_given_back_is_used_by_the_next_start,
    mounts_that_docker_never_gave_back_hinder_nobody,
];

/// Scenario 11.
fn a_volume_is_still_the_drivers_after_a_restart_of_docker(lab: &Lab) -> Result<()> {
    let volume = lab.volume("restarted")?;
    volume.run("echo before > /d/file")?;
    lab.restart_docker()?;
    ensure!(lab.docker("volume inspect --format '{{.Driver}}' restarted")? == "sshfs");
    ensure!(volume.run("cat /d/file")? == "before");
    lab.try_docker("volume create --driver local restarted")?.failure()?;
    volume.remove()?.success().map(drop)
}

/// Scenarios 40 and 44.
fn with_live_restore_a_volume_stays_in_use_whatever_the_restart_policy(lab: &Lab) -> Result<()> {
    let _live_restore = lab.live_restore()?;
    let policies = ["always", "unless-stopped", "on-failure", "no"];
    let mut volumes = Vec::new();
    for policy in policies {
        let volume = lab.volume(&format!("live-{policy}"))?;
        let flags = format!("--restart {policy}");
        let container =
            volume.start(&format!("c-live-{policy}"), &flags, "trap exit TERM; sleep 600 & wait")?;
        volumes.push((volume, container));
    }
    lab.restart_docker()?;
    for (volume, container) in volumes {
        let refused = volume.remove()?.failure()?;
        ensure!(refused.contains("in use"), "{refused}");
        ensure!(container.is_running()?, "the container of {} has stopped", volume.name);
        lab.docker(&format!("volume inspect {}", volume.name))?;
        container.remove()?;
        volume.wait_until_unmounted()?;
        volume.remove()?.success()?;
    }
    Ok(())
}

/// Scenario 41.
fn with_live_restore_a_second_container_shares_the_mount_and_the_last_one_ends_it(lab: &Lab) -> Result<()> {
    let _live_restore = lab.live_restore()?;
    let volume = lab.volume("live-shared")?;
    let first = volume.hold("live-first")?;
    first.exec("echo first > /d/file")?;
    let mount = lab.main_pid(&volume.unit())?;
    lab.restart_docker()?;
    let second = volume.hold("live-second")?;
    ensure!(second.exec("cat /d/file")? == "first");
    ensure!(lab.main_pid(&volume.unit())? == mount, "the mount was made anew");
    first.remove()?;
    second.exec("echo second > /d/file")?;
    second.remove()?;
    volume.wait_until_unmounted()?;
    volume.remove()?.success().map(drop)
}

/// Docker before 20.10.26, 23.0.7 and 24.0.3 then forgets to give the mount back (moby 45754): the driver sees that nobody
/// is left.
fn with_live_restore_docker_cp_does_not_take_the_mount_away(lab: &Lab) -> Result<()> {
    let _live_restore = lab.live_restore()?;
    let volume = lab.volume("live-cp")?;
    let container = volume.hold("live-cp-user")?;
    container.exec("echo content > /d/file")?;
    lab.restart_docker()?;
    ensure!(lab.host.sh("docker cp live-cp-user:/d/file - | tar -xO")? == "content");
    container.exec("echo more > /d/file")?;
    container.remove()?;
    volume.wait_until_swept()?;
    volume.remove()?.success().map(drop)
}

/// Scenario 45.
fn a_stop_of_docker_with_mounted_volumes_leaves_no_mount(lab: &Lab) -> Result<()> {
    let volume = lab.volume("stopped")?;
    let container = volume.hold("stopped-user")?;
    lab.host.sh("systemctl stop docker.socket docker.service")?;
    let unmounted = volume.wait_until_unmounted();
    lab.restart_docker()?;
    unmounted?;
    container.remove()?;
    volume.remove()?.success().map(drop)
}

/// Docker keeps the id of a mount that it could not give back, and takes it again for the next one. So one more is counted
/// than there are, until the kernel shows that nobody is left.
fn a_mount_that_was_not_given_back_is_used_by_the_next_start(lab: &Lab) -> Result<()> {
    let volume = lab.volume("kept")?;
    let container = volume.hold("kept-user")?;
    let deaf = lab.deafen()?;
    container.docker("stop --time 1")?;
    drop(deaf);
    container.start()?;
    container.exec("echo again > /d/file")?;
    ensure!(lab.server.sh("cat /srv/kept/file")? == "again");
    ensure!(volume.containers()? == 1, "not mounted in the container");
    container.remove()?;
    volume.wait_until_swept()?;
    volume.remove()?.success().map(drop)
}

/// Scenario 45, and a container that is removed while Docker cannot give its mount back: the volume is none the worse.
/// Without a new user its mount ends after ten minutes, for which nobody waits here.
fn mounts_that_docker_never_gave_back_hinder_nobody(lab: &Lab) -> Result<()> {
    let (lost, killed) = (lab.volume("lost")?, lab.volume("killed")?);
    let lost_user = lost.hold("lost-user")?;
    let deaf = lab.deafen()?;
    lost_user.remove()?;
    drop(deaf);
    let killed_user = killed.hold("killed-user")?;
    lab.kill_docker()?;
    killed_user.remove()?;
    for volume in [lost, killed] {
        volume.run("echo used again > /d/file")?;
        volume.remove()?.success()?;
        volume.wait_until_unmounted()?;
        ensure!(lab.server.sh(&format!("cat {}/file", volume.directory))? == "used again");
    }
    Ok(())
}
