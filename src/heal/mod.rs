//! `sshfs-docker heal VOLUME`: a fresh mount for running containers whose sshfs has died. systemd starts it when a mount
//! unit fails (`OnFailure=`), also while the daemon does not run.
//!
//! First the host gets a fresh mount, as at a `docker run`; then each container that has a dead one gets it in its place
//! ([`graft`]). Files that were open stay dead, paths work again. While the server cannot be reached, or
//! config.toml has a mistake in it, it is tried again, more and more slowly; an sshfs that dies again and again is
//! given up ([`record`]). Either way the end is a failed unit, a line in the log and an entry in `docker volume
//! inspect`, and the next `docker run` of the volume starts it anew.
//!
//! A death while the healing ends must not be overlooked: systemd does nothing when a unit that runs is to be started. So
//! the unit looks once more when it stops (`--look-again`), and from then on a request counts.

pub mod graft;
mod grafting;
pub mod record;
pub mod restart;
pub mod stale;
mod terminal;
mod users;

use crate::{
    cli::Layout,
    config::{Config, LiveConfig},
    directories, events,
    history::HistoryBook,
    launcher::systemd::SystemdLauncher,
    locks::{VolumeLock, VolumeLocks},
    logging,
    mount::{Mounter, Reason, fuse, healer, mountinfo::Mount, probe::Answer},
    paths::Paths,
    references::ReferenceBook,
    sealing::Sealer,
    store::{Definition, Store, Stored},
    uptime::Uptime,
    volume::{Generation, Spec, VolumeName},
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use record::{HealingBook, Pace, Record, Unhealed, too_often};
use stale::Stale;
use std::{env, iter, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// The longest pause between two attempts to reach the server.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause after a question that could not be asked: the host is out of memory or processes.
const SHORTAGE_PAUSE: Duration = Duration::from_secs(1);

/// How long the server may be out of reach. The next `docker run` of the volume tries again.
const OUTAGE: Duration = Duration::from_secs(3600);

/// Runs one healing to its end; or, if it is to `look_again`, asks for another one where the mount is dead already.
#[must_use]
pub fn run(layout: &Layout, name: &VolumeName, look_again: bool) -> ExitCode {
    logging::start(&Config::read(&layout.paths().config_file()).unwrap_or_default().log);
    // systemd.exec(5). A healing that failed has had its reasons.
    if look_again && env::var("SERVICE_RESULT").is_ok_and(|result| result != "success") {
        return ExitCode::SUCCESS;
    }
    let healing = async {
        let healer = Healer::open(layout, name)?;
        if look_again { healer.look_again().await } else { healer.heal().await }
    };
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
    config: LiveConfig,
    store: Store,
    references: ReferenceBook,
    book: HealingBook,
    history: HistoryBook,
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
    NoMount(String),
}

/// What became of the host's mount.
enum HostMount {
    /// Its sshfs is there, if only waiting for its server.
    Lives(Mount),
    /// Its sshfs has ended, or there is no mount at all.
    Lost(Option<Mount>),
    /// That could not be found out now.
    Unknown,
}

impl<'a> Healer<'a> {
    fn open(layout: &Layout, name: &'a VolumeName) -> Result<Self> {
        ensure!(libsystemd::daemon::booted(), "it needs systemd as PID 1");
        let paths = layout.paths();
        directories::ensure(&paths.runtime, 0o711)?;
        let state = paths.state.canonicalize().with_context(|| paths.state.display().to_string())?;
        let paths = Paths { state, ..paths };
        let config = LiveConfig::open(paths.config_file());
        let program = env::current_exe()?;
        let launcher = Box::new(SystemdLauncher::new(layout.user.clone()));
        Ok(Self {
            name,
            store: Store::open(&paths, Sealer::none())?,
            references: ReferenceBook::open(&paths)?,
            book: HealingBook::open(&paths)?,
            history: HistoryBook::open(&paths)?,
            locks: VolumeLocks::open(&paths)?,
            mounter: Mounter::open(paths, launcher, program.clone())?,
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
            let Some(stored) = self.store.read(self.name) else {
                // Removed meanwhile. Locking has made the file of its lock anew.
                lock.retire();
                return Ok(());
            };
            let round = match self.judge_and_round(&lock, stored, waited).await {
                Ok(Round::NoMount(e)) if begin.elapsed() > OUTAGE => Err(anyhow!(
                    "sshfs died, and there was no fresh mount for {} minutes: {e}",
                    OUTAGE.as_secs() / 60
                )),
                round => round,
            };
            // As long as the lock is held: whoever has it next may forget the volume, and a later one of its name would
            // inherit the trouble.
            if let Some(trouble) = trouble(&round) {
                let record = Record { trouble: Some(trouble), ..self.book.read(self.name) };
                self.note(&record);
            }
            drop(lock);
            waited = match round? {
                Round::Done => return Ok(()),
                Round::Again(pause) => pause,
                Round::NoMount(e) => {
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    tracing::warn!(volume = %self.name, "volume {}: no fresh mount yet: {e}; trying again in {pause:?}", self.name);
                    pause
                }
            };
            sleep(waited).await;
        }
    }

    async fn look_again(&self) -> Result<()> {
        if let Some(mount) = self.mounter.mounted(self.name)? {
            if self.mounter.ask(&mount).await.is_dead() {
                self.mounter.request_healing(self.name).await;
            }
        }
        Ok(())
    }

    async fn judge_and_round(&self, lock: &VolumeLock, stored: Stored, waited: Duration) -> Result<Round> {
        match judge(&self.config, &stored.definition?).await? {
            Ok((config, spec)) => self.round(lock, &spec, &config, waited).await,
            Err(mistake) => Ok(Round::NoMount(mistake)),
        }
    }

    /// Does what can be done now, having waited for so long since the last round.
    async fn round(
        &self,
        _lock: &VolumeLock,
        spec: &Spec,
        config: &Config,
        waited: Duration,
    ) -> Result<Round> {
        let name = self.name;
        let mut record = self.book.read(name);
        let remotes = self.remotes(spec)?;
        match self.host_mount().await? {
            HostMount::Unknown => return Ok(Round::Again(SHORTAGE_PAUSE)),
            HostMount::Lives(_) => {}
            HostMount::Lost(dead) => {
                if !self.is_needed(&remotes, dead.as_ref()).await? {
                    // What is left of a daemon that was killed while it mounted.
                    self.clear_away().await?;
                    return Ok(Round::Done);
                }
                match record.pace(Uptime::now()) {
                    Pace::GiveUp => return self.give_up(&remotes, dead.as_ref(), record).await,
                    Pace::After(pause) if pause > waited => return Ok(Round::Again(pause)),
                    Pace::After(_) => {}
                }
                if waited.is_zero() {
                    tracing::warn!(
                        message_id = events::SSHFS_DIED, volume = %name, remote = %spec.remote,
                        "volume {name}: sshfs has died, making a fresh mount"
                    );
                }
                let begin = Instant::now();
                let deadline = begin + config.mount_timeout;
                let made = self.mounter.mount(name, spec, config, true, deadline).await;
                self.history.note_outcome(name, &made, begin.elapsed());
                if let Err(e) = made {
                    return Ok(Round::NoMount(e.to_string()));
                }
                record.note_renewal(Uptime::now());
            }
        }
        let HostMount::Lives(live) = self.host_mount().await? else {
            self.note(&record);
            return Ok(Round::Again(Duration::ZERO));
        };
        record.trouble = None;
        record.unhealed = self.unhealed(self.graft_all(&remotes, &live, |_| {}).await?).await;
        self.note(&record);
        if let HostMount::Lost(_) = self.host_mount().await? {
            return Ok(Round::Again(Duration::ZERO));
        }
        let unhealed: Vec<_> = record.unhealed.iter().map(ToString::to_string).collect();
        ensure!(
            unhealed.is_empty(),
            "these are without the volume until they restart: {}",
            unhealed.join("; ")
        );
        Ok(Round::Done)
    }

    async fn host_mount(&self) -> Result<HostMount> {
        let Some(mount) = self.mounter.mounted(self.name)? else { return Ok(HostMount::Lost(None)) };
        ensure!(
            fuse::bears_name(&mount, self.name),
            "{} is a mount of {}, which is not ours; unmount it",
            mount.mountpoint.display(),
            mount.source
        );
        Ok(match self.mounter.ask(&mount).await {
            Answer::NotAsked => HostMount::Unknown,
            answer if answer.is_dead() => HostMount::Lost(Some(mount)),
            Answer::Alive(_) | Answer::Failed(_) | Answer::TimedOut => HostMount::Lives(mount),
        })
    }

    /// Whether somebody has the dead mount, or has been given its path.
    async fn is_needed(&self, remotes: &[String], dead: Option<&Mount>) -> Result<bool> {
        if !self.references.read(self.name).is_empty() {
            return Ok(true);
        }
        if let Some(dead) = dead {
            if !self.mounter.holders(dead).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(!self.stale(remotes, dead).await?.is_empty())
    }

    /// Takes away what nobody needs: the mount, and what the healing has noted.
    async fn clear_away(&self) -> Result<()> {
        self.mounter.unmount(self.name, Reason::Asked).await?;
        match self.book.forget(self.name) {
            Ok(true) => self.mounter.forget_failed_healing(self.name).await,
            Ok(false) => {}
            Err(e) => {
                tracing::warn!(volume = %self.name, "volume {}: cannot forget what the healing did, ignoring: {e}", self.name);
            }
        }
        Ok(())
    }

    /// See [`fuse::remotes`]: as it is before anything is mounted anew.
    fn remotes(&self, spec: &Spec) -> Result<Vec<String>> {
        Ok(fuse::remotes(self.name, Some(&spec.remote), self.mounter.mounted(self.name)?.as_ref()))
    }

    async fn stale(&self, remotes: &[String], live: Option<&Mount>) -> Result<Vec<Stale>> {
        Ok(stale::find(self.name, remotes, live.map(|mount| mount.device)).await?)
    }

    async fn give_up(&self, remotes: &[String], dead: Option<&Mount>, mut record: Record) -> Result<Round> {
        record.unhealed.clear();
        for stale in self.stale(remotes, None).await? {
            if !self.serves(&stale).await {
                record.unhealed.push(Unhealed::new(&stale, ""));
            }
        }
        let generation =
            dead.map_or_else(|| Generation::first(self.name), |dead| fuse::generation(dead, self.name));
        // Whoever asks again gets a new series.
        record.forget_series();
        self.note(&record);
        bail!(
            "given up, because {}; see 'journalctl -u {}'; the next 'docker run' or 'systemctl start {}' tries again",
            too_often(),
            generation.unit(),
            healer(self.name)
        )
    }

    fn note(&self, record: &Record) {
        if let Err(e) = self.book.write(self.name, record) {
            tracing::warn!(volume = %self.name, "volume {}: cannot note what the healing did, ignoring: {e}", self.name);
        }
    }
}

/// What `docker volume inspect` tells of a round that brought no mount.
fn trouble(round: &Result<Round>) -> Option<String> {
    match round {
        Ok(Round::NoMount(e)) => Some(format!("sshfs died, and there is no fresh mount yet: {e}")),
        Err(e) => Some(format!("{e:#}")),
        Ok(Round::Done | Round::Again(_)) => None,
    }
}

/// What is to be mounted. A fresh mount is a mount: what the administrator has forbidden meanwhile is not made again. A
/// configuration with a mistake in it, which is told inside, forbids nothing for good.
async fn judge(config: &LiveConfig, definition: &Definition) -> Result<Result<(Arc<Config>, Spec), String>> {
    let config = match config.current().await {
        Ok(config) => config,
        Err(mistake) => return Ok(Err(mistake)),
    };
    let spec = Spec::parse(&definition.options, definition.has_password, &config.policy)?;
    Ok(Ok((config, spec)))
}

/// Pauses between attempts to reach the server: doubled each time, up to a limit.
fn pauses_while_unreachable() -> impl Iterator<Item = Duration> {
    iter::successors(Some(Duration::from_secs(1)), |pause| Some((*pause * 2).min(LONGEST_PAUSE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::SystemTime};

    #[tokio::test(flavor = "current_thread")]
    async fn a_mistake_in_the_configuration_ends_no_healing_and_a_prohibition_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let config = LiveConfig::open(file.clone());
        let options = [("sshcmd".to_owned(), "storage:/x".to_owned())].into();
        let definition = Definition { created_at: SystemTime::now(), options, has_password: false };
        assert!(judge(&config, &definition).await.unwrap().is_ok());
        fs::write(&file, "[polcy]").unwrap();
        let mistake = judge(&config, &definition).await.unwrap().unwrap_err();
        assert!(mistake.contains("polcy"), "{mistake}");
        fs::write(&file, "[policy]\ndeny_hosts = ['storage']").unwrap();
        let prohibition = judge(&config, &definition).await.unwrap_err().to_string();
        assert!(prohibition.contains("deny_hosts"), "{prohibition}");
        fs::write(&file, "").unwrap();
        assert!(judge(&config, &definition).await.unwrap().is_ok());
    }

    #[test]
    fn trouble_is_told_of_rounds_that_brought_no_mount_and_of_no_other() {
        let told = |round| trouble(&round);
        assert!(
            told(Ok(Round::NoMount("refused".to_owned()))).is_some_and(|told| told.contains("yet: refused"))
        );
        assert_eq!(told(Err(anyhow!("given up"))).as_deref(), Some("given up"));
        assert_eq!(told(Ok(Round::Done)).or(told(Ok(Round::Again(SHORTAGE_PAUSE)))), None);
    }

    #[test]
    fn attempts_become_rarer_up_to_one_a_minute() {
        let seconds: Vec<_> = pauses_while_unreachable().take(9).map(|pause| pause.as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
