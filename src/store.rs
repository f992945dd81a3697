//! The definitions of volumes on disk: one file per volume, durable before Docker gets its answer.
//!
//! `volumes/NAME.json`, schema 1:
//!
//! ```json
//! {
//!   "schema": 1,
//!   "created_at": "2026-11-21T12:00:00Z",
//!   "options": { "sshcmd": "alice@storage:/srv/data", "port": "22" },
//!   "password": false
//! }
//! ```
//!
//! The name is the file's. `options` is what the user wrote, without the value of `password`, which is in
//! `secrets/NAME` or `secrets.encrypted/NAME`; `"password": true` says that it is there. A file that cannot be read, or has another schema, is
//! that volume's problem alone: it is reported, and never written or removed.
//!
//! Changed options and a changed password are two files, which must not come apart. So the new password is first put beside
//! the old one (`secrets/.next-NAME`), then the definition is replaced by one that says `"password_next": true`, then the
//! password takes its place, then the definition loses that word. What is killed before the second step has changed nothing;
//! after it, the next start of the daemon does the rest.

use crate::{
    json,
    paths::{Paths, file_name, volume_of},
    replace::{self, Durability},
    sealing::Sealer,
    timestamp::Timestamp,
    volume::{Secret, VolumeName, amendment::PasswordChange, options::Options},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

const SCHEMA: u32 = 1;

/// The credential that the password becomes in the mount unit. Encrypted for it, it cannot be used under another name.
pub const PASSWORD_CREDENTIAL: &str = "_password";

/// What the user defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// When, to the second.
    pub created_at: SystemTime,
    /// The options, without `password`.
    pub options: Options,
    /// Whether there was a `password`.
    pub has_password: bool,
}

/// Why a definition cannot be used. Its file stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("its definition {} cannot be read: {reason}", file.display())]
pub struct Unreadable {
    /// The file.
    pub file: PathBuf,
    reason: String,
}

/// A volume as the store knows it.
#[derive(Debug)]
pub struct Stored {
    /// Its name, which is known even where the definition is not.
    pub name: VolumeName,
    /// The definition.
    pub definition: Result<Definition, Unreadable>,
}

/// The directories of definitions and passwords.
#[derive(Debug)]
pub struct Store {
    volumes: PathBuf,
    secrets: PathBuf,
    encrypted: PathBuf,
    sealer: Sealer,
}

#[derive(Serialize, Deserialize)]
struct File {
    schema: u32,
    created_at: String,
    options: Options,
    #[serde(default)]
    password: bool,
    /// The password of this definition is still to take its place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    password_next: bool,
}

impl Store {
    /// Opens the store, making its directories where they are missing.
    pub fn open(paths: &Paths, sealer: Sealer) -> io::Result<Self> {
        let (volumes, secrets, encrypted) = (paths.volumes(), paths.secrets(), paths.encrypted_secrets());
        let store = Self { volumes, secrets, encrypted, sealer };
        for directory in store.directories() {
            crate::directories::ensure(directory, 0o700)?;
        }
        Ok(store)
    }

    fn directories(&self) -> [&Path; 3] {
        [&self.volumes, &self.secrets, &self.encrypted]
    }

    /// Removes what a killed daemon left. For the daemon only: nobody else knows that nobody is writing.
    pub fn tidy(&self) {
        for directory in self.directories() {
            // A read-only file system must not keep the daemon from serving what is defined.
            if let Err(e) = replace::remove_leftovers(directory) {
                tracing::warn!("cannot tidy {}, ignoring: {e}", directory.display());
            }
        }
    }

    /// Reads one definition; None where there is none.
    #[must_use]
    pub fn read(&self, name: &VolumeName) -> Option<Stored> {
        read_in(&self.volumes, name)
    }

    /// Reads every definition. Files that no volume can have are left alone and not listed.
    pub fn load(&self) -> io::Result<Vec<Stored>> {
        let (mut stored, mut replacing) = (Vec::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.volumes)? {
            let entry = entry?;
            let Some(name) = volume_of(&entry.file_name()) else {
                tracing::warn!("{} is no definition of a volume, ignoring it", entry.path().display());
                continue;
            };
            let file = read_file(&entry.path());
            if file.as_ref().is_ok_and(|file| file.password_next) {
                replacing.insert(name.clone());
            }
            stored.push(Stored { name, definition: file.and_then(|file| file.definition(&entry.path())) });
        }
        replacing.retain(|name| {
            if let Err(e) = self.finish_replacing(name) {
                tracing::error!(volume = %name, "volume {name}: cannot put its new password in the place of the old one: {e}");
            }
            self.is_replacing(name)
        });
        self.forget_secrets_of_others(&stored, &replacing);
        Ok(stored)
    }

    /// Removes passwords whose definition is gone or has none: what a power cut between two steps of save, replace or
    /// remove leaves. Those of `replacing` are still to take their places.
    fn forget_secrets_of_others(&self, stored: &[Stored], replacing: &BTreeSet<VolumeName>) {
        let mut known = BTreeSet::new();
        for Stored { name, definition } in stored {
            // What belongs to a definition that cannot be read is kept with it.
            if definition.as_ref().map_or(true, |definition| definition.has_password) {
                known.insert(OsString::from(name.as_str()));
            }
            if definition.is_err() || replacing.contains(name) {
                known.insert(next(name).into());
            }
        }
        let secrets = [&self.secrets, &self.encrypted];
        for entry in secrets.into_iter().flat_map(fs::read_dir).flatten().flatten() {
            if !known.contains(&entry.file_name()) {
                _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Saves a definition and its password; both are on disk when this returns.
    pub fn save(
        &self,
        name: &VolumeName,
        definition: &Definition,
        password: Option<&Secret>,
    ) -> io::Result<()> {
        // It may have been put back by hand while the daemon ran. Nothing unknown is overwritten.
        if self.volumes.join(file_name(name)).symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // First the secret: a definition whose secret is missing would be broken, a secret without a definition is
        // only a leftover, which the next start clears.
        // Also what a Remove that failed half way has left.
        for directory in [&self.secrets, &self.encrypted] {
            if directory.join(name.as_str()).symlink_metadata().is_ok() {
                replace::remove(directory, name.as_str(), Durability::Process)?;
            }
        }
        if let Some(password) = password {
            self.save_password(name, name.as_str(), password)?;
        }
        self.write(name, definition, false)
    }

    /// Replaces a definition, and its password where that changes; both are on disk when this returns. Whatever kills it,
    /// both are the old ones or both the new ones at the next start. An error means the old ones: what cannot be finished
    /// after the definition is there is left to the next start, and logged.
    pub fn replace(
        &self,
        name: &VolumeName,
        definition: &Definition,
        password: &PasswordChange,
    ) -> io::Result<()> {
        // What cannot be read may be all that is left of what the user wrote.
        read(&self.volumes.join(file_name(name))).map_err(io::Error::other)?;
        self.finish_replacing(name)?;
        match password {
            PasswordChange::Keep => self.commit(name, definition, false),
            PasswordChange::Remove => {
                self.commit(name, definition, false)?;
                if let Err(e) = self.remove_password(name) {
                    tracing::warn!(volume = %name, "volume {name}: cannot remove its password, the next start of the service does: {e}");
                }
                Ok(())
            }
            PasswordChange::Replace(password) => {
                self.remove_next(name)?;
                self.save_password(name, &next(name), password)?;
                if let Err(e) = self.commit(name, definition, true) {
                    if !self.is_replacing(name) {
                        _ = self.remove_next(name);
                    }
                    return Err(e);
                }
                if let Err(e) = self.finish_replacing(name) {
                    tracing::warn!(
                        volume = %name,
                        "volume {name}: cannot put its new password in the place of the old one, the next start of the service does: {e}"
                    );
                }
                Ok(())
            }
        }
    }

    /// Writes a definition. It counts from when it can be read, also if its directory could not be synchronised: the next
    /// start reads the same.
    fn commit(&self, name: &VolumeName, definition: &Definition, password_next: bool) -> io::Result<()> {
        let Err(e) = self.write(name, definition, password_next) else { return Ok(()) };
        let file = self.volumes.join(file_name(name));
        let is_there = read(&file).is_ok_and(|there| there == *definition);
        if !is_there || self.is_replacing(name) != password_next {
            return Err(e);
        }
        tracing::warn!(volume = %name, "volume {name}: its definition may not outlive a power cut, going on: {e}");
        Ok(())
    }

    /// Removes what an earlier attempt has left.
    fn remove_next(&self, name: &VolumeName) -> io::Result<()> {
        for directory in [&self.secrets, &self.encrypted] {
            replace::remove(directory, &next(name), Durability::Process)?;
        }
        Ok(())
    }

    /// Whether the password of the definition is still to take its place.
    fn is_replacing(&self, name: &VolumeName) -> bool {
        read_file(&self.volumes.join(file_name(name))).is_ok_and(|file| file.password_next)
    }

    /// Does what is left of replacing a password. Doing it twice does no harm.
    fn finish_replacing(&self, name: &VolumeName) -> io::Result<()> {
        if !self.is_replacing(name) {
            return Ok(());
        }
        let next = next(name);
        for (directory, other) in [(&self.encrypted, &self.secrets), (&self.secrets, &self.encrypted)] {
            if directory.join(&next).symlink_metadata().is_ok() {
                // First: with both there, nobody could tell which one is the new one.
                replace::remove(other, name.as_str(), Durability::PowerCut)?;
                replace::rename(directory, &next, name.as_str())?;
            }
        }
        let definition = read(&self.volumes.join(file_name(name))).map_err(io::Error::other)?;
        self.write(name, &definition, false)
    }

    fn write(&self, name: &VolumeName, definition: &Definition, password_next: bool) -> io::Result<()> {
        let file = File {
            schema: SCHEMA,
            created_at: Timestamp(definition.created_at).to_string(),
            options: definition.options.clone(),
            password: definition.has_password,
            password_next,
        };
        let json = serde_json::to_vec_pretty(&file)?;
        replace::replace(&self.volumes, &file_name(name), &json, 0o600, Durability::PowerCut)
    }

    fn save_password(&self, name: &VolumeName, file: &str, password: &Secret) -> io::Result<()> {
        let save = |directory: &Path, content: &[u8]| {
            replace::replace(directory, file, content, 0o600, Durability::PowerCut)
        };
        match self.sealer.seal(PASSWORD_CREDENTIAL, password) {
            Some(Ok(sealed)) => return save(&self.encrypted, &sealed),
            Some(Err(e)) => {
                tracing::warn!(volume = %name, "volume {name}: cannot encrypt its password, keeping it in a file for root: {e}");
            }
            None => {}
        }
        save(&self.secrets, password.expose().as_bytes())
    }

    /// Forgets a volume; durable when this returns.
    pub fn remove(&self, name: &VolumeName) -> io::Result<()> {
        replace::remove(&self.volumes, &file_name(name), Durability::PowerCut)?;
        self.remove_password(name)
    }

    fn remove_password(&self, name: &VolumeName) -> io::Result<()> {
        replace::remove(&self.secrets, name.as_str(), Durability::PowerCut)?;
        replace::remove(&self.encrypted, name.as_str(), Durability::PowerCut)
    }

    /// The stored password of a volume.
    pub fn password(&self, name: &VolumeName) -> io::Result<Secret> {
        match fs::read(self.encrypted.join(name.as_str())) {
            Ok(sealed) => self.sealer.unseal(PASSWORD_CREDENTIAL, &sealed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::read_to_string(self.secrets.join(name.as_str())).map(Secret::new)
            }
            Err(e) => Err(e),
        }
    }
}

/// Where a password waits for its definition. No volume has such a name.
fn next(name: &VolumeName) -> String {
    format!(".next-{name}")
}

fn read(path: &Path) -> Result<Definition, Unreadable> {
    read_file(path)?.definition(path)
}

fn read_file(path: &Path) -> Result<File, Unreadable> {
    let unreadable = |reason: String| Unreadable { file: path.to_owned(), reason };
    let content = fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let file: File = serde_json::from_slice(&content).map_err(|e| unreadable(json::mistake(&e)))?;
    if file.schema != SCHEMA {
        return Err(unreadable(format!(
            "schema {} is not {SCHEMA}, the one this version knows",
            file.schema
        )));
    }
    Ok(file)
}

impl File {
    /// What the file at `path` defines.
    fn definition(self, path: &Path) -> Result<Definition, Unreadable> {
        let created_at = humantime::parse_rfc3339(&self.created_at)
            .map_err(|e| Unreadable { file: path.to_owned(), reason: format!("created_at: {e}") })?;
        Ok(Definition { created_at, options: self.options, has_password: self.password })
    }
}

/// Reads one definition as [`Store::read`] does, for who must change nothing: opening a store makes its directories.
#[must_use]
pub fn look(paths: &Paths, name: &VolumeName) -> Option<Stored> {
    read_in(&paths.volumes(), name)
}

fn read_in(volumes: &Path, name: &VolumeName) -> Option<Stored> {
    let path = volumes.join(file_name(name));
    path.symlink_metadata().ok()?;
    Some(Stored { name: name.clone(), definition: read(&path) })
}

/// The names of all volumes, whether or not their definitions can be read.
pub fn names(paths: &Paths) -> io::Result<Vec<VolumeName>> {
    let entries = match fs::read_dir(paths.volumes()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(volume_of(&entry?.file_name()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    fn paths(root: &Path) -> Paths {
        Paths { configuration: root.join("etc"), state: root.join("lib"), runtime: root.join("run") }
    }

    fn open(root: &Path) -> io::Result<Store> {
        Store::open(&paths(root), Sealer::none())
    }

    fn definition() -> Definition {
        Definition {
            created_at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
            options: [("sshcmd".to_owned(), "h:/x".to_owned())].into(),
            has_password: true,
        }
    }

    fn name(text: &str) -> VolumeName {
        VolumeName::new(text).unwrap()
    }

    #[test]
    fn a_definition_reads_back_as_saved() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("data"), &definition(), Some(&Secret::new("hunter2".to_owned()))).unwrap();
        let loaded = open(root.path()).unwrap().load().unwrap();
        assert_eq!(loaded[0].name, name("data"));
        assert_eq!(loaded[0].definition.as_ref().unwrap(), &definition());
        assert_eq!(store.password(&name("data")).unwrap().expose(), "hunter2");
        store.remove(&name("data")).unwrap();
        assert!(store.load().unwrap().is_empty());
        assert!(store.password(&name("data")).is_err());
    }

    #[test]
    fn passwords_are_readable_by_root_only_and_not_in_the_definition() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("data"), &definition(), Some(&Secret::new("hunter2".to_owned()))).unwrap();
        for file in ["volumes/data.json", "secrets/data"] {
            let path = root.path().join("lib").join(file);
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600, "{file}");
        }
        let json = fs::read_to_string(root.path().join("lib/volumes/data.json")).unwrap();
        assert!(!json.contains("hunter2"));
    }

    #[test]
    fn a_password_without_a_definition_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("kept"), &definition(), Some(&Secret::new("hunter2".to_owned()))).unwrap();
        fs::write(root.path().join("lib/secrets/left"), "hunter2").unwrap();
        store.load().unwrap();
        assert!(store.password(&name("left")).is_err());
        assert!(store.password(&name("kept")).is_ok());
    }

    /// Stops where the process may be killed: before the first step, after each, and after the last.
    fn replace_up_to(step: usize, store: &Store, new: &Definition) {
        let (name, password) = (name("data"), Secret::new("new".to_owned()));
        let steps: [&dyn Fn() -> io::Result<()>; 5] = [
            &|| store.save_password(&name, &next(&name), &password),
            &|| store.write(&name, new, true),
            &|| replace::remove(&store.encrypted, name.as_str(), Durability::PowerCut),
            &|| replace::rename(&store.secrets, &next(&name), name.as_str()),
            &|| store.write(&name, new, false),
        ];
        steps.iter().take(step).for_each(|step| step().unwrap());
    }

    #[test]
    fn options_and_password_change_together_wherever_it_is_cut_off() {
        for step in 0..=5 {
            let root = tempfile::tempdir().unwrap();
            let store = open(root.path()).unwrap();
            store.save(&name("data"), &definition(), Some(&Secret::new("old".to_owned()))).unwrap();
            let new =
                Definition { options: [("sshcmd".to_owned(), "h:/y".to_owned())].into(), ..definition() };
            replace_up_to(step, &store, &new);
            let store = open(root.path()).unwrap();
            store.load().unwrap();
            let loaded = store.load().unwrap().remove(0).definition.unwrap();
            let password = store.password(&name("data")).unwrap();
            let is_new = step >= 2;
            assert_eq!(loaded, if is_new { new } else { definition() }, "after step {step}");
            assert_eq!(password.expose(), if is_new { "new" } else { "old" }, "after step {step}");
            let left = fs::read_dir(root.path().join("lib/secrets")).unwrap().count();
            assert_eq!(left, 1, "after step {step}");
            let json = fs::read_to_string(root.path().join("lib/volumes/data.json")).unwrap();
            assert!(!json.contains("password_next"), "after step {step}: {json}");
        }
    }

    #[test]
    fn a_replaced_definition_has_the_password_that_was_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        let (with, without) = (definition(), Definition { has_password: false, ..definition() });
        store.save(&name("data"), &without, None).unwrap();
        let secret = |text: &str| PasswordChange::Replace(Secret::new(text.to_owned()));
        for (change, definition, expected) in [
            (secret("first"), &with, Some("first")),
            (secret("second"), &with, Some("second")),
            (PasswordChange::Keep, &with, Some("second")),
            (PasswordChange::Remove, &without, None),
            (PasswordChange::Keep, &without, None),
        ] {
            store.replace(&name("data"), definition, &change).unwrap();
            assert_eq!(store.read(&name("data")).unwrap().definition.unwrap(), *definition);
            assert_eq!(store.password(&name("data")).ok().as_ref().map(Secret::expose), expected);
        }
    }

    #[test]
    fn what_fails_after_the_definition_is_there_is_no_error_and_done_at_the_next_start() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("data"), &definition(), Some(&Secret::new("old".to_owned()))).unwrap();
        // What cannot be removed as a file.
        let obstacle = root.path().join("lib/secrets.encrypted/data");
        fs::create_dir(&obstacle).unwrap();
        let new = Definition { options: [("sshcmd".to_owned(), "h:/y".to_owned())].into(), ..definition() };
        store.replace(&name("data"), &new, &PasswordChange::Replace(Secret::new("new".to_owned()))).unwrap();
        assert_eq!(store.read(&name("data")).unwrap().definition.unwrap(), new);
        fs::remove_dir(obstacle).unwrap();
        store.load().unwrap();
        assert_eq!(store.password(&name("data")).unwrap().expose(), "new");
        let without = Definition { has_password: false, ..definition() };
        fs::remove_file(root.path().join("lib/secrets/data")).unwrap();
        fs::create_dir(root.path().join("lib/secrets/data")).unwrap();
        store.replace(&name("data"), &without, &PasswordChange::Remove).unwrap();
        assert_eq!(store.read(&name("data")).unwrap().definition.unwrap(), without);
    }

    #[test]
    fn a_definition_that_cannot_be_read_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        let file = root.path().join("lib/volumes/data.json");
        let change = PasswordChange::Replace(Secret::new("new".to_owned()));
        assert!(store.replace(&name("data"), &definition(), &change).is_err(), "one that is not there");
        fs::write(&file, "{").unwrap();
        assert!(store.replace(&name("data"), &definition(), &change).is_err());
        assert_eq!(fs::read_to_string(file).unwrap(), "{");
        assert_eq!(fs::read_dir(root.path().join("lib/secrets")).unwrap().count(), 0);
    }

    #[test]
    fn the_password_of_a_definition_that_has_none_any_more_is_cleared_away() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("data"), &definition(), Some(&Secret::new("hunter2".to_owned()))).unwrap();
        store.write(&name("data"), &Definition { has_password: false, ..definition() }, false).unwrap();
        store.load().unwrap();
        assert!(store.password(&name("data")).is_err());
    }

    #[test]
    fn a_file_that_is_there_already_is_not_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        fs::write(root.path().join("lib/volumes/data.json"), "put back by hand").unwrap();
        assert!(store.save(&name("data"), &definition(), None).is_err());
        let kept = fs::read_to_string(root.path().join("lib/volumes/data.json")).unwrap();
        assert_eq!(kept, "put back by hand");
    }

    #[test]
    fn a_broken_file_is_reported_and_kept_while_the_others_load() {
        let root = tempfile::tempdir().unwrap();
        let store = open(root.path()).unwrap();
        store.save(&name("good"), &definition(), None).unwrap();
        let broken = [
            ("empty", ""),
            ("cut", "{\"schema\": 1, \"opt"),
            ("newer", r#"{"schema":2,"created_at":"","options":{}}"#),
        ];
        for (name, content) in broken {
            fs::write(root.path().join(format!("lib/volumes/{name}.json")), content).unwrap();
        }
        let loaded = store.load().unwrap();
        assert_eq!(loaded.len(), 4);
        assert_eq!(loaded.iter().filter(|s| s.definition.is_err()).count(), 3);
        for (name, content) in broken {
            let kept = fs::read_to_string(root.path().join(format!("lib/volumes/{name}.json"))).unwrap();
            assert_eq!(kept, content);
        }
    }
}
