//! What podman learnt after Debian 12 has taken its version, 4.3, which has no `--ignore` and waits for itself for ever where
//! it is to remove a mounted volume, also one of its own driver, with a container that runs.

use anyhow::{Result, ensure};

use super::Podman;
use crate::calls::Calls;
use crate::lab::Lab;
use crate::lab::volume;

crate::cases![removal_by_force_takes_running_containers_along, creating_again_with_ignore_is_fine];

fn removal_by_force_takes_running_containers_along(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("forced-down")?;
    let container = volume.hold("forced-down-user")?;
    container.exec("echo 1 > /d/one; mkdir /d/a; echo 2 > /d/a/two")?;
    let before = lab.server.checksums("/srv/forced-down")?;
    volume.podman("rm --force --time 1")?.success()?;
    ensure!(podman.podman("ps --all --quiet")?.is_empty(), "the container is still there");
    calls.ensure("forced-down", "Create Mount Unmount Remove")?;
    ensure!(lab.server.checksums("/srv/forced-down")? == before, "the server lost something");
    ensure!(before.lines().count() == 2, "the test wrote too little: {before}");
    Ok(())
}

fn creating_again_with_ignore_is_fine(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = podman.volume("again")?;
    let options = volume::options(&volume.driver.directory);
    podman.podman(&format!("volume create --ignore --driver sshfs {options} again"))?;
    let refusal = podman.try_podman(&format!("volume create --driver sshfs {options} again"))?.failure()?;
    ensure!(refusal.contains("volume already exists"), "{refusal}");
    calls.ensure("again", "Create")
}
