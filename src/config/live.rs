//! The configuration as the file says it now: a policy counts from the next Create or Mount on, not from the next start
//! of the daemon.

use super::Config;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// config.toml, read again whenever it has changed.
#[derive(Debug)]
pub struct LiveConfig {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    version: Option<Version>,
    config: Arc<Config>,
    /// What is wrong with the file, if anything; `config` is then the defaults.
    mistake: Option<String>,
}

/// What tells one content of a file from another: editors replace it, and a change in place has another time.
#[derive(Debug, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl LiveConfig {
    /// Reads the file. A wrong one is no error here: Docker must get an answer all the same.
    #[must_use]
    pub fn open(file: PathBuf) -> Self {
        let known = Known::read(&file);
        Self { file, known: Mutex::new(known) }
    }

    /// The settings. An error is the sentence about what is wrong with the file: a policy that cannot be read must not be
    /// taken for none.
    pub fn current(&self) -> Result<Arc<Config>, String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version(&self.file) {
            *known = Known::read(&self.file);
            match &known.mistake {
                None => tracing::info!("{} has changed", self.file.display()),
                Some(mistake) => {
                    tracing::error!("{mistake}; no volume is created or mounted until this is mended");
                }
            }
        }
        match &known.mistake {
            None => Ok(Arc::clone(&known.config)),
            Some(mistake) => Err(mistake.clone()),
        }
    }

    /// The settings, or the defaults where the file is wrong: for what a mistake must not stop.
    #[must_use]
    pub fn current_or_default(&self) -> Arc<Config> {
        self.current().unwrap_or_default()
    }
}

impl Known {
    fn read(file: &Path) -> Self {
        // Before the content: what changes in between is read again.
        let version = version(file);
        let (config, mistake) = match Config::read(file) {
            Ok(config) => (config, None),
            Err(e) => (Config::default(), Some(format!("{} is not valid: {e}", file.display()))),
        };
        Self { version, config: Arc::new(config), mistake }
    }
}

/// None where there is no such file, which is a content too.
fn version(file: &Path) -> Option<Version> {
    let version = |metadata: fs::Metadata| Version {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    };
    match fs::metadata(file) {
        Ok(metadata) => Some(version(metadata)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        // Unlike a missing file, it counts as changed each time, and reading it tells why.
        Err(_) => Some(Version { device: 0, inode: 0, size: 0, changed: (0, 0) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_at_once_and_a_mistake_is_not_taken_for_no_policy() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let live = LiveConfig::open(file.clone());
        assert!(!live.current().unwrap().policy.refuse_password);
        fs::write(&file, "[policy]\nallow_password = false").unwrap();
        assert!(live.current().unwrap().policy.refuse_password);
        fs::write(&file, "[policy]\nallow_pasword = false").unwrap();
        let mistake = live.current().unwrap_err();
        assert!(
            mistake.contains("config.toml is not valid") && mistake.contains("allow_pasword"),
            "{mistake}"
        );
        fs::remove_file(&file).unwrap();
        assert!(!live.current().unwrap().policy.refuse_password);
    }
}
