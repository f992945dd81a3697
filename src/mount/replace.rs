//! Another sshfs in the place of one that works, for new containers; those that run have the old one until they are
//! given the new one ([`crate::heal`]).
//!
//! The new mount is made where nobody sees it, proven alive, and only then put in the place of the old one. Whoever kills
//! this at any step leaves one of two working mounts at the mountpoint: what is attached nowhere ends with this process,
//! and its sshfs with it.

use super::{
    MountError, Mounter, floor, fuse, local,
    mountinfo::{self, Mount},
    probe::{self, Answer},
    swap,
};
use crate::{
    config::Config,
    events,
    launcher::LaunchError,
    volume::{Generation, Spec, VolumeName},
};
use nix::errno::Errno;
use std::{fs, io, time::Duration};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

/// How often it is looked whether an sshfs has ended.
const END_INTERVAL: Duration = Duration::from_millis(50);

impl Mounter {
    /// Puts a fresh mount in the place of `old`, whose sshfs ends with the last who uses it, and returns it. On an error
    /// nothing has changed, unless it is [`MountError::Unfinished`].
    pub async fn replace(
        &self,
        name: &VolumeName,
        old: &Mount,
        spec: &Spec,
        config: &Config,
        deadline: Instant,
    ) -> Result<Mount, MountError> {
        if self.ask(old).await == Answer::Failed(probe::HIDDEN) {
            return Err(MountError::Hidden(Box::new(old.clone())));
        }
        let started = Instant::now();
        let generation = self.free_generation(name).await?;
        let trees = match self.mount_apart(&generation, spec, config, deadline).await {
            Ok(trees) => trees,
            Err(e) => {
                self.end(&generation).await;
                return Err(e);
            }
        };
        let swapped = self.put_in_place(name, old, trees).await;
        let source = fuse::source(&generation, &spec.remote);
        let shown = self.mounted(name).ok().flatten().filter(|mount| mount.source == source);
        let fresh = match (swapped, shown) {
            (Ok(()), Some(fresh)) => fresh,
            // Only the old one hangs, of which nobody sees anything any more.
            (Err(e), Some(fresh)) => {
                tracing::warn!(volume = %name, "volume {name}: its old mount has not gone yet, going on: {e}");
                fresh
            }
            (Ok(()), None) => return Err(MountError::Unfinished),
            // It may be attached later. If it is not, its sshfs ends with this process.
            (Err(e), None) if e.kind() == io::ErrorKind::TimedOut => return Err(MountError::Unfinished),
            // Beneath another mount it may be seen some day.
            (Err(_), None) if self.is_attached(&source) => return Err(MountError::Unfinished),
            (Err(e), None) => {
                self.end(&generation).await;
                return Err(local("replacing the old mount")(e));
            }
        };
        let unit = generation.unit();
        tracing::info!(
            message_id = events::MOUNTED, volume = %name, remote = %spec.remote, unit,
            "volume {name}: mounted anew from {} in {} ms", spec.remote, started.elapsed().as_millis()
        );
        Ok(fresh)
    }

    async fn put_in_place(&self, name: &VolumeName, old: &Mount, trees: swap::Trees) -> io::Result<()> {
        let mut top = old.clone();
        // What an earlier restart left that was killed between two steps: the one beneath is the newer one, and works. On a
        // kernel that cannot mount beneath it is an older one, whose sshfs may have ended, and stays where nobody sees it.
        while floor::mounts_beneath() && covers_another(&top, name)? {
            self.umount_within(super::UNMOUNT_PATIENCE, top.mountpoint.clone(), fuse::detach).await?;
            top = self.mounted(name)?.ok_or(io::ErrorKind::NotFound)?;
        }
        // Detaching the last mount of a file system may wait for its server.
        let swapped = spawn_blocking(move || swap::swap_on_host(&trees, &top));
        timeout(super::UNMOUNT_PATIENCE, swapped)
            .await
            .map_err(|_| Errno::ETIMEDOUT)?
            .map_err(io::Error::other)?
    }

    fn is_attached(&self, source: &str) -> bool {
        let view = self.paths.mountpoints();
        let attached = |mount: &Mount| mount.source == source && mount.mountpoint.starts_with(&view);
        mountinfo::own().map_or(true, |mounts| mounts.iter().any(attached))
    }

    /// Stops a unit whose mount has no place, and forgets it.
    async fn end(&self, generation: &Generation) {
        let unit = generation.unit();
        if let Err(e) = self.launcher.stop(&unit).await {
            tracing::warn!(volume = %generation.volume(), unit, "cannot stop {unit}, going on: {e}");
        }
        self.forget(generation);
    }

    /// The first generation that nothing runs as. What serves open files is never stopped by a mount.
    pub(super) async fn free_generation(&self, name: &VolumeName) -> Result<Generation, LaunchError> {
        let running = self.running(name).await?;
        Ok(Generation::free(name, |generation| running.contains(generation)))
    }

    /// The generations of a volume that run. Forgets those that have ended by themselves; the files of the first stay with
    /// the volume.
    pub async fn running(&self, name: &VolumeName) -> Result<Vec<Generation>, LaunchError> {
        let mut running = Vec::new();
        for generation in self.generations(name) {
            if self.launcher.runs(&generation.unit()).await? {
                running.push(generation);
            } else if generation != Generation::first(name) {
                self.forget(&generation);
            }
        }
        Ok(running)
    }

    /// Waits until none runs any more but `live`, and returns those that do all the same: they serve files that are open.
    pub async fn lingering(
        &self,
        name: &VolumeName,
        live: Option<&Generation>,
        patience: Duration,
    ) -> Result<Vec<Generation>, LaunchError> {
        let deadline = Instant::now() + patience;
        loop {
            let mut running = self.running(name).await?;
            running.retain(|generation| Some(generation) != live);
            if running.is_empty() || Instant::now() > deadline {
                return Ok(running);
            }
            sleep(END_INTERVAL).await;
        }
    }

    /// All generations that were started since boot and are not forgotten.
    pub(super) fn generations(&self, name: &VolumeName) -> Vec<Generation> {
        let files = fs::read_dir(self.paths.ssh_configs()).into_iter().flatten().flatten();
        let generations = files.filter_map(|file| Generation::read(file.file_name().to_str()?, name));
        generations.collect()
    }

    /// Removes the files of a generation that has ended.
    pub(super) fn forget(&self, generation: &Generation) {
        _ = fs::remove_file(self.paths.pinned_host_key(generation));
        _ = fs::remove_file(self.paths.ssh_config_of(generation));
        self.launcher.tidy(&generation.unit());
    }
}

/// Whether another mount of the volume lies beneath.
fn covers_another(top: &Mount, name: &VolumeName) -> io::Result<bool> {
    let beneath = |mount: &Mount| mount.id == top.parent && mount.mountpoint == top.mountpoint;
    let beneath = |mount: &Mount| beneath(mount) && fuse::bears_name(mount, name);
    Ok(mountinfo::own()?.iter().any(beneath))
}
