//! What volumes cost the start of Docker, and what happens to containers whose server is dark while the host boots.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::driver::{SERVICE, SOCKET};
use crate::lab::volume::IDLE;
use crate::reboot::service;

crate::cases![
    volumes_delay_docker_by_less_than_two_seconds_also_when_their_server_is_dark,
    containers_of_a_dark_server_delay_docker_by_one_attempt_and_hold_up_no_other,
    the_units_are_in_no_ordering_cycle,
];

const NAMES: [&str; 3] = ["boot-a", "boot-b", "boot-c"];

/// What Docker's start may take longer because of volumes.
const DELAY: Duration = Duration::from_secs(2);

/// Boots once more and tells how long Docker took to start.
fn reboot(lab: &Lab) -> Result<Duration> {
    lab.host.shut_down()?;
    lab.host.boot()?;
    lab.wait_for_docker()?;
    lab.docker_start()
}

/// The same on a host that does not know the driver.
fn reboot_without_driver(lab: &Lab) -> Result<Duration> {
    lab.host.sh(&format!("systemctl disable --now {SOCKET}"))?;
    let took = reboot(lab);
    lab.enable_driver()?;
    took
}

fn volumes_delay_docker_by_less_than_two_seconds_also_when_their_server_is_dark(lab: &Lab) -> Result<()> {
    let without = reboot_without_driver(lab)?;
    let _volumes = NAMES.iter().map(|name| lab.volume(name)).collect::<Result<Vec<_>>>()?;
    let bright = reboot(lab)?;
    let _dark = lab.server.go_dark()?;
    let dark = reboot(lab)?;
    for (server, with) in [("bright", bright), ("dark", dark)] {
        ensure!(with < without + DELAY, "{without:?} without volumes, {with:?} with a {server} server");
    }
    let list = lab.try_docker("volume ls --quiet --filter driver=sshfs")?;
    ensure!(list.took < Duration::from_secs(2), "docker volume ls had to wait: {list}");
    ensure!(NAMES.iter().all(|name| list.stdout.lines().any(|line| line == *name)), "not all there: {list}");
    Ok(())
}

/// Docker starts its containers before it is ready, all at the same time, and tries each once.
fn containers_of_a_dark_server_delay_docker_by_one_attempt_and_hold_up_no_other(lab: &Lab) -> Result<()> {
    let volumes = NAMES.iter().map(|name| lab.volume(name)).collect::<Result<Vec<_>>>()?;
    let containers = volumes.iter().map(|volume| service(lab, volume)).collect::<Result<Vec<_>>>()?;
    let other = lab.container("boot-other", "--restart always", IDLE)?;
    lab.host.cut_power()?;
    let dark = lab.server.go_dark()?;
    lab.host.boot()?;
    lab.wait_for_docker()?;
    let took = lab.docker_start()?;
    // ssh gives up after 10 s.
    ensure!(took < Duration::from_secs(25), "not one attempt but several, one after the other: {took:?}");
    ensure!(other.is_running()?, "the container without a volume did not come back");
    let age = other.age()?;
    ensure!(age > Duration::from_secs(5), "it had to wait for the dark server: it runs for {age:?}");
    for (volume, container) in volumes.iter().zip(&containers) {
        ensure!(!container.is_running()?, "{} runs without its volume", container.name());
        volume.wait_until_used_by(0)?;
    }
    drop(dark);
    for (volume, container) in volumes.iter().zip(&containers) {
        container.start()?;
        ensure!(container.exec("grep -c boot /d/boots")? == "2", "it did not see what it wrote before");
        volume.wait_until_used_by(1)?;
    }
    Ok(())
}

fn the_units_are_in_no_ordering_cycle(lab: &Lab) -> Result<()> {
    // The guests have no man to look for the pages with.
    let verdict = lab
        .host
        .try_sh(&format!("systemd-analyze verify --man=no {SOCKET} {SERVICE} docker.service 2>&1"))?;
    ensure!(verdict.ok() && !verdict.stdout.contains("cycle"), "systemd-analyze verify: {verdict}");
    lab.ensure_no_ordering_cycle()
}
