//! `sshfs-docker restart VOLUME`: a fresh sshfs with the present options of the volume, under running containers and
//! without an interruption.
//!
//! The old mount goes only when the new one answers ([`crate::mount::Mounter::replace`]); then each container is given
//! the new one, as healing does it. Files that are open stay on the old sshfs, which ends with the last of them. On an
//! error nobody's mount has changed.
//!
//! It runs as whoever calls it, who must be root, in the mount namespace of the host: a login shell may have another one
//! (pam_namespace(8), unshare(1)).

use super::{
    Healer, HostMount,
    grafting::Ungrafted,
    judge,
    record::{Record, Unhealed},
    stale::{self, Left, Stale},
    terminal::Terminal,
    users::{self, User},
};
use crate::{
    cli::Layout,
    config::Config,
    events, logging,
    mount::{MountError, fuse, mountinfo::Mount},
    volume::{Generation, Spec, VolumeName},
};
use anyhow::{Context, Result, bail, ensure};
use nix::{
    sched::{CloneFlags, setns},
    sys::{
        signal::{SigSet, Signal},
        stat::{Mode, umask},
    },
    unistd::geteuid,
};
use serde::Serialize;
use std::{
    fs::{self, File},
    io,
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

/// How long other calls for the volume may take: a mount that fails, and the clearing away of it.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);

/// How long an sshfs that nobody uses any more may take to end: not long, others wait for the volume.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// How long the search for open files may take. A process that hangs in the kernel may hold it up.
const SEARCH_PATIENCE: Duration = Duration::from_secs(10);

/// What was done, as `--json` shows it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    volume: String,
    /// Whether there is a fresh mount. If not, the volume was not mounted.
    restarted: bool,
    remote: String,
    /// The unit of the fresh sshfs.
    unit: Option<String>,
    mounted_in_ms: Option<u128>,
    containers: Vec<Container>,
    /// The units of earlier sshfs that still serve somebody.
    earlier_units: Vec<String>,
    open_files: Vec<User>,
}

/// One mount of a container.
#[derive(Debug, Serialize)]
struct Container {
    who: String,
    fresh: bool,
    reason: Option<String>,
}

impl Outcome {
    /// Whether every container has the fresh mount.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.containers.iter().all(|container| container.fresh)
    }
}

/// Restarts the sshfs of a volume and, unless it is to be `quiet`, tells of each step.
pub fn run(layout: &Layout, name: &VolumeName, quiet: bool) -> Result<Outcome> {
    prepare()?;
    let (terminal, writer) = Terminal::open()?;
    let warnings = terminal.clone();
    logging::start_beside(move || warnings.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let say = |line: &str| {
        if !quiet {
            terminal.say(line);
        }
    };
    let result = runtime.block_on(async { Healer::open(layout, name)?.restart(say).await });
    // Not waiting for threads that may hang on a dead mount.
    runtime.shutdown_background();
    terminal.finish(writer);
    result
}

/// Makes this process one that can mount on the host. There must be no other thread yet (setns(2)).
fn prepare() -> Result<()> {
    ensure!(geteuid().is_root(), "only root can do this; try 'sudo'");
    ensure!(
        libsystemd::daemon::booted(),
        "it needs systemd as PID 1: elsewhere the mounts are the daemon's, and are made anew when that is restarted"
    );
    umask(Mode::from_bits_truncate(0o077));
    // Ctrl-Z, or `stty tostop` in the background, would stop this process and those that it starts while they have the volume
    // locked. All of them inherit what is blocked.
    SigSet::from_iter([Signal::SIGTSTP, Signal::SIGTTOU]).thread_block()?;
    let namespace = "/proc/1/ns/mnt";
    if fs::read_link(namespace)? != fs::read_link("/proc/self/ns/mnt")? {
        let host = File::open(namespace).and_then(|host| Ok(setns(host, CloneFlags::CLONE_NEWNS)?));
        host.context("cannot enter the mount namespace of the host; call it from a shell that is in it")?;
    }
    Ok(())
}

impl Healer<'_> {
    async fn restart(&self, say: impl Fn(&str)) -> Result<Outcome> {
        let name = self.name;
        ensure!(self.store.read(name).is_some(), "there is no such volume");
        let lock = timeout(LOCK_PATIENCE, self.locks.lock(name)).await;
        let lock = lock.context("another call for it does not come to an end")?;
        let Some(stored) = self.store.read(name) else {
            // Removed meanwhile. Locking has made the file of its lock anew.
            lock.retire();
            bail!("it has been removed");
        };
        let (config, spec) = judge(&self.config, &stored.definition?).await?.map_err(anyhow::Error::msg)?;
        let mut outcome = Outcome {
            volume: name.to_string(),
            restarted: false,
            remote: spec.remote.to_string(),
            unit: None,
            mounted_in_ms: None,
            containers: Vec::new(),
            earlier_units: Vec::new(),
            open_files: Vec::new(),
        };
        let remotes = self.remotes(&spec)?;
        let Some((live, took)) = self.fresh_mount(&remotes, &spec, &config).await? else {
            say(&format!(
                "volume {name} is not mounted: nothing to do, the next mount has its present options"
            ));
            return Ok(outcome);
        };
        let generation = fuse::generation(&live, name);
        let took = took.as_millis();
        say(&format!("volume {name}: mounted anew from {} in {took} ms", spec.remote));
        outcome.restarted = true;
        outcome.unit = Some(generation.unit());
        outcome.mounted_in_ms = Some(took);

        let mut containers = Vec::new();
        let mut done = |stale: &Stale| {
            say(&format!("{stale}: has the fresh mount"));
            containers.push(Container { who: stale.to_string(), fresh: true, reason: None });
        };
        let mut ungrafted = self.graft_all(&remotes, &live, &mut done).await?;
        if ungrafted.iter().any(|ungrafted| ungrafted.stale.obstacle.is_none()) {
            // A container that was just starting has its mounts elsewhere by now.
            ungrafted = self.graft_all(&remotes, &live, &mut done).await?;
        }
        for Ungrafted { stale, reason } in &ungrafted {
            say(&format!("{stale}: keeps the old mount: {reason}"));
            let reason = Some(reason.clone());
            containers.push(Container { who: stale.to_string(), fresh: false, reason });
        }
        outcome.containers = containers;
        self.note_healed(self.unhealed(ungrafted).await).await;

        let (earlier, open_files) = self.earlier(remotes, &generation).await?;
        for (unit, left) in &earlier {
            let until = match left {
                Left::Nothing => "until the last file of it is closed",
                Left::Hidden => {
                    "beneath the fresh mount until the volume is unmounted (newer than Linux 6.4 can remove it)"
                }
                Left::Seen => "for those who keep its mount",
            };
            say(&format!("{unit}: lives on {until}"));
        }
        outcome.earlier_units = earlier.into_iter().map(|(unit, _)| unit).collect();
        outcome.open_files = open_files;
        for user in &outcome.open_files {
            say(&user.to_string());
        }
        Ok(outcome)
    }

    /// The mount that the host has now, and how long making it took; None where nobody needs one.
    async fn fresh_mount(
        &self,
        remotes: &[String],
        spec: &Spec,
        config: &Config,
    ) -> Result<Option<(Mount, Duration)>> {
        let name = self.name;
        let found = self.host_mount().await?;
        let started = Instant::now();
        let deadline = started + config.mount_timeout;
        let fresh = match found {
            HostMount::Unknown => bail!("its mount cannot be asked for its state: too little memory?"),
            HostMount::Lost(dead) => {
                if !self.is_needed(remotes, dead.as_ref()).await? {
                    self.clear_away().await?;
                    return Ok(None);
                }
                let mounted = self.mounter.mount(name, spec, config, true, deadline).await;
                self.note_outcome(spec, &mounted, started.elapsed());
                mounted
                    .with_context(|| format!("its sshfs has died, and cannot mount {} anew", spec.remote))?;
                self.mounter.mounted(name)?.context("the fresh mount is gone again")?
            }
            HostMount::Lives(old) => {
                let replaced = self.mounter.replace(name, &old, spec, config, deadline).await;
                self.note_outcome(spec, &replaced, started.elapsed());
                match replaced {
                    Err(e @ MountError::Unfinished) => return Err(e.into()),
                    replaced => replaced
                        .with_context(|| format!("nothing has changed: cannot mount {}", spec.remote))?,
                }
            }
        };
        Ok(Some((fresh, started.elapsed())))
    }

    /// Tells those who were not there what came of the mount; that it succeeded is in the journal already.
    fn note_outcome<T>(&self, spec: &Spec, outcome: &Result<T, MountError>, took: Duration) {
        let name = self.name;
        self.history.note_outcome(name, outcome, took);
        if let Err(e) = outcome {
            tracing::error!(
                target: logging::JOURNAL,
                message_id = events::MOUNT_FAILED, volume = %name, remote = %spec.remote, cause = e.kind(),
                "volume {name}: cannot restart it from {}: {e}", spec.remote
            );
        }
    }

    /// What a healing could not do may be done now.
    async fn note_healed(&self, unhealed: Vec<Unhealed>) {
        let before = self.book.read(self.name);
        let record = Record { trouble: None, unhealed, ..before.clone() };
        if record != before {
            self.note(&record);
        }
        if before.is_unfinished() && !record.is_unfinished() {
            self.mounter.forget_failed_healing(self.name).await;
        }
    }

    /// The units of sshfs before this one that do not end, with what is left of their mounts; and who has files of theirs.
    async fn earlier(
        &self,
        remotes: Vec<String>,
        live: &Generation,
    ) -> Result<(Vec<(String, Left)>, Vec<User>)> {
        let mut running = self.mounter.running(self.name).await?;
        running.retain(|generation| generation != live);
        let (name, of, generations) = (self.name.clone(), remotes.clone(), running.clone());
        let search = spawn_blocking(move || users::find(&name, &of, &generations));
        let users = if let Ok(found) = timeout(SEARCH_PATIENCE, search).await {
            found??
        } else {
            tracing::warn!("the search for open files hangs, going on without");
            Vec::new()
        };
        if users.is_empty() {
            // They need a moment to end.
            running = self.mounter.lingering(self.name, Some(live), END_PATIENCE).await?;
        }
        let left = spawn_blocking(move || {
            let left = |generation: &Generation| Ok((generation.unit(), stale::left(generation, &remotes)?));
            running.iter().map(left).collect::<io::Result<_>>()
        });
        Ok((left.await??, users))
    }
}
