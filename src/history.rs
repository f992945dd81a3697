//! What happened to volumes since boot: what `docker volume inspect` tells of the past, and what metrics count.
//!
//! `history/NAME.json`, schema 1; times are seconds since boot:
//!
//! ```json
//! { "schema": 1, "mounted_at": 60, "unmounted_at": 4000, "mounts": { "count": 3, "millis": 870, "within": [0, 3, 3] },
//!   "failures": { "refused": 2 }, "reconnects": 1,
//!   "last_error": { "at": 4711, "kind": "refused", "text": "connection refused: …" } }
//! ```
//!
//! Written under the lock of the volume. A file that cannot be read counts as none: nothing but a memory is lost.

use crate::{
    book::{Book, Entry},
    mount::MountError,
    paths::Paths,
    uptime::Uptime,
    volume::VolumeName,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, time::Duration};

/// Upper bounds of the times that mounts took, in milliseconds. The last one is about the longest that a mount may take.
pub const BOUNDS: [u64; 9] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 80_000];

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// The last time that the volume was mounted.
    pub mounted_at: Option<Uptime>,
    /// The last time that it was unmounted.
    pub unmounted_at: Option<Uptime>,
    /// Mounts that were made, and how long they took.
    pub mounts: Mounts,
    /// Mounts that failed, by the kind of the reason.
    pub failures: BTreeMap<String, u64>,
    /// How often lost connections of mounts that are gone were made anew.
    pub reconnects: u64,
    /// What went wrong last.
    pub last_error: Option<LastError>,
}

/// How long mounts took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mounts {
    /// How many.
    pub count: u64,
    /// All together.
    pub millis: u64,
    /// How many took no longer than each of [`BOUNDS`].
    pub within: [u64; BOUNDS.len()],
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When.
    pub at: Uptime,
    /// A word for the reason that stays the same.
    pub kind: String,
    /// What `docker run` said.
    pub text: String,
}

impl History {
    /// Takes in a mount that was made.
    pub fn note_mount(&mut self, took: Duration, now: Uptime) {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.mounted_at = Some(now);
        self.mounts.count += 1;
        self.mounts.millis = self.mounts.millis.saturating_add(millis);
        for (within, bound) in self.mounts.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(millis <= bound);
        }
    }

    /// Takes in a mount that failed.
    pub fn note_failure(&mut self, kind: &str, text: &str, now: Uptime) {
        *self.failures.entry(kind.to_owned()).or_default() += 1;
        self.last_error = Some(LastError { at: now, kind: kind.to_owned(), text: text.to_owned() });
    }

    /// Takes in that the volume was unmounted, after so many reconnects.
    pub fn note_unmount(&mut self, reconnects: u64, now: Uptime) {
        self.unmounted_at = Some(now);
        self.reconnects = self.reconnects.saturating_add(reconnects);
    }
}

impl Entry for History {
    const SCHEMA: u32 = 1;
}

/// The histories of all volumes.
#[derive(Debug)]
pub struct HistoryBook(Book<History>);

impl HistoryBook {
    /// See [`Book::open`].
    pub fn open(paths: &Paths) -> io::Result<Self> {
        Book::open(paths.history()).map(Self)
    }

    /// See [`Book::look`].
    #[must_use]
    pub fn look(paths: &Paths) -> Self {
        Self(Book::look(paths.history()))
    }

    /// See [`Book::tidy`].
    pub fn tidy(&self) {
        self.0.tidy();
    }

    /// See [`Book::read_all`].
    #[must_use]
    pub fn read_all(&self) -> BTreeMap<VolumeName, History> {
        self.0.read_all()
    }

    /// The history of a volume.
    #[must_use]
    pub fn read(&self, name: &VolumeName) -> History {
        self.0.read(name)
    }

    /// Adds to the history of a volume, whose lock the caller holds. That it cannot be written is logged.
    pub fn note(&self, name: &VolumeName, add: impl FnOnce(&mut History)) {
        let mut history = self.read(name);
        add(&mut history);
        if let Err(e) = self.0.write(name, &history) {
            tracing::warn!(volume = %name, "volume {name}: cannot note its history, ignoring: {e}");
        }
    }

    /// Takes in what came of a mount that took so long; the caller holds the lock.
    pub fn note_outcome<T>(&self, name: &VolumeName, outcome: &Result<T, MountError>, took: Duration) {
        self.note(name, |history| match outcome {
            Ok(_) => history.note_mount(took, Uptime::now()),
            Err(e) => history.note_failure(e.kind(), &e.to_string(), Uptime::now()),
        });
    }

    /// Forgets a volume that is removed.
    pub fn forget(&self, name: &VolumeName) {
        // What is left would be that of a later volume of the same name: no harm.
        _ = self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_adds_up_over_processes() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { configuration: "/".into(), state: "/".into(), runtime: root.path().into() };
        let name = VolumeName::new("data").unwrap();
        let at = Uptime::of_seconds;
        HistoryBook::open(&paths).unwrap().note(&name, |history| {
            history.note_mount(Duration::from_millis(250), at(7));
            history.note_failure("refused", "connection refused", at(8));
        });
        let book = HistoryBook::open(&paths).unwrap();
        book.note(&name, |history| {
            history.note_mount(Duration::from_secs(100), at(9));
            history.note_failure("refused", "again", at(10));
            history.note_unmount(2, at(11));
        });
        let history = book.read(&name);
        assert_eq!((history.mounts.count, history.mounts.millis), (2, 100_250));
        assert_eq!(history.mounts.within, [0, 1, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(history.failures["refused"], 2);
        assert_eq!(
            (history.mounted_at, history.unmounted_at, history.reconnects),
            (Some(at(9)), Some(at(11)), 2)
        );
        assert_eq!(history.last_error.unwrap().text, "again");
        book.forget(&name);
        assert_eq!(book.read(&name), History::default());
    }
}
