//! Containers that use volumes in odd ways, or do not start at all: nothing is lost, and nothing is left.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::network::SSH_SERVER;
use crate::lab::volume::IDLE;
use crate::lab::{Lab, poll};

crate::cases![
    one_volume_at_two_targets_is_mounted_once_and_counted_twice,
    several_docker_cp_both_ways_at_once_leave_the_running_container_its_volume,
    several_docker_cp_both_ways_at_once_on_a_stopped_container_leave_no_mount,
    a_container_whose_command_does_not_exist_leaves_no_mount,
    a_container_whose_second_volume_cannot_be_mounted_leaves_no_mount_of_the_first,
    a_mount_that_the_host_works_in_goes_when_the_host_is_done,
];

fn one_volume_at_two_targets_is_mounted_once_and_counted_twice(lab: &Lab) -> Result<()> {
    let volume = lab.volume("two-targets")?;
    let container = volume.start("two-targets-user", "-v two-targets:/e", IDLE)?;
    container.exec("echo content > /d/file")?;
    ensure!(container.exec("cat /e/file")? == "content", "the two targets are not one volume");
    let counted = (volume.references()?, volume.containers()?);
    ensure!(counted == (2, 1), "references and containers: {counted:?}");
    container.remove()?;
    volume.wait_until_used_by(0)
}

/// Docker mounts for each copy, with the id of the running container. Four in each direction.
///
/// `--archive`, with a source that has the owner of the remote files: without it, Docker gives what it copies to root,
/// which the account on the server may not do.
fn copy_both_ways(lab: &Lab, container: &str) -> Result<()> {
    lab.host.sh(&format!(
        "cd /var/tmp; rm -rf copies; mkdir copies; cd copies
         for i in 1 2 3 4; do echo in $i > in-$i; chown 1000:1000 in-$i; done
         copying=
         for i in 1 2 3 4; do
             docker cp --archive in-$i {container}:/d/in-$i & copying=\"$copying $!\"
             docker cp {container}:/d/file out-$i & copying=\"$copying $!\"
         done
         for copy in $copying; do wait $copy; done
         for i in 1 2 3 4; do test \"$(cat out-$i)\" = content; done"
    ))?;
    Ok(())
}

const COPIED: &str = "in 1\nin 2\nin 3\nin 4";

fn several_docker_cp_both_ways_at_once_leave_the_running_container_its_volume(lab: &Lab) -> Result<()> {
    let volume = lab.volume("copies")?;
    let container = volume.hold("copies-user")?;
    container.exec("echo content > /d/file")?;
    let mount = lab.main_pid(&volume.unit())?;
    copy_both_ways(lab, container.name())?;
    ensure!(lab.main_pid(&volume.unit())? == mount, "the mount was made anew");
    ensure!(container.exec("cat /d/in-*; echo more > /d/more")? == COPIED, "the container sees other files");
    ensure!(lab.server.sh("cat /srv/copies/in-*")? == COPIED, "the server has other files");
    volume.wait_until_used_by(1)?;
    container.remove()?;
    volume.wait_until_used_by(0)
}

fn several_docker_cp_both_ways_at_once_on_a_stopped_container_leave_no_mount(lab: &Lab) -> Result<()> {
    let volume = lab.volume("copies-cold")?;
    let container = volume.start("copies-cold-user", "", "echo content > /d/file")?;
    container.docker("wait")?;
    copy_both_ways(lab, container.name())?;
    ensure!(lab.server.sh("cat /srv/copies-cold/in-*")? == COPIED, "the server has other files");
    volume.wait_until_used_by(0)
}

fn a_container_whose_command_does_not_exist_leaves_no_mount(lab: &Lab) -> Result<()> {
    let volume = lab.volume("no-command")?;
    let output =
        lab.try_docker("run --name no-command-user --network none -v no-command:/d busybox /no/such")?;
    let refusal = output.failure()?;
    ensure!(refusal.contains("/no/such"), "it failed for another reason: {refusal}");
    ensure!(lab.driver_said("volume no-command: mounted")?, "it was never mounted");
    volume.wait_until_used_by(0)
}

fn a_container_whose_second_volume_cannot_be_mounted_leaves_no_mount_of_the_first(lab: &Lab) -> Result<()> {
    let first = lab.volume("mountable")?;
    let directory = lab.server.export("unmountable", "alice")?;
    let options =
        format!("-o sshcmd=alice@{SSH_SERVER}:{directory} -o port=2 -o identity_file=/root/.ssh/id_ed25519");
    let second = lab.volume_with("unmountable", &options)?;
    // Docker mounts them in any order: it takes some attempts until the first is mounted first.
    poll::until_true("the first volume to be mounted first", Duration::from_secs(30), || {
        let refusal = first.try_run_with("-v mountable:/d -v unmountable:/e", "true")?.failure()?;
        ensure!(refusal.contains("cannot mount volume unmountable"), "another reason: {refusal}");
        first.wait_until_used_by(0)?;
        second.wait_until_used_by(0)?;
        lab.driver_said("volume mountable: mounted")
    })?;
    first.run("echo still usable > /d/file").map(drop)
}

fn a_mount_that_the_host_works_in_goes_when_the_host_is_done(lab: &Lab) -> Result<()> {
    let volume = lab.volume("visited")?;
    let container = volume.hold("visited-user")?;
    let visitor = "visitor-of-the-lab.service";
    lab.host.sh(&format!(
        "systemd-run --quiet --unit {visitor} --property WorkingDirectory={} sleep 600",
        volume.mountpoint()
    ))?;
    let deferred = (|| {
        container.exec("echo content > /d/file")?;
        let mount = lab.main_pid(&volume.unit())?;
        container.remove()?;
        ensure!(lab.mountinfo(&volume.mountpoint())?.is_some(), "unmounted under a process of the host");
        ensure!(volume.references()? == 0, "the container still counts");
        ensure!(volume.run("cat /d/file")? == "content", "another container cannot use it meanwhile");
        ensure!(lab.main_pid(&volume.unit())? == mount, "the mount was made anew");
        Ok(())
    })();
    lab.host.sh(&format!("systemctl stop {visitor}"))?;
    deferred?;
    volume.wait_until_swept()
}
