//! The life of a mount: made, proven alive, taken away. The kernel's mountinfo is the only record of what is mounted;
//! nothing here remembers.
//!
//! Callers hold the volume's lock: two calls for one volume never run at once, those of different volumes do.

pub mod containers;
mod error;
pub mod fuse;
pub mod holders;
pub mod mountinfo;
pub mod plan;
pub mod probe;
pub mod report;

pub use error::{MountError, UnmountError};

use crate::{
    config::Config,
    diagnosis, directories, events,
    health::Health,
    launcher::{self, LaunchError, Launcher, Session},
    paths::Paths,
    replace::{self, Durability},
    volume::{AgentSocket, Spec, VolumeName, agent::LONGEST_SOCKET},
};
use holders::Holder;
use mountinfo::{Device, Mount};
use nix::errno::Errno;
use plan::Plan;
use probe::{Answer, Prober};
use report::Report;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

/// How long a mount that is there already may take to answer before it counts as hanging.
const LIVE_PATIENCE: Duration = Duration::from_secs(10);
/// How long umount(2) may take before its server is ended by force.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last words of a failed sshfs may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

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

    /// The file systems at the mountpoints of all volumes that are mounted, dead or alive.
    pub fn all_mounted(&self) -> io::Result<HashMap<PathBuf, Device>> {
        let view = self.paths.mountpoints();
        let mounts = mountinfo::own()?.into_iter();
        let ours = mounts.filter(|mount| mount.mountpoint.parent() == Some(&view));
        Ok(ours.map(|mount| (mount.mountpoint, mount.device)).collect())
    }

    /// What the unit of a mount says of its connection; None where it has ended, or was made by a version that did not.
    #[must_use]
    pub fn health(&self, mount: Device) -> Option<Health> {
        Health::read(&self.paths, mount)
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
                Answer::Alive => return Ok(Made::Before),
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
            self.tear_down(name).await;
        }
        let started = Instant::now();
        let result = self.mount_anew(name, spec, config, deadline).await;
        match &result {
            Ok(()) => tracing::info!(
                message_id = events::MOUNTED, volume = %name, remote = %spec.remote, unit = %unit(name),
                "volume {name}: mounted from {} in {} ms", spec.remote, started.elapsed().as_millis()
            ),
            Err(_) => self.tear_down(name).await,
        }
        result.map(|()| Made::Anew)
    }

    async fn mount_anew(
        &self,
        name: &VolumeName,
        spec: &Spec,
        config: &Config,
        deadline: Instant,
    ) -> Result<(), MountError> {
        let encrypted = self.paths.encrypted_secret(name).exists();
        let plan = plan::plan(name, spec, &self.paths, config, &self.program, encrypted);
        for credential in &plan.credentials {
            launcher::check_source(&credential.source).await?;
        }
        if let Some(agent) = &spec.agent {
            self.check_agent(name, agent).await?;
        }
        self.prepare(name, spec, &plan)?;
        let mountpoint = self.mountpoint(name);
        let device =
            fuse::mount_without_server(&mountpoint, &fuse::source(name, &spec.remote), &plan.kernel)?;
        let connection = self.our_mount(name)?.device;
        self.prober.is_new(connection);
        let (report, report_writer) = Report::open().map_err(local("opening a pipe"))?;
        let directory = self.paths.mount_directory(connection.minor);
        let mut argv = [
            &self.program.to_string_lossy(),
            "run-sshfs",
            "--connection",
            &connection.minor.to_string(),
            "--directory",
            &directory.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec();
        if plan.agent.is_some() {
            argv.extend([
                "--agent".to_owned(),
                plan::agent_socket(&self.paths).to_string_lossy().into_owned(),
            ]);
        }
        argv.push("--".to_owned());
        argv.extend(plan.argv);
        let session = Session {
            description: format!("sshfs volume {name} from {}", spec.remote),
            argv,
            device,
            report: report_writer,
            credentials: plan.credentials,
            askpass: plan.askpass,
            agent: plan.agent,
            on_failure: format!("sshfs-docker-failed@{name}.service"),
            directory,
            journal_fields: vec![format!("VOLUME={name}"), format!("REMOTE={}", spec.remote)],
        };
        let out_of_time =
            |report: &Report| MountError::Deadline { after: config.mount_timeout, said: report.said() };
        timeout_at(deadline, self.launcher.start(&unit(name), session))
            .await
            .map_err(|_| out_of_time(&report))??;

        let mount = self.our_mount(name)?;
        let patience = deadline.saturating_duration_since(Instant::now());
        let answer = tokio::select! {
            answer = self.prober.ask(&mount, patience) => answer,
            () = report.end() => Answer::Failed(Errno::ENOTCONN),
        };
        match answer {
            Answer::Alive => {}
            Answer::TimedOut => return Err(out_of_time(&report)),
            Answer::NotAsked => return Err(MountError::NotProven),
            Answer::Failed(errno) => {
                // The kernel tells of the end of sshfs a little before the supervisor does.
                _ = timeout(LAST_WORDS, report.end()).await;
                let said = report.said();
                // The unit's journal has it too.
                tracing::debug!(volume = %name, %errno, "volume {name}: ssh and sshfs said: {}", said.trim_end());
                let cause = match errno {
                    Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::EPERM => {
                        diagnosis::of_errno(errno)
                    }
                    _ => diagnosis::diagnose(&said),
                };
                return Err(MountError::remote(cause, spec));
            }
        }
        self.tune(name, spec.read_ahead_kib.unwrap_or(config.read_ahead_kib))?;
        // From when the report is dropped, the unit's end starts the healing. Until then it is this call's failure.
        if report.has_ended() {
            return Err(MountError::remote(diagnosis::diagnose(&report.said()), spec));
        }
        Ok(())
    }

    /// Finds mistakes in the agent of a volume that can be seen from outside.
    pub async fn check_agent(&self, name: &VolumeName, agent: &AgentSocket) -> Result<(), LaunchError> {
        // The relay needs a socket of its own, and its path has the name.
        let socket = self.paths.agent_directory(name).join(plan::AGENT_SOCKET);
        let excess = socket.as_os_str().len().saturating_sub(LONGEST_SOCKET);
        if excess > 0 {
            return Err(LaunchError::LongName { most: name.as_str().len().saturating_sub(excess) });
        }
        launcher::check_agent(agent).await
    }

    /// The mount that was just made, as mountinfo has it.
    fn our_mount(&self, name: &VolumeName) -> Result<Mount, MountError> {
        let mounted = self.mounted(name).map_err(local("reading mountinfo"))?;
        mounted.filter(|mount| mount.filesystem == fuse::FILESYSTEM).ok_or_else(|| MountError::Local {
            what: "the mount disappeared while it was made".to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// Sets what can be set only on a live mount. Success is said only when mountinfo still agrees with the probe.
    fn tune(&self, name: &VolumeName, read_ahead_kib: u32) -> Result<(), MountError> {
        let mount = self.our_mount(name)?;
        if let Err(e) = fuse::set_read_ahead(mount.device, read_ahead_kib) {
            // A slower volume is better than none; /sys is read-only in a container.
            tracing::warn!(volume = %name, "volume {name}: cannot set the read-ahead, ignoring: {e}");
        }
        Ok(())
    }

    /// The files that a mount needs beforehand.
    fn prepare(&self, name: &VolumeName, spec: &Spec, plan: &Plan) -> Result<(), MountError> {
        let directory = self.paths.mountpoint_directories().join(name.as_str());
        directories::ensure(&directory, 0o000).map_err(local("making the mountpoint"))?;
        if spec.agent.is_some() {
            directories::ensure(&self.paths.agent_directory(name), 0o711)
                .map_err(local("making the directory of the agent"))?;
        }
        let write = |directory: &Path, content: &str| {
            replace::replace(directory, name.as_str(), content.as_bytes(), 0o644, Durability::Process)
        };
        write(&self.paths.ssh_configs(), &plan.ssh_config).map_err(local("writing the settings of ssh"))?;
        if let Some(host_key) = &spec.host_key {
            write(&self.paths.pinned_host_keys(), &host_key.known_hosts())
                .map_err(local("writing the pinned host key"))?;
        }
        Ok(())
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
        let mountpoint = self.mountpoint(name);
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
        self.tear_down(name).await;
        if self.mounted(name)?.is_some() {
            return Err(UnmountError::Failed { path: mountpoint, errno: Errno::EBUSY });
        }
        tracing::info!(message_id = events::UNMOUNTED, volume = %name, unit = %unit(name), "volume {name}: unmounted");
        Ok(())
    }

    /// Ends the unit and detaches whatever is left. Goes on when a step fails, and reports each.
    async fn tear_down(&self, name: &VolumeName) {
        let unit = unit(name);
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
        _ = std::fs::remove_file(self.paths.pinned_host_key(name));
        _ = std::fs::remove_file(self.paths.ssh_config_of(name));
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

/// The unit of a volume's mount.
#[must_use]
pub fn unit(name: &VolumeName) -> String {
    format!("sshfs-docker-mount-{name}.service")
}

/// The unit that gives the running containers of a volume a fresh mount; see `systemd/sshfs-docker-heal@.service`.
#[must_use]
pub fn healer(name: &VolumeName) -> String {
    format!("sshfs-docker-heal@{name}.service")
}

fn local(what: &str) -> impl FnOnce(io::Error) -> MountError {
    let what = what.to_owned();
    move |source| MountError::Local { what, source }
}
