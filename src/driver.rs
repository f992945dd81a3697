//! The volumes of this host: what Docker's calls mean for definitions, references and mounts.
//!
//! The rules that keep data safe meet here:
//!
//! - Get, List and Path read memory. Nothing they need is held during I/O.
//! - Create, Mount, Remove and the unmounting run under the lock of their volume, and under no other.
//! - A definition is on disk, and a reference in the book, before the answer leaves.
//! - Nothing below a mountpoint is ever deleted.

use crate::{
    config::Config,
    launcher::{self, LaunchError},
    locks::NameLocks,
    mount::{MountError, Mounter, UnmountError, unit},
    protocol::{Caller, VolumeDriver, VolumeInfo},
    references::{ReferenceBook, References},
    store::{self, Definition, Store, Stored},
    volume::{
        CredentialSource, OptionError, Spec, VolumeName,
        name::InvalidName,
        options::{self, Options, PasswordSource},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use zeroize::Zeroizing;

/// How long an Unmount waits for the unmounting: dockerd gives up after 60 s. The unmounting goes on.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(50);

/// Ids are 64 characters long; a longer one is no id.
const MOST_ID: usize = 1024;

/// Why a call failed. The text reaches the terminal of `docker`.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No such volume. dockerd relies on it to find out who has a volume.
    #[error("volume {0:?} not found")]
    NotFound(String),
    /// Create with a name that cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Create with options that cannot be used.
    #[error("volume {name}: {source}")]
    Options {
        /// The volume.
        name: VolumeName,
        /// What is wrong with them.
        source: OptionError,
    },
    /// Create with a key or password file that is missing.
    #[error("volume {name}: {option}: {source}")]
    Credential {
        /// The volume.
        name: VolumeName,
        /// `identity_file` or `password_file`.
        option: &'static str,
        /// What is wrong with it.
        source: LaunchError,
    },
    /// Create of a name that exists with other options.
    #[error("volume {name} exists already with other options ({}); remove it first or choose another name", .differing.join(", "))]
    Exists {
        /// The volume.
        name: VolumeName,
        /// The names of the options that differ.
        differing: Vec<String>,
    },
    /// The volume is known but its definition cannot be used.
    #[error("volume {name} cannot be used: {reason}")]
    Unusable {
        /// The volume.
        name: VolumeName,
        /// Why.
        reason: String,
    },
    /// The definition could not be written or removed.
    #[error("volume {name}: cannot {verb} its definition: {source}")]
    Store {
        /// The volume.
        name: VolumeName,
        /// `save` or `remove`.
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The mount failed.
    #[error("cannot mount volume {name} from {remote}: {source}")]
    Mount {
        /// The volume.
        name: VolumeName,
        /// `user@host:path`
        remote: String,
        /// Why.
        source: MountError,
    },
    /// Mounted, but who holds it could not be noted.
    #[error("volume {name}: cannot note the reference: {source}")]
    Reference {
        /// The volume.
        name: VolumeName,
        /// Why.
        source: io::Error,
    },
    /// Another call on the volume took all the time.
    #[error("volume {name} is busy: another call on it is still running after {}s", .after.as_secs())]
    Busy {
        /// The volume.
        name: VolumeName,
        /// How long this call waited.
        after: Duration,
    },
    /// Remove of a volume in use.
    #[error("volume {name} cannot be removed: {source}")]
    InUse {
        /// The volume.
        name: VolumeName,
        /// Who uses it.
        source: UnmountError,
    },
    /// The caller of Mount hung up.
    #[error("volume {0}: the caller is gone, the mount was taken back")]
    CallerGone(VolumeName),
    /// Mount with something that is no id.
    #[error("the id is longer than {MOST_ID} bytes")]
    Id,
}

/// A volume in memory.
#[derive(Debug)]
struct Volume {
    name: VolumeName,
    /// None where the file cannot be read; the volume is still listed, or Docker would forget it too.
    definition: Option<Definition>,
    /// The checked options, or why they cannot be used.
    spec: Result<Spec, String>,
    references: Mutex<References>,
    /// What mountinfo said when it was last asked, for Get.
    mounted: AtomicBool,
}

impl Volume {
    fn references(&self) -> MutexGuard<'_, References> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The driver behind the protocol.
#[derive(Debug)]
pub struct Driver {
    /// Shared with the tasks that outlive a call.
    volumes: Arc<Volumes>,
}

#[derive(Debug)]
struct Volumes {
    by_name: Mutex<BTreeMap<VolumeName, Arc<Volume>>>,
    locks: NameLocks,
    store: Arc<Store>,
    book: ReferenceBook,
    mounter: Mounter,
    config: Arc<Config>,
}

impl Driver {
    /// A driver with the volumes that are in the store, and the references and mounts that outlived the last daemon.
    pub fn open(
        store: Store,
        book: ReferenceBook,
        mounter: Mounter,
        config: Arc<Config>,
    ) -> io::Result<Self> {
        let mounted = mounter.all_mounted()?;
        let mut by_name = BTreeMap::new();
        for Stored { name, definition } in store.load()? {
            let spec = match &definition {
                Ok(d) => Spec::parse(&d.options, d.has_password, &config.policy).map_err(|e| e.to_string()),
                Err(e) => Err(e.to_string()),
            };
            if let Err(reason) = &spec {
                tracing::error!(volume = %name, "volume cannot be used: {reason}");
            }
            let volume = Volume {
                definition: definition.ok(),
                spec,
                references: Mutex::new(book.read(&name)),
                mounted: AtomicBool::new(mounted.contains(&mounter.mountpoint(&name))),
                name: name.clone(),
            };
            by_name.insert(name, Arc::new(volume));
        }
        let by_name = Mutex::new(by_name);
        Ok(Self {
            volumes: Arc::new(Volumes {
                by_name,
                locks: NameLocks::default(),
                store: Arc::new(store),
                book,
                mounter,
                config,
            }),
        })
    }

    /// How many volumes there are, and how many are mounted.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let by_name = self.volumes.by_name();
        (by_name.len(), by_name.values().filter(|v| v.mounted.load(Ordering::Relaxed)).count())
    }

    /// Unmounts what nobody uses any more although it is still mounted: a mount that was busy at its last Unmount, that
    /// a killed daemon left half made, or whose references Docker lost.
    pub async fn sweep(&self) {
        let mounted: Vec<_> = self.volumes.by_name().values().cloned().collect();
        for volume in mounted.into_iter().filter(|v| v.mounted.load(Ordering::Relaxed)) {
            self.volumes.forget_lost_references(&volume).await;
            if volume.references().is_empty() {
                self.volumes.unmount_if_unused(&volume.name).await;
            }
        }
    }
}

impl Volumes {
    fn by_name(&self) -> MutexGuard<'_, BTreeMap<VolumeName, Arc<Volume>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Arc<Volume>, DriverError> {
        let known = VolumeName::new(name).ok().and_then(|name| self.by_name().get(&name).cloned());
        known.ok_or_else(|| DriverError::NotFound(name.to_owned()))
    }

    /// Works on the store in a thread that may wait for the disk.
    async fn on_disk<F>(&self, work: F) -> io::Result<()>
    where
        F: FnOnce(&Store) -> io::Result<()> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        spawn_blocking(move || work(&store)).await.map_err(io::Error::other)?
    }

    /// Writes the references as they are now. The book is in memory (/run): this does not wait for a disk.
    fn note(&self, volume: &Volume, references: &References) -> io::Result<()> {
        self.book.write(&volume.name, references)
    }

    /// The same where failing is no reason to stop: at worst a reference comes back after a restart of the daemon.
    fn note_or_warn(&self, volume: &Volume, references: &References) {
        if let Err(e) = self.note(volume, references) {
            tracing::warn!(volume = %volume.name, "cannot note the references, ignoring: {e}");
        }
    }

    /// Unmounts a volume without references; under its lock, so that no Mount comes in between.
    async fn unmount_if_unused(&self, name: &VolumeName) {
        let _lock = self.locks.lock(name).await;
        let Ok(volume) = self.find(name.as_str()) else { return };
        if !volume.references().is_empty() {
            return;
        }
        match self.mounter.unmount(name).await {
            Ok(()) => volume.mounted.store(false, Ordering::Relaxed),
            Err(e) => tracing::info!(volume = %name, "not unmounted yet: {e}"),
        }
    }

    /// Forgets references that Docker lost: those of a volume that no mount namespace has. A process of the host that
    /// works in the mountpoint still makes the unmounting fail.
    async fn forget_lost_references(&self, volume: &Volume) {
        let some_look_lost = volume.references().clone().forget_lost(SystemTime::now());
        if !some_look_lost {
            return;
        }
        let Ok(Some(mount)) = self.mounter.mounted(&volume.name) else { return };
        let _lock = self.locks.lock(&volume.name).await;
        let Ok(holders) = self.mounter.holders(&mount).await else { return };
        if !holders.is_empty() {
            return;
        }
        let mut references = volume.references();
        if references.forget_lost(SystemTime::now()) {
            tracing::warn!(volume = %volume.name, "no container has it any more, dropping references that Docker lost");
            self.note_or_warn(volume, &references);
        }
    }

    async fn create(&self, name: &str, mut options: Options) -> Result<(), DriverError> {
        let name = VolumeName::new(name)?;
        let wrong = |source| DriverError::Options { name: name.clone(), source };
        let password = take_password(&mut options);
        if let Some(password) = &password {
            options::check_password(password).map_err(wrong)?;
        }
        let _lock = self.locks.lock(&name).await;
        if let Ok(existing) = self.find(name.as_str()) {
            return self.compare(&existing, &options, password.as_deref());
        }
        let spec = Spec::parse(&options, password.is_some(), &self.config.policy).map_err(wrong)?;
        check_credentials(&name, &spec)?;
        let definition =
            Definition { created_at: SystemTime::now(), options, has_password: password.is_some() };
        let has_password = definition.has_password;
        let (saved_name, saved) = (name.clone(), definition.clone());
        self.on_disk(move |store| store.save(&saved_name, &saved, password.as_ref().map(|p| p.as_str())))
            .await
            .map_err(|source| DriverError::Store { name: name.clone(), verb: "save", source })?;
        if has_password {
            tracing::warn!(volume = %name, "Docker stores and shows the option 'password' in clear; 'password_file' does not");
        }
        tracing::info!(volume = %name, remote = %spec.remote, "created");
        let volume = Volume {
            name: name.clone(),
            definition: Some(definition),
            spec: Ok(spec),
            references: Mutex::default(),
            mounted: AtomicBool::new(false),
        };
        self.by_name().insert(name, Arc::new(volume));
        Ok(())
    }

    /// A repeated Create is a success, another one with the same name an error that names the options in question.
    fn compare(
        &self,
        existing: &Volume,
        options: &Options,
        password: Option<&String>,
    ) -> Result<(), DriverError> {
        let Some(definition) = &existing.definition else { return Err(unusable(existing)) };
        let names: BTreeSet<_> = definition.options.keys().chain(options.keys()).collect();
        let mut differing: Vec<_> =
            names.into_iter().filter(|n| definition.options.get(*n) != options.get(*n)).cloned().collect();
        let stored = definition.has_password.then(|| self.store.password(&existing.name).unwrap_or_default());
        if stored.as_ref().map(|p| p.as_str()) != password.map(String::as_str) {
            differing.push("password".to_owned());
        }
        if differing.is_empty() {
            Ok(())
        } else {
            Err(DriverError::Exists { name: existing.name.clone(), differing })
        }
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let name = VolumeName::new(name).map_err(|_| DriverError::NotFound(name.to_owned()))?;
        let _lock = self.locks.lock(&name).await;
        let volume = self.find(name.as_str())?;
        if volume.definition.is_none() {
            // It may be all that is left of what the user wrote.
            return Err(unusable(&volume));
        }
        // The kernel decides: references may be leaked, holders are not.
        self.mounter
            .unmount(&name)
            .await
            .map_err(|source| DriverError::InUse { name: name.clone(), source })?;
        volume.mounted.store(false, Ordering::Relaxed);
        let removed = name.clone();
        self.on_disk(move |store| store.remove(&removed)).await.map_err(|source| DriverError::Store {
            name: name.clone(),
            verb: "remove",
            source,
        })?;
        self.by_name().remove(&name);
        self.note_or_warn(&volume, &References::default());
        if let Err(e) = self.mounter.remove_mountpoint(&name) {
            tracing::warn!(volume = %name, "cannot remove its empty mountpoint, ignoring: {e}");
        }
        tracing::info!(volume = %name, "removed; nothing was deleted on the server");
        Ok(())
    }

    async fn mount(&self, name: &str, id: &str, caller: &Caller) -> Result<PathBuf, DriverError> {
        let patience = self.config.mount_timeout;
        let deadline = Instant::now() + patience;
        let name = self.find(name)?.name.clone();
        if id.len() > MOST_ID {
            return Err(DriverError::Id);
        }
        let _lock = timeout_at(deadline, self.locks.lock(&name))
            .await
            .map_err(|_| DriverError::Busy { name: name.clone(), after: patience })?;
        // Again: it may have been removed while this call waited.
        let volume = self.find(name.as_str())?;
        let spec = volume.spec.as_ref().map_err(|_| unusable(&volume))?;
        let in_use = !volume.references().is_empty();
        let result = self.mounter.mount(&name, spec, in_use, deadline).await;
        let is_mounted = self.mounter.mounted(&name).is_ok_and(|mount| mount.is_some());
        volume.mounted.store(is_mounted, Ordering::Relaxed);
        result.map_err(|source| DriverError::Mount {
            name: name.clone(),
            remote: spec.remote.to_string(),
            source,
        })?;

        let noted = {
            let mut references = volume.references();
            references.add(id, SystemTime::now());
            self.note(&volume, &references).inspect_err(|_| _ = references.release(id, SystemTime::now()))
        };
        let failure = match noted {
            Err(source) => DriverError::Reference { name: name.clone(), source },
            // dockerd sends no Unmount for a Mount that it gave up.
            Ok(()) if caller.is_gone() => {
                self.release(&volume, id);
                DriverError::CallerGone(name.clone())
            }
            Ok(()) => return Ok(self.mounter.mountpoint(&name)),
        };
        if volume.references().is_empty() && self.mounter.unmount(&name).await.is_ok() {
            volume.mounted.store(false, Ordering::Relaxed);
        }
        Err(failure)
    }

    /// Releases a reference. That it cannot be written down is no reason to keep it: the kernel still protects what is
    /// in use, and dockerd would only repeat the id.
    fn release(&self, volume: &Volume, id: &str) {
        let mut references = volume.references();
        if !references.release(id, SystemTime::now()) {
            tracing::debug!(volume = %volume.name, "unmount by a caller that holds nothing");
        }
        self.note_or_warn(volume, &references);
    }

    fn info(&self, volume: &Volume) -> VolumeInfo {
        let mounted = volume.mounted.load(Ordering::Relaxed);
        let mut status = serde_json::Map::new();
        let mut tell = |key: &str, value: serde_json::Value| _ = status.insert(key.to_owned(), value);
        match &volume.spec {
            Ok(spec) => {
                tell("state", if mounted { "mounted" } else { "unmounted" }.into());
                tell("remote", spec.remote.to_string().into());
            }
            Err(reason) => {
                tell("state", "unusable".into());
                tell("error", reason.as_str().into());
            }
        }
        tell("references", volume.references().iter().map(|(_, count)| count).sum::<u32>().into());
        if mounted {
            tell("unit", unit(&volume.name).into());
        }
        VolumeInfo {
            name: volume.name.to_string(),
            mountpoint: mounted.then(|| self.mounter.mountpoint(&volume.name)),
            created_at: volume.definition.as_ref().map(|d| store::format_time(d.created_at)),
            status,
        }
    }
}

impl VolumeDriver for Driver {
    type Error = DriverError;

    async fn create(&self, name: &str, options: Options) -> Result<(), DriverError> {
        self.volumes.create(name, options).await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.volumes.remove(name).await
    }

    async fn mount(&self, name: &str, id: &str, caller: &Caller) -> Result<PathBuf, DriverError> {
        self.volumes.mount(name, id, caller).await
    }

    async fn unmount(&self, name: &str, id: &str) -> Result<(), DriverError> {
        let Ok(volume) = self.volumes.find(name) else { return Ok(()) };
        self.volumes.release(&volume, id);
        if volume.references().is_empty() {
            let volumes = Arc::clone(&self.volumes);
            let unmounting = tokio::spawn(async move { volumes.unmount_if_unused(&volume.name).await });
            if timeout(UNMOUNT_PATIENCE, unmounting).await.is_err() {
                tracing::warn!(volume = name, "unmounting takes long, going on without waiting");
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        Ok(self.get(name)?.mountpoint)
    }

    fn get(&self, name: &str) -> Result<VolumeInfo, DriverError> {
        self.volumes.find(name).map(|volume| self.volumes.info(&volume))
    }

    fn list(&self) -> Vec<VolumeInfo> {
        let volumes: Vec<_> = self.volumes.by_name().values().cloned().collect();
        volumes.iter().map(|volume| self.volumes.info(volume)).collect()
    }
}

/// Takes the password out of the options before anything else looks at them. In any case: a misspelt `Password` is a
/// secret too.
fn take_password(options: &mut Options) -> Option<Zeroizing<String>> {
    let key = options.keys().find(|key| key.eq_ignore_ascii_case("password"))?.clone();
    options.remove(&key).map(Zeroizing::new)
}

/// A key file that is missing is better told at create than at the first `docker run`.
fn check_credentials(name: &VolumeName, spec: &Spec) -> Result<(), DriverError> {
    let password_file = match &spec.password {
        Some(PasswordSource::Credential(source)) => Some(source),
        Some(PasswordSource::Stored) | None => None,
    };
    let check = |option, source: Option<&CredentialSource>| {
        source.map_or(Ok(()), launcher::check_source).map_err(|source| DriverError::Credential {
            name: name.clone(),
            option,
            source,
        })
    };
    check("identity_file", spec.identity.as_ref())?;
    check("password_file", password_file)
}

fn unusable(volume: &Volume) -> DriverError {
    let reason = volume.spec.as_ref().err().cloned().unwrap_or_default();
    DriverError::Unusable { name: volume.name.clone(), reason }
}
