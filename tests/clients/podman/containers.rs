//! Containers of podman on a volume: who may do what, and what it costs.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Podman;
use crate::calls::Calls;
use crate::lab::driver::SERVICE;
use crate::lab::volume::{self, IDLE};
use crate::lab::{Lab, poll};

crate::cases![
    two_containers_cost_one_mount,
    copying_a_file_out_costs_no_call,
    copying_a_file_in_fails_at_its_owner_once_the_content_is_there,
    podman_volume_mount_holds_the_mount_until_unmount,
    the_driver_names_podmans_containers,
    any_user_in_a_container_reads_and_writes,
    a_read_only_mount_refuses_writes,
    a_user_namespace_is_no_obstacle,
    a_volume_in_use_is_not_removed,
    removal_by_force_takes_stopped_containers_along,
    containers_outlive_the_daemon,
    a_container_gets_a_fresh_mount_when_its_sshfs_dies,
    podman_without_root_cannot_use_the_driver,
];

/// The only id that podman calls with (libpod `volume_internal_common.go`).
const PODMAN: &str = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2";

/// podman counts by itself, and calls for all of them with one id.
fn two_containers_cost_one_mount(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("counted")?;
    let (one, other) = (volume.hold("counted-one")?, volume.hold("counted-other")?);
    one.remove()?;
    other.exec("echo still here > /d/file")?;
    other.remove()?;
    volume.driver.wait_until_unmounted()?;
    ensure!(volume.served("file")? == "still here");
    volume.podman("rm")?.success()?;
    let ids = calls.ids()?;
    ensure!(ids == [PODMAN; 2], "it called with {ids:?}");
    calls.ensure("counted", "Create Mount Unmount Remove")
}

fn copying_a_file_out_costs_no_call(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("copied")?;
    let container = volume.start("copied-user", &format!("echo content > /d/file; {IDLE}"))?;
    poll::until_true("the file", Duration::from_secs(10), || Ok(volume.served("file").is_ok()))?;
    let calls = Calls::from_now(lab)?;
    for _ in 0..3 {
        ensure!(lab.host.sh("podman cp copied-user:/d/file - | tar -xO")? == "content");
    }
    calls.ensure("copied", "")?;
    container.exec("echo more > /d/more")?;
    container.remove()?;
    volume.driver.wait_until_unmounted()
}

/// It gives the file to root of the container, which only root of the server may do. The page says so.
fn copying_a_file_in_fails_at_its_owner_once_the_content_is_there(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("copied-in")?;
    let _container = volume.hold("copied-in-user")?;
    lab.host.sh("echo of the host > /tmp/file")?;
    let refusal = podman.try_podman("cp /tmp/file copied-in-user:/d/file")?.failure()?;
    ensure!(refusal.contains("lchown /d/file: permission denied"), "{refusal}");
    ensure!(volume.served("file")? == "of the host");
    podman.podman("exec -i copied-in-user sh -c 'cat > /d/other' < /tmp/file")?;
    ensure!(volume.served("other")? == "of the host");
    Ok(())
}

fn podman_volume_mount_holds_the_mount_until_unmount(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("by-hand")?;
    volume.podman("mount")?.success()?;
    let path = volume.driver.mountpoint();
    lab.host.sh(&format!("echo by hand > {path}/file"))?;
    // A container that comes and goes meanwhile takes nothing away.
    ensure!(volume.run("cat /d/file")? == "by hand");
    ensure!(lab.host.sh(&format!("cat {path}/file"))? == "by hand");
    volume.podman("unmount")?.success()?;
    volume.driver.wait_until_unmounted()?;
    ensure!(volume.served("file")? == "by hand");
    Ok(())
}

fn the_driver_names_podmans_containers(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("named-users")?;
    let container = volume.hold("named-user")?;
    let id = container.short_id()?;
    poll::until_true("the container to be known", Duration::from_secs(10), || {
        Ok(volume.inspect()?["Status"]["containers"] == serde_json::json!([id]))
    })
}

fn any_user_in_a_container_reads_and_writes(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let _volume = podman.volume("any-user")?;
    for user in ["0", "1000", "4711:4711"] {
        let run = podman.try_run(
            &format!("--user {user} -v any-user:/d"),
            "busybox",
            &format!("echo {user} > /d/{user}; cat /d/{user}"),
        )?;
        ensure!(run.success()? == user, "user {user} reads something else");
        let served = lab.server.sh(&format!("stat -c %U /srv/any-user/{user}; cat /srv/any-user/{user}"))?;
        ensure!(served == format!("alice\n{user}"), "{served}");
    }
    Ok(())
}

fn a_read_only_mount_refuses_writes(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("halfro")?;
    let writer = volume.hold("halfro-writer")?;
    writer.exec("echo there > /d/file")?;
    for flags in ["-v halfro:/d:ro", "--mount type=volume,source=halfro,destination=/d,ro"] {
        let script = "cat /d/file; echo x > /d/x";
        let run = podman.try_run(flags, "busybox", script)?;
        ensure!(run.stdout == "there" && run.stderr.contains("Read-only file system"), "{flags}: {run}");
    }
    let mount = "--mount type=volume,source=halfro,destination=/d";
    podman.try_run(mount, "busybox", "echo written > /d/file")?.success()?;
    ensure!(writer.exec("cat /d/file; ls /d")? == "written\nfile");
    ensure!(volume.served("file")? == "written");
    Ok(())
}

/// podman takes /sys/kernel away from such a container, which in the lab is a mount that others lie on.
fn a_user_namespace_is_no_obstacle(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("mapped")?;
    let map = "--uidmap 0:100000:65536 --gidmap 0:100000:65536";
    let written = lab.host.sh(&format!(
        "unshare --mount --propagation slave sh -euc '
             umount --lazy /sys/kernel
             podman run --rm --network none {map} -v mapped:/d busybox \
                 sh -euc \"cat /proc/self/uid_map; echo mapped > /d/file; cat /d/file\"'"
    ))?;
    let words: Vec<_> = written.split_whitespace().collect();
    ensure!(words == ["0", "100000", "65536", "mapped"], "{written}");
    ensure!(volume.served("file")? == "mapped");
    volume.driver.wait_until_unmounted()
}

fn a_volume_in_use_is_not_removed(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("used")?;
    let container = volume.hold("used-user")?;
    let refusal = volume.podman("rm")?.failure()?;
    ensure!(refusal.contains("volume used is being used by the following container(s)"), "{refusal}");
    container.exec("echo unharmed > /d/file")?;
    ensure!(volume.served("file")? == "unharmed");
    calls.ensure("used", "Create Mount")
}

fn removal_by_force_takes_stopped_containers_along(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("forced")?;
    let container = volume.start("forced-user", "echo 1 > /d/one; mkdir /d/a; echo 2 > /d/a/two")?;
    container.podman("wait")?;
    volume.driver.wait_until_unmounted()?;
    let before = lab.server.checksums("/srv/forced")?;
    ensure!(before.lines().count() == 2, "the test wrote too little: {before}");
    volume.podman("rm --force")?.success()?;
    ensure!(podman.podman("ps --all --quiet")?.is_empty(), "the container is still there");
    ensure!(lab.server.checksums("/srv/forced")? == before, "the server lost something");
    Ok(())
}

fn containers_outlive_the_daemon(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("outlived")?;
    let container = volume.hold("outlived-user")?;
    let process = lab.main_pid(&volume.driver.unit())?;
    lab.host.sh(&format!("systemctl kill --signal KILL {SERVICE}"))?;
    container.exec("echo alone > /d/file")?;
    ensure!(volume.run("cat /d/file")? == "alone", "a second container sees something else");
    ensure!(lab.main_pid(&volume.driver.unit())? == process, "the mount was made anew");
    lab.host.sh(&format!("systemctl stop {SERVICE}"))?;
    container.remove()?;
    volume.driver.wait_until_used_by(0)?;
    ensure!(volume.served("file")? == "alone");
    Ok(())
}

fn a_container_gets_a_fresh_mount_when_its_sshfs_dies(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("healed")?;
    let container = volume.hold("healed-user")?;
    container.exec("echo before > /d/file")?;
    lab.host.sh(&format!("systemctl kill --signal KILL {}", volume.driver.unit()))?;
    poll::until_true("the mount to work again", Duration::from_secs(20), || {
        Ok(container.exec("cat /d/file; echo after > /d/file")? == "before")
    })?;
    ensure!(volume.served("file")? == "after");
    volume.driver.wait_until_used_by(1)?;
    container.remove()?;
    volume.driver.wait_until_used_by(0)
}

/// The socket is root's.
fn podman_without_root_cannot_use_the_driver(lab: &Lab) -> Result<()> {
    let _podman = Podman::of(lab)?;
    lab.host
        .sh("chmod 644 /etc/containers/containers.conf.d/*.conf; id ruth 2>/dev/null || useradd -m ruth")?;
    // vfs needs nothing of the file system, which is the lab's overlay.
    let options = volume::options("/srv");
    let create = format!("podman --storage-driver vfs volume create --driver sshfs {options} ruths");
    let refusal = lab.host.try_sh(&format!("cd /; runuser -l ruth -c '{create}'"))?.failure()?;
    ensure!(refusal.contains("/run/sshfs-docker.sock: connect: permission denied"), "{refusal}");
    Ok(())
}
