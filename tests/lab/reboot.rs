//! The host goes down, in order or not, and comes back with everything it had.

use anyhow::{Result, ensure};

use crate::lab::{Container, Lab, Volume};

crate::cases![
    a_power_cut_loses_no_volume_and_the_container_comes_back,
    an_orderly_reboot_does_not_hang_on_a_mounted_volume,
];

/// A container as users run them: it comes back by itself.
pub fn service<'a>(lab: &'a Lab, volume: &Volume<'a>) -> Result<Container<'a>> {
    let script = "echo boot >> /d/boots; trap exit TERM; while :; do sleep 0.1; done";
    let container = volume.start(&format!("{}-service", volume.name), "--restart always", script)?;
    lab.host.sh(&format!("until docker exec {} test -e /d/boots; do sleep 0.1; done", container.name()))?;
    Ok(container)
}

/// Whether all is as before, and the container has run once more.
fn check_back(lab: &Lab, volume: &Volume, container: &Container) -> Result<()> {
    lab.wait_for_docker()?;
    let listed = lab.docker("volume ls --quiet --filter driver=sshfs")?;
    ensure!(listed.lines().any(|name| name == volume.name), "not listed any more: {listed}");
    container.wait_until_running()?;
    ensure!(container.exec("grep -c boot /d/boots")? == "2", "it did not see what it wrote before");
    ensure!(lab.server.sh(&format!("grep -c boot {}/boots", volume.directory))? == "2", "nor did the server");
    volume.wait_until_used_by(1)?;
    lab.ensure_no_ordering_cycle()
}

fn a_power_cut_loses_no_volume_and_the_container_comes_back(lab: &Lab) -> Result<()> {
    let volume = lab.volume("power")?;
    let container = service(lab, &volume)?;
    lab.host.cut_power()?;
    lab.host.boot()?;
    check_back(lab, &volume, &container)
}

fn an_orderly_reboot_does_not_hang_on_a_mounted_volume(lab: &Lab) -> Result<()> {
    let volume = lab.volume("rebooted")?;
    let container = service(lab, &volume)?;
    lab.host.shut_down()?;
    lab.host.boot()?;
    check_back(lab, &volume, &container)
}
