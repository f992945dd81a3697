//! The daemon may restart, crash or be upgraded: no container notices.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::driver::SERVICE;
use crate::lab::{Lab, Writer, poll};

crate::cases![
    three_restarts_of_the_daemon_are_not_noticed_by_a_writing_container,
    three_kills_of_the_daemon_are_not_noticed_by_a_writing_container,
    a_volume_in_use_before_a_crash_is_still_counted_after_it,
    a_killed_ssh_is_replaced_under_a_running_container,
    a_stopped_socket_and_daemon_leave_the_mounts_alone,
];

/// Does something to the daemon three times while a container writes, and unmounts in the end.
fn check_unnoticed(lab: &Lab, name: &str, disturb: impl Fn(u32) -> Result<()>) -> Result<()> {
    let volume = lab.volume(name)?;
    let writer = Writer::start(lab, &volume)?;
    let mount = lab.main_pid(&volume.unit())?;
    for _ in 0..3 {
        let daemon = lab.daemon()?;
        disturb(daemon)?;
        writer.wait_for_more()?;
        ensure!(lab.daemon()? != daemon, "the daemon was not disturbed at all");
    }
    ensure!(lab.main_pid(&volume.unit())? == mount, "the mount did not survive");
    writer.finish()?;
    volume.wait_until_unmounted()
}

fn three_restarts_of_the_daemon_are_not_noticed_by_a_writing_container(lab: &Lab) -> Result<()> {
    check_unnoticed(lab, "restarted", |_| lab.host.sh(&format!("systemctl restart {SERVICE}")).map(drop))
}

fn three_kills_of_the_daemon_are_not_noticed_by_a_writing_container(lab: &Lab) -> Result<()> {
    check_unnoticed(lab, "killed", |daemon| kill_daemon(lab, daemon))
}

/// Kills it and waits until systemd has noticed.
fn kill_daemon(lab: &Lab, daemon: u32) -> Result<()> {
    lab.host.sh(&format!("kill -9 {daemon}"))?;
    poll::until_true("systemd to notice", Duration::from_secs(10), || Ok(lab.main_pid(SERVICE)? != daemon))
}

fn a_volume_in_use_before_a_crash_is_still_counted_after_it(lab: &Lab) -> Result<()> {
    let volume = lab.volume("crashed")?;
    let (first, second) = (volume.hold("crashed-1")?, volume.hold("crashed-2")?);
    kill_daemon(lab, lab.daemon()?)?;
    first.remove()?;
    second.exec("echo still mounted > /d/file")?;
    volume.remove()?.failure()?;
    second.remove()?;
    volume.wait_until_unmounted()
}

fn a_killed_ssh_is_replaced_under_a_running_container(lab: &Lab) -> Result<()> {
    let volume = lab.volume("reconnected")?;
    let container = volume.hold("reconnected-user")?;
    container.exec("echo before > /d/file")?;
    lab.server.sh("pkill -KILL -u alice")?;
    poll::until_true("the connection to come back", Duration::from_secs(20), || {
        Ok(container.exec("cat /d/file")? == "before")
    })
}

fn a_stopped_socket_and_daemon_leave_the_mounts_alone(lab: &Lab) -> Result<()> {
    let volume = lab.volume("stopped")?;
    let container = volume.hold("stopped-user")?;
    let deaf = lab.deafen()?;
    container.exec("echo without a daemon > /d/file")?;
    drop(deaf);
    ensure!(lab.server.sh("cat /srv/stopped/file")? == "without a daemon");
    container.remove()?;
    volume.wait_until_unmounted()
}
