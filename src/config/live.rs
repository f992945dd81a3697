//! The configuration as the file says it now: a policy counts from the next Create or Mount on, not from the next start
//! of the daemon.

use super::{Config, ConfigError};
use crate::events;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep};

/// How long a file must have been left alone. Editors that save in place, and `rm` before `cp`, pass through a file that is
/// empty, cut or missing; that is valid, and less of a policy than before and after.
const SETTLED: Duration = Duration::from_millis(100);

/// How long a call waits for that.
const PATIENCE: Duration = Duration::from_secs(2);

/// config.toml, read again whenever it has changed.
#[derive(Debug)]
pub struct LiveConfig {
    file: PathBuf,
    known: Mutex<Known>,
}

/// The settings, or what is wrong with them: a policy that cannot be read must not be taken for none.
type Answer = Result<Arc<Config>, String>;

#[derive(Debug)]
struct Known {
    /// None where nothing is known for certain.
    version: Option<Version>,
    answer: Answer,
    /// Since when a file is missing that was there.
    missing: Option<Instant>,
}

/// What tells one content of a file from another: editors replace it, and a change in place has another time.
#[derive(Debug, PartialEq, Eq)]
enum Version {
    /// No file is a content too.
    Missing,
    File {
        device: u64,
        inode: u64,
        size: u64,
        changed: Duration,
    },
}

impl LiveConfig {
    /// Reads the file. A wrong one is no error here: Docker must get an answer all the same.
    #[must_use]
    pub fn open(file: PathBuf) -> Self {
        // Before the content: what changes in between is read again.
        let settled = version(&file).ok().filter(|version| age(version) >= SETTLED);
        let answer = Config::read(&file).map(Arc::new).map_err(|e| mistake(&file, &e));
        Self { file, known: Mutex::new(Known { version: settled, answer, missing: None }) }
    }

    /// The settings as they were read last.
    pub fn latest(&self) -> Answer {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).answer.clone()
    }

    /// The settings as they are now, after a moment where the file is just being changed.
    pub async fn current(&self) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.look(Config::read) {
                Ok(answer) => return answer,
                Err(rest) if Instant::now() + rest < deadline => sleep(rest).await,
                Err(_) => return Err(format!("{} is being changed all the time", self.file.display())),
            }
        }
    }

    /// The settings, or how long to wait until what the file says can be trusted.
    fn look(&self, read: impl Fn(&Path) -> Result<Config, ConfigError>) -> Result<Answer, Duration> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = match version(&self.file) {
            Ok(now) => now,
            Err(e) => return Ok(Err(told(mistake(&self.file, &e.into())))),
        };
        if known.version.as_ref() == Some(&now) {
            known.missing = None;
            return Ok(known.answer.clone());
        }
        let age = match &now {
            Version::File { .. } => {
                known.missing = None;
                age(&now)
            }
            Version::Missing => known.missing.get_or_insert_with(Instant::now).elapsed(),
        };
        if let Some(rest) = SETTLED.checked_sub(age).filter(|rest| !rest.is_zero()) {
            return Err(rest);
        }
        let answer = match read(&self.file) {
            Ok(config) => Ok(Arc::new(config)),
            // What the file says is not known: memory or descriptors may be short. The next call reads it.
            Err(e @ ConfigError::Read(_)) => return Ok(Err(told(mistake(&self.file, &e)))),
            Err(e) => Err(told(mistake(&self.file, &e))),
        };
        if version(&self.file).ok().as_ref() != Some(&now) {
            return Err(SETTLED);
        }
        if answer.is_ok() {
            tracing::info!("{} has been read anew", self.file.display());
        }
        *known = Known { version: Some(now), answer: answer.clone(), missing: None };
        Ok(answer)
    }
}

fn mistake(file: &Path, error: &ConfigError) -> String {
    match error {
        ConfigError::Read(e) => format!("{} cannot be read: {e}", file.display()),
        e => format!("{} is not valid: {e}", file.display()),
    }
}

fn told(mistake: String) -> String {
    tracing::error!(
        message_id = events::MISCONFIGURED,
        "{mistake}; no volume is created or mounted until this is mended"
    );
    mistake
}

fn version(file: &Path) -> io::Result<Version> {
    match fs::metadata(file) {
        Ok(metadata) => Ok(Version::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            changed: Duration::new(
                metadata.ctime().try_into().unwrap_or_default(),
                metadata.ctime_nsec().try_into().unwrap_or_default(),
            ),
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Version::Missing),
        Err(e) => Err(e),
    }
}

/// For how long a file has been left alone. One from the future is from before the clock was set.
fn age(version: &Version) -> Duration {
    match version {
        Version::File { changed, .. } => {
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + *changed).unwrap_or(Duration::MAX)
        }
        Version::Missing => Duration::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const POLICY: &str = "[policy]\nallow_password = false";

    fn of(text: Option<&str>) -> (tempfile::TempDir, PathBuf, LiveConfig) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        if let Some(text) = text {
            fs::write(&file, text).unwrap();
        }
        let live = LiveConfig::open(file.clone());
        (directory, file, live)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_change_counts_at_once_and_a_mistake_is_not_taken_for_no_policy() {
        let (_directory, file, live) = of(None);
        assert!(!live.current().await.unwrap().policy.refuse_password);
        fs::write(&file, POLICY).unwrap();
        assert!(live.current().await.unwrap().policy.refuse_password);
        fs::write(&file, "[policy]\nallow_pasword = false").unwrap();
        let mistake = live.current().await.unwrap_err();
        assert!(
            mistake.contains("config.toml is not valid") && mistake.contains("allow_pasword"),
            "{mistake}"
        );
        fs::remove_file(&file).unwrap();
        assert!(!live.current().await.unwrap().policy.refuse_password);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_is_being_written_is_not_taken_for_no_policy() {
        let (_directory, file, live) = of(Some(POLICY));
        let ways: [fn(&Path) -> io::Result<()>; 3] =
            [|file| fs::write(file, ""), |file| fs::remove_file(file), |file| fs::write(file, "[policy]\n")];
        for way in ways {
            assert!(live.current().await.unwrap().policy.refuse_password);
            way(&file).unwrap();
            let again = file.clone();
            let rest = thread::spawn(move || {
                thread::sleep(SETTLED / 2);
                fs::write(again, POLICY).unwrap();
            });
            assert!(live.current().await.unwrap().policy.refuse_password);
            rest.join().unwrap();
        }
        // Left so, it is what the administrator wants.
        fs::write(&file, "").unwrap();
        assert!(!live.current().await.unwrap().policy.refuse_password);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_error_of_the_moment_is_not_remembered() {
        let (_directory, file, live) = of(None);
        fs::write(&file, POLICY).unwrap();
        thread::sleep(SETTLED);
        let short = live.look(|_| Err(io::Error::from_raw_os_error(24).into())).unwrap().unwrap_err();
        assert!(short.contains("config.toml cannot be read"), "{short}");
        assert!(live.look(Config::read).unwrap().unwrap().policy.refuse_password);
        // What cannot be asked about is no missing file.
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        assert!(live.current().await.unwrap_err().contains("cannot be read"));
    }
}
