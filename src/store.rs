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

use crate::{
    json,
    paths::{Paths, file_name},
    replace::{self, Durability},
    sealing::Sealer,
    volume::{Secret, VolumeName, options::Options},
};
use serde::{Deserialize, Serialize};
use std::{
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
        let path = self.volumes.join(file_name(name));
        path.symlink_metadata().ok()?;
        Some(Stored { name: name.clone(), definition: read(&path) })
    }

    /// Reads every definition. Files that no volume can have are left alone and not listed.
    pub fn load(&self) -> io::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for entry in fs::read_dir(&self.volumes)? {
            let path = entry?.path();
            if let Some(name) = name_of(&path) {
                stored.push(Stored { definition: read(&path), name });
            } else {
                tracing::warn!("{} is no definition of a volume, ignoring it", path.display());
            }
        }
        self.forget_secrets_of_others(&stored);
        Ok(stored)
    }

    /// Removes passwords whose definition is gone: what a power cut between two steps of save or remove leaves.
    fn forget_secrets_of_others(&self, stored: &[Stored]) {
        let secrets = [&self.secrets, &self.encrypted];
        for entry in secrets.into_iter().flat_map(fs::read_dir).flatten().flatten() {
            let known = stored.iter().any(|volume| entry.file_name() == volume.name.as_str());
            if !known {
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
            self.save_password(name, password)?;
        }
        let file = File {
            schema: SCHEMA,
            created_at: format_time(definition.created_at),
            options: definition.options.clone(),
            password: definition.has_password,
        };
        let json = serde_json::to_vec_pretty(&file)?;
        replace::replace(&self.volumes, &file_name(name), &json, 0o600, Durability::PowerCut)
    }

    fn save_password(&self, name: &VolumeName, password: &Secret) -> io::Result<()> {
        let save = |directory: &Path, content: &[u8]| {
            replace::replace(directory, name.as_str(), content, 0o600, Durability::PowerCut)
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

fn read(path: &Path) -> Result<Definition, Unreadable> {
    let unreadable = |reason: String| Unreadable { file: path.to_owned(), reason };
    let content = fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let file: File = serde_json::from_slice(&content).map_err(|e| unreadable(json::mistake(&e)))?;
    if file.schema != SCHEMA {
        return Err(unreadable(format!(
            "schema {} is not {SCHEMA}, the one this version knows",
            file.schema
        )));
    }
    let created_at =
        humantime::parse_rfc3339(&file.created_at).map_err(|e| unreadable(format!("created_at: {e}")))?;
    Ok(Definition { created_at, options: file.options, has_password: file.password })
}

/// The names of all volumes, whether or not their definitions can be read.
pub fn names(paths: &Paths) -> io::Result<Vec<VolumeName>> {
    let entries = match fs::read_dir(paths.volumes()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(name_of(&entry?.path()));
    }
    names.sort();
    Ok(names)
}

/// The volume whose definition a file is, if it can be one.
fn name_of(path: &Path) -> Option<VolumeName> {
    let name = path.file_name()?.to_str()?.strip_suffix(".json")?;
    VolumeName::new(name).ok()
}

/// RFC 3339 to the second: dockerd treats a volume whose date it cannot parse as gone (go-plugins-helpers#108).
#[must_use]
pub fn format_time(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
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
