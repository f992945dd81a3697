//! What a hostile server can use up of the host: no more than the unit of its mount may have.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::hostile_sftp::{ROLE, ROOT};
use crate::lab::network::SSH_SERVER;
use crate::lab::{Lab, poll};

crate::cases![an_endless_listing_ends_when_the_unit_has_used_up_its_memory];

/// `LimitDATA=` of the sandbox.
const LIMIT: u64 = 640 << 20;

/// What a process has beside its data: code and libraries.
const SHARED: u64 = 32 << 20;

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

/// Watches the memory of a process until it ends.
struct Peak {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<u64>,
}

impl Peak {
    fn watch(status: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let watcher = thread::spawn(move || {
            let mut peak = 0;
            while !stopped.load(Ordering::Relaxed) {
                let status = fs::read_to_string(&status).unwrap_or_default();
                let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = resident.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
                peak = peak.max(kib.unwrap_or(0) << 10);
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        Self { stop, watcher }
    }

    /// The most bytes that it had in memory.
    fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.join().ok().context("the watcher panicked")
    }
}

fn an_endless_listing_ends_when_the_unit_has_used_up_its_memory(lab: &Lab) -> Result<()> {
    let server = install(lab, "greedy-listing")?;
    let options = format!(
        "-o sshcmd=alice@{SSH_SERVER}:{ROOT} -o identity_file=/root/.ssh/id_ed25519 -o sftp_server='{server}'"
    );
    let (endless, good) = (lab.volume_with("endless", &options)?, lab.volume("modest")?);
    let (victim, other) = (endless.hold("endless-user")?, good.hold("modest-user")?);
    let (unit, daemon) = (endless.unit(), lab.daemon()?);
    let limits = [("MemoryMax", 512 << 20), ("MemorySwapMax", 0), ("LimitDATA", LIMIT), ("TasksMax", 128)];
    for (limit, value) in limits {
        ensure!(lab.property(&unit, limit)? == value.to_string(), "{limit} is not {value}");
    }
    let sshfs = lab
        .host
        .sh(&format!("grep -ls '/{unit}$' $(grep -lx sshfs /proc/[0-9]*/comm | sed s/comm/cgroup/)"))?;
    let sshfs = sshfs.trim_end_matches("/cgroup");
    let peak = Peak::watch(lab.host.path(&format!("{sshfs}/status"))?);
    let listing = lab.host.try_sh(&format!("timeout 60 docker exec {} ls /d", victim.name()))?;
    let peak = peak.finish()?;
    // busybox says nothing of the error that it gets, and has nothing to list.
    ensure!(listing.took < Duration::from_secs(60) && listing.stdout.is_empty(), "it goes on: {listing}");
    ensure!(!lab.host.try_sh(&format!("test -d {sshfs}"))?.ok(), "sshfs did not end");
    ensure!((LIMIT / 4..LIMIT + SHARED).contains(&peak), "sshfs had {peak} bytes when it ended");
    println!("fault-count: greedy_servers=1 memory_of_a_greedy_sshfs_mib={}", peak >> 20);
    // It is that volume's trouble alone, and over when the server is sensible again.
    ensure!(lab.daemon()? == daemon, "the daemon is another one");
    other.exec("echo well > /d/file")?;
    poll::until_true("a fresh mount", Duration::from_secs(30), || Ok(victim.try_exec("stat /d/file")?.ok()))
}
