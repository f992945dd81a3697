//! The ways to say that a container has a volume, and what else a container can be at the same time.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::volume::{IDLE, long_syntax};
use crate::lab::{Lab, poll};

crate::cases![
    volumes_from_another_container_is_a_mount_of_its_own,
    two_targets_of_one_volume_are_two_mounts,
    a_read_only_container_writes_into_the_volume_alone,
    a_container_with_ro_reads_beside_one_that_writes,
    an_anonymous_volume_with_options_goes_with_its_container,
    rm_with_volumes_removes_the_anonymous_volume_and_no_file,
    a_tmpfs_inside_the_volume_hides_what_is_written_there,
    a_restart_policy_mounts_once_per_start,
];

/// Scenario 4.
fn volumes_from_another_container_is_a_mount_of_its_own(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("lent")?;
    let lender = volume.hold("lender")?;
    lender.exec("echo lent > /d/file")?;
    ensure!(volume.try_run_with("--volumes-from lender", "cat /d/file")?.success()? == "lent");
    let refusal = volume.try_run_with("--volumes-from lender:ro", "echo x > /d/x")?.failure()?;
    ensure!(refusal.contains("Read-only file system"), "{refusal}");
    lender.docker("rm --force --volumes")?;
    volume.wait_until_unmounted()?;
    volume.remove()?.success()?;
    calls.ensure("lent", "Create Mount Mount Unmount Mount Unmount Unmount Remove")?;
    ensure!(calls.callers()? == 3, "{:?}", calls.all()?);
    ensure!(lab.server.sh("cat /srv/lent/file; ls /srv/lent")? == "lent\nfile");
    Ok(())
}

fn two_targets_of_one_volume_are_two_mounts(lab: &Lab) -> Result<()> {
    let volume = lab.volume("twofold")?;
    let calls = Calls::from_now(lab)?;
    let script =
        "echo one > /a/file; cat /b/file; echo two > /b/file; cat /a/file; ! echo x > /c/x 2>/dev/null";
    let seen = volume.try_run_with("-v twofold:/a -v twofold:/b -v twofold:/c:ro", script)?.success()?;
    ensure!(seen == "one\ntwo", "{seen}");
    calls.ensure("twofold", "Mount Mount Mount Unmount Unmount Unmount")?;
    ensure!(calls.callers()? == 3, "{:?}", calls.all()?);
    ensure!(lab.server.sh("cat /srv/twofold/file; ls /srv/twofold")? == "two\nfile");
    volume.wait_until_unmounted()
}

fn a_read_only_container_writes_into_the_volume_alone(lab: &Lab) -> Result<()> {
    let volume = lab.volume("outlet")?;
    // `sh -e` takes no notice of a `!` in the middle.
    let script =
        "echo out > /d/file; if echo x > /x || mkdir /tmp/x; then exit 1; fi 2>/dev/null; cat /d/file";
    ensure!(volume.try_run_with("-v outlet:/d --read-only", script)?.success()? == "out");
    ensure!(lab.server.sh("cat /srv/outlet/file; ls /srv/outlet")? == "out\nfile");
    Ok(())
}

fn a_container_with_ro_reads_beside_one_that_writes(lab: &Lab) -> Result<()> {
    let volume = lab.volume("halved")?;
    let writer = volume.hold("halved-writer")?;
    let forms = ["-v halved:/d:ro", "--mount type=volume,src=halved,dst=/d,readonly"];
    for (number, form) in forms.into_iter().enumerate() {
        writer.exec(&format!("echo {number} > /d/file"))?;
        let reader = volume.try_run_with(form, "cat /d/file; rm /d/file")?;
        ensure!(reader.stdout == number.to_string(), "{reader}");
        ensure!(reader.failure()?.contains("Read-only file system"));
        ensure!(lab.server.sh("cat /srv/halved/file")? == number.to_string());
    }
    writer.remove()
}

/// Scenario 3.
fn an_anonymous_volume_with_options_goes_with_its_container(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("anonymous", "alice")?;
    let calls = Calls::from_now(lab)?;
    let flag = long_syntax("", &directory);
    lab.docker(&format!("run --rm --network none {flag} busybox sh -c 'echo anonymous > /d/file'"))?;
    ensure!(sequence(&calls)? == "Create Mount Unmount Remove", "{:?}", calls.all()?);
    ensure!(lab.docker("volume ls --quiet")?.is_empty(), "a volume stays");
    ensure!(lab.server.sh("cat /srv/anonymous/file")? == "anonymous", "the server lost the file");
    Ok(())
}

/// The calls that change something, for a volume whose name only Docker knows.
fn sequence(calls: &Calls<'_>) -> Result<String> {
    let all = calls.all()?;
    let created = all.iter().find(|call| call.kind == "Create").map(|call| call.volume.clone());
    calls.of(&created.unwrap_or_default())
}

/// Scenario 5.
fn rm_with_volumes_removes_the_anonymous_volume_and_no_file(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("short-lived", "alice")?;
    let calls = Calls::from_now(lab)?;
    let container = lab.container("short-lived-user", &long_syntax("", &directory), IDLE)?;
    container.exec("echo anonymous > /d/file; mkdir /d/sub; echo deep > /d/sub/file")?;
    let before = lab.server.checksums(&directory)?;
    container.docker("rm --force --volumes")?;
    ensure!(sequence(&calls)? == "Create Mount Unmount Remove", "{:?}", calls.all()?);
    ensure!(lab.docker("volume ls --quiet")?.is_empty(), "a volume stays");
    let after = lab.server.checksums(&directory)?;
    ensure!(before.lines().count() == 2 && after == before, "{before} became {after}");
    Ok(())
}

fn a_tmpfs_inside_the_volume_hides_what_is_written_there(lab: &Lab) -> Result<()> {
    let volume = lab.volume("hollow")?;
    lab.server.sh("cd /srv/hollow; install -d -o alice -g alice cache; echo precious > cache/old")?;
    let script = "ls -A /d/cache; echo scratch > /d/cache/new; echo kept > /d/file; grep -c ' /d/cache tmpfs ' /proc/mounts";
    let seen = volume.try_run_with("-v hollow:/d --tmpfs /d/cache --tmpfs /d/made", script)?.success()?;
    ensure!(seen == "1", "{seen}");
    volume.wait_until_unmounted()?;
    // Docker makes the second directory where the volume has none.
    ensure!(lab.server.sh("cd /srv/hollow; find . | sort")? == ".\n./cache\n./cache/old\n./file\n./made");
    ensure!(lab.server.sh("cat /srv/hollow/cache/old /srv/hollow/file")? == "precious\nkept");
    Ok(())
}

/// Docker unmounts when a container ends, also one that it starts again.
fn a_restart_policy_mounts_once_per_start(lab: &Lab) -> Result<()> {
    let volume = lab.volume("stubborn")?;
    let calls = Calls::from_now(lab)?;
    let container =
        volume.start("stubborn-user", "--restart on-failure:2", "echo start >> /d/starts; exit 3")?;
    poll::until_true("the policy to give up", Duration::from_secs(20), || {
        Ok(container.docker("inspect --format '{{.RestartCount}} {{.State.Status}}'")? == "2 exited")
    })?;
    volume.wait_until_unmounted()?;
    calls.ensure("stubborn", "Mount Unmount Mount Unmount Mount Unmount")?;
    ensure!(calls.callers()? == 3, "{:?}", calls.all()?);
    ensure!(lab.server.sh("cat /srv/stubborn/starts")? == "start\nstart\nstart");
    container.remove()
}
