//! What a container's life costs in calls, and that each mount that Docker was given is given back.
//!
//! The numbers of scenarios are those of docs/clients.md.

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::Lab;

crate::cases![
    a_named_volume_costs_one_call_of_each_kind,
    every_mount_has_an_id_and_is_given_back_under_it,
    a_mount_that_failed_is_not_given_back,
    a_mount_that_failed_after_others_gives_those_back,
    a_container_that_does_not_start_gives_its_mount_back,
    start_and_stop_mount_and_unmount_each_time,
    a_crash_of_a_container_gives_its_mount_back,
    what_one_run_wrote_the_next_one_reads,
];

/// Scenario 2.
fn a_named_volume_costs_one_call_of_each_kind(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("named")?;
    volume.run("echo named > /d/file")?;
    ensure!(lab.server.sh("cat /srv/named/file")? == "named");
    volume.remove()?.success()?;
    calls.ensure("named", "Create Mount Unmount Remove")?;
    lab.host.sh(&format!("! test -e {}", volume.mountpoint())).map(drop)
}

/// Scenario 14.
fn every_mount_has_an_id_and_is_given_back_under_it(lab: &Lab) -> Result<()> {
    let volume = lab.volume("ids")?;
    let calls = Calls::from_now(lab)?;
    volume.run("true")?;
    volume.run("true")?;
    let ids = calls.ids()?;
    let [first, first_back, second, second_back] = &ids[..] else { anyhow::bail!("ids: {ids:?}") };
    ensure!(first == first_back && second == second_back && first != second, "ids: {ids:?}");
    Ok(())
}

/// Scenario 17, with and without a working directory in the volume.
fn a_mount_that_failed_is_not_given_back(lab: &Lab) -> Result<()> {
    let volume = lab.volume_on("failing", "/srv/is-not-there", "")?;
    let calls = Calls::from_now(lab)?;
    volume.try_run("true")?.failure()?;
    volume.try_run_with("-v failing:/d -w /d", "true")?.failure()?;
    calls.ensure("failing", "Mount Mount")?;
    ensure!(volume.references()? == 0, "there are references to what was never mounted");
    volume.wait_until_unmounted()
}

fn a_mount_that_failed_after_others_gives_those_back(lab: &Lab) -> Result<()> {
    let (good, other) = (lab.volume("good")?, lab.volume("good-2")?);
    let bad = lab.volume_on("bad", "/srv/is-not-there", "")?;
    let calls = Calls::from_now(lab)?;
    bad.try_run_with("-v good:/a -v good-2:/b -v bad:/c", "true")?.failure()?;
    calls.ensure("bad", "Mount")?;
    for volume in [&good, &other] {
        // Docker mounts in no order: a volume may not have had its turn.
        let seen = calls.of(&volume.name)?;
        ensure!(["", "Mount Unmount"].contains(&seen.as_str()), "{}: {seen}", volume.name);
        volume.wait_until_unmounted()?;
    }
    Ok(())
}

fn a_container_that_does_not_start_gives_its_mount_back(lab: &Lab) -> Result<()> {
    let volume = lab.volume("startless")?;
    let calls = Calls::from_now(lab)?;
    lab.try_docker("run --rm --network none -v startless:/d busybox /no/such/program")?.failure()?;
    calls.ensure("startless", "Mount Unmount")?;
    volume.wait_until_unmounted()
}

fn start_and_stop_mount_and_unmount_each_time(lab: &Lab) -> Result<()> {
    let volume = lab.volume("cycles")?;
    let calls = Calls::from_now(lab)?;
    let container = volume.hold("cycles-user")?;
    for _ in 0..2 {
        container.docker("stop --time 1")?;
        container.start()?;
    }
    container.docker("restart --time 1")?;
    container.remove()?;
    calls.ensure("cycles", &["Mount Unmount"; 4].join(" "))?;
    volume.wait_until_unmounted()
}

fn a_crash_of_a_container_gives_its_mount_back(lab: &Lab) -> Result<()> {
    let volume = lab.volume("crashed")?;
    let calls = Calls::from_now(lab)?;
    let container = volume.hold("crashed-user")?;
    container.crash()?;
    lab.docker("wait crashed-user")?;
    volume.wait_until_unmounted()?;
    calls.ensure("crashed", "Mount Unmount")
}

/// Scenario 43.
fn what_one_run_wrote_the_next_one_reads(lab: &Lab) -> Result<()> {
    let volume = lab.volume("persistent")?;
    volume.run("echo kept > /d/file; ln -s file /d/link; mkdir -p /d/a/b; chmod 700 /d/a")?;
    let seen = volume.run("cat /d/link; stat -c %a /d/a; ls /d/a")?;
    ensure!(seen == "kept\n700\nb", "{seen}");
    Ok(())
}
