//! Mount processes as transient systemd units, over D-Bus (org.freedesktop.systemd1(5)).
//!
//! The unit's sandbox is in `systemd/sshfs-docker-mount-.service.d/`, which systemd applies to every unit with that
//! prefix. Set here is only what must hold even where that file is missing: the user and the file descriptors.
//!
//! Each operation uses a connection of its own: it costs about a millisecond, holds no memory between mounts, and
//! survives `systemctl daemon-reexec` and a restart of dbus, which long-lived connections do not.

use super::{AgentAccess, BoxFuture, Credential, LaunchError, Launcher, Session, find_in_store};
use crate::volume::CredentialSource;
use std::{
    collections::HashMap,
    fs,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use zbus::{
    Connection,
    export::ordered_stream::OrderedStreamExt,
    zvariant::{Fd, OwnedObjectPath, OwnedValue, Value},
};

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_blocking = false
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Value<'_>)],
        auxiliary: &[(&str, &[(&str, Value<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn kill_unit(&self, name: &str, whom: &str, signal: i32) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn get_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: OwnedObjectPath, unit: String, result: String) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.DBus.Properties",
    default_service = "org.freedesktop.systemd1",
    gen_blocking = false
)]
trait Properties {
    fn get(&self, interface: &str, property: &str) -> zbus::Result<OwnedValue>;
    fn get_all(&self, interface: &str) -> zbus::Result<HashMap<String, OwnedValue>>;
}

/// Exit codes of a unit whose program was never executed (systemd.exec(5), "Process Exit Codes").
const EXIT_USER: i32 = 217;
const EXIT_CREDENTIALS: i32 = 243;
const EXIT_EXEC: i32 = 203;
const EXIT_NAMESPACE: i32 = 226;
const EXIT_SECCOMP: i32 = 228;

/// Longer than the `TimeoutStopSec=` of the mount units.
const STOP_PATIENCE: Duration = Duration::from_secs(15);

/// How long systemd may take to answer a question.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long systemd may take to forget a unit that has ended, and how often it is asked.
const FORGET_PATIENCE: Duration = Duration::from_secs(3);
const FORGET_INTERVAL: Duration = Duration::from_millis(20);

/// Starts units on the system bus.
#[derive(Debug)]
pub struct SystemdLauncher {
    user: String,
}

impl SystemdLauncher {
    /// A launcher whose units run as `user`.
    #[must_use]
    pub fn new(user: String) -> Self {
        Self { user }
    }

    async fn start_unit(&self, unit: &str, session: Session) -> Result<(), LaunchError> {
        let manager = manager().await.map_err(LaunchError::Bus)?;
        let sources = session.credentials.iter().map(|c| c.source.to_string()).collect::<Vec<_>>().join(", ");
        let sealed = session.credentials.iter().any(|credential| credential.encrypted);
        if let Some(other) = &session.settings_of {
            share_settings(unit, other);
        }
        let launch = Launch::new(session)?;
        let result = match run_job(&manager, || launch.request(&manager, unit, &self.user)).await {
            Err(JobError::Request(e)) if is(&e, "UnitExists") => {
                // What is left of an earlier mount of the same name.
                self.stop_unit(unit).await?;
                self.start_once_forgotten(&manager, &launch, unit).await
            }
            other => other,
        };
        match result {
            Ok(()) => Ok(()),
            Err(JobError::Bus(e)) => Err(LaunchError::Bus(e)),
            Err(JobError::Request(e)) => Err(LaunchError::Refused(e)),
            Err(JobError::Failed(reason)) => Err(match exit_status(&manager, unit).await {
                Some(EXIT_CREDENTIALS) if sealed => LaunchError::Sealed,
                Some(EXIT_CREDENTIALS) => LaunchError::Credential(sources),
                Some(EXIT_USER) => LaunchError::NoUser(self.user.clone()),
                status => LaunchError::Unit { unit: unit.to_owned(), reason: what_failed(status, &reason) },
            }),
        }
    }

    /// systemd forgets a unit that has ended in its own time; until then the name is taken.
    async fn start_once_forgotten(
        &self,
        manager: &ManagerProxy<'_>,
        launch: &Launch,
        unit: &str,
    ) -> Result<(), JobError> {
        let deadline = Instant::now() + FORGET_PATIENCE;
        loop {
            match run_job(manager, || launch.request(manager, unit, &self.user)).await {
                Err(JobError::Request(e)) if is(&e, "UnitExists") && Instant::now() < deadline => {
                    sleep(FORGET_INTERVAL).await;
                }
                other => return other,
            }
        }
    }

    async fn unit_runs(&self, unit: &str) -> Result<bool, LaunchError> {
        let state = async {
            let manager = manager().await?;
            active_state(&manager, unit).await
        };
        match timeout(ANSWER_PATIENCE, state).await {
            Ok(Ok(state)) => Ok(state.is_some_and(|state| !["inactive", "failed"].contains(&state.as_str()))),
            Ok(Err(e)) => Err(LaunchError::Bus(e)),
            Err(_) => Err(LaunchError::BusHangs),
        }
    }

    async fn stop_unit(&self, unit: &str) -> Result<(), LaunchError> {
        // The caller holds the volume's lock: not even a stuck D-Bus may keep it for ever.
        match timeout(STOP_PATIENCE + Duration::from_secs(2), self.stop_unit_and_wait(unit)).await {
            Ok(result) => result,
            Err(_) => Err(LaunchError::BusHangs),
        }
    }

    async fn stop_unit_and_wait(&self, unit: &str) -> Result<(), LaunchError> {
        let manager = manager().await.map_err(LaunchError::Bus)?;
        let stop = run_job(&manager, || manager.stop_unit(unit, "replace"));
        match timeout(STOP_PATIENCE, stop).await {
            Ok(Ok(()) | Err(JobError::Failed(_))) => {}
            Ok(Err(JobError::Request(e))) if is(&e, "NoSuchUnit") => {}
            Ok(Err(JobError::Request(e) | JobError::Bus(e))) => return Err(LaunchError::Bus(e)),
            Err(_) => {
                tracing::warn!(unit, "{unit} did not stop in {STOP_PATIENCE:?}, killing it");
                _ = manager.kill_unit(unit, "all", nix::sys::signal::Signal::SIGKILL as i32).await;
            }
        }
        // A unit that failed earlier would keep its name taken.
        _ = manager.reset_failed_unit(unit).await;
        Ok(())
    }
}

impl Launcher for SystemdLauncher {
    fn start<'a>(&'a self, unit: &'a str, session: Session) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(self.start_unit(unit, session))
    }

    fn request<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let request = async { manager().await?.start_unit(unit, "replace").await };
            match timeout(STOP_PATIENCE, request).await {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => tracing::warn!(unit, "cannot start {unit}: {e}"),
                Err(_) => tracing::warn!(unit, "cannot start {unit}: systemd does not answer"),
            }
        })
    }

    fn forget_failure<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let forget = async { manager().await?.reset_failed_unit(unit).await };
            // That there is no such unit is as good.
            _ = timeout(STOP_PATIENCE, forget).await;
        })
    }

    fn runs<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<bool, LaunchError>> {
        Box::pin(self.unit_runs(unit))
    }

    fn tidy(&self, unit: &str) {
        let link = settings_link(unit);
        // One to a directory of the same name is the administrator's.
        if fs::read_link(&link).is_ok_and(|other| other.file_name() != link.file_name()) {
            _ = fs::remove_file(link);
        }
    }

    fn outlives_us(&self) -> bool {
        true
    }

    fn stop<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async move {
            let result = self.stop_unit(unit).await;
            self.tidy(unit);
            result
        })
    }
}

/// A session with its credentials resolved, ready to be requested.
struct Launch {
    description: String,
    argv: Vec<String>,
    device: OwnedFd,
    report: OwnedFd,
    environment: Vec<String>,
    on_failure: Option<String>,
    writable: Vec<String>,
    agent: Option<AgentAccess>,
    directory: PathBuf,
    journal_fields: Vec<String>,
    plain: Vec<(String, String)>,
    encrypted: Vec<(String, String)>,
}

impl Launch {
    fn new(session: Session) -> Result<Self, LaunchError> {
        let (mut plain, mut sealed) = (Vec::new(), Vec::new());
        for Credential { id, source, encrypted } in session.credentials {
            let (path, is_encrypted) = match source {
                CredentialSource::Path(path) => (path, encrypted),
                CredentialSource::Store(name) => find_in_store(&name)?,
            };
            let list = if is_encrypted { &mut sealed } else { &mut plain };
            list.push((id, path.to_string_lossy().into_owned()));
        }
        let environment =
            session.askpass.iter().map(|id| format!("{}={id}", super::ASKPASS_CREDENTIAL)).collect();
        let Session {
            description,
            argv,
            device,
            report,
            on_failure,
            writable,
            agent,
            directory,
            journal_fields,
            ..
        } = session;
        Ok(Self {
            directory,
            journal_fields,
            description,
            argv,
            device,
            report,
            environment,
            on_failure,
            writable: writable.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            agent,
            plain,
            encrypted: sealed,
        })
    }

    async fn request(
        &self,
        manager: &ManagerProxy<'_>,
        unit: &str,
        user: &str,
    ) -> zbus::Result<OwnedObjectPath> {
        // `no-env-expand`: a remote path may contain `$`. Only the Ex form has it.
        let command = vec![(self.argv[0].as_str(), self.argv.clone(), vec!["no-env-expand"])];
        let agent = self.agent.as_ref().and_then(|agent| agent.unit.as_deref());
        let mut properties = vec![
            ("Description", Value::from(self.description.as_str())),
            // The job is done when the program was executed, and fails when it could not be.
            ("Type", Value::from("exec")),
            ("ExecStartEx", Value::from(command)),
            ("User", Value::from(user)),
            ("NoNewPrivileges", Value::from(true)),
            ("StandardInputFileDescriptor", Value::from(Fd::from(&self.device))),
            ("StandardOutputFileDescriptor", Value::from(Fd::from(&self.report))),
            // Not the default, which is the journal: where both are the same, systemd makes the error output a copy of
            // the output, descriptor or not (exec-invoke.c, `can_inherit_stderr_from_stdout`).
            ("StandardOutput", Value::from("null")),
            ("StandardError", Value::from("journal")),
            ("Environment", Value::from(self.environment.clone())),
            // Shutdown stops in reverse order: first the containers, then their mounts, then the network.
            ("Before", Value::from(vec!["docker.service", "podman.service"])),
            ("After", Value::from([&["network.target", "network-online.target"], agent.as_slice()].concat())),
            // A failed unit must not stay: systemd would keep its copy of the FUSE device and accesses would hang.
            ("CollectMode", Value::from("inactive-or-failed")),
            // But it stays as long as this connection, which asks it why.
            ("AddRef", Value::from(true)),
        ];
        let journal_fields: Vec<_> = self.journal_fields.iter().map(String::as_bytes).collect();
        properties.push(("LogExtraFields", Value::from(journal_fields)));
        // systemd makes such directories below /run only.
        if let Ok(directory) = self.directory.strip_prefix("/run") {
            properties
                .push(("RuntimeDirectory", Value::from(vec![directory.to_string_lossy().into_owned()])));
        }
        if let Some(unit) = &self.on_failure {
            // Whoever still has the mount when sshfs dies gets a fresh one, also while the daemon does not run.
            properties.push(("OnFailure", Value::from(vec![unit.as_str()])));
        }
        if !self.writable.is_empty() {
            properties.push(("ReadWritePaths", Value::from(self.writable.clone())));
        }
        for (property, list) in
            [("LoadCredential", &self.plain), ("LoadCredentialEncrypted", &self.encrypted)]
        {
            if !list.is_empty() {
                properties.push((property, Value::from(list.clone())));
            }
        }
        let Some(AgentAccess { unit: listener, directory, seen_at }) = &self.agent else {
            return manager.start_transient_unit(unit, "fail", &properties, &[]).await;
        };
        let (directory, seen_at) = (directory.to_string_lossy(), seen_at.to_string_lossy());
        // Only wanted: whoever restarts the listener must not end the mount. The directory and not the socket is bound,
        // so that the socket of a restarted listener is seen.
        if let Some(listener) = listener {
            properties.push(("Wants", Value::from(vec![listener.as_str()])));
        }
        properties.push((
            "BindReadOnlyPaths",
            Value::from(vec![(directory.as_ref(), seen_at.as_ref(), false, 0_u64)]),
        ));
        // The listener may be about to stop after the mount before this one; with "fail", the mount would be without.
        manager.start_transient_unit(unit, "replace", &properties, &[]).await
    }
}

/// PID 1, on a connection of its own.
async fn manager() -> zbus::Result<ManagerProxy<'static>> {
    ManagerProxy::new(&Connection::system().await?).await
}

/// Why a job did not do what was asked.
enum JobError {
    Bus(zbus::Error),
    Request(zbus::Error),
    Failed(String),
}

/// Requests a job and waits for its end.
async fn run_job<F>(manager: &ManagerProxy<'_>, request: impl FnOnce() -> F) -> Result<(), JobError>
where
    F: Future<Output = zbus::Result<OwnedObjectPath>>,
{
    // Both before the request, or the signal of a quick job is missed: PID 1 sends signals only to subscribers.
    let (ended, subscribed) = tokio::join!(manager.receive_job_removed(), manager.subscribe());
    let mut ended = ended.map_err(JobError::Bus)?;
    match subscribed {
        // By the job before this one on the same connection.
        Err(e) if is(&e, "AlreadySubscribed") => {}
        subscribed => subscribed.map_err(JobError::Bus)?,
    }
    let job = request().await.map_err(JobError::Request)?;
    while let Some(signal) = ended.next().await {
        let end = signal.args().map_err(JobError::Bus)?;
        if end.job == job {
            return if end.result == "done" { Ok(()) } else { Err(JobError::Failed(end.result)) };
        }
    }
    Err(JobError::Bus(zbus::Error::Failure("the connection ended".to_owned())))
}

/// Where systemd looks for drop-ins of this unit, and nobody else writes.
fn settings_link(unit: &str) -> PathBuf {
    Path::new("/run/systemd/system").join(format!("{unit}.d"))
}

/// Gives `unit` the drop-ins that the administrator has made for `other`, now or later. systemd finds the link without a
/// reload: for a name that it does not know it looks whether its directories have changed.
fn share_settings(unit: &str, other: &str) {
    let link = settings_link(unit);
    _ = fs::remove_file(&link);
    if let Err(e) = symlink(Path::new("/etc/systemd/system").join(format!("{other}.d")), &link) {
        tracing::warn!(unit, "{unit} goes without the settings of {other}: {}: {e}", link.display());
    }
}

/// The state of a unit, if systemd knows it.
async fn active_state(manager: &ManagerProxy<'_>, unit: &str) -> zbus::Result<Option<String>> {
    let path = match manager.get_unit(unit).await {
        Err(e) if is(&e, "NoSuchUnit") => return Ok(None),
        path => path?,
    };
    let properties = PropertiesProxy::builder(manager.inner().connection()).path(path)?.build().await?;
    match properties.get("org.freedesktop.systemd1.Unit", "ActiveState").await {
        // Forgotten meanwhile.
        Err(e) if is(&e, "UnknownObject") => Ok(None),
        state => Ok(String::try_from(state?).ok()),
    }
}

/// What systemd could not do, by the status of a program that was never executed, or else the result of the job.
fn what_failed(status: Option<i32>, result: &str) -> String {
    match status {
        Some(EXIT_EXEC) => "its program cannot be executed".to_owned(),
        Some(EXIT_NAMESPACE) => {
            "its sandbox cannot be set up: a path in a drop-in is missing, or the kernel lacks what it needs"
                .to_owned()
        }
        Some(EXIT_SECCOMP) => "its filter of system calls cannot be set up".to_owned(),
        Some(status @ 1..) => format!("systemd gave up with the code {status} of systemd.exec(5)"),
        _ => format!("the result of its job is '{result}'"),
    }
}

/// The exit status of a unit's program.
async fn exit_status(manager: &ManagerProxy<'_>, unit: &str) -> Option<i32> {
    let path = manager.get_unit(unit).await.ok()?;
    let properties =
        PropertiesProxy::builder(manager.inner().connection()).path(path).ok()?.build().await.ok()?;
    let mut properties = properties.get_all("org.freedesktop.systemd1.Service").await.ok()?;
    properties.remove("ExecMainStatus")?.try_into().ok()
}

/// Whether PID 1 answered with its error of this name.
fn is(error: &zbus::Error, name: &str) -> bool {
    let zbus::Error::MethodError(full, _, _) = error else { return false };
    full.as_str().rsplit('.').next() == Some(name)
}
