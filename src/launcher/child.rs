//! Mount processes as children of the daemon, for where systemd is not PID 1: a container, a test. The same user,
//! file descriptors and command line as the unit, without its sandbox; the mounts end with the daemon.

use super::{BoxFuture, Credential, LaunchError, Launcher, Session, find_in_store};
use crate::{directories, paths::Paths, sys, volume::CredentialSource};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, chown},
};
use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// How long a child may take to end after SIGTERM.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Starts children of this process.
#[derive(Debug)]
pub struct ChildLauncher {
    user: User,
    credentials: PathBuf,
    children: Mutex<HashMap<String, Running>>,
    is_quiet: bool,
}

/// A child, and the directory that goes with it.
#[derive(Debug)]
struct Running {
    child: Child,
    directory: PathBuf,
}

impl ChildLauncher {
    /// A launcher whose children run as `user`.
    pub fn new(user: &str, paths: &Paths) -> Result<Self, LaunchError> {
        let (credentials, home) = (paths.credentials(), &paths.home());
        let user =
            User::from_name(user).ok().flatten().ok_or_else(|| LaunchError::NoUser(user.to_owned()))?;
        directories::ensure(&credentials, 0o711).map_err(start_error(&credentials))?;
        // Those of a killed daemon, whose mounts ended with it.
        let made_for_children = [&credentials, &paths.mount_directories()];
        for left in made_for_children.into_iter().flat_map(fs::read_dir).flatten().flatten() {
            remove_directory(&left.path());
        }
        // In a unit, StateDirectory= does this.
        directories::ensure(home, 0o700).map_err(start_error(home))?;
        // Not where nothing needs to change: a read-only disk must not keep the daemon from serving what is defined.
        if home.metadata().map_err(start_error(home))?.uid() != user.uid.as_raw() {
            chown(home, Some(user.uid), Some(user.gid))
                .map_err(io::Error::from)
                .map_err(start_error(home))?;
        }
        Ok(Self { user, credentials, children: Mutex::default(), is_quiet: false })
    }

    /// What the processes say goes to their report alone, and not to our standard error too.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { is_quiet: true, ..self }
    }

    fn spawn(&self, unit: &str, session: Session) -> Result<(), LaunchError> {
        if session.agent.is_some() {
            return Err(LaunchError::AgentNeedsSystemd);
        }
        let credentials = self.credentials.join(unit);
        self.copy_credentials(&credentials, &session.credentials)?;
        // In a unit, RuntimeDirectory= does this.
        let directory = session.directory;
        remove_directory(&directory);
        directories::ensure(&directory, 0o755).map_err(start_error(&directory))?;
        self.own(&directory)?;
        let mut command = std::process::Command::new(&session.argv[0]);
        command.args(&session.argv[1..]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", &self.user.dir).env("USER", &self.user.name);
        command.env(super::CREDENTIALS_DIRECTORY, &credentials);
        command.envs(session.askpass.map(|id| (super::ASKPASS_CREDENTIAL, id)));
        command
            .stdin(Stdio::from(session.device))
            .stdout(Stdio::from(session.report))
            .stderr(if self.is_quiet { Stdio::null() } else { Stdio::inherit() });
        {
            use std::os::unix::process::CommandExt;
            // With a uid, the standard library also drops the supplementary groups.
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw()).process_group(0);
        }
        sys::die_with_parent(&mut command);
        let child = Command::from(command).spawn().map_err(start_error(Path::new(&session.argv[0])))?;
        self.children().insert(unit.to_owned(), Running { child, directory });
        Ok(())
    }

    /// What `LoadCredential=` does in a unit: copies that only the user can read.
    fn copy_credentials(&self, directory: &Path, credentials: &[Credential]) -> Result<(), LaunchError> {
        remove_directory(directory);
        directories::ensure(directory, 0o500).map_err(start_error(directory))?;
        for Credential { id, source, encrypted } in credentials {
            let (file, is_encrypted) = match source {
                CredentialSource::Path(path) => (path.clone(), *encrypted),
                CredentialSource::Store(name) => find_in_store(name)?,
            };
            if is_encrypted {
                return Err(LaunchError::Credential(format!(
                    "{}: only systemd as PID 1 can decrypt it",
                    file.display()
                )));
            }
            let content = fs::read(&file).map(zeroize::Zeroizing::new).map_err(start_error(&file))?;
            let copy = directory.join(id);
            let mut open = OpenOptions::new();
            open.write(true).create_new(true).mode(0o400);
            open.open(&copy).and_then(|mut f| f.write_all(&content)).map_err(start_error(&copy))?;
            self.own(&copy)?;
        }
        self.own(directory)
    }

    fn own(&self, path: &Path) -> Result<(), LaunchError> {
        let owned = chown(path, Some(self.user.uid), Some(self.user.gid));
        owned.map_err(io::Error::from).map_err(start_error(path))
    }

    async fn end(&self, unit: &str) {
        let running = self.children().remove(unit);
        if let Some(Running { mut child, directory }) = running {
            signal_group(&child, Signal::SIGTERM);
            if timeout(STOP_PATIENCE, child.wait()).await.is_err() {
                signal_group(&child, Signal::SIGKILL);
                _ = timeout(STOP_PATIENCE, child.wait()).await;
            }
            remove_directory(&directory);
        }
        remove_directory(&self.credentials.join(unit));
    }

    fn children(&self) -> std::sync::MutexGuard<'_, HashMap<String, Running>> {
        self.children.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Launcher for ChildLauncher {
    fn start<'a>(&'a self, unit: &'a str, session: Session) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            self.end(unit).await;
            self.spawn(unit, session)
        })
    }

    fn request<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move { tracing::debug!("without systemd there is no {unit}") })
    }

    fn forget_failure<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn runs<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<bool, LaunchError>> {
        let runs = |running: &mut Running| matches!(running.child.try_wait(), Ok(None));
        let runs = self.children().get_mut(unit).is_some_and(runs);
        Box::pin(async move { Ok(runs) })
    }

    fn tidy(&self, unit: &str) {
        remove_directory(&self.credentials.join(unit));
    }

    fn outlives_us(&self) -> bool {
        false
    }

    fn stop<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            self.end(unit).await;
            Ok(())
        })
    }
}

/// Signals the child and its children: it leads a process group, as a unit has a cgroup.
fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        _ = kill(Pid::from_raw(-pid), signal);
    }
}

/// Removes what was made for a child: plain files in one directory.
fn remove_directory(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        _ = fs::remove_file(entry.path());
    }
    _ = fs::remove_dir(directory);
}

fn start_error(what: &Path) -> impl FnOnce(io::Error) -> LaunchError {
    let what = what.display().to_string();
    move |error| LaunchError::Start { what, error }
}
