//! `sshfs-docker heal VOLUME`: a fresh mount for running containers whose sshfs has died. systemd starts it when a mount
//! unit fails (`OnFailure=`), also while the daemon does not run.
//!
//! First the host gets a fresh mount, as at a `docker run`; then each container that has a dead one gets it in its place
//! ([`graft`]). Files that were open stay dead, paths work again. While the server cannot be reached it is tried again,
//! more and more slowly; an sshfs that dies again and again is given up ([`record`]). Either way the end is a failed unit,
//! a line in the log and an entry in `docker volume inspect`, and the next `docker run` of the volume starts it anew.

pub mod graft;
pub mod record;
pub mod stale;

use crate::{
    cli::Layout,
    config::Config,
    directories,
    launcher::systemd::SystemdLauncher,
    locks::{VolumeLock, VolumeLocks},
    logging,
    mount::{MountError, Mounter, Reason, healer, mountinfo::Mount, unit},
    paths::Paths,
    references::{ReferenceBook, Uptime},
    store::Store,
    volume::{Spec, VolumeName},
};
use anyhow::{Context, Result, bail, ensure};
use graft::Graft;
use record::{HealingBook, Pace, Record, too_often};
use stale::Stale;
use std::{
    iter,
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::Command,
    time::{Instant, sleep, timeout},
};

/// How long one container may take. What hangs in it is left behind.
const GRAFT_PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to reach the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the server may be out of reach. The next `docker run` of the volume tries again.
const OUTAGE: Duration = Duration::from_secs(3600);

/// Runs one healing to its end.
#[must_use]
pub fn run(layout: &Layout, name: &VolumeName) -> ExitCode {
    logging::start(&Config::read(&layout.paths().config_file()).unwrap_or_default().log);
    let healing = async { Healer::open(layout, name)?.heal().await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.context("cannot start").and_then(|runtime| {
        let result = runtime.block_on(healing);
        // Not waiting for threads that may hang on a dead mount.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tracing::error!(volume = %name, "volume {name}: its containers are not healed: {e:#}");
            ExitCode::FAILURE
        }
    }
}

struct Healer<'a> {
    name: &'a VolumeName,
    program: PathBuf,
    config: Arc<Config>,
    store: Store,
    references: ReferenceBook,
    book: HealingBook,
    locks: VolumeLocks,
    mounter: Mounter,
}

/// What a round under the volume's lock came to.
enum Round {
    /// Nothing is left to do.
    Done,
    /// Another one is needed after this pause, during which others may have the volume.
    Again(Duration),
    /// The host got no fresh mount.
    NoMount(MountError),
}

impl<'a> Healer<'a> {
    fn open(layout: &Layout, name: &'a VolumeName) -> Result<Self> {
        ensure!(libsystemd::daemon::booted(), "it needs systemd as PID 1");
        let paths = layout.paths();
        directories::ensure(&paths.runtime, 0o711)?;
        let state = paths.state.canonicalize().with_context(|| paths.state.display().to_string())?;
        let paths = Paths { state, ..paths };
        let file = paths.config_file();
        let config = Config::read(&file).with_context(|| format!("{} is not valid", file.display()))?;
        let config = Arc::new(config);
        let program = std::env::current_exe()?;
        let launcher = Box::new(SystemdLauncher::new(layout.user.clone()));
        Ok(Self {
            name,
            store: Store::open(&paths)?,
            references: ReferenceBook::open(&paths)?,
            book: HealingBook::open(&paths)?,
            locks: VolumeLocks::open(&paths)?,
            mounter: Mounter::open(paths, Arc::clone(&config), launcher, program.clone())?,
            program,
            config,
        })
    }

    async fn heal(&self) -> Result<()> {
        let begin = Instant::now();
        let mut waited = Duration::ZERO;
        let mut pauses = pauses_while_unreachable();
        loop {
            let lock = self.locks.lock(self.name).await;
            let round = self.round(&lock, waited).await?;
            drop(lock);
            waited = match round {
                Round::Done => return Ok(()),
                Round::Again(pause) => pause,
                Round::NoMount(e) if begin.elapsed() > OUTAGE => {
                    bail!("given up after {} minutes: {e}", OUTAGE.as_secs() / 60)
                }
                Round::NoMount(e) => {
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    tracing::warn!(volume = %self.name, "volume {}: no fresh mount yet: {e}; trying again in {pause:?}", self.name);
                    pause
                }
            };
            sleep(waited).await;
        }
    }

    /// Does what can be done now, having waited for so long since the last round.
    async fn round(&self, _lock: &VolumeLock, waited: Duration) -> Result<Round> {
        let name = self.name;
        let Some(stored) = self.store.read(name) else { return Ok(Round::Done) };
        let definition = stored.definition?;
        let spec = Spec::parse(&definition.options, definition.has_password, &self.config.policy)?;

        let mut record = self.book.read(name);
        let mounted = self.mounter.mounted(name)?;
        let lives = self.is_alive(mounted.as_ref()).await;
        if !lives {
            if !self.is_needed(mounted.as_ref()).await? {
                // What is left of a daemon that was killed while it mounted.
                self.mounter.unmount(name, Reason::Asked).await?;
                return Ok(Round::Done);
            }
            match record.pace(Uptime::now()) {
                Pace::GiveUp => return self.give_up(record),
                Pace::After(pause) if pause > waited => return Ok(Round::Again(pause)),
                Pace::After(_) => record.note_renewal(Uptime::now()),
            }
            let deadline = Instant::now() + self.config.mount_timeout;
            if let Err(e) = self.mounter.mount(name, &spec, true, deadline).await {
                // That was no renewal, so it does not count as one.
                let trouble = Some(format!("sshfs died, and there is no fresh mount yet: {e}"));
                self.note(&Record { trouble, ..self.book.read(name) });
                return Ok(Round::NoMount(e));
            }
        }
        record.trouble = None;
        record.unhealed = self.graft_all().await?;
        self.note(&record);
        let mounted = self.mounter.mounted(name)?;
        if !self.is_alive(mounted.as_ref()).await {
            return Ok(Round::Again(Duration::ZERO));
        }
        ensure!(
            record.unhealed.is_empty(),
            "these stay without the volume until they restart: {}",
            record.unhealed.join("; ")
        );
        Ok(Round::Done)
    }

    /// A mount that hangs lives: its sshfs is there and connects again by itself.
    async fn is_alive(&self, mounted: Option<&Mount>) -> bool {
        match mounted {
            Some(mount) => !self.mounter.is_dead(mount).await,
            None => false,
        }
    }

    /// Whether somebody has the dead mount, or has been given its path.
    async fn is_needed(&self, dead: Option<&Mount>) -> Result<bool> {
        if !self.references.read(self.name).is_empty() {
            return Ok(true);
        }
        if let Some(dead) = dead {
            if !self.mounter.holders(dead).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(!stale::find(self.name, dead.map(|mount| mount.device))?.is_empty())
    }

    fn give_up(&self, mut record: Record) -> Result<Round> {
        let live = None;
        record.unhealed = stale::find(self.name, live)?.iter().map(ToString::to_string).collect();
        record.trouble = Some(format!("given up: {}", too_often()));
        self.note(&record);
        bail!(
            "given up, because {}; see 'journalctl -u {}'; the next 'docker run' or 'systemctl start {}' tries again",
            too_often(),
            unit(self.name),
            healer(self.name)
        )
    }

    /// Puts the live mount into every container that has a dead one. Goes on when one fails; returns those with the
    /// reasons.
    async fn graft_all(&self) -> Result<Vec<String>> {
        let Some(live) = self.mounter.mounted(self.name)? else { return Ok(Vec::new()) };
        let mut unhealed = Vec::new();
        for stale in stale::find(self.name, Some(live.device))? {
            let started = Instant::now();
            match self.graft(&stale).await {
                Ok(()) => tracing::info!(
                    volume = %self.name, "volume {}: {stale} has a fresh mount after {} ms",
                    self.name, started.elapsed().as_millis()
                ),
                Err(reason) => {
                    tracing::error!(volume = %self.name, "volume {}: {stale} stays without it until it restarts: {reason:#}", self.name);
                    unhealed.push(format!("{stale}: {reason:#}"));
                }
            }
        }
        Ok(unhealed)
    }

    async fn graft(&self, stale: &Stale) -> Result<()> {
        if let Some(obstacle) = stale.obstacle {
            bail!(obstacle);
        }
        let graft = Graft::over(&stale.mount, stale.pid, self.mounter.mountpoint(self.name));
        let mut command = Command::new(&self.program);
        command.args(graft.arguments()).stdin(Stdio::null()).stdout(Stdio::null());
        let output = timeout(GRAFT_PATIENCE, command.output())
            .await
            .with_context(|| format!("it hung for {} s", GRAFT_PATIENCE.as_secs()))??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim_end());
        Ok(())
    }

    fn note(&self, record: &Record) {
        if let Err(e) = self.book.write(self.name, record) {
            tracing::warn!(volume = %self.name, "volume {}: cannot note what the healing did, ignoring: {e}", self.name);
        }
    }
}

/// Pauses between attempts to reach the server: doubled each time, up to a limit.
fn pauses_while_unreachable() -> impl Iterator<Item = Duration> {
    iter::successors(Some(Duration::from_secs(1)), |pause| Some((*pause * 2).min(LONGEST_PAUSE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rarer_up_to_one_a_minute() {
        let seconds: Vec<_> = pauses_while_unreachable().take(9).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
