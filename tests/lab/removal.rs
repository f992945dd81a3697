//! Removing and purging the package. The last cases of a pairing: nothing is installed after them.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::network::SSH_SERVER;

crate::cases![
    removing_the_package_under_a_running_container_names_its_volume_and_loses_no_remote_file,
    removing_and_installing_again_keeps_the_volumes,
    after_the_removal_docker_waits_as_the_readme_says_and_not_at_all_once_restarted,
    purging_the_package_leaves_nothing_of_it_and_all_remote_files,
];

/// Removes the package, and tells what it said.
fn remove_package(lab: &Lab) -> Result<String> {
    lab.host.sh("apt-get remove --yes sshfs-docker")
}

/// Brings back what this case, or one before it that failed, has removed.
fn restore_package(lab: &Lab) -> Result<()> {
    lab.reinstall_package()?;
    lab.enable_driver()
}

/// The names that the removal lists after a line with these words.
fn listed_after<'a>(said: &'a str, words: &str) -> Vec<&'a str> {
    let rest = said.lines().skip_while(|line| !line.contains(words)).skip(1);
    rest.map_while(|line| line.strip_prefix("  ")).collect()
}

fn removing_the_package_under_a_running_container_names_its_volume_and_loses_no_remote_file(
    lab: &Lab,
) -> Result<()> {
    let (volume, idle) = (lab.volume("orphaned")?, lab.volume("idle")?);
    idle.run("echo 1 > /d/one")?;
    idle.wait_until_unmounted()?;
    let container = volume.hold("orphaned-user")?;
    container.exec("mkdir /d/sub; echo 1 > /d/one; echo 2 > /d/sub/two")?;
    let said = remove_package(lab)?;
    let (in_use, known) = (listed_after(&said, "are in use"), listed_after(&said, "on a server):"));
    ensure!(in_use == ["orphaned"], "these are said to be in use: {in_use:?} in {said}");
    ensure!(known == ["idle", "orphaned"], "these are said to be known to Docker: {known:?} in {said}");
    ensure!(container.exec("cat /d/one; echo 3 > /d/three")? == "1", "the container lost its volume");
    let before = lab.server.checksums(&volume.directory)?;
    ensure!(before.lines().count() == 3, "not all that was written is there: {before}");
    restore_package(lab)?;
    container.remove()?;
    volume.wait_until_used_by(0)?;
    ensure!(lab.server.checksums(&volume.directory)? == before, "the server lost something");
    Ok(())
}

fn removing_and_installing_again_keeps_the_volumes(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    let volume = lab.volume("kept")?;
    volume.run("echo kept > /d/file")?;
    let timer = "sshfs-docker-metrics.timer";
    lab.host.sh(&format!("systemctl start {timer}"))?;
    lab.reinstall_package()?;
    ensure!(lab.state(timer)? == "active", "an upgrade has stopped the metrics");
    remove_package(lab)?;
    ensure!(lab.state(timer)? == "inactive", "the timer of a package that is gone goes on");
    restore_package(lab)?;
    ensure!(volume.run("cat /d/file")? == "kept", "the volume did not survive the removal");
    Ok(())
}

/// A Docker that has used the driver remembers its address until it restarts, whatever the package does, and the
/// volumes that it knows for good.
fn after_the_removal_docker_waits_as_the_readme_says_and_not_at_all_once_restarted(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    let volume = lab.volume("left")?;
    volume.run("echo left > /d/file")?;
    volume.wait_until_unmounted()?;
    remove_package(lab)?;
    let spec = lab
        .host
        .try_sh("test -e /etc/docker/plugins/sshfs.spec || test -L /etc/docker/plugins/sshfs.spec")?;
    ensure!(!spec.ok(), "the spec is still there");
    let waits = Duration::from_secs(12)..Duration::from_secs(25);
    let list = lab.try_docker("volume ls")?;
    ensure!(list.ok() && waits.contains(&list.took), "the README says 15 s: {list}");
    lab.restart_docker()?;
    let start = lab.docker_start()?;
    ensure!(waits.contains(&start), "the README says 15 s for one volume: {start:?}");
    let list = lab.try_docker("volume ls")?;
    ensure!(
        list.ok() && list.took < Duration::from_secs(3),
        "Docker waits for a driver that is gone: {list}"
    );
    restore_package(lab)?;
    ensure!(volume.run("cat /d/file")? == "left", "the volume did not come back with the package");
    Ok(())
}

fn purging_the_package_leaves_nothing_of_it_and_all_remote_files(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    let volume = lab.volume("purged")?;
    volume.run("echo remote > /d/file")?;
    volume.wait_until_unmounted()?;
    let with_password =
        lab.volume_with("purged-too", &format!("-o sshcmd=bob@{SSH_SERVER}: -o password=x"))?;
    lab.host.sh("apt-get purge --yes sshfs-docker")?;
    volume.abandon();
    with_password.abandon();
    let left = lab.host.sh(
        "ls -d /etc/sshfs-docker /var/lib/sshfs-docker /run/sshfs-docker* /etc/docker/plugins/sshfs.spec \
         /usr/bin/sshfs-docker 2>/dev/null || :",
    )?;
    ensure!(left.is_empty(), "left behind: {left}");
    ensure!(lab.server.sh("cat /srv/purged/file")? == "remote", "the remote file is gone");
    Ok(())
}
