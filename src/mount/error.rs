//! Why a volume is not mounted, or not unmounted. The caller adds which volume and which remote.

use super::{floor::TooOld, fuse::FuseError, holders::Holder, login::Refusal, mountinfo::Mount};
use crate::{
    diagnosis::{self, Cause},
    kind,
    launcher::LaunchError,
    notice::Notice,
    volume::{AgentSocket, Spec},
};
use nix::errno::Errno;
use std::{io, path::PathBuf, time::Duration};

/// Why a volume is not mounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// ssh or sshfs said why.
    #[error("{0}")]
    Remote(Cause),
    /// The server let nobody in.
    #[error("{0}")]
    Login(Box<Refusal>),
    /// The same, where a key of an agent may be what is missing.
    #[error(
        "{cause}; keys are asked of the agent, too: 'SSH_AUTH_SOCK={agent} ssh-add -l' lists them, and a public key as \
         'identity_file' chooses one"
    )]
    Keys {
        /// What they said.
        cause: Box<Cause>,
        /// The agent.
        agent: AgentSocket,
    },
    /// Nothing happened in time; what was said meanwhile, if anything.
    #[error("{}", meanwhile(.after, .said))]
    Deadline {
        /// The time it had.
        after: Duration,
        /// The text.
        said: String,
    },
    /// Somebody mounted something else there.
    #[error("{} is a mount of type {}, which is not ours; unmount it", .0.mountpoint.display(), .0.filesystem)]
    Foreign(Box<Mount>),
    /// Something was mounted over a directory above, a new disk for example, while containers use it.
    #[error(
        "containers use its mount at {}, which another mount over a directory above hides; stop them, then try again",
        .0.mountpoint.display()
    )]
    Hidden(Box<Mount>),
    /// It is mounted, containers use it, and the server does not answer.
    #[error(
        "it is mounted and in use, but the server did not answer for {}s; check the server and the network",
        super::LIVE_PATIENCE.as_secs()
    )]
    Hanging,
    /// A fresh mount was to take the place of another one.
    #[error(
        "whether the fresh mount has taken the place of the old one is not known, the kernel did not come to an end within {}s; \
         both work; 'sshfs-docker status' shows what there is, and another restart makes it whole",
        super::UNMOUNT_PATIENCE.as_secs()
    )]
    Unfinished,
    /// Whether it answers could not be found out.
    #[error("this host cannot start a process to check the mount; is it out of memory or processes?")]
    NotProven,
    /// This host does not have what the driver needs, so that all else may follow from that.
    #[error("{too_old}; the mount failed with: {cause}")]
    TooOld {
        /// What is too old.
        too_old: TooOld,
        /// What was seen of it.
        cause: Box<MountError>,
    },
    /// See [`FuseError`].
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// See [`LaunchError`].
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A file of our own.
    #[error("{what}: {}", diagnosis::of_this_host(.error))]
    Local {
        /// What was being done.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl MountError {
    /// A short name of the cause that stays the same, for counting and for the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Remote(cause) => cause.kind(),
            Self::Keys { cause, .. } => cause.kind(),
            Self::Login(refusal) => refusal.kind(),
            Self::Deadline { said, .. } if Notice::tells_of_login(said) => kind::NOT_SFTP,
            Self::Deadline { .. } => kind::TIMED_OUT,
            Self::Foreign(_) => kind::FOREIGN_MOUNT,
            Self::Hidden(_) => kind::MOUNT_HIDDEN,
            Self::Hanging | Self::Unfinished => kind::MOUNT_HANGING,
            Self::NotProven => kind::NO_PROCESS,
            Self::TooOld { .. } => kind::TOO_OLD,
            Self::Fuse(error) => error.kind(),
            Self::Launch(error) => error.kind(),
            Self::Local { .. } => kind::LOCAL_FILE,
        }
    }

    /// What ssh or sshfs said about a volume with these options.
    #[must_use]
    pub fn remote(cause: Cause, spec: &Spec) -> Self {
        match (&spec.agent, &cause) {
            (
                Some(agent),
                Cause::AccessDenied { .. } | Cause::TooManyKeys | Cause::BadKey(_) | Cause::UnusableKey(_),
            ) => Self::Keys { cause: Box::new(cause), agent: agent.clone() },
            (None, Cause::AccessDenied { accepts, key }) => {
                Self::Login(Box::new(Refusal::new(accepts.clone(), key.clone(), spec)))
            }
            _ => Self::Remote(cause),
        }
    }
}

impl MountError {
    /// Whether a program or a kernel that is too old may be behind it. Where the time is over already, nobody looks.
    #[must_use]
    pub fn may_be_of_something_old(&self) -> bool {
        matches!(
            self,
            Self::Remote(_)
                | Self::Login(_)
                | Self::Keys { .. }
                | Self::Fuse(FuseError::Mount(_))
                | Self::Launch(LaunchError::Refused(_) | LaunchError::Unit { .. })
        )
    }
}

fn meanwhile(after: &Duration, said: &str) -> String {
    let after = after.as_secs();
    if Notice::tells_of_login(said) {
        return format!(
            "the login worked, but nothing that speaks SFTP answered within {after}s; check the user's shell, ForceCommand and \
             command=\"…\" on the server, and that the disk there does not hang"
        );
    }
    let said = diagnosis::last_line(said).map(|said| format!("; ssh says: {said}")).unwrap_or_default();
    format!(
        "the server did not answer: timed out after {after}s{said}; check the address, the firewall and that the server is up"
    )
}

/// Why a mount was not taken away.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Another mount namespace holds it.
    #[error("it is in use: {}", holders_text(.0))]
    Held(Vec<Holder>),
    /// A process of the host has a file or its working directory in it.
    #[error("it is in use by a process of the host (see 'fuser -vm {}')", .0.display())]
    Busy(PathBuf),
    /// What a restart has replaced still serves somebody.
    #[error(
        "a process has files of it open since before a restart; end that, or its sshfs with 'systemctl stop {}'",
        .0.join(" ")
    )]
    Lingers(Vec<String>),
    /// Somebody mounted something else there.
    #[error("{} is a mount of type {}, which is not ours; unmount it", .0.mountpoint.display(), .0.filesystem)]
    Foreign(Box<Mount>),
    /// systemd does not tell whether anything of it runs.
    #[error(transparent)]
    Launcher(#[from] LaunchError),
    /// umount(2) failed otherwise.
    #[error("cannot unmount {}: {errno}", path.display())]
    Failed {
        /// The mountpoint.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// /proc cannot be read.
    #[error("cannot read /proc: {0}")]
    Proc(io::Error),
}

// Not with #[from], which would make a source of it: the sentence has it already.
impl From<io::Error> for UnmountError {
    fn from(error: io::Error) -> Self {
        Self::Proc(error)
    }
}

impl UnmountError {
    /// A short name of the cause that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Held(_) | Self::Busy(_) | Self::Lingers(_) => kind::IN_USE,
            Self::Launcher(source) => source.kind(),
            Self::Foreign(_) => kind::FOREIGN_MOUNT,
            Self::Failed { .. } => kind::NOT_UNMOUNTED,
            Self::Proc(_) => kind::NO_PROC,
        }
    }
}

fn holders_text(holders: &[Holder]) -> String {
    let shown: Vec<_> = holders
        .iter()
        .take(3)
        .map(|holder| format!("{} has it at {}", holder.process, holder.path))
        .collect();
    let more = holders.len().saturating_sub(shown.len());
    if more > 0 { format!("{}, and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
