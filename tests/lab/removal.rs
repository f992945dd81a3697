//! Removing and purging the package. The last cases of a pairing: nothing is installed after them.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;

crate::cases![
    removing_the_package_under_a_running_container_loses_no_remote_file,
    removing_and_installing_again_keeps_the_volumes,
    after_the_removal_a_restarted_docker_does_not_wait_for_the_driver,
    purging_the_package_leaves_nothing_of_it_and_all_remote_files,
];

fn remove_package(lab: &Lab) -> Result<()> {
    lab.host.sh("apt-get remove --yes sshfs-docker").map(drop)
}

/// Brings back what this case, or one before it that failed, has removed.
fn restore_package(lab: &Lab) -> Result<()> {
    lab.reinstall_package()?;
    lab.enable_driver()
}

fn removing_the_package_under_a_running_container_loses_no_remote_file(lab: &Lab) -> Result<()> {
    let volume = lab.volume("orphaned")?;
    let container = volume.hold("orphaned-user")?;
    container.exec("mkdir /d/sub; echo 1 > /d/one; echo 2 > /d/sub/two")?;
    let before = lab.server.checksums(&volume.directory)?;
    ensure!(before.lines().count() == 2, "the test wrote too little: {before}");
    remove_package(lab)?;
    ensure!(container.exec("cat /d/one")? == "1", "the container lost its volume");
    restore_package(lab)?;
    container.remove()?;
    volume.wait_until_unmounted()?;
    ensure!(lab.server.checksums(&volume.directory)? == before, "the server lost something");
    Ok(())
}

fn removing_and_installing_again_keeps_the_volumes(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    let volume = lab.volume("kept")?;
    volume.run("echo kept > /d/file")?;
    remove_package(lab)?;
    restore_package(lab)?;
    ensure!(volume.run("cat /d/file")? == "kept", "the volume did not survive the removal");
    Ok(())
}

/// A Docker that has used the driver remembers its address until it restarts, whatever the package does.
fn after_the_removal_a_restarted_docker_does_not_wait_for_the_driver(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    remove_package(lab)?;
    let spec = lab
        .host
        .try_sh("test -e /etc/docker/plugins/sshfs.spec || test -L /etc/docker/plugins/sshfs.spec")?;
    ensure!(!spec.ok(), "the spec is still there");
    lab.host.sh("systemctl restart docker.service")?;
    let list = lab.try_docker("volume ls")?;
    ensure!(
        list.ok() && list.took < Duration::from_secs(3),
        "Docker waits for a driver that is gone: {list}"
    );
    Ok(())
}

fn purging_the_package_leaves_nothing_of_it_and_all_remote_files(lab: &Lab) -> Result<()> {
    restore_package(lab)?;
    let volume = lab.volume("purged")?;
    volume.run("echo remote > /d/file")?;
    volume.wait_until_unmounted()?;
    lab.host.sh("apt-get purge --yes sshfs-docker")?;
    volume.abandon();
    let left = lab.host.sh(
        "ls -d /etc/sshfs-docker /var/lib/sshfs-docker /run/sshfs-docker* /etc/docker/plugins/sshfs.spec \
         /usr/bin/sshfs-docker 2>/dev/null || :",
    )?;
    ensure!(left.is_empty(), "left behind: {left}");
    ensure!(lab.server.sh("cat /srv/purged/file")? == "remote", "the remote file is gone");
    Ok(())
}
