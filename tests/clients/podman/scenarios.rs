//! podman's own scenarios for volume plugins (`test/e2e/volume_plugin_test.go`).

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Podman;
use crate::calls::Calls;
use crate::lab::Lab;
use crate::lab::volume;

crate::cases![
    podman_knows_the_driver_and_no_unknown_one,
    a_missing_socket_is_named_in_the_error,
    a_volume_is_created_listed_and_removed,
    inspect_shows_driver_options_and_state,
    what_the_driver_refuses_fails_with_its_words,
    removing_without_the_driver_forgets_the_volume_in_podman_alone,
    two_containers_share_data,
    reload_adds_and_drops_volumes_with_exact_words,
    the_limit_is_that_of_the_example_or_of_the_volume,
];

/// Scenario 1.
fn podman_knows_the_driver_and_no_unknown_one(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let plugins = podman.podman("info --format '{{.Plugins.Volume}}'")?;
    ensure!(plugins.contains("sshfs"), "podman knows {plugins}");
    let refusal = podman.try_podman("volume create --driver nosuch unknown")?.failure()?;
    ensure!(refusal.contains("no volume plugin with name nosuch available"), "{refusal}");
    Ok(())
}

/// Scenario 2.
fn a_missing_socket_is_named_in_the_error(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let deaf = lab.deafen()?;
    let create = format!("volume create --driver sshfs {} deaf", volume::options("/srv/deaf"));
    let refusal = podman.try_podman(&create)?.failure()?;
    ensure!(refusal.contains("cannot access plugin sshfs socket \"/run/sshfs-docker.sock\""), "{refusal}");
    ensure!(podman.volumes()?.is_empty(), "podman believes that it was made");
    drop(deaf);
    podman.volume("deaf")?.run("true").map(drop)
}

/// Scenario 3.
fn a_volume_is_created_listed_and_removed(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("listed")?;
    let listed = podman.podman("volume ls --format '{{.Driver}} {{.Name}}' --filter driver=sshfs")?;
    ensure!(listed == "sshfs listed", "{listed:?}");
    ensure!(volume.podman("rm")?.success()? == "listed");
    ensure!(podman.volumes()?.is_empty(), "still listed");
    let known = lab.docker("volume ls --quiet --filter name=^listed$")?;
    ensure!(known.is_empty(), "the driver still has it");
    calls.ensure("listed", "Create Remove")
}

/// Scenario 4.
fn inspect_shows_driver_options_and_state(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("inspected")?;
    let shown = volume.inspect()?;
    ensure!(shown["Driver"] == "sshfs" && shown["Scope"] == "local" && shown["MountCount"] == 0, "{shown}");
    ensure!(shown["Options"]["identity_file"] == volume::KEY, "{shown}");
    ensure!(shown["Status"]["state"] == "unmounted" && shown["Mountpoint"] == "", "{shown}");
    let _container = volume.hold("inspected-user")?;
    let shown = volume.inspect()?;
    ensure!(shown["Status"]["state"] == "mounted" && shown["MountCount"] == 1, "{shown}");
    ensure!(shown["Mountpoint"] == volume.driver.mountpoint(), "{shown}");
    Ok(())
}

fn what_the_driver_refuses_fails_with_its_words(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    for (options, words) in [
        ("--opt bogus=1", "volume refused: unknown option 'bogus'"),
        ("--opt ProxyCommand=x", "volume refused: option 'ProxyCommand' is refused"),
    ] {
        let create = format!("volume create --driver sshfs {} {options} refused", volume::options("/srv"));
        let refusal = podman.try_podman(&create)?.failure()?;
        ensure!(refusal.contains(words), "{refusal}");
    }
    ensure!(podman.volumes()?.is_empty(), "podman believes that it was made");
    Ok(())
}

/// Scenario 5. A reload brings the volume back, with what was on the server.
fn removing_without_the_driver_forgets_the_volume_in_podman_alone(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("forgotten")?;
    volume.run("echo kept > /d/file")?;
    let before = lab.server.checksums(&volume.driver.directory)?;
    let deaf = lab.deafen()?;
    let removed = volume.podman("rm")?;
    ensure!(removed.status == 125, "{removed}");
    ensure!(removed.stderr.contains("but it has been removed from Podman"), "{removed}");
    ensure!(podman.volumes()?.is_empty(), "still listed");
    drop(deaf);
    ensure!(lab.server.checksums(&volume.driver.directory)? == before, "the server lost something");
    let said = podman.podman("volume reload")?;
    ensure!(said == "Added:\nforgotten", "{said:?}");
    ensure!(volume.run("cat /d/file")? == "kept");
    Ok(())
}

/// Scenario 6.
fn two_containers_share_data(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("shared")?;
    let (one, other) = (volume.hold("shared-one")?, volume.hold("shared-other")?);
    one.exec("head -c 10000000 /dev/urandom > /d/file")?;
    let sums = ["sha256sum < /d/file"; 2];
    let [written, read] = [one.exec(sums[0])?, other.exec(sums[1])?];
    let served = lab.server.sh("sha256sum < /srv/shared/file")?;
    ensure!(written == read && read == served, "written {written}, read {read}, served {served}");
    Ok(())
}

/// Scenario 7.
fn reload_adds_and_drops_volumes_with_exact_words(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let reload = || podman.podman("volume reload");
    ensure!(reload()?.is_empty(), "something is new although nobody has made anything");
    let dockers = lab.volume("dockers")?;
    dockers.run("echo of Docker > /d/file")?;
    let podmans = podman.volume("podmans")?;
    podmans.driver.remove()?.success()?;
    let calls = Calls::from_now(lab)?;
    let said = reload()?;
    ensure!(said == "Added:\ndockers\nRemoved:\npodmans", "{said:?}");
    ensure!(podman.volumes()? == ["dockers"]);
    ensure!(calls.count("List")? == 1, "one reload asked {} times for all volumes", calls.count("List")?);
    let adopted = podman.try_run("-v dockers:/d", "busybox", "cat /d/file")?.success()?;
    ensure!(adopted == "of Docker", "{adopted:?}");
    dockers.remove()?.success()?;
    let said = reload()?;
    ensure!(said == "Removed:\ndockers", "{said:?}");
    Ok(())
}

/// Scenario 8. podman keeps `o=timeout=` to itself: the driver, which has no option `o`, is not given it.
fn the_limit_is_that_of_the_example_or_of_the_volume(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    ensure!(podman.volume("patient")?.inspect()?["Timeout"] == 90, "not the limit of the example");
    let hasty = podman.volume_with("hasty", "--opt o=timeout=3")?;
    let shown = hasty.inspect()?;
    ensure!(shown["Timeout"] == 3 && shown["Options"].get("o").is_none(), "{shown}");
    let dark = lab.server.go_dark()?;
    let run = hasty.try_run("true")?;
    // The driver itself gives up after 8 s.
    ensure!(!run.ok() && run.took < Duration::from_secs(8), "{run}");
    drop(dark);
    hasty.driver.wait_until_unmounted()
}
