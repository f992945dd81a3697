//! Why a volume is not mounted, or not unmounted. The caller adds which volume and which remote.

use super::{fuse::FuseError, holders::Holder, mountinfo::Mount};
use crate::{
    diagnosis::{self, Cause},
    launcher::LaunchError,
    notice,
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
    /// The same, where a key of an agent may be what is missing.
    #[error(
        "{cause}; keys are asked of the agent, too: 'SSH_AUTH_SOCK={agent} ssh-add -l' lists them, and a public key as \
         'identity_file' chooses one"
    )]
    Keys {
        /// What they said.
        cause: Cause,
        /// The agent.
        agent: AgentSocket,
    },
    /// Nothing happened in time; what was said meanwhile, if anything.
    #[error("the server did not answer: timed out after {}s{}", .after.as_secs(), said_meanwhile(.said))]
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
    /// Whether it answers could not be found out.
    #[error("this host cannot start a process to check the mount; is it out of memory or processes?")]
    NotProven,
    /// See [`FuseError`].
    #[error(transparent)]
    Fuse(#[from] FuseError),
    /// See [`LaunchError`].
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A file of our own.
    #[error("{what}: {source}")]
    Local {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl MountError {
    /// A short name of the cause that stays the same, for counting and for the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Remote(cause) | Self::Keys { cause, .. } => cause.kind(),
            Self::Deadline { .. } => "timed-out",
            Self::Foreign(_) => "foreign-mount",
            Self::Hidden(_) => "mount-hidden",
            Self::Hanging => "mount-hanging",
            Self::NotProven => "no-process",
            Self::Fuse(error) => error.kind(),
            Self::Launch(error) => error.kind(),
            Self::Local { .. } => "local-file",
        }
    }

    /// What ssh or sshfs said about a volume with these options.
    #[must_use]
    pub fn remote(cause: Cause, spec: &Spec) -> Self {
        match (&spec.agent, &cause) {
            (Some(agent), Cause::AccessDenied { .. } | Cause::TooManyKeys | Cause::BadKey(_)) => {
                Self::Keys { cause, agent: agent.clone() }
            }
            _ => Self::Remote(cause),
        }
    }
}

fn said_meanwhile(said: &str) -> String {
    let said = notice::without(said);
    let said = diagnosis::clean(said.lines().last().unwrap_or(""));
    if said.is_empty() { String::new() } else { format!("; ssh says: {said}") }
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
    /// Somebody mounted something else there.
    #[error("{} is a mount of type {}, which is not ours; unmount it", .0.mountpoint.display(), .0.filesystem)]
    Foreign(Box<Mount>),
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
    Proc(#[from] io::Error),
}

impl UnmountError {
    /// A short name of the cause that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Held(_) | Self::Busy(_) => "in-use",
            Self::Foreign(_) => "foreign-mount",
            Self::Failed { .. } => "not-unmounted",
            Self::Proc(_) => "no-proc",
        }
    }
}

fn holders_text(holders: &[Holder]) -> String {
    let shown: Vec<_> = holders
        .iter()
        .take(3)
        .map(|h| format!("process {} ({}) has it at {}", h.pid, h.command, h.mountpoint.display()))
        .collect();
    let more = holders.len().saturating_sub(shown.len());
    if more > 0 { format!("{}, and {more} more", shown.join(", ")) } else { shown.join(", ") }
}
