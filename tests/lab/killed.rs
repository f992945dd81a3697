//! The daemon is killed at any moment of a mixed load, and systemd starts it again: no mount notices, and nothing that
//! was acknowledged is lost.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::driver::SERVICE;
use crate::lab::model::{Random, Shares, Tally, report};
use crate::lab::{Lab, Volume, Writer};
use crate::load::Load;

crate::cases![kills_under_load_touch_no_mount_and_lose_nothing];

const CYCLES: u64 = 50;

/// Where systemd looks for changes that a reboot forgets.
const DROP_IN: &str = "/run/systemd/system/sshfs-docker.service.d";

fn kills_under_load_touch_no_mount_and_lose_nothing(lab: &Lab) -> Result<()> {
    let _hasty = HastyRestart::begin(lab)?;
    let volumes = [lab.volume("kept-1")?, lab.volume("kept-2")?];
    let writers = [Writer::start(lab, &volumes[0])?, Writer::start(lab, &volumes[1])?];
    let kept = ["kept-1", "kept-2"];
    let before = identities(lab, &volumes)?;
    let restarts = restarts(lab)?;

    let shares = Shares { definitions: 450, own_mounts: 20, shared_mounts: 60 };
    let mut load = Load::prepare(lab, 6, 6, shares)?;
    let mut random = Random::new(load.seed);
    for cycle in 0..CYCLES {
        load.disturb(&mut random, 200, kill_daemon)?;
        load.audit(&kept).with_context(|| format!("cycle {cycle}"))?;
        ensure!(identities(lab, &volumes)? == before, "cycle {cycle}: another mount than before");
    }
    let Tally { acknowledged, mounts, in_doubt, .. } = load.finish(&kept)?;
    ensure!(self::restarts(lab)? == restarts + CYCLES, "systemd counts other restarts");
    for (writer, volume) in writers.into_iter().zip(&volumes) {
        writer.wait_for_more()?;
        writer.finish()?;
        volume.wait_until_unmounted()?;
    }
    report(&format!(
        "case=lab_kills release={} kill_cycles={CYCLES} acknowledged_calls={acknowledged} mounts={mounts} \
         calls_in_doubt={in_doubt} calls_lost=0 live_mounts_touched=0",
        lab.host.release()
    ));
    Ok(())
}

/// The guest's processes have their ids here, too.
fn kill_daemon() -> Result<()> {
    let is_daemon = |pid: &i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.starts_with(b"/usr/bin/sshfs-docker\0serve\0"))
    };
    let entries = fs::read_dir("/proc")?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let daemon = pids.find(is_daemon).context("the daemon does not run")?;
    Ok(kill(Pid::from_raw(daemon), Signal::SIGKILL)?)
}

/// What must stay the same of a mount: its process, and its file system as the kernel numbers it.
fn identities(lab: &Lab, volumes: &[Volume<'_>]) -> Result<Vec<(u32, String)>> {
    let identity = |volume: &Volume<'_>| {
        let line = lab.mountinfo(&volume.mountpoint())?.context("not mounted")?;
        let device = line.split(' ').nth(2).context("mountinfo")?.to_owned();
        Ok((lab.main_pid(&volume.unit())?, device))
    };
    volumes.iter().map(identity).collect()
}

fn restarts(lab: &Lab) -> Result<u64> {
    lab.property(SERVICE, "NRestarts")?.parse().context("NRestarts")
}

/// Lets systemd restart the daemon at once, so that many kills take little time.
struct HastyRestart<'a>(&'a Lab);

impl<'a> HastyRestart<'a> {
    fn begin(lab: &'a Lab) -> Result<Self> {
        let hasty = Self(lab);
        lab.host.sh(&format!(
            "mkdir -p {DROP_IN}
             printf '[Service]\\nRestartSec=50ms\\n' > {DROP_IN}/hasty.conf
             systemctl daemon-reload"
        ))?;
        Ok(hasty)
    }
}

impl Drop for HastyRestart<'_> {
    fn drop(&mut self) {
        // After a failed case the guest may be in any state; the case has reported what matters.
        let _ = self.0.host.try_sh(&format!("rm -r {DROP_IN} && systemctl daemon-reload"));
    }
}
