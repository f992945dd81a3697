//! Starting the sshfs of a mount, and the proof that it answers.

use super::{
    MountError, Mounter,
    fuse::{self, Detached},
    local,
    mountinfo::Mount,
    plan::{self, Plan},
    probe::Answer,
    report::Report,
    swap::Trees,
};
use crate::{
    config::Config,
    diagnosis, directories,
    launcher::{self, LaunchError, Session},
    replace::{self, Durability},
    volume::{AgentSocket, Generation, Spec, VolumeName, agent::LONGEST_SOCKET},
};
use nix::errno::Errno;
use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the last words of a failed sshfs may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl Mounter {
    /// Mounts at the volume's mountpoint. On an error the caller clears away what there is.
    pub(super) async fn mount_anew(
        &self,
        generation: &Generation,
        spec: &Spec,
        config: &Config,
        deadline: Instant,
    ) -> Result<(), MountError> {
        let name = generation.volume();
        let plan = self.plan(generation, spec, config).await?;
        let source = fuse::source(generation, &spec.remote);
        let device = fuse::mount_without_server(&self.mountpoint(name), &source, &plan.kernel)?;
        let mount = self.our_mount(name)?;
        let report = self.serve(generation, spec, config, plan, device, &mount, deadline).await?;
        // Success is said only when mountinfo still agrees with the probe.
        self.our_mount(name)?;
        confirm(&report, spec)
    }

    /// Mounts where nobody sees it. On an error the caller stops the unit, which is all there is.
    pub(super) async fn mount_apart(
        &self,
        generation: &Generation,
        spec: &Spec,
        config: &Config,
        deadline: Instant,
    ) -> Result<Trees, MountError> {
        let plan = self.plan(generation, spec, config).await?;
        let mountpoint = self.mountpoint(generation.volume());
        let source = fuse::source(generation, &spec.remote);
        let Detached { device, trees, mut mount } = fuse::mount_detached(&mountpoint, &source, &plan.kernel)?;
        // Who asks it is another process.
        let descriptor = format!("/proc/{}/fd/{}", std::process::id(), trees.fresh.as_raw_fd());
        mount.mountpoint = PathBuf::from(descriptor);
        let report = self.serve(generation, spec, config, plan, device, &mount, deadline).await?;
        confirm(&report, spec)?;
        Ok(trees)
    }

    /// Finds mistakes in what is to be started, and writes the files that it needs.
    async fn plan(&self, generation: &Generation, spec: &Spec, config: &Config) -> Result<Plan, MountError> {
        let name = generation.volume();
        let encrypted = self.paths.encrypted_secret(name).exists();
        let plan = plan::plan(generation, spec, &self.paths, config, &self.program, encrypted);
        for credential in &plan.credentials {
            launcher::check_source(&credential.source).await?;
        }
        if let Some(agent) = &spec.agent {
            self.check_agent(name, agent).await?;
        }
        self.prepare(generation, spec, &plan)?;
        Ok(plan)
    }

    /// Has a mount served that nobody serves yet, until it answers. The report is still open: as long as it is, the end of
    /// sshfs is this call's failure. From when it is dropped, it starts the healing.
    #[expect(clippy::too_many_arguments, reason = "all of them are one mount")]
    async fn serve(
        &self,
        generation: &Generation,
        spec: &Spec,
        config: &Config,
        plan: Plan,
        device: OwnedFd,
        mount: &Mount,
        deadline: Instant,
    ) -> Result<Report, MountError> {
        let name = generation.volume();
        self.prober.is_new(mount.device);
        let (report, report_writer) = Report::open().map_err(local("opening a pipe"))?;
        let number = mount.device.minor.to_string();
        let directory = self.paths.mount_directory(generation);
        let mut argv = [
            &self.program.to_string_lossy(),
            "run-sshfs",
            "--connection",
            &number,
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
        let first = Generation::first(name);
        let session = Session {
            description: format!("sshfs volume {name} from {}", spec.remote),
            argv,
            device,
            report: report_writer,
            credentials: plan.credentials,
            askpass: plan.askpass,
            agent: plan.agent,
            on_failure: Some(format!("sshfs-docker-failed@{name}.service")),
            directory,
            journal_fields: vec![format!("VOLUME={name}"), format!("REMOTE={}", spec.remote)],
            writable: Vec::new(),
            settings_of: (*generation != first).then(|| first.unit()),
        };
        let out_of_time =
            |report: &Report| MountError::Deadline { after: config.mount_timeout, said: report.said() };
        let unit = generation.unit();
        let starting = async {
            let started = timeout_at(deadline, self.launcher.start(&unit, session)).await;
            started.map_err(|_| out_of_time(&report))?.map_err(MountError::from)
        };
        // Asked while it starts: the question waits in the kernel, and the process that asks need not be waited for later.
        let asking = async {
            let patience = deadline.saturating_duration_since(Instant::now());
            Ok(tokio::select! {
                answer = self.prober.ask(mount, patience) => answer,
                () = report.end() => Answer::Failed(Errno::ENOTCONN),
            })
        };
        // What was not started has no better reason than its launcher's.
        let ((), answer) = tokio::try_join!(starting, asking)?;
        let round_trip = match answer {
            Answer::Alive(round_trip) => round_trip,
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
        };
        let read_ahead = spec.read_ahead.unwrap_or(config.read_ahead).kib(round_trip);
        tracing::debug!(volume = %name, ?round_trip, read_ahead, "volume {name}: reading {read_ahead} KiB ahead");
        if let Err(e) = fuse::set_read_ahead(mount.device, read_ahead) {
            // A slower volume is better than none; /sys is read-only in a container.
            tracing::warn!(volume = %name, "volume {name}: cannot set the read-ahead, ignoring: {e}");
        }
        Ok(report)
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
            error: io::ErrorKind::NotFound.into(),
        })
    }

    /// The files that a mount needs beforehand.
    fn prepare(&self, generation: &Generation, spec: &Spec, plan: &Plan) -> Result<(), MountError> {
        let name = generation.volume();
        let directory = self.paths.mountpoint_directories().join(name.as_str());
        directories::ensure(&directory, 0o000).map_err(local("making the mountpoint"))?;
        if spec.agent.is_some() {
            directories::ensure(&self.paths.agent_directory(name), 0o711)
                .map_err(local("making the directory of the agent"))?;
        }
        let write = |directory: &Path, content: &str| {
            let file = generation.to_string();
            replace::replace(directory, &file, content.as_bytes(), 0o644, Durability::Process)
        };
        write(&self.paths.ssh_configs(), &plan.ssh_config).map_err(local("writing the settings of ssh"))?;
        if let Some(host_key) = &spec.host_key {
            write(&self.paths.pinned_host_keys(), &host_key.known_hosts())
                .map_err(local("writing the pinned host key"))?;
        }
        Ok(())
    }
}

/// The last question before success is said: whether sshfs is still there.
fn confirm(report: &Report, spec: &Spec) -> Result<(), MountError> {
    if report.has_ended() {
        return Err(MountError::remote(diagnosis::diagnose(&report.said()), spec));
    }
    Ok(())
}
