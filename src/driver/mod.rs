//! The volumes of this host: what Docker's calls mean for definitions, references and mounts.
//!
//! The rules that keep data safe meet here:
//!
//! - Get, List and Path read memory. Nothing they need is held during I/O.
//! - Create, Mount, Remove, Set and the unmounting run under the lock of their volume, and under no other.
//! - A definition is on disk, and a reference in the book, before the answer leaves.
//! - Nothing below a mountpoint is ever deleted.

mod attach;
mod define;
mod error;
mod redefine;
mod status;
mod volumes;

pub use error::DriverError;
pub use status::Status;

use crate::{
    config::LiveConfig,
    events,
    heal::record::HealingBook,
    history::{History, HistoryBook},
    locks::VolumeLocks,
    mount::{Mounter, Reason},
    protocol::{Administration, Caller, Change, Redefined, VolumeDriver, VolumeInfo},
    references::ReferenceBook,
    store::{Store, Stored},
    uptime::Uptime,
    volume::options::Options,
};
use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};
use tokio::time::timeout;
use volumes::{Seen, Volume, Volumes};

/// How long an Unmount waits for the unmounting: dockerd gives up after 60 s. The unmounting goes on.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(50);

/// The driver behind the protocol.
#[derive(Debug)]
pub struct Driver {
    /// Shared with the tasks that outlive a call.
    volumes: Arc<Volumes>,
}

impl Driver {
    /// A driver with the volumes that are in the store, and the references and mounts that outlived the last daemon.
    pub fn open(
        store: Store,
        book: ReferenceBook,
        healing: HealingBook,
        history: HistoryBook,
        locks: VolumeLocks,
        mounter: Mounter,
        config: LiveConfig,
    ) -> io::Result<Self> {
        let mounted = mounter.all_mounted()?;
        let policy = &config.latest().unwrap_or_default().policy;
        let (mut by_name, mut references) = (BTreeMap::new(), book.read_all());
        for Stored { name, definition } in store.load()? {
            let references = references.remove(&name).unwrap_or_default();
            let mount = mounted.get(&mounter.mountpoint(&name)).map(|mount| Seen::of(mount, &name));
            let (definition, verdict) = match definition {
                Ok(definition) => {
                    let verdict = volumes::judge(&definition, policy);
                    (Some(definition), verdict)
                }
                Err(e) => (None, Err(e.to_string())),
            };
            let volume = Volume::new(name.clone(), definition, verdict, references, mount);
            if let Err(reason) = volume.verdict() {
                tracing::error!(
                    message_id = events::UNUSABLE, volume = %name, "volume {name} cannot be used: {reason}"
                );
            }
            by_name.insert(name, Arc::new(volume));
        }
        let by_name = Mutex::new(by_name);
        Ok(Self {
            volumes: Arc::new(Volumes {
                by_name,
                locks,
                store: Arc::new(store),
                book,
                healing,
                history,
                looking: AtomicBool::new(false),
                mounter,
                config,
            }),
        })
    }

    /// How many volumes there are, and how many are mounted.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        let by_name = self.volumes.by_name();
        (by_name.len(), by_name.values().filter(|volume| volume.is_mounted()).count())
    }

    /// Whether the host is no worse off without this process: all mounts outlive it, and none is left to be unmounted.
    #[must_use]
    pub fn is_dispensable(&self) -> bool {
        let mounts_outlive_us = self.volumes.mounter.mounts_outlive_us();
        let now = Uptime::now();
        self.volumes.by_name().values().filter(|volume| volume.is_mounted()).all(|volume| {
            let in_use = !volume.known_mount().containers.is_empty();
            let references = volume.references();
            mounts_outlive_us && !references.is_empty() && references.are_settled(in_use, now)
        })
    }

    /// Sees after what happened without a call. Takes note of mounts that healing made or could not make, and unmounts
    /// what nobody uses any more: a mount that was busy at its last Unmount, that a killed daemon left half made, or whose
    /// references Docker lost.
    pub async fn sweep(&self) {
        self.volumes.take_note_of_mounts().await;
        self.volumes.look_for_containers().await;
        let mounted: Vec<_> = self.volumes.by_name().values().cloned().collect();
        for volume in mounted.into_iter().filter(|volume| volume.is_mounted()) {
            self.volumes.forget_lost_references(&volume).await;
            if volume.references().is_empty() {
                self.volumes.unmount_if_unused(&volume.name, Reason::Swept).await;
            }
        }
    }
}

impl VolumeDriver for Driver {
    type Error = DriverError;
    type Status = Status;

    async fn create(&self, name: &str, options: Options) -> Result<(), DriverError> {
        self.volumes.create(name, options).await.inspect_err(|e| log_kind(name, e))
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.volumes.remove(name).await.inspect_err(|e| log_kind(name, e))
    }

    async fn mount(&self, name: &str, id: &str, caller: &Caller) -> Result<PathBuf, DriverError> {
        let result = self.volumes.mount(name, id, caller).await;
        self.volumes.look_for_containers_soon();
        result.inspect_err(|e| {
            let volume = self.volumes.find(name).ok();
            // What the mounter met is noted already, under the lock. A busy volume's is held by another.
            if let (Some(volume), false) = (&volume, matches!(e, DriverError::Mount { .. })) {
                let note =
                    |history: &mut History| history.note_failure(e.kind(), &e.to_string(), Uptime::now());
                self.volumes.history.note(&volume.name, note);
            }
            let remote = volume.and_then(|volume| volume.remote()).map(|remote| remote.to_string());
            tracing::error!(
                message_id = events::MOUNT_FAILED,
                volume = name,
                remote,
                cause = e.kind(),
                "{e}"
            );
        })
    }

    async fn unmount(&self, name: &str, id: &str) -> Result<(), DriverError> {
        let Ok(volume) = self.volumes.find(name) else { return Ok(()) };
        self.volumes.release(&volume, id);
        self.volumes.look_for_containers_soon();
        if volume.references().is_empty() {
            let volumes = Arc::clone(&self.volumes);
            let unmounting =
                tokio::spawn(async move { volumes.unmount_if_unused(&volume.name, Reason::Asked).await });
            if timeout(UNMOUNT_PATIENCE, unmounting).await.is_err() {
                tracing::warn!(
                    volume = name,
                    "volume {name}: unmounting takes long, going on without waiting"
                );
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        Ok(self.get(name)?.mountpoint)
    }

    fn get(&self, name: &str) -> Result<VolumeInfo<Status>, DriverError> {
        let volumes = &self.volumes;
        let volume = volumes.find(name)?;
        Ok(volumes.info(&volume, volumes.healing.read(&volume.name), volumes.history.read(&volume.name)))
    }

    fn list(&self) -> impl Iterator<Item = VolumeInfo<Status>> + Clone {
        let volumes = &self.volumes;
        let (records, histories) = (volumes.healing.read_all(), volumes.history.read_all());
        let all: Vec<_> = volumes.by_name().values().cloned().collect();
        all.into_iter().map(move |volume| {
            let record = records.get(&volume.name).cloned().unwrap_or_default();
            volumes.info(&volume, record, histories.get(&volume.name).cloned().unwrap_or_default())
        })
    }
}

impl Administration for Driver {
    type Error = DriverError;

    async fn set(&self, name: &str, change: Change) -> Result<Redefined, DriverError> {
        self.volumes.set(name, change).await
    }
}

/// The sentence itself is logged with the call.
fn log_kind(name: &str, error: &DriverError) {
    tracing::debug!(volume = name, cause = error.kind(), "the call failed");
}
