//! What the unit of a mount knows of its connection, for Get, for metrics and for administrators.
//!
//! The supervisor writes it, in a directory that only its unit can write to and that goes with it:
//! `mounts/NAME/health.json`, schema 1 ([`crate::paths`]; not named after the FUSE connection, whose number the kernel gives
//! to the next one while the unit still ends):
//!
//! ```json
//! { "schema": 1, "sshfs": 4711, "state": "connected", "since": 86400, "reconnects": 2,
//!   "host_keys": ["SHA256:… (ED25519)"], "last_error": "connection refused: …", "last_error_at": 86390 }
//! ```
//!
//! Times are seconds since boot. Who reads it is root and trusts nothing in it: whoever has taken over an ssh may have
//! written it.

use crate::{
    diagnosis,
    notice::Notice,
    paths::Paths,
    regular_file,
    replace::{self, Durability},
    uptime::Uptime,
    volume::Generation,
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Read},
    path::Path,
};

const SCHEMA: u32 = 1;

/// The file's name.
const FILE: &str = "health.json";

/// More than that the supervisor never writes.
const LARGEST: u64 = 64 * 1024;

/// More keys than a server has.
const MOST_KEYS: usize = 16;

/// One in each second of ten years.
const MOST_RECONNECTS: u64 = 315_360_000;

/// The connection of a mount to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Connection {
    /// The first one is being made.
    Connecting,
    /// There is a session.
    Connected,
    /// It has ended. sshfs makes another one at the next access.
    Lost,
    /// The last attempt to make another one failed.
    Failing,
    /// sshfs has ended.
    Ended,
}

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    schema: u32,
    /// The process of sshfs.
    pub sshfs: u32,
    /// Its connection.
    pub state: Connection,
    /// Since when.
    pub since: Uptime,
    /// How often a lost connection was made anew.
    pub reconnects: u64,
    /// The keys by which the server is known, with their kinds.
    pub host_keys: Vec<String>,
    /// What went wrong last, in the words of `docker run`.
    pub last_error: Option<String>,
    /// When.
    pub last_error_at: Option<Uptime>,
}

/// A change that somebody may want to be woken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The connection has ended.
    Lost,
    /// It was made anew.
    Back,
    /// The first attempt to make it anew failed, for this reason.
    Failing(String),
}

impl Health {
    /// That of an sshfs that has just been started.
    #[must_use]
    pub fn new(sshfs: u32, now: Uptime) -> Self {
        Self {
            schema: SCHEMA,
            sshfs,
            state: Connection::Connecting,
            since: now,
            reconnects: 0,
            host_keys: Vec::new(),
            last_error: None,
            last_error_at: None,
        }
    }

    /// Takes in what `connect` tells. With several connections (`max_conns`) it is the last that was told of that counts.
    pub fn note(&mut self, notice: &Notice, now: Uptime) -> Option<Change> {
        let before = self.state;
        match notice {
            Notice::Connected(keys) => {
                self.enter(Connection::Connected, now);
                self.host_keys.clone_from(keys);
                let is_back = matches!(before, Connection::Lost | Connection::Failing);
                self.reconnects += u64::from(is_back);
                is_back.then_some(Change::Back)
            }
            Notice::Lost => {
                self.enter(Connection::Lost, now);
                self.note_error("the connection to the server has ended", now);
                Some(Change::Lost)
            }
            Notice::Failed(reason) => {
                self.note_error(reason, now);
                if matches!(before, Connection::Connecting | Connection::Failing) {
                    return None;
                }
                self.enter(Connection::Failing, now);
                Some(Change::Failing(reason.clone()))
            }
            // What follows tells of the connection.
            Notice::HostKey(_) | Notice::Agent(_) | Notice::Key(_) | Notice::LoggedIn => None,
        }
    }

    /// Takes in that sshfs has ended.
    pub fn end(&mut self, now: Uptime) {
        self.enter(Connection::Ended, now);
    }

    fn enter(&mut self, state: Connection, now: Uptime) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }

    fn note_error(&mut self, text: &str, now: Uptime) {
        (self.last_error, self.last_error_at) = (Some(text.to_owned()), Some(now));
    }

    /// Writes it into the directory of the unit.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        // For the daemon, which is root without the right to read what is others'.
        replace::replace(directory, FILE, &serde_json::to_vec(self)?, 0o644, Durability::Process)
    }

    /// Reads that of a mount; None where there is none, or nothing that could be one.
    #[must_use]
    pub fn read(paths: &Paths, generation: &Generation) -> Option<Self> {
        let file = paths.mount_directory(generation).join(FILE);
        let (file, _) = regular_file::open(&file, LARGEST).ok()?;
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content).ok()?;
        Self::parse(&content)
    }

    /// What such a file says.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        let mut health: Self = serde_json::from_slice(content).ok()?;
        if health.schema != SCHEMA {
            return None;
        }
        health.reconnects = health.reconnects.min(MOST_RECONNECTS);
        health.host_keys.truncate(MOST_KEYS);
        health.host_keys = health.host_keys.iter().map(|key| diagnosis::clean(key)).collect();
        health.last_error = health.last_error.map(|text| diagnosis::clean_sentence(&text));
        Some(health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::VolumeName;

    fn at(seconds: u64) -> Uptime {
        Uptime::of_seconds(seconds)
    }

    #[test]
    fn a_server_that_goes_and_comes_back_is_told_of_once_each() {
        let mut health = Health::new(7, at(0));
        let refused = || Notice::Failed("connection refused".to_owned());
        let connected = || Notice::Connected(vec!["SHA256:x (RSA)".to_owned()]);
        assert_eq!(health.note(&connected(), at(1)), None);
        assert_eq!(health.note(&Notice::Lost, at(10)), Some(Change::Lost));
        assert_eq!(health.note(&refused(), at(12)), Some(Change::Failing("connection refused".to_owned())));
        assert_eq!(health.note(&refused(), at(14)), None);
        assert_eq!((health.state, health.since), (Connection::Failing, at(12)));
        assert_eq!(health.note(&connected(), at(20)), Some(Change::Back));
        assert_eq!((health.state, health.since, health.reconnects), (Connection::Connected, at(20), 1));
        assert_eq!(health.last_error_at, Some(at(14)), "what went wrong last stays to be seen");
    }

    #[test]
    fn a_further_connection_is_no_reconnect_and_a_first_failure_no_alarm() {
        let mut health = Health::new(7, at(0));
        assert_eq!(health.note(&Notice::Failed("x".to_owned()), at(1)), None);
        for now in [2, 3] {
            assert_eq!(health.note(&Notice::Connected(Vec::new()), at(now)), None);
        }
        assert_eq!((health.since, health.reconnects), (at(2), 0));
    }

    #[test]
    fn only_a_plain_file_of_the_schema_is_believed() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { configuration: "/".into(), state: "/".into(), runtime: root.path().into() };
        let generation = &Generation::first(&VolumeName::new("data").unwrap());
        let directory = paths.mount_directory(generation);
        std::fs::create_dir_all(&directory).unwrap();
        assert_eq!(Health::read(&paths, generation), None);
        let mut health = Health::new(7, at(3));
        health.note(&Notice::Failed("a\u{202e}b".to_owned()), at(4));
        health.write(&directory).unwrap();
        assert_eq!(Health::read(&paths, generation).unwrap().last_error.as_deref(), Some("ab"));
        let file = directory.join(FILE);
        std::fs::write(&file, r#"{"schema":2}"#).unwrap();
        assert_eq!(Health::read(&paths, generation), None);
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert_eq!(Health::read(&paths, generation), None);
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(Health::read(&paths, generation), None);
    }
}
