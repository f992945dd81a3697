//! A place for one mount that is made to be taken away again, beside those of volumes: directories of its own, in which
//! everything has the name that it has there, a unit of its own, and a copy of the learnt host keys.
//!
//! The mount is made by what makes those of volumes, with [`Listening`] between it and the launcher.

use super::{
    learnt,
    transcript::{Told, Transcript},
};
use crate::{
    cli::Layout,
    directories,
    launcher::{BoxFuture, LaunchError, Launcher, Session, child::ChildLauncher, systemd::SystemdLauncher},
    mount::{Mounter, plan::AGENT_SOCKET},
    paths::Paths,
    sealing::Sealer,
    store::{Definition, Store},
    volume::{Generation, Secret, Spec, VolumeName, options::Options},
};
use anyhow::{Context, Result};
use libsystemd::daemon as systemd;
use nix::{
    fcntl::OFlag,
    unistd::{User, chown},
};
use std::{
    fs::{self, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::SystemTime,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// The place. It is there until [`Self::clear`].
#[derive(Debug)]
pub struct Rehearsal {
    name: VolumeName,
    unit: String,
    paths: Paths,
    /// Those of the volumes.
    real: Paths,
    user: User,
    program: PathBuf,
    /// Makes the mount and takes it away.
    pub mounter: Mounter,
    store: Store,
    relay: Option<Child>,
}

impl Rehearsal {
    /// Prepares the place of this process. What ssh does comes out of the channel.
    pub fn prepare(layout: &Layout) -> Result<(Self, UnboundedReceiver<Told>)> {
        let (sender, events) = unbounded_channel();
        let rehearsal = Self::of(std::process::id(), layout, sender)?;
        // Not where one has been killed: its dead mount may be there.
        directories::ensure(&rehearsal.paths.mountpoint(&rehearsal.name), 0o000)?;
        Ok((rehearsal, events))
    }

    /// The place of a process.
    fn of(pid: u32, layout: &Layout, sender: UnboundedSender<Told>) -> Result<Self> {
        let name = VolumeName::new(&format!("check-{pid}"))?;
        // No volume has such a name; the prefix is what systemd finds the sandbox by.
        let unit = format!("sshfs-docker-mount-:check-{pid}.service");
        let real = layout.paths();
        let root = real.checks().join(pid.to_string());
        directories::ensure(&root, 0o711)?;
        // mountinfo has no links, and mounts are found by their path.
        let root = root.canonicalize()?;
        let paths = Paths {
            configuration: real.configuration.clone(),
            state: root.join("lib"),
            runtime: root.join("run"),
        };
        let user = User::from_name(&layout.user)?.ok_or_else(|| LaunchError::NoUser(layout.user.clone()))?;
        let program = std::env::current_exe().context("cannot find this program's own path")?;
        directories::ensure(&paths.state, 0o711)?;
        // Other mounts run as the same user, and must not see this one.
        directories::ensure(&paths.mountpoints(), 0o700)?;
        directories::ensure(&paths.home(), 0o700)?;
        chown(&paths.home(), Some(user.uid), Some(user.gid))?;
        let launcher: Box<dyn Launcher> = if systemd::booted() {
            Box::new(SystemdLauncher::new(layout.user.clone()))
        } else {
            Box::new(ChildLauncher::new(&layout.user, &paths)?.quiet())
        };
        let listening = Listening { launcher, unit: unit.clone(), sender, writable: paths.home() };
        let mounter = Mounter::open(paths.clone(), Box::new(listening), program.clone())?;
        let store = Store::open(&paths, Sealer::of_this_host())?;
        Ok(Self { name, unit, paths, real, user, program, mounter, store, relay: None })
    }

    /// Writes down the options, as those of a volume are, and what else a mount of them needs.
    pub fn define(&mut self, options: &Options, password: Option<&Secret>, spec: &Spec) -> Result<()> {
        let definition = Definition {
            created_at: SystemTime::now(),
            options: options.clone(),
            has_password: password.is_some(),
        };
        self.store
            .save(&self.name, &definition, password)
            .context("cannot keep the options for the mount")?;
        let file = self.real.learnt_known_hosts();
        learnt::copy(&file, &self.paths.learnt_known_hosts())
            .with_context(|| format!("cannot copy the learnt host keys in {}", file.display()))?;
        if spec.agent.is_some() && systemd::booted() {
            self.start_relay().context("cannot start the relay to the agent")?;
        }
        Ok(())
    }

    /// What `sshfs-docker-agent@.socket` does for a volume.
    fn start_relay(&mut self) -> Result<()> {
        let directory = self.paths.agent_directory(&self.name);
        directories::ensure(&directory, 0o711)?;
        let socket = directory.join(AGENT_SOCKET);
        let listener = UnixListener::bind(&socket)?;
        chown(&socket, Some(self.user.uid), Some(self.user.gid))?;
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        // sd_listen_fds(3): sockets begin at descriptor 3, and the process must find its own id in LISTEN_PID.
        let mut relay = Command::new("/bin/sh");
        relay.args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"]);
        relay.arg(&self.program).arg("relay-agent").arg(self.name.as_str());
        relay.arg("--configuration").arg(&self.paths.configuration);
        relay.arg("--state").arg(&self.paths.state).arg("--runtime").arg(&self.paths.runtime);
        relay.env("LISTEN_FDS", "1").stdin(Stdio::from(OwnedFd::from(listener)));
        self.relay = Some(relay.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        Ok(())
    }

    /// What the mount is called.
    #[must_use]
    pub fn name(&self) -> &VolumeName {
        &self.name
    }

    /// The unit that it runs in, where there is one.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        systemd::booted().then_some(&self.unit)
    }

    /// A sentence in which the files have the names that they have for volumes.
    #[must_use]
    pub fn translate(&self, sentence: &str) -> String {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let known_hosts = [&self.paths, &self.real].map(|paths| text(paths.learnt_known_hosts()));
        sentence.replace(&known_hosts[0], &known_hosts[1])
    }

    /// Takes the mount and the place away. Goes on when a step fails; returns what is left.
    pub async fn clear(mut self) -> Vec<PathBuf> {
        self.mounter.tear_down(&Generation::first(&self.name)).await;
        if let Some(mut relay) = self.relay.take() {
            _ = relay.kill();
            _ = relay.wait();
        }
        _ = self.store.remove(&self.name);
        let agent = self.paths.agent_directory(&self.name);
        _ = fs::remove_file(agent.join(AGENT_SOCKET));
        // ssh keeps more than the learnt host keys there, at times. Of a directory there, unlink(2) leaves everything.
        for entry in fs::read_dir(self.paths.home()).into_iter().flatten().flatten() {
            _ = fs::remove_file(entry.path());
        }
        _ = self.mounter.remove_mountpoint(&self.name);
        let Paths { state, runtime, .. } = &self.paths;
        // One by one, and only when they are empty. The file system that was mounted is not below any of them then.
        let directories = [
            self.paths.mountpoint(&self.name),
            self.paths.mountpoints(),
            self.paths.mountpoint_directories(),
            self.paths.home(),
            self.paths.volumes(),
            self.paths.secrets(),
            self.paths.encrypted_secrets(),
            state.clone(),
            self.paths.pinned_host_keys(),
            self.paths.ssh_configs(),
            self.paths.agents(),
            self.paths.agent_in_unit(),
            self.paths.credentials(),
            self.paths.mount_directories(),
            runtime.clone(),
        ];
        let mut left: Vec<_> = directories.into_iter().filter(|path| !remove(path)).collect();
        if let Some(root) = state.parent().filter(|root| !remove(root)) {
            left.push(root.to_owned());
        }
        // Another check may be in there.
        _ = fs::remove_dir(self.real.checks());
        left
    }
}

/// Takes away what killed checks have left.
pub async fn clear_abandoned(layout: &Layout) {
    for entry in fs::read_dir(layout.paths().checks()).into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.filter(|pid: &u32| !Path::new(&format!("/proc/{pid}")).exists()) else {
            continue;
        };
        if let Ok(abandoned) = Rehearsal::of(pid, layout, unbounded_channel().0) {
            abandoned.clear().await;
        }
    }
}

fn remove(directory: &Path) -> bool {
    match fs::remove_dir(directory) {
        Err(e) => e.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    }
}

/// A launcher that starts what it is given under another name, hears what ssh says, and leaves out what only a mount needs
/// that somebody will use.
#[derive(Debug)]
struct Listening {
    launcher: Box<dyn Launcher>,
    unit: String,
    sender: UnboundedSender<Told>,
    writable: PathBuf,
}

impl Listening {
    async fn start_heard(&self, session: Session) -> Result<(), LaunchError> {
        let error = |error| LaunchError::Start { what: "a pipe".to_owned(), error };
        let report = hear(session.report, self.sender.clone()).map_err(error)?;
        let agent = session.agent.map(|mut agent| {
            agent.unit = None;
            agent
        });
        let writable = vec![self.writable.clone()];
        let session = Session { report, agent, on_failure: None, writable, ..session };
        self.launcher.start(&self.unit, session).await
    }
}

impl Launcher for Listening {
    fn start<'a>(&'a self, _unit: &'a str, session: Session) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(self.start_heard(session))
    }

    fn request<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn forget_failure<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn runs<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, Result<bool, LaunchError>> {
        self.launcher.runs(&self.unit)
    }

    fn tidy(&self, _unit: &str) {
        self.launcher.tidy(&self.unit);
    }

    fn outlives_us(&self) -> bool {
        self.launcher.outlives_us()
    }

    fn stop<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        self.launcher.stop(&self.unit)
    }
}

/// Reads what is written to the result, and passes it on to `report` as long as that is read.
fn hear(report: OwnedFd, sender: UnboundedSender<Told>) -> io::Result<OwnedFd> {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut reader = pipe::Receiver::from_owned_fd(reader)?;
    let mut report = Some(pipe::Sender::from_owned_fd(report)?);
    let mut transcript = Transcript::default();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = reader.read(&mut buffer).await {
            let piece = &buffer[..length];
            for told in transcript.read(piece) {
                _ = sender.send(told);
            }
            if let Some(listener) = &mut report
                && listener.write_all(piece).await.is_err()
            {
                report = None;
            }
        }
    });
    Ok(writer)
}
