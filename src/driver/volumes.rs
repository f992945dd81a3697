//! The volumes in memory, and unmounting what nobody uses.

use super::DriverError;
use crate::{
    config::{Config, LiveConfig},
    heal::{
        record::HealingBook,
        stale::{self, Stale},
    },
    locks::VolumeLocks,
    mount::{Mounter, Reason, UnmountError, fuse, mountinfo::Mount},
    protocol::VolumeInfo,
    references::{ReferenceBook, References, Uptime},
    store::{self, Definition, Store},
    volume::{Generation, Policy, Remote, Spec, VolumeName, options},
};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::timeout};

/// How long the sweep waits for a volume that some call is working on.
const LOCK_PATIENCE: Duration = Duration::from_millis(100);

/// A volume in memory.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) name: VolumeName,
    /// None where the file cannot be read; the volume is still listed, or Docker would forget it too.
    pub(super) definition: Option<Definition>,
    /// Known also where the policy forbids the volume.
    pub(super) remote: Option<Remote>,
    /// How its options were judged last.
    verdict: Mutex<Verdict>,
    references: Mutex<References>,
    /// Which sshfs serves its mount, if there is one: what mountinfo said when it was last asked, for Get.
    mounted: Mutex<Option<Generation>>,
}

/// The checked options of a volume, or why it cannot be used.
pub(super) type Verdict = Result<Arc<Spec>, String>;

impl Volume {
    pub(super) fn new(
        name: VolumeName,
        definition: Option<Definition>,
        verdict: Verdict,
        references: References,
        mounted: Option<Generation>,
    ) -> Self {
        Self {
            name,
            remote: definition.as_ref().and_then(|definition| options::remote(&definition.options)),
            definition,
            verdict: Mutex::new(verdict),
            references: Mutex::new(references),
            mounted: Mutex::new(mounted),
        }
    }

    /// How its options were judged last.
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Judges the options by the policy as it is now.
    pub(super) fn judge_again(&self, policy: &Policy) -> Result<Arc<Spec>, DriverError> {
        if let Some(definition) = &self.definition {
            *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = judge(definition, policy);
        }
        self.verdict().map_err(|_| self.unusable())
    }

    pub(super) fn references(&self) -> MutexGuard<'_, References> {
        self.references.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is mounted, as far as is known.
    pub(super) fn is_mounted(&self) -> bool {
        self.mounted().is_some()
    }

    /// Notes what mountinfo says.
    pub(super) fn note_mount(&self, mount: Option<&Mount>) {
        *self.mounted() = mount.map(|mount| fuse::generation(mount, &self.name));
    }

    fn mounted(&self) -> MutexGuard<'_, Option<Generation>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.mounter.unmount(&volume.name, reason).await?;
        volume.note_mount(None);
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
        for volume in volumes {
            let seen = mounted.get(&self.mounter.mountpoint(&volume.name));
            let seen = seen.map(|mount| fuse::generation(mount, &volume.name));
            if seen == *volume.mounted() && self.healing.read(&volume.name).unhealed.is_empty() {
                continue;
            }
            // Under the lock it is no Mount or Unmount that is just going on. If it is, the next sweep looks.
            let Ok(_lock) = timeout(LOCK_PATIENCE, self.locks.lock(&volume.name)).await else { continue };
            let Ok(mount) = self.mounter.mounted(&volume.name) else { continue };
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
        let remotes = fuse::remotes(&volume.name, volume.remote.as_ref(), live);
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

    /// What Get and List tell.
    pub(super) fn info(&self, volume: &Volume) -> VolumeInfo {
        let mounted = volume.mounted().clone();
        let mut status = serde_json::Map::new();
        let mut tell = |key: &str, value: serde_json::Value| _ = status.insert(key.to_owned(), value);
        match volume.verdict() {
            Ok(spec) => {
                tell("state", if mounted.is_some() { "mounted" } else { "unmounted" }.into());
                if let Some(option) = spec.weakened_host_key_checking() {
                    tell("warning", unverified(option).into());
                }
            }
            Err(reason) => {
                tell("state", "unusable".into());
                tell("error", reason.into());
            }
        }
        if let Some(remote) = &volume.remote {
            tell("remote", remote.to_string().into());
        }
        tell("references", volume.references().total().into());
        if let Some(generation) = &mounted {
            tell("unit", generation.unit().into());
        }
        let record = self.healing.read(&volume.name);
        if let Some(trouble) = record.trouble {
            tell("trouble", trouble.into());
        }
        if !record.unhealed.is_empty() {
            let unhealed: Vec<_> = record.unhealed.iter().map(ToString::to_string).collect();
            tell("unhealed", unhealed.into());
        }
        VolumeInfo {
            name: volume.name.to_string(),
            mountpoint: mounted.is_some().then(|| self.mounter.mountpoint(&volume.name)),
            created_at: volume.definition.as_ref().map(|d| store::format_time(d.created_at)),
            status,
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
fn unverified(option: &str) -> String {
    format!(
        "the server's host key is not verified ({option}): whoever is on the way can read and change everything"
    )
}
