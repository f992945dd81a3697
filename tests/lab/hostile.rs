//! What a hostile server can use up of the host: no more than the unit of its mount may have.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::hostile_sftp::{ROLE, ROOT};
use crate::lab::network::SSH_SERVER;
use crate::lab::{Lab, poll};

crate::cases![an_endless_listing_ends_when_the_unit_has_used_up_its_memory];

/// Where this program and its libraries lie on the server: the guest may be older than what it was built on.
const HOME: &str = "/opt/hostile";

/// Puts this program on the server. Returns the value of `sftp_server` for a server with this habit.
fn install(lab: &Lab, trick: &str) -> Result<String> {
    lab.server.sh(&format!("mkdir -p {HOME}"))?;
    lab.server.copy_in(&env::current_exe()?, &format!("{HOME}/server"))?;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let mapped: BTreeSet<_> = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    let mut loader = None;
    for library in mapped.into_iter().filter(|path| path.contains(".so")) {
        let name = Path::new(library).file_name().context("a library without a name")?.to_string_lossy();
        if name.starts_with("ld-") {
            loader = Some(name.to_string());
        }
        lab.server.copy_in(Path::new(library), &format!("{HOME}/{name}"))?;
    }
    lab.server.sh(&format!("chmod -R a+rx {HOME}"))?;
    let loader = loader.context("this program has no dynamic loader")?;
    Ok(format!("{HOME}/{loader} --library-path {HOME} {HOME}/server {ROLE} {trick}"))
}

fn an_endless_listing_ends_when_the_unit_has_used_up_its_memory(lab: &Lab) -> Result<()> {
    let server = install(lab, "greedy-listing")?;
    let options = format!(
        "-o sshcmd=alice@{SSH_SERVER}:{ROOT} -o identity_file=/root/.ssh/id_ed25519 -o sftp_server='{server}'"
    );
    let (endless, good) = (lab.volume_with("endless", &options)?, lab.volume("modest")?);
    let (victim, other) = (endless.hold("endless-user")?, good.hold("modest-user")?);
    let (unit, daemon) = (endless.unit(), lab.daemon()?);
    ensure!(lab.property(&unit, "MemoryMax")? == (512 * 1024 * 1024).to_string(), "no limit");
    ensure!(lab.property(&unit, "TasksMax")? == "128", "no limit");
    let listing = lab.host.try_sh(&format!("timeout 120 docker exec {} ls /d", victim.name()))?;
    ensure!(!listing.ok(), "an endless listing came to its end: {listing}");
    let journal = lab.host.sh(&format!("journalctl --sync; journalctl --no-pager --unit {unit}"))?;
    ensure!(journal.contains("killed by the OOM killer"), "it ended for another reason: {journal}");
    println!("\nended after {:.0} s", listing.took.as_secs_f64());
    // It is that volume's trouble alone, and over when the server is sensible again.
    ensure!(lab.daemon()? == daemon, "the daemon is another one");
    other.exec("echo well > /d/file")?;
    poll::until_true("a fresh mount", Duration::from_secs(30), || Ok(victim.try_exec("stat /d/file")?.ok()))
}
