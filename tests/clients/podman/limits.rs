//! podman's limit for a call, which is 5 s where nobody says otherwise: enough to wake the driver and mount, and harmless
//! where it is not.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Podman, Volume};
use crate::calls::Calls;
use crate::lab::driver::SERVICE;
use crate::lab::{Lab, poll};

crate::cases![
    a_sleeping_daemon_wakes_and_mounts_within_podmans_own_limit,
    a_dark_server_is_a_timeout_that_leaves_nothing_behind,
    a_mount_that_comes_after_podman_gave_up_is_undone,
    with_the_limit_of_the_example_the_drivers_own_words_arrive,
];

/// What podman says when it has waited long enough.
const GAVE_UP: &str = "/VolumeDriver.Mount\": context deadline exceeded";

fn a_sleeping_daemon_wakes_and_mounts_within_podmans_own_limit(lab: &Lab) -> Result<()> {
    let podman = Podman::without_limit(lab)?;
    let sleep = || lab.host.sh(&format!("systemctl stop {SERVICE}"));
    sleep()?;
    let volume = podman.volume("cold")?;
    ensure!(volume.inspect()?["Timeout"] == 5, "podman's own limit is another: {}", volume.inspect()?);
    sleep()?;
    ensure!(podman.volumes()? == ["cold"]);
    sleep()?;
    volume.run("echo cold > /d/file")?;
    ensure!(volume.served("file")? == "cold");
    sleep()?;
    volume.podman("rm")?.success().map(drop)
}

/// Has podman give up a mount. What comes afterwards is the daemon's.
fn give_up(volume: &Volume) -> Result<()> {
    let run = volume.try_run("true")?;
    ensure!(run.status == 126 && run.stderr.contains(GAVE_UP), "{run}");
    ensure!(volume.inspect()?["MountCount"] == 0, "podman counts a mount: {}", volume.inspect()?);
    Ok(())
}

/// Nothing may be left of what was given up, and the volume must be as good as before.
fn check_nothing_is_left(lab: &Lab, volume: &Volume) -> Result<()> {
    poll::until_true("the daemon to be done with the mount", Duration::from_secs(30), || {
        Ok(volume.inspect()?["Status"]["state"] == "unmounted")
    })?;
    volume.driver.wait_until_used_by(0)?;
    let calls = Calls::from_now(lab)?;
    volume.run("echo light > /d/file")?;
    ensure!(volume.served("file")? == "light");
    calls.ensure(&volume.driver.name, "Mount Unmount")?;
    volume.driver.wait_until_used_by(0)
}

fn a_dark_server_is_a_timeout_that_leaves_nothing_behind(lab: &Lab) -> Result<()> {
    let podman = Podman::without_limit(lab)?;
    let volume = podman.volume("dark")?;
    let dark = lab.server.go_dark()?;
    give_up(&volume)?;
    poll::until_true("the daemon to give up, too", Duration::from_secs(30), || {
        lab.driver_said("cannot mount volume dark from")
    })?;
    drop(dark);
    check_nothing_is_left(lab, &volume)
}

fn a_mount_that_comes_after_podman_gave_up_is_undone(lab: &Lab) -> Result<()> {
    let podman = Podman::without_limit(lab)?;
    // ssh knocks several times within 8 s.
    let volume = podman.volume_with("belated", "--opt o=timeout=3")?;
    let dark = lab.server.go_dark()?;
    give_up(&volume)?;
    drop(dark);
    poll::until_true("the daemon to mount", Duration::from_secs(30), || {
        lab.driver_said("volume belated: mounted from")
    })?;
    check_nothing_is_left(lab, &volume)
}

fn with_the_limit_of_the_example_the_drivers_own_words_arrive(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("explained")?;
    let dark = lab.server.go_dark()?;
    let refusal = volume.try_run("true")?.failure()?;
    ensure!(refusal.contains("the server did not answer"), "{refusal}");
    drop(dark);
    volume.driver.wait_until_used_by(0)
}
