//! What the healing of a volume did and could not do: written by the healing, shown by Get.
//!
//! `healing/NAME.json`, schema 1:
//!
//! ```json
//! { "schema": 1, "renewed": [4711, 4712], "trouble": "sshfs died …",
//!   "unhealed": [{ "mount": 1234, "what": "container 3f2a at /data: …" }] }
//! ```
//!
//! `renewed` is when a dead mount was replaced, in seconds since boot. The file goes when the volume is unmounted. One
//! that cannot be read counts as none.

use super::stale::Stale;
use crate::{
    book::{Book, Entry},
    paths::Paths,
    uptime::Uptime,
    volume::VolumeName,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, io, time::Duration};

/// Deaths within this time are one series.
const SERIES: Duration = Duration::from_secs(600);

/// The pause before each further renewal of a series. After the last one, healing is given up.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(super) renewed: Vec<Uptime>,
    /// Why there is no fresh mount, if there is none.
    pub trouble: Option<String>,
    /// Mounts in containers that stay dead.
    pub unhealed: Vec<Unhealed>,
}

/// A mount in a container that stays dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unhealed {
    /// Its id, by which it is known again.
    pub mount: u32,
    what: String,
}

impl Unhealed {
    /// Names a stale mount, with the reason if there is one of its own.
    #[must_use]
    pub fn new(stale: &Stale, reason: &str) -> Self {
        let what = if reason.is_empty() { stale.to_string() } else { format!("{stale}: {reason}") };
        Self { mount: stale.mount.id, what }
    }
}

impl fmt::Display for Unhealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Whether a dead mount is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After this pause.
    After(Duration),
    /// It died too often in a short time.
    GiveUp,
}

impl Record {
    /// Decides on the next renewal.
    #[must_use]
    pub fn pace(&self, now: Uptime) -> Pace {
        let series = self.renewed.iter().filter(|renewed| now.since(**renewed) < SERIES).count();
        PAUSES.get(series).map_or(Pace::GiveUp, |pause| Pace::After(*pause))
    }

    /// Notes a renewal.
    pub fn note_renewal(&mut self, now: Uptime) {
        self.renewed.retain(|renewed| now.since(*renewed) < SERIES);
        self.renewed.push(now);
    }

    /// Whether containers may be without the volume.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.trouble.is_some() || !self.unhealed.is_empty()
    }

    /// Begins anew.
    pub fn forget_series(&mut self) {
        self.renewed.clear();
    }
}

/// How often sshfs may die in how much time, in words.
#[must_use]
pub fn too_often() -> String {
    format!("sshfs died {} times within {} minutes", PAUSES.len() + 1, SERIES.as_secs() / 60)
}

impl Entry for Record {
    const SCHEMA: u32 = 1;
}

/// The records of all healed volumes.
#[derive(Debug)]
pub struct HealingBook(Book<Record>);

impl HealingBook {
    /// See [`Book::open`].
    pub fn open(paths: &Paths) -> io::Result<Self> {
        Book::open(paths.healing()).map(Self)
    }

    /// See [`Book::look`].
    #[must_use]
    pub fn look(paths: &Paths) -> Self {
        Self(Book::look(paths.healing()))
    }

    /// See [`Book::tidy`].
    pub fn tidy(&self) {
        self.0.tidy();
    }

    /// See [`Book::read_all`].
    #[must_use]
    pub fn read_all(&self) -> BTreeMap<VolumeName, Record> {
        self.0.read_all()
    }

    /// The record of a volume.
    #[must_use]
    pub fn read(&self, name: &VolumeName) -> Record {
        self.0.read(name)
    }

    /// Replaces the record of a volume.
    pub fn write(&self, name: &VolumeName, record: &Record) -> io::Result<()> {
        self.0.write(name, record)
    }

    /// Takes containers off the list that are gone, or have another mount now: all but those of `stale`.
    pub fn forget_gone(&self, name: &VolumeName, stale: &[Stale]) -> io::Result<()> {
        let mut record = self.read(name);
        let before = record.unhealed.len();
        record.unhealed.retain(|unhealed| stale.iter().any(|stale| stale.mount.id == unhealed.mount));
        if record.unhealed.len() == before { Ok(()) } else { self.write(name, &record) }
    }

    /// Forgets a volume that nobody uses any more. Returns whether it had been healed.
    pub fn forget(&self, name: &VolumeName) -> io::Result<bool> {
        self.0.remove(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(seconds: u64) -> Uptime {
        Uptime::of_seconds(seconds)
    }

    #[test]
    fn the_first_renewal_comes_at_once_and_a_series_backs_off_and_ends() {
        let mut record = Record::default();
        let mut pauses = Vec::new();
        while let Pace::After(pause) = record.pace(at(100)) {
            pauses.push(pause.as_secs());
            record.note_renewal(at(100));
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8]);
        assert_eq!(record.pace(at(699)), Pace::GiveUp);
        assert_eq!(record.pace(at(700)), Pace::After(Duration::ZERO), "the series is over");
    }

    #[test]
    fn the_book_keeps_what_was_written_and_takes_nonsense_for_nothing() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { configuration: "/".into(), state: "/".into(), runtime: root.path().join("run") };
        let (book, name) = (HealingBook::open(&paths).unwrap(), VolumeName::new("data").unwrap());
        let unhealed = vec![Unhealed { mount: 7, what: "container x at /d: gone".to_owned() }];
        let mut record = Record { unhealed, ..Record::default() };
        record.note_renewal(at(7));
        book.write(&name, &record).unwrap();
        assert_eq!(book.read(&name).unhealed, record.unhealed);
        assert_eq!(book.read(&name).renewed, [at(7)]);
        fs::write(paths.healing().join("data.json"), "{").unwrap();
        assert_eq!(book.read(&name), Record::default());
        assert!(book.forget(&name).unwrap());
        assert!(!book.forget(&name).unwrap());
        assert_eq!(fs::read_dir(paths.healing()).unwrap().count(), 0);
    }
}
