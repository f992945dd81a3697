//! When a volume is mounted, who sees the mount, and when it goes.

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;

crate::cases![
    the_mount_is_seen_by_the_host_and_by_docker,
    the_mount_goes_with_the_last_container,
    an_unmounted_mountpoint_cannot_be_written_even_by_root,
    docker_cp_on_a_running_container_keeps_the_mount,
    docker_cp_on_a_stopped_container_leaves_no_mount,
    a_locked_down_container_and_a_bridged_one_share_a_volume,
];

fn the_mount_is_seen_by_the_host_and_by_docker(lab: &Lab) -> Result<()> {
    let volume = lab.volume("seen")?;
    let container = volume.hold("seen-user")?;
    let mount = lab.mountinfo(&volume.mountpoint())?.context("PID 1 does not see the mount")?;
    ensure!(mount.contains(" fuse.sshfs "), "not a mount of sshfs: {mount}");
    let engine = lab.host.sh("cat /proc/$(pidof dockerd)/mountinfo")?;
    ensure!(engine.contains(&format!(" {} ", volume.mountpoint())), "dockerd does not see the mount");
    ensure!(
        container.exec("grep ' /d ' /proc/mounts")?.contains(" fuse.sshfs "),
        "the container does not see it"
    );
    Ok(())
}

fn the_mount_goes_with_the_last_container(lab: &Lab) -> Result<()> {
    let volume = lab.volume("counted")?;
    let (first, second) = (volume.hold("counted-1")?, volume.hold("counted-2")?);
    let process = lab.main_pid(&volume.unit())?;
    first.remove()?;
    second.exec("echo still here > /d/file")?;
    ensure!(lab.main_pid(&volume.unit())? == process, "the mount was made anew");
    second.remove()?;
    volume.wait_until_unmounted()
}

fn an_unmounted_mountpoint_cannot_be_written_even_by_root(lab: &Lab) -> Result<()> {
    let volume = lab.volume("unmounted")?;
    volume.run("echo remote > /d/file")?;
    volume.wait_until_unmounted()?;
    lab.host.try_sh(&format!("echo local > {}/file", volume.mountpoint()))?.failure()?;
    lab.host.try_sh(&format!("mkdir {}/directory", volume.mountpoint()))?.failure()?;
    ensure!(volume.run("cat /d/file")? == "remote", "the volume does not mount any more");
    Ok(())
}

fn docker_cp_on_a_running_container_keeps_the_mount(lab: &Lab) -> Result<()> {
    let volume = lab.volume("copied")?;
    let container = volume.hold("copied-user")?;
    container.exec("echo content > /d/file")?;
    for _ in 0..3 {
        ensure!(lab.host.sh("docker cp copied-user:/d/file - | tar -xO")? == "content");
    }
    ensure!(lab.mountinfo(&volume.mountpoint())?.is_some(), "docker cp took the mount away");
    container.exec("echo more > /d/more")?;
    container.remove()?;
    volume.wait_until_unmounted()
}

fn docker_cp_on_a_stopped_container_leaves_no_mount(lab: &Lab) -> Result<()> {
    let volume = lab.volume("copied-cold")?;
    let _container = volume.start("copied-cold-user", "", "echo content > /d/file")?;
    lab.docker("wait copied-cold-user")?;
    volume.wait_until_unmounted()?;
    ensure!(lab.host.sh("docker cp copied-cold-user:/d/file - | tar -xO")? == "content");
    volume.wait_until_unmounted()
}

fn a_locked_down_container_and_a_bridged_one_share_a_volume(lab: &Lab) -> Result<()> {
    let volume = lab.volume("shared")?;
    let flags = "-v shared:/d --read-only --cap-drop ALL --user 1000";
    volume.try_run_with(flags, "echo locked down > /d/file")?.success()?;
    let content = lab.docker("run --rm --network bridge -v shared:/d busybox cat /d/file")?;
    ensure!(content == "locked down", "{content}");
    Ok(())
}
