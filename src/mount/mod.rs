//! The life of a mount: made, proven alive, taken away. The kernel's mountinfo is the only record of what is mounted;
//! nothing here remembers.
//!
//! Callers hold the volume's lock: two calls for one volume never run at once, those of different volumes do.
//!
//! A mount may be one of several: what a restart has replaced serves the files that are open in it, under a unit of its
//! own ([`Generation`]), and ends by itself.

pub mod containers;
mod error;
pub mod floor;
pub mod fuse;
pub mod holders;
pub mod login;
pub mod mountinfo;
pub mod plan;
pub mod probe;
pub mod process;
mod replace;
pub mod report;
mod start;
pub mod swap;

pub use error::{MountError, UnmountError};

use crate::{
    config::Config,
    diagnosis, directories, events,
    health::Health,
    launcher::Launcher,
    paths::Paths,
    volume::{Generation, Spec, VolumeName},
};
use holders::Holder;
use mountinfo::Mount;
use nix::errno::Errno;
use probe::{Answer, Prober};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

/// How long a mount that is there already may take to answer before it counts as hanging.
const LIVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long umount(2) may take before its server is ended by force.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);
/// How long earlier sshfs may take to end after the unmounting.
const LAST_END_PATIENCE: Duration = Duration::from_secs(1);

/// Why a volume is unmounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody waits for it: a server that hangs is not waited for.
    Asked,
    /// Nobody asked; it may take until the server is back.
    Swept,
}

/// What a call of [`Mounter::mount`] found or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The volume was mounted already.
    Before,
    /// It is a mount that nobody has yet, not even who had the volume before.
    Anew,
}

/// Makes and takes away the mounts of volumes.
#[derive(Debug)]
pub struct Mounter {
    paths: Paths,
    launcher: Box<dyn Launcher>,
    prober: Arc<Prober>,
    /// This program, which supervises sshfs and probes mounts.
    program: PathBuf,
}

impl Mounter {
    /// A mounter for the directories that [`Self::make_view`] makes.
    pub fn open(paths: Paths, launcher: Box<dyn Launcher>, program: PathBuf) -> io::Result<Self> {
        directories::ensure(&paths.pinned_host_keys(), 0o711)?;
        directories::ensure(&paths.ssh_configs(), 0o711)?;
        // Mounts must not see each other's: they run as one user.
        directories::ensure(&paths.agents(), 0o700)?;
        directories::ensure(&paths.agent_in_unit(), 0o711)?;
        directories::ensure(&paths.mount_directories(), 0o711)?;
        let prober = Arc::new(Prober::new(program.clone()));
        Ok(Self { paths, launcher, prober, program })
    }

    /// Removes what a killed process left of the files that mounts need.
    pub fn tidy(&self) {
        for directory in [self.paths.ssh_configs(), self.paths.pinned_host_keys()] {
            if let Err(e) = crate::replace::remove_leftovers(&directory) {
                tracing::warn!("cannot tidy {}, ignoring: {e}", directory.display());
            }
        }
    }

    /// Makes the directories for mountpoints and their read-only view. For the daemon only, which is alone.
    pub fn make_view(&self) -> io::Result<()> {
        let (directories, view) = (self.paths.mountpoint_directories(), self.paths.mountpoints());
        directories::ensure(&directories, 0o711)?;
        directories::ensure(&view, 0o711)?;
        match mountinfo::at(&view)? {
            None => fuse::make_view(&directories, &view)?,
            Some(_) => match fuse::protect_view(&view) {
                // It is hidden: something has been mounted over a directory above, a new disk for example.
                Err(Errno::EINVAL) => fuse::make_view(&directories, &view)?,
                protected => protected?,
            },
        }
        Ok(())
    }

    /// The path that Docker gets.
    #[must_use]
    pub fn mountpoint(&self, name: &VolumeName) -> PathBuf {
        self.paths.mountpoint(name)
    }

    /// Whether mounts go on when this process ends.
    #[must_use]
    pub fn mounts_outlive_us(&self) -> bool {
        self.launcher.outlives_us()
    }

    /// The mounts of all volumes, dead or alive, by their mountpoints.
    pub fn all_mounted(&self) -> io::Result<HashMap<PathBuf, Mount>> {
        let view = self.paths.mountpoints();
        let mounts = mountinfo::uppermost(mountinfo::own()?).into_iter();
        let ours = mounts.filter(|mount| mount.mountpoint.parent() == Some(&view));
        Ok(ours.map(|mount| (mount.mountpoint.clone(), mount)).collect())
    }

    /// What the unit of a mount says of its connection; None where it has ended, or was made by a version that did not.
    #[must_use]
    pub fn health(&self, generation: &Generation) -> Option<Health> {
        Health::read(&self.paths, generation)
    }

    /// What the kernel has mounted for a volume, dead or alive.
    pub fn mounted(&self, name: &VolumeName) -> io::Result<Option<Mount>> {
        mountinfo::at(&self.mountpoint(name))
    }

    /// Asks a mount whether it answers.
    pub async fn ask(&self, mount: &Mount) -> Answer {
        self.prober.ask(mount, LIVE_PATIENCE).await
    }

    /// Has the containers healed that may have a dead mount of the volume, in a unit of its own.
    pub async fn request_healing(&self, name: &VolumeName) {
        self.launcher.request(&healer(name)).await;
    }

    /// Makes systemd forget that a healing failed.
    pub async fn forget_failed_healing(&self, name: &VolumeName) {
        self.launcher.forget_failure(&healer(name)).await;
    }

    /// Makes sure that the volume is mounted and answers. `in_use` says that somebody relies on the mount that may be
    /// there: it is then replaced only if it is dead.
    pub async fn mount(
        &self,
        name: &VolumeName,
        spec: &Spec,
        config: &Config,
        in_use: bool,
        deadline: Instant,
    ) -> Result<Made, MountError> {
        let existing = self.mounted(name).map_err(local("reading mountinfo"))?;
        if let Some(existing) = existing {
            if existing.filesystem != fuse::FILESYSTEM {
                return Err(MountError::Foreign(Box::new(existing)));
            }
            let patience = LIVE_PATIENCE.min(deadline.saturating_duration_since(Instant::now()));
            match self.prober.ask(&existing, patience).await {
                Answer::Alive(_) => return Ok(Made::Before),
                Answer::Failed(probe::HIDDEN) => {
                    // Its containers work; a second sshfs in the same unit would take theirs away.
                    if !self.holders(&existing).await.map_err(local("reading /proc"))?.is_empty() {
                        return Err(MountError::Hidden(Box::new(existing)));
                    }
                }
                answer if answer.is_dead() => {
                    tracing::warn!(volume = %name, "volume {name}: its mount is dead, replacing it");
                }
                answer => {
                    if in_use || !self.holders(&existing).await.map_err(local("reading /proc"))?.is_empty() {
                        return Err(match answer {
                            Answer::Failed(errno) => MountError::Remote(diagnosis::of_errno(errno)),
                            _ => MountError::Hanging,
                        });
                    }
                }
            }
            self.tear_down(&fuse::generation(&existing, name)).await;
        }
        let started = Instant::now();
        let generation = self.free_generation(name).await?;
        let result = self.mount_anew(&generation, spec, config, deadline).await;
        match &result {
            Ok(()) => tracing::info!(
                message_id = events::MOUNTED, volume = %name, remote = %spec.remote, unit = %generation.unit(),
                "volume {name}: mounted from {} in {} ms", spec.remote, started.elapsed().as_millis()
            ),
            Err(_) => self.tear_down(&generation).await,
        }
        match result {
            Ok(()) => Ok(Made::Anew),
            Err(cause) if cause.may_be_of_something_old() => match floor::find().await {
                Some(too_old) => Err(MountError::TooOld { too_old, cause: Box::new(cause) }),
                None => Err(cause),
            },
            Err(cause) => Err(cause),
        }
    }

    /// Unmounts unless somebody uses it, and ends its unit. Not being mounted is fine.
    pub async fn unmount(&self, name: &VolumeName, reason: Reason) -> Result<(), UnmountError> {
        let Some(mount) = self.mounted(name)? else { return Ok(()) };
        if mount.filesystem != fuse::FILESYSTEM {
            return Err(UnmountError::Foreign(Box::new(mount)));
        }
        let holders = self.holders(&mount).await?;
        if !holders.is_empty() {
            return Err(UnmountError::Held(holders));
        }
        let (mountpoint, generation) = (self.mountpoint(name), fuse::generation(&mount, name));
        match self.umount_within(UNMOUNT_PATIENCE, mountpoint.clone(), fuse::unmount).await {
            Ok(()) => {}
            Err(Errno::EBUSY) => {
                // A process of the host that uses a live mount keeps it; one that hangs in a dead one is freed by its end.
                let answer = self.prober.ask(&mount, LIVE_PATIENCE).await;
                let hangs = answer == Answer::TimedOut && reason == Reason::Asked;
                if !answer.is_dead() && !hangs {
                    return Err(UnmountError::Busy(mountpoint));
                }
                tracing::warn!(volume = %name, "volume {name}: a process hangs in it and its server does not answer, ending it by force");
            }
            Err(errno) => {
                tracing::warn!(volume = %name, "volume {name}: cannot unmount ({errno}), ending it by force");
            }
        }
        self.tear_down(&generation).await;
        if self.mounted(name)?.is_some() {
            return Err(UnmountError::Failed { path: mountpoint, errno: Errno::EBUSY });
        }
        // What was open in an earlier one was closed with the last container.
        if let Err(e) = self.lingering(name, None, LAST_END_PATIENCE).await {
            tracing::warn!(volume = %name, "volume {name}: cannot tidy up after earlier mounts, ignoring: {e}");
        }
        tracing::info!(
            message_id = events::UNMOUNTED, volume = %name, unit = %generation.unit(), "volume {name}: unmounted"
        );
        Ok(())
    }

    /// Ends the unit and detaches whatever is left, used or not. Goes on when a step fails, and reports each. Other generations of the
    /// volume end with the last file that is open in them.
    pub async fn tear_down(&self, generation: &Generation) {
        let (name, unit) = (generation.volume(), generation.unit());
        if let Err(e) = self.launcher.stop(&unit).await {
            tracing::warn!(volume = %name, unit, "cannot stop {unit}, going on: {e}");
        }
        // Each round takes the uppermost of several mounts.
        while let Ok(Some(Mount { filesystem, .. })) = self.mounted(name) {
            if filesystem != fuse::FILESYSTEM {
                break;
            }
            if let Err(errno) =
                self.umount_within(UNMOUNT_PATIENCE, self.mountpoint(name), fuse::detach).await
            {
                tracing::error!(volume = %name, "volume {name}: cannot detach {}: {errno}", self.mountpoint(name).display());
                break;
            }
        }
    }

    /// umount(2) writes dirty pages back first and can block as long as the server does.
    async fn umount_within(
        &self,
        patience: Duration,
        path: PathBuf,
        umount: fn(&Path) -> nix::Result<()>,
    ) -> nix::Result<()> {
        match timeout(patience, spawn_blocking(move || umount(&path))).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Errno::EIO),
            Err(_) => Err(Errno::ETIMEDOUT),
        }
    }

    /// Removes the mountpoint of a volume that is not mounted. rmdir(2) alone: it fails on a mountpoint and on a
    /// directory that is not empty.
    pub fn remove_mountpoint(&self, name: &VolumeName) -> io::Result<()> {
        for generation in self.generations(name) {
            self.forget(&generation);
        }
        _ = std::fs::remove_dir(self.paths.agent_directory(name));
        match std::fs::remove_dir(self.paths.mountpoint_directories().join(name.as_str())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Who else uses a mount.
    pub async fn holders(&self, mount: &Mount) -> io::Result<Vec<Holder>> {
        let mount = mount.clone();
        spawn_blocking(move || holders::find(&mount)).await.map_err(io::Error::other)?
    }
}

/// The unit that gives the running containers of a volume a fresh mount; see `systemd/sshfs-docker-heal@.service`.
#[must_use]
pub fn healer(name: &VolumeName) -> String {
    format!("sshfs-docker-heal@{name}.service")
}

fn local(what: &str) -> impl FnOnce(io::Error) -> MountError {
    let what = what.to_owned();
    move |error| MountError::Local { what, error }
}
