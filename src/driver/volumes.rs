//! The volumes in memory, and unmounting what nobody uses. What Get tells of them is in `status.rs`.

use super::DriverError;
use crate::{
    config::{Config, LiveConfig},
    heal::{
        record::HealingBook,
        stale::{self, Stale},
    },
    history::HistoryBook,
    locks::VolumeLocks,
    mount::{
        Mounter, Reason, UnmountError, fuse,
        mountinfo::{Device, Mount},
    },
    references::{ReferenceBook, References},
    store::{Definition, Store},
    uptime::Uptime,
    volume::{Generation, Policy, Remote, Spec, VolumeName, options},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime},
};
use tokio::{task::spawn_blocking, time::timeout};

/// How long the sweep waits for a volume that some call is working on.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);

/// A volume in memory.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) name: VolumeName,
    /// Replaced as a whole when its options are changed.
    defined: Mutex<Defined>,
    references: Mutex<References>,
    /// What is known of its mount, for Get.
    mount: Mutex<KnownMount>,
}

/// What is known of the mount of a volume without asking anybody.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownMount {
    /// What mountinfo said when it was last asked.
    pub(super) seen: Option<Seen>,
    /// Whether the unit of that mount has told how it is, so that its silence is its end.
    pub(super) has_told: bool,
    /// Since when a call is making one.
    pub(super) mounting: Option<Uptime>,
    /// The containers that had it when they were last looked for.
    pub(super) containers: BTreeSet<String>,
}

/// A mount, and which sshfs serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) device: Device,
    pub(super) generation: Generation,
}

impl Seen {
    /// What mountinfo has of it.
    pub(super) fn of(mount: &Mount, name: &VolumeName) -> Self {
        Self { device: mount.device, generation: fuse::generation(mount, name) }
    }
}

/// Has Get tell that a mount is being made, until it is dropped.
pub(super) struct Mounting<'a>(&'a Volume);

impl Drop for Mounting<'_> {
    fn drop(&mut self) {
        self.0.known_mount().mounting = None;
    }
}

/// What the user defined, and what it comes to.
#[derive(Debug)]
struct Defined {
    /// None where the file cannot be read; the volume is still listed, or Docker would forget it too.
    definition: Option<Kept>,
    /// How its options were judged last.
    verdict: Verdict,
}

/// A definition, packed: the smallest map takes half a kilobyte, there may be thousands of volumes, and only calls that
/// judge or change the options need them.
#[derive(Debug)]
struct Kept {
    created_at: SystemTime,
    options: Box<[(Box<str>, Box<str>)]>,
    has_password: bool,
}

impl Kept {
    fn pack(Definition { created_at, options, has_password }: Definition) -> Self {
        let options = options.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { created_at, options, has_password }
    }

    fn unpack(&self) -> Definition {
        let options =
            self.options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Definition { created_at: self.created_at, options, has_password: self.has_password }
    }
}

/// The checked options of a volume, or why it cannot be used.
pub(super) type Verdict = Result<Arc<Spec>, String>;

impl Volume {
    pub(super) fn new(
        name: VolumeName,
        definition: Option<Definition>,
        verdict: Verdict,
        references: References,
        mount: Option<Seen>,
    ) -> Self {
        Self {
            name,
            defined: Mutex::new(Defined { definition: definition.map(Kept::pack), verdict }),
            references: Mutex::new(references),
            mount: Mutex::new(KnownMount { seen: mount, ..KnownMount::default() }),
        }
    }

    pub(super) fn known_mount(&self) -> MutexGuard<'_, KnownMount> {
        self.mount.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is mounted, as far as is known.
    pub(super) fn is_mounted(&self) -> bool {
        self.known_mount().seen.is_some()
    }

    /// Takes note of what mountinfo says.
    pub(super) fn note_mount(&self, mount: Option<&Mount>) {
        let seen = mount.map(|mount| Seen::of(mount, &self.name));
        let mut known = self.known_mount();
        if known.seen != seen {
            *known = KnownMount { seen, mounting: known.mounting, ..KnownMount::default() };
        }
    }

    /// Takes note that a mount is being made.
    pub(super) fn begin_mounting(&self) -> Mounting<'_> {
        self.known_mount().mounting = Some(Uptime::now());
        Mounting(self)
    }

    fn defined(&self) -> MutexGuard<'_, Defined> {
        self.defined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the user defined; None where the file cannot be read.
    pub(super) fn definition(&self) -> Option<Definition> {
        self.defined().definition.as_ref().map(Kept::unpack)
    }

    /// When the user defined it.
    pub(super) fn created_at(&self) -> Option<SystemTime> {
        self.defined().definition.as_ref().map(|kept| kept.created_at)
    }

    /// Known also where the policy forbids the volume.
    pub(super) fn remote(&self) -> Option<Arc<Remote>> {
        if let Ok(spec) = &self.defined().verdict {
            return Some(Arc::clone(&spec.remote));
        }
        options::remote(&self.definition()?.options).map(Arc::new)
    }

    /// How its options were judged last.
    pub(super) fn verdict(&self) -> Verdict {
        self.defined().verdict.clone()
    }

    /// Judges the options by the policy as it is now.
    pub(super) fn judge_again(&self, policy: &Policy) -> Result<Arc<Spec>, DriverError> {
        if let Some(definition) = self.definition() {
            self.defined().verdict = judge(&definition, policy);
        }
        self.verdict().map_err(|_| self.unusable())
    }

    /// Takes other options, which are on disk, from the next mount on.
    pub(super) fn redefine(&self, definition: Definition, spec: Arc<Spec>) {
        *self.defined() = Defined { definition: Some(Kept::pack(definition)), verdict: Ok(spec) };
    }

    pub(super) fn references(&self) -> MutexGuard<'_, References> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it cannot be used.
    pub(super) fn unusable(&self) -> DriverError {
        let reason = self.verdict().err().unwrap_or_default();
        DriverError::Unusable { name: self.name.clone(), reason }
    }
}

pub(super) fn judge(definition: &Definition, policy: &Policy) -> Verdict {
    Spec::parse(&definition.options, definition.has_password, policy).map(Arc::new).map_err(|e| e.to_string())
}

/// All volumes, with what their calls work on.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) by_name: Mutex<BTreeMap<VolumeName, Arc<Volume>>>,
    pub(super) locks: VolumeLocks,
    pub(super) store: Arc<Store>,
    pub(super) book: ReferenceBook,
    pub(super) healing: HealingBook,
    pub(super) history: HistoryBook,
    /// Whether containers are about to be looked for.
    pub(super) looking: AtomicBool,
    pub(super) mounter: Mounter,
    pub(super) config: LiveConfig,
}

impl Volumes {
    /// The configuration as it is now. Create and Mount need the administrator's policy; what else is asked is answered
    /// without it.
    pub(super) async fn configuration(&self) -> Result<Arc<Config>, DriverError> {
        self.config.current().await.map_err(DriverError::Configuration)
    }

    pub(super) fn by_name(&self) -> MutexGuard<'_, BTreeMap<VolumeName, Arc<Volume>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Volume>, DriverError> {
        let known = VolumeName::new(name).ok().and_then(|name| self.by_name().get(&name).cloned());
        known.ok_or_else(|| DriverError::NotFound(name.to_owned()))
    }

    /// Works on the store in a thread that may wait for the disk.
    pub(super) async fn on_disk<T, F>(&self, work: F) -> io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Store) -> io::Result<T> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        spawn_blocking(move || work(&store)).await.map_err(io::Error::other)?
    }

    /// Writes the references as they are now. The book is in memory (/run): this does not wait for a disk.
    pub(super) fn note(&self, volume: &Volume, references: &References) -> io::Result<()> {
        self.book.write(&volume.name, references)
    }

    /// The same where failing is no reason to stop: at worst a reference comes back after a restart of the daemon.
    pub(super) fn note_or_warn(&self, volume: &Volume, references: &References) {
        if let Err(e) = self.note(volume, references) {
            tracing::warn!(volume = %volume.name, "volume {}: cannot note the references, ignoring: {e}", volume.name);
        }
    }

    /// Unmounts, and tells Get. The caller holds the volume's lock.
    pub(super) async fn unmount(&self, volume: &Volume, reason: Reason) -> Result<(), UnmountError> {
        let seen = volume.known_mount().seen.clone();
        let reconnects =
            seen.and_then(|seen| self.mounter.health(&seen.generation)).map(|health| health.reconnects);
        self.mounter.unmount(&volume.name, reason).await?;
        if volume.is_mounted() {
            volume.note_mount(None);
            let reconnects = reconnects.unwrap_or_default();
            self.history.note(&volume.name, |history| history.note_unmount(reconnects, Uptime::now()));
        }
        match self.healing.forget(&volume.name) {
            Ok(false) => {}
            Ok(true) => self.mounter.forget_failed_healing(&volume.name).await,
            Err(e) => {
                tracing::warn!(volume = %volume.name, "volume {}: cannot forget its healing, ignoring: {e}", volume.name);
            }
        }
        Ok(())
    }

    /// Unmounts a volume without references; under its lock, so that no Mount comes in between.
    pub(super) async fn unmount_if_unused(&self, name: &VolumeName, reason: Reason) {
        let _lock = self.locks.lock(name).await;
        if let Ok(volume) = self.find(name.as_str()) {
            self.unmount_if_unused_locked(&volume, reason).await;
        }
    }

    /// The same for a caller that holds the lock.
    pub(super) async fn unmount_if_unused_locked(&self, volume: &Volume, reason: Reason) {
        if !volume.references().is_empty() {
            return;
        }
        if let Err(e) = self.unmount(volume, reason).await {
            tracing::info!(volume = %volume.name, "volume {}: not unmounted yet: {e}", volume.name);
        }
    }

    /// Corrects what Get tells where the kernel says otherwise, and which containers are without a fresh mount.
    pub(super) async fn take_note_of_mounts(&self) {
        let Ok(mounted) = self.mounter.all_mounted() else { return };
        let volumes: Vec<_> = self.by_name().values().cloned().collect();
        let records = self.healing.read_all();
        for volume in volumes {
            let seen = mounted.get(&self.mounter.mountpoint(&volume.name));
            let seen = seen.map(|mount| Seen::of(mount, &volume.name));
            let all_are_healed = records.get(&volume.name).is_none_or(|record| record.unhealed.is_empty());
            if seen == volume.known_mount().seen && all_are_healed {
                continue;
            }
            // Under the lock it is no Mount or Unmount that is just going on. If it is, the next sweep looks.
            let Ok(_lock) = timeout(LOCK_PATIENCE, self.locks.lock(&volume.name)).await else { continue };
            let Ok(mount) = self.mounter.mounted(&volume.name) else { continue };
            if mount.is_none() && volume.is_mounted() {
                self.history.note(&volume.name, |history| history.note_unmount(0, Uptime::now()));
            }
            volume.note_mount(mount.as_ref());
            if let Err(e) = self.forget_healed(&volume, mount.as_ref()).await {
                tracing::warn!(volume = %volume.name, "volume {}: cannot review its healing, ignoring: {e}", volume.name);
            }
        }
    }

    async fn forget_healed(&self, volume: &Volume, live: Option<&Mount>) -> io::Result<()> {
        if self.healing.read(&volume.name).unhealed.is_empty() {
            return Ok(());
        }
        let stale = self.stale(volume, live).await?;
        self.healing.forget_gone(&volume.name, &stale)
    }

    /// Mounts of the volume that are not the `live` one: they are dead, or of an sshfs before the last restart.
    pub(super) async fn stale(&self, volume: &Volume, live: Option<&Mount>) -> io::Result<Vec<Stale>> {
        let remotes = fuse::remotes(&volume.name, volume.remote().as_deref(), live);
        stale::find(&volume.name, &remotes, live.map(|mount| mount.device)).await
    }

    /// Forgets references that Docker lost: those of a volume that no mount namespace has. A process of the host that
    /// works in the mountpoint still makes the unmounting fail.
    pub(super) async fn forget_lost_references(&self, volume: &Volume) {
        let some_look_lost = volume.references().clone().forget_lost(Uptime::now());
        if !some_look_lost {
            return;
        }
        let _lock = self.locks.lock(&volume.name).await;
        let Ok(Some(mount)) = self.mounter.mounted(&volume.name) else { return };
        let Ok(holders) = self.mounter.holders(&mount).await else { return };
        let Ok(stale) = self.stale(volume, Some(&mount)).await else { return };
        if !holders.is_empty() || !stale.is_empty() {
            return;
        }
        let mut references = volume.references();
        if references.forget_lost(Uptime::now()) {
            tracing::warn!(volume = %volume.name, "volume {}: no container has it any more, dropping references that Docker lost", volume.name);
            self.note_or_warn(volume, &references);
        }
    }
}

/// Has the log say so where the server of a volume may be anybody.
pub(super) fn warn_if_unverified(name: &VolumeName, spec: &Spec) {
    if let Some(option) = spec.weakened_host_key_checking() {
        tracing::warn!(volume = %name, "volume {name}: {}", unverified(option));
    }
}

/// What is said of such a volume, wherever it is shown.
pub(super) fn unverified(option: &str) -> String {
    format!(
        "the server's host key is not verified ({option}): whoever is on the way can read and change everything"
    )
}
