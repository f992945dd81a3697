//! Removing and purging the package, with volumes mounted and not. Nothing is installed after the last case.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::family::{Site, Version};
use crate::lab::network::SSH_SERVER;

crate::cases![
    removing_the_package_under_a_running_container_names_its_volume_and_loses_no_remote_file,
    removing_and_installing_again_keeps_the_volumes,
    after_the_removal_docker_waits_as_the_readme_says_and_not_at_all_once_restarted,
    purging_under_a_running_container_takes_its_mount_and_no_remote_file,
    purging_the_package_leaves_nothing_of_it_and_all_remote_files,
];

/// The names that the removal lists after a line with these words.
fn listed_after<'a>(said: &'a str, words: &str) -> Vec<&'a str> {
    let rest = said.lines().skip_while(|line| !line.contains(words)).skip(1);
    rest.map_while(|line| line.strip_prefix("  ")).collect()
}

fn removing_the_package_under_a_running_container_names_its_volume_and_loses_no_remote_file(
    site: &Site,
) -> Result<()> {
    let (volume, idle) = (site.volume("orphaned")?, site.volume("idle")?);
    idle.run("echo 1 > /d/one")?;
    idle.wait_until_unmounted()?;
    let container = volume.hold("orphaned-user")?;
    container.exec("mkdir /d/sub; echo 1 > /d/one; echo 2 > /d/sub/two")?;
    let said = site.remove()?;
    let (in_use, known) = (listed_after(&said, "are in use"), listed_after(&said, "on a server):"));
    ensure!(in_use == ["orphaned"], "these are said to be in use: {in_use:?} in {said}");
    ensure!(known == ["idle", "orphaned"], "these are said to be known to Docker: {known:?} in {said}");
    ensure!(container.exec("cat /d/one; echo 3 > /d/three")? == "1", "the container lost its volume");
    let before = site.server.checksums(&volume.directory)?;
    ensure!(before.lines().count() == 3, "not all that was written is there: {before}");
    site.install_and_enable()?;
    container.remove()?;
    volume.wait_until_used_by(0)?;
    ensure!(site.server.checksums(&volume.directory)? == before, "the server lost something");
    Ok(())
}

fn removing_and_installing_again_keeps_the_volumes(site: &Site) -> Result<()> {
    site.install_and_enable()?;
    let volume = site.volume("kept")?;
    volume.run("echo kept > /d/file")?;
    let timer = "sshfs-docker-metrics.timer";
    site.host.sh(&format!("systemctl start {timer}"))?;
    site.install(Version::Current)?;
    ensure!(site.state(timer)? == "active", "an upgrade has stopped the metrics");
    site.remove()?;
    ensure!(site.state(timer)? == "inactive", "the timer of a package that is gone goes on");
    site.install_and_enable()?;
    ensure!(volume.run("cat /d/file")? == "kept", "the volume did not survive the removal");
    Ok(())
}

/// A Docker that has used the driver remembers its address until it restarts, whatever the package does, and the
/// volumes that it knows for good.
fn after_the_removal_docker_waits_as_the_readme_says_and_not_at_all_once_restarted(
    site: &Site,
) -> Result<()> {
    site.install_and_enable()?;
    let volume = site.volume("left")?;
    volume.run("echo left > /d/file")?;
    volume.wait_until_unmounted()?;
    site.remove()?;
    ensure!(!site.has_spec()?, "the spec is still there");
    site.ensure_no_unit()?;
    let waits = Duration::from_secs(12)..Duration::from_secs(25);
    let list = site.try_docker("volume ls")?;
    ensure!(list.ok() && waits.contains(&list.took), "the README says 15 s: {list}");
    site.restart_docker()?;
    let start = site.docker_start()?;
    ensure!(waits.contains(&start), "the README says 15 s for one volume: {start:?}");
    let list = site.try_docker("volume ls")?;
    ensure!(
        list.ok() && list.took < Duration::from_secs(10),
        "Docker waits for a driver that is gone: {list}"
    );
    site.install_and_enable()?;
    ensure!(volume.run("cat /d/file")? == "left", "the volume did not come back with the package");
    Ok(())
}

fn purging_under_a_running_container_takes_its_mount_and_no_remote_file(site: &Site) -> Result<()> {
    site.install_and_enable()?;
    let volume = site.volume("taken")?;
    let container = volume.hold("taken-user")?;
    container.exec("echo remote > /d/file")?;
    // What the user of the mounts has in his home holds up nothing.
    site.host.sh("mkdir -p /var/lib/sshfs-docker/home/known_hosts.old/x")?;
    site.purge()?;
    site.host.sh("rmdir -p /var/lib/sshfs-docker/home/known_hosts.old/x 2>/dev/null || :")?;
    let kept = site.host.sh("ls -d /var/lib/sshfs-docker 2>/dev/null || :")?;
    ensure!(kept.is_empty(), "the purge stopped half way: {kept}");
    site.ensure_no_unit()?;
    ensure!(site.mountinfo(&volume.mountpoint())?.is_none(), "it is still mounted on the host");
    ensure!(!container.try_exec("cat /d/file")?.ok(), "the container has a mount that nobody looks after");
    ensure!(site.server.sh("cat /srv/taken/file")? == "remote", "the remote file is gone");
    site.install_and_enable()?;
    container.remove()?;
    let volumes = site.docker("volume ls --quiet --filter driver=sshfs")?;
    ensure!(!volumes.contains("taken"), "a purged volume is still there: {volumes}");
    volume.abandon();
    Ok(())
}

fn purging_the_package_leaves_nothing_of_it_and_all_remote_files(site: &Site) -> Result<()> {
    site.install_and_enable()?;
    let volume = site.volume("purged")?;
    volume.run("echo remote > /d/file")?;
    volume.wait_until_unmounted()?;
    let with_password =
        site.volume_with("purged-too", &format!("-o sshcmd=bob@{SSH_SERVER}: -o password=x"))?;
    site.purge()?;
    volume.abandon();
    with_password.abandon();
    site.ensure_no_unit()?;
    site.ensure_no_file()?;
    ensure!(site.server.sh("cat /srv/purged/file")? == "remote", "the remote file is gone");
    Ok(())
}
