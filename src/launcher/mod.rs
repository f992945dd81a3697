//! Starting and stopping the process that serves a mount: a systemd unit of its own where systemd is PID 1, a child
//! process elsewhere. Knows of command lines, files and users; nothing of volumes or Docker.

pub mod child;
pub mod systemd;

use crate::{
    diagnosis::of_this_host,
    kind,
    volume::{AgentSocket, CredentialSource},
};
use std::{
    collections::BTreeMap,
    future::Future,
    io,
    os::{fd::OwnedFd, unix::fs::FileTypeExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{task::spawn_blocking, time::timeout};

/// The user that sshfs and ssh run as; made by sysusers.d.
pub const USER: &str = "sshfs-docker";

/// The environment variable that tells the supervisor which credential answers ssh's questions.
pub const ASKPASS_CREDENTIAL: &str = "SSHFS_DOCKER_ASKPASS";

/// systemd sets it for units with credentials (systemd.exec(5)); the child launcher does the same.
pub const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A secret that the process may read, under `$CREDENTIALS_DIRECTORY/id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its file name there.
    pub id: String,
    /// Where it comes from.
    pub source: CredentialSource,
    /// Whether a file is encrypted by systemd-creds(1). In the credential store its place tells.
    pub encrypted: bool,
}

/// The path of a credential as ssh reads it: ssh expands `${NAME}` in IdentityFile (ssh_config(5), OpenSSH >= 8.4).
#[must_use]
pub fn credential_path(id: &str) -> String {
    format!("${{{CREDENTIALS_DIRECTORY}}}/{id}")
}

/// How the process reaches an ssh agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAccess {
    /// The installed unit that listens for it, as long as the process lives; none where somebody else does.
    pub unit: Option<String>,
    /// The directory in which it listens.
    pub directory: PathBuf,
    /// What the process sees that directory as. Nobody else does.
    pub seen_at: PathBuf,
}

/// What to start.
#[derive(Debug)]
pub struct Session {
    /// One line for `systemctl status`.
    pub description: String,
    /// The program and its arguments, by absolute path. Nothing in it is expanded.
    pub argv: Vec<String>,
    /// Its standard input: the FUSE device. The launcher keeps no copy, or a mount whose server died would hang
    /// instead of failing.
    pub device: OwnedFd,
    /// Its standard output: where the supervisor reports to.
    pub report: OwnedFd,
    /// Its credentials.
    pub credentials: Vec<Credential>,
    /// Which of them answers ssh's questions.
    pub askpass: Option<String>,
    /// Its agent.
    pub agent: Option<AgentAccess>,
    /// The unit that is started when this one fails.
    pub on_failure: Option<String>,
    /// A directory that is made for it and goes with it.
    pub directory: PathBuf,
    /// `NAME=value` fields that the journal adds to whatever it says.
    pub journal_fields: Vec<String>,
    /// Directories that it may write to, beside those of its sandbox.
    pub writable: Vec<PathBuf>,
    /// Another unit, what the administrator sets for which holds for this one, too.
    pub settings_of: Option<String>,
}

/// Why the process was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// No connection to PID 1.
    #[error("systemd cannot be reached over D-Bus ({}); start it with 'systemctl start dbus.service'", bus_words(.0))]
    Bus(zbus::Error),
    /// No answer.
    #[error("systemd does not answer over D-Bus")]
    BusHangs,
    /// PID 1 refused.
    #[error("systemd refused to start the unit of the mount: {}; if a file or a mask of that name is there, remove it \
         (systemctl unmask)", bus_words(.0))]
    Refused(zbus::Error),
    /// The credential is not in the store. Its name is not repeated: it may be a password in the wrong place.
    #[error(
        "no credential of that name is in /etc/credstore.encrypted, /etc/credstore or /run/credstore; put it there, \
         or name a file by its absolute path"
    )]
    NoSuchCredential,
    /// The file is not there.
    #[error("the file {} does not exist on this host; check the path, which is that of a file on the Docker host", .0.display())]
    NoSuchFile(PathBuf),
    /// A directory or a device.
    #[error("{} is not a file; name the file itself", .0.display())]
    NotAFile(PathBuf),
    /// Its file system does not answer.
    #[error("{0} cannot be looked at: its file system does not answer")]
    FileHangs(String),
    /// No socket of an agent is there.
    #[error("the socket {} does not exist on this host; is the agent running?", .0.display())]
    NoAgent(PathBuf),
    /// Something else is there.
    #[error("{} is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// No socket of the relay could have the path.
    #[error("with an agent, the name of a volume may have at most {most} characters")]
    LongName {
        /// How many.
        most: usize,
    },
    /// Its relay is a unit of systemd.
    #[error("an ssh agent can be used only where systemd is PID 1; use 'identity_file'")]
    AgentNeedsSystemd,
    /// PID 1 could not read a key or password file.
    #[error("systemd could not read {0}; it must be a file of less than 1 MiB that root can read")]
    Credential(String),
    /// PID 1 could not decrypt what was encrypted when the volume was created.
    #[error(
        "systemd could not decrypt its password; if the host is a copy of the one where it was created, remove the volume, \
         which deletes nothing on the server, and create it again"
    )]
    Sealed,
    /// The system user is missing.
    #[error("the user '{0}' does not exist; run 'systemd-sysusers' or reinstall the package")]
    NoUser(String),
    /// The unit failed before its program ran.
    #[error(
        "the unit {unit} failed to start: {reason}; see 'journalctl -u {unit}', and the drop-ins in \
         /etc/systemd/system/sshfs-docker-mount-.service.d, if there are any"
    )]
    Unit {
        /// Its name.
        unit: String,
        /// What systemd could not do.
        reason: String,
    },
    /// The program itself could not be started, or its files not be prepared.
    #[error("cannot start {what}: {}", of_this_host(.error))]
    Start {
        /// Program or file.
        what: String,
        /// Why.
        error: io::Error,
    },
}

impl LaunchError {
    /// A short name of the cause that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bus(_) => kind::NO_SYSTEMD,
            Self::BusHangs => kind::SYSTEMD_HANGS,
            Self::Refused(_) => kind::UNIT_REFUSED,
            Self::NoSuchCredential => kind::NO_CREDENTIAL,
            Self::NoSuchFile(_) => kind::NO_FILE,
            Self::NotAFile(_) => kind::NOT_A_FILE,
            Self::FileHangs(_) => kind::FILE_HANGS,
            Self::NoAgent(_) => kind::NO_AGENT,
            Self::NotASocket(_) => kind::NOT_A_SOCKET,
            Self::LongName { .. } => kind::NAME_TOO_LONG,
            Self::AgentNeedsSystemd => kind::AGENT_NEEDS_SYSTEMD,
            Self::Credential(_) => kind::CREDENTIAL_UNREADABLE,
            Self::Sealed => kind::PASSWORD_SEALED,
            Self::NoUser(_) => kind::NO_USER,
            Self::Unit { .. } => kind::UNIT_FAILED,
            Self::Start { .. } => kind::NOT_STARTED,
        }
    }
}

/// What PID 1 or the bus says, without the name of its error.
fn bus_words(error: &zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(_, Some(words), _) => words.trim_end_matches('.').to_owned(),
        zbus::Error::InputOutput(error) => of_this_host(error),
        error => error.to_string(),
    }
}

/// A way to run the processes of mounts, each under a unit name such as `sshfs-docker-mount-data.service`.
pub trait Launcher: Send + Sync + std::fmt::Debug {
    /// Starts `session`; done when its program runs.
    fn start<'a>(&'a self, unit: &'a str, session: Session) -> BoxFuture<'a, Result<(), LaunchError>>;

    /// Asks for an installed unit to be started and does not wait for it. That it cannot be is logged.
    fn request<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, ()>;

    /// Forgets that an installed unit has failed.
    fn forget_failure<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, ()>;

    /// Whether something runs under `unit`.
    fn runs<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<bool, LaunchError>>;

    /// Removes what a unit leaves that has ended by itself.
    fn tidy(&self, unit: &str);

    /// Whether what was started goes on when this process ends.
    fn outlives_us(&self) -> bool;

    /// Ends what runs under `unit`, by force where it does not end by itself. Done when it is gone; a unit that does
    /// not exist is gone.
    fn stop<'a>(&'a self, unit: &'a str) -> BoxFuture<'a, Result<(), LaunchError>>;
}

/// Finds a credential of the store in the directories of systemd.exec(5), `LoadCredential=`. Returns the file and
/// whether it is encrypted.
pub fn find_in_store(name: &str) -> Result<(PathBuf, bool), LaunchError> {
    [
        ("/etc/credstore.encrypted", true),
        ("/run/credstore.encrypted", true),
        ("/usr/lib/credstore.encrypted", true),
        ("/etc/credstore", false),
        ("/run/credstore", false),
        ("/usr/lib/credstore", false),
    ]
    .into_iter()
    .map(|(directory, encrypted)| (PathBuf::from(directory).join(name), encrypted))
    .find(|(path, _)| path.exists())
    .ok_or(LaunchError::NoSuchCredential)
}

/// How long a file system may take to tell whether a file exists.
const FILE_PATIENCE: Duration = Duration::from_secs(5);

/// Finds mistakes in a source before it is used. A file that this process may not see is no mistake: PID 1 reads it.
/// The file may be on a file system that hangs, so a thread looks, and not for ever.
pub async fn check_source(source: &CredentialSource) -> Result<(), LaunchError> {
    let owned = source.clone();
    in_time(source.to_string(), move || look_at(&owned)).await
}

/// The same for an agent. Whether it answers is seen when it is used: most belong to a user whom this process is not.
pub async fn check_agent(agent: &AgentSocket) -> Result<(), LaunchError> {
    let owned = agent.clone();
    in_time(agent.to_string(), move || look_at_agent(owned.path())).await
}

/// Paths that a thread is looking at, and since when. One whose file system hangs stays there, and holds its thread: the
/// next question about it must not cost another, or the daemon runs out of them.
static LOOKING: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

/// With so many paths that hang, all threads go to nobody else's work either.
const MOST_HANGING: usize = 64;

async fn in_time(
    path: String,
    look: impl FnOnce() -> Result<(), LaunchError> + Send + 'static,
) -> Result<(), LaunchError> {
    {
        let mut looking = looking();
        let hangs = looking.get(&path).is_some_and(|since| since.elapsed() > FILE_PATIENCE);
        if hangs || looking.len() >= MOST_HANGING {
            return Err(LaunchError::FileHangs(path));
        }
        looking.entry(path.clone()).or_insert_with(Instant::now);
    }
    let looked_at = path.clone();
    let look = move || {
        let result = look();
        looking().remove(&looked_at);
        result
    };
    match timeout(FILE_PATIENCE, spawn_blocking(look)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(LaunchError::FileHangs(path)),
    }
}

fn looking() -> MutexGuard<'static, BTreeMap<String, Instant>> {
    LOOKING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_at(source: &CredentialSource) -> Result<(), LaunchError> {
    let path = match source {
        CredentialSource::Path(path) => path.clone(),
        CredentialSource::Store(name) => find_in_store(name)?.0,
    };
    match path.metadata() {
        Ok(metadata) if !metadata.is_file() => Err(LaunchError::NotAFile(path)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(LaunchError::NoSuchFile(path))
        }
        _ => Ok(()),
    }
}

fn look_at_agent(path: &Path) -> Result<(), LaunchError> {
    match path.metadata() {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(LaunchError::NotASocket(path.to_owned())),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(LaunchError::NoAgent(path.to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread::sleep};

    /// A thread of tokio's cannot be ended, and there are not many.
    #[tokio::test]
    async fn a_path_that_hangs_holds_one_thread_and_no_more() {
        let (end, ended) = mpsc::channel::<()>();
        let path = "/a/dead/server".to_owned();
        let hangs = move || {
            _ = ended.recv();
            Ok(())
        };
        looking().insert(path.clone(), Instant::now().checked_sub(FILE_PATIENCE * 2).unwrap());
        let answer = in_time(path.clone(), || unreachable!("another thread for it")).await;
        assert!(matches!(answer, Err(LaunchError::FileHangs(_))));
        looking().remove(&path);
        let first = tokio::spawn(in_time(path.clone(), hangs));
        tokio::task::yield_now().await;
        assert!(looking().contains_key(&path));
        end.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        sleep(Duration::from_millis(1));
        assert!(!looking().contains_key(&path), "it counts as hanging for ever");
    }
}
