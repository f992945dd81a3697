//! Who holds which volume: `references[volume][caller id] = count`, kept under /run until the next boot.
//!
//! Docker repeats ids (`docker cp` nests the one of the running container, a crash of dockerd replays it) and loses
//! some. So the count is a hint that decides when to look, and the kernel decides ([`crate::mount::holders`]).
//!
//! `references/NAME.json`, schema 1: `{"schema":1,"held":{"ID":{"count":1,"since":4711}}}`. `since` is the last
//! change in seconds since boot, `"doubtful":true` says that it was a release which left the id holding. A file that
//! cannot be read counts as no reference: the kernel still protects what is in use.

use crate::{
    book::volumes_in,
    directories,
    paths::{Paths, file_name},
    replace::{self, Durability},
    uptime::Uptime,
    volume::VolumeName,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::PathBuf, time::Duration};

const SCHEMA: u32 = 1;

/// With no holder in the kernel, an id that was released but still counts is a replay after a crash of dockerd once
/// this time has passed. The other reason for such a count, a nested `docker cp`, has a holder as long as it lasts.
const DOUBT: Duration = Duration::from_secs(20);

/// By then the daemon has looked once more after the doubt was justified ([`DOUBT`] and the interval of its sweep).
const UNSETTLED: Duration = Duration::from_secs(60);

/// With no holder in the kernel, references this old were lost by Docker. Between Mount and the start of a container
/// no holder shows either, but that takes seconds; copying an image's files into an empty volume takes longer, and
/// keeps the mount busy.
const STALE: Duration = Duration::from_secs(600);

/// The id of every call of podman (libpod `volume_internal_common.go`). podman counts by itself and calls once for all
/// its users, of which `podman volume mount` shows no holder, so only podman's own Unmount ends this one.
const PODMAN: &str = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2";

/// The references of one volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    held: BTreeMap<String, Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    count: u32,
    since: Uptime,
    #[serde(default)]
    doubtful: bool,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    held: BTreeMap<String, Held>,
}

impl References {
    /// Counts one more for `id`.
    pub fn add(&mut self, id: &str, now: Uptime) {
        let count = self.held.get(id).map_or(0, |held| held.count).saturating_add(1);
        self.held.insert(id.to_owned(), Held { count, since: now, doubtful: false });
    }

    /// Counts one less for `id`; false where it holds nothing, which is fine.
    pub fn release(&mut self, id: &str, now: Uptime) -> bool {
        match self.held.remove(id) {
            None => return false,
            Some(Held { count: 0 | 1, .. }) => {}
            Some(Held { count, .. }) => {
                let left = Held { count: count - 1, since: now, doubtful: true };
                self.held.insert(id.to_owned(), left);
            }
        }
        true
    }

    /// Whether nobody holds the volume.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether some look like a replay of which the kernel has not been asked long enough after the release.
    fn are_in_doubt(&self, now: Uptime) -> bool {
        self.held.values().any(|held| held.doubtful && now.since(held.since) <= UNSETTLED)
    }

    /// Whether time will change nothing about them ([`References::forget_lost`]). `in_use` says that a container is seen.
    #[must_use]
    pub fn are_settled(&self, in_use: bool, now: Uptime) -> bool {
        let is_young =
            |(id, held): (&String, &Held)| id != PODMAN && now.since(held.since) <= STALE + UNSETTLED;
        !self.are_in_doubt(now) && (in_use || !self.held.iter().any(is_young))
    }

    /// How many there are, for Status.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.held.values().map(|held| u64::from(held.count)).sum()
    }

    /// Forgets what Docker lost, to be called when the kernel knows no holder of the volume. True if there was some.
    pub fn forget_lost(&mut self, now: Uptime) -> bool {
        let before = self.held.len();
        let age = |held: &Held| now.since(held.since);
        if self.held.values().all(|held| age(held) > STALE) {
            self.held.retain(|id, _| id == PODMAN);
        }
        self.held.retain(|_, held| !held.doubtful || age(held) <= DOUBT);
        self.held.len() < before
    }
}

/// The directory with one file per held volume.
#[derive(Debug)]
pub struct ReferenceBook {
    directory: PathBuf,
}

impl ReferenceBook {
    /// Opens the book, making its directory where it is missing.
    pub fn open(paths: &Paths) -> io::Result<Self> {
        let book = Self::look(paths);
        directories::ensure(&book.directory, 0o700)?;
        Ok(book)
    }

    /// The book of who only reads it: nothing is made, and one that is missing is empty.
    #[must_use]
    pub fn look(paths: &Paths) -> Self {
        Self { directory: paths.references() }
    }

    /// Removes what a killed daemon left. For the daemon only: nobody else knows that nobody is writing.
    pub fn tidy(&self) {
        if let Err(e) = replace::remove_leftovers(&self.directory) {
            tracing::warn!("cannot tidy {}, ignoring: {e}", self.directory.display());
        }
    }

    /// The references of all volumes that have some. Few volumes of many have: this opens no file that is not there.
    #[must_use]
    pub fn read_all(&self) -> BTreeMap<VolumeName, References> {
        volumes_in(&self.directory).map(|name| (name.clone(), self.read(&name))).collect()
    }

    /// The references of a volume since the last boot.
    #[must_use]
    pub fn read(&self, name: &VolumeName) -> References {
        let path = self.directory.join(file_name(name));
        let file = match fs::read(&path) {
            Ok(json) => serde_json::from_slice::<File>(&json).map_err(io::Error::from),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return References::default(),
            Err(e) => Err(e),
        };
        match file {
            Ok(file) if file.schema == SCHEMA => {
                let held = file.held.into_iter().filter(|(_, held)| held.count > 0).collect();
                References { held }
            }
            Ok(file) => {
                tracing::warn!("{} has schema {}, ignoring it", path.display(), file.schema);
                References::default()
            }
            Err(e) => {
                tracing::warn!("cannot read {}, ignoring it: {e}", path.display());
                References::default()
            }
        }
    }

    /// Writes the references of a volume; no file where there are none.
    pub fn write(&self, name: &VolumeName, references: &References) -> io::Result<()> {
        if references.is_empty() {
            return replace::remove(&self.directory, &file_name(name), Durability::Process);
        }
        let file = File { schema: SCHEMA, held: references.held.clone() };
        let json = serde_json::to_vec(&file)?;
        replace::replace(&self.directory, &file_name(name), &json, 0o600, Durability::Process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn now() -> Uptime {
        Uptime::of_seconds(4711)
    }

    fn later(seconds: u64) -> Uptime {
        Uptime::of_seconds(4711 + seconds)
    }

    #[test]
    fn docker_cp_nests_the_id_of_the_running_container() {
        let mut references = References::default();
        references.add("container", now());
        references.add("container", now());
        assert!(references.release("container", now()));
        assert!(!references.is_empty());
        assert!(references.release("container", now()));
        assert!(references.is_empty());
    }

    #[test]
    fn an_unknown_id_is_fine() {
        assert!(!References::default().release("never seen", now()));
    }

    #[test]
    fn a_replayed_id_is_forgotten_soon_after_its_only_release() {
        let mut references = References::default();
        references.add("replayed", now());
        references.add("replayed", now());
        references.add("other", now());
        references.release("replayed", now());
        assert!(references.are_in_doubt(later(60)) && !references.are_in_doubt(later(61)));
        assert!(!references.forget_lost(later(10)), "docker cp may still be at it");
        assert!(references.forget_lost(later(30)));
        assert_eq!(references.held.keys().collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn old_references_are_forgotten_when_the_newest_is_old() {
        let mut references = References::default();
        references.add("old", now());
        references.add("new", later(500));
        assert!(!references.forget_lost(later(700)));
        assert!(!references.are_settled(false, later(1160)) && references.are_settled(false, later(1161)));
        assert!(references.are_settled(true, later(500)), "a container has it");
        assert!(references.forget_lost(later(1200)));
        assert!(references.is_empty());
        assert!(!references.forget_lost(later(1200)));
    }

    #[test]
    fn podman_counts_by_itself() {
        let mut references = References::default();
        references.add(PODMAN, now());
        assert!(references.are_settled(false, now()) && !references.forget_lost(later(100_000)));
    }

    #[test]
    fn the_book_survives_the_daemon_and_a_broken_page_does_not_stop_it() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths { configuration: "/".into(), state: "/".into(), runtime: root.path().join("run") };
        let name = VolumeName::new("data").unwrap();
        let mut references = References::default();
        references.add("a", now());
        ReferenceBook::open(&paths).unwrap().write(&name, &references).unwrap();
        let book = ReferenceBook::open(&paths).unwrap();
        assert_eq!(book.read(&name), references);
        fs::write(paths.references().join("data.json"), "{").unwrap();
        assert!(book.read(&name).is_empty());
        book.write(&name, &References::default()).unwrap();
        assert!(!paths.references().join("data.json").exists());
    }

    proptest! {
        #[test]
        fn counts_never_fall_below_zero_and_match_a_plain_counter(
            calls in prop::collection::vec((any::<bool>(), 0..4u8), 0..60)
        ) {
            let mut references = References::default();
            let mut model: HashMap<u8, u32> = HashMap::new();
            for (mount, id) in calls {
                let count = model.entry(id).or_default();
                if mount {
                    references.add(&id.to_string(), now());
                    *count += 1;
                } else {
                    prop_assert_eq!(references.release(&id.to_string(), now()), *count > 0);
                    *count = count.saturating_sub(1);
                }
                prop_assert_eq!(references.is_empty(), model.values().all(|c| *c == 0));
            }
        }
    }
}
