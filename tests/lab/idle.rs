//! A daemon that nobody calls ends, and systemd starts it for the next call.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::driver::{SERVICE, SOCKET};
use crate::lab::{Diary, Lab, poll};

crate::cases![
    an_idle_daemon_ends_and_the_next_call_starts_it_while_a_container_writes_on,
    a_burst_of_starts_fails_neither_socket_nor_service,
];

const CONFIG: &str = "/etc/sshfs-docker/config.toml";

/// Runs `work` with a daemon that ends after a quiet time.
fn with_quiet_time(lab: &Lab, seconds: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    lab.host.sh(&format!(
        "cp {CONFIG} {CONFIG}.kept; printf '[daemon]\\nidle_exit = {seconds}\\n' > {CONFIG}; systemctl restart {SERVICE}"
    ))?;
    let done = work();
    lab.host.sh(&format!("mv {CONFIG}.kept {CONFIG}; systemctl restart {SERVICE}"))?;
    done
}

fn an_idle_daemon_ends_and_the_next_call_starts_it_while_a_container_writes_on(lab: &Lab) -> Result<()> {
    let volume = lab.volume("idle")?;
    let diary = Diary::start(lab, &volume)?;
    with_quiet_time(lab, "0.3", || {
        for _ in 0..10 {
            poll::until_true("the daemon to end", Duration::from_secs(10), || {
                Ok(lab.state(SERVICE)? == "inactive")
            })?;
            ensure!(lab.property(SERVICE, "Result")? == "success");
            ensure!(lab.docker("volume inspect --format '{{.Status.references}}' idle")? == "1");
        }
        Ok(())
    })?;
    let report = diary.finish()?;
    report.print("idle-exit");
    ensure!(report.failed == 0, "{report:?}");
    volume.wait_until_unmounted()
}

fn a_burst_of_starts_fails_neither_socket_nor_service(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("burst")?;
    let starts =
        || lab.host.sh(&format!("journalctl --no-pager --unit {SERVICE} | grep -c ': Started ' || :"));
    with_quiet_time(lab, "0.005", || {
        let before: u32 = starts()?.parse()?;
        lab.host.sh("for i in $(seq 60); do docker volume inspect burst > /dev/null; done")?;
        let started = starts()?.parse::<u32>()? - before;
        println!("fault-count: daemon_starts_in_a_burst={started}");
        ensure!(started > 30, "no burst: {started} starts");
        ensure!(lab.state(SOCKET)? == "active", "the socket failed");
        ensure!(lab.state(SERVICE)? != "failed", "the service failed");
        Ok(())
    })
}
