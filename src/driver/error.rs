//! What a call can fail with, in the words that reach the terminal of `docker`.

use crate::{
    diagnosis::of_this_host,
    kind,
    launcher::LaunchError,
    mount::{MountError, UnmountError, holders::Holder},
    volume::{OptionError, VolumeName, name::InvalidName},
};
use std::{io, time::Duration};

/// Why a call failed. The text reaches the terminal of `docker`.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// No such volume. dockerd relies on it to find out who has a volume.
    #[error("volume {0:?} not found")]
    NotFound(String),
    /// Create with a name that cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// Create or Set with options that cannot be used.
    #[error("volume {name}: {error}")]
    Options {
        /// The volume.
        name: VolumeName,
        /// What is wrong with them.
        error: OptionError,
    },
    /// Create or Set with a key or password file that is missing, or an agent.
    #[error("volume {name}: {option}: {error}")]
    Credential {
        /// The volume.
        name: VolumeName,
        /// `identity_file`, `password_file` or `IdentityAgent`.
        option: &'static str,
        /// What is wrong with it.
        error: LaunchError,
    },
    /// Create of a name that exists with other options.
    #[error("volume {name} exists already with other options ({}); remove it first or choose another name", .differing.join(", "))]
    Exists {
        /// The volume.
        name: VolumeName,
        /// The names of the options that differ.
        differing: Vec<String>,
    },
    /// The volume is known but its definition cannot be used.
    #[error("volume {name} cannot be used: {reason}")]
    Unusable {
        /// The volume.
        name: VolumeName,
        /// Why.
        reason: String,
    },
    /// The definition could not be written or removed.
    #[error("volume {name}: cannot {verb} its definition: {}", of_this_host(.error))]
    Store {
        /// The volume.
        name: VolumeName,
        /// `save` or `remove`.
        verb: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The mount failed.
    #[error("cannot mount volume {name} from {remote}: {error}")]
    Mount {
        /// The volume.
        name: VolumeName,
        /// `user@host:path`
        remote: String,
        /// Why.
        error: MountError,
    },
    /// Mounted, but who holds it could not be noted.
    #[error("volume {name}: cannot note the reference: {}", of_this_host(.error))]
    Reference {
        /// The volume.
        name: VolumeName,
        /// Why.
        error: io::Error,
    },
    /// The configuration is wrong: a policy that cannot be read must not be taken for none.
    #[error("the driver refuses to create or mount volumes: {0}")]
    Configuration(String),
    /// Another call on the volume took all the time.
    #[error(
        "volume {name} is busy: another call on it is still running after {}s{}",
        .after.as_secs(), .trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default()
    )]
    Busy {
        /// The volume.
        name: VolumeName,
        /// How long this call waited.
        after: Duration,
        /// What the healing of the volume has met, if that is what is going on.
        trouble: Option<String>,
    },
    /// Remove of a volume in use.
    #[error("volume {name} cannot be removed: {error}")]
    InUse {
        /// The volume.
        name: VolumeName,
        /// Who uses it.
        error: UnmountError,
    },
    /// Set of another remote directory.
    #[error(
        "volume {name} is in use{}: who has it would be given another directory; change 'sshcmd' when nobody uses it any \
         more, or set 'HostName' if the same directory is on another server now",
        .holders.first().map(|holder| format!(" by {}", holder.process)).unwrap_or_default()
    )]
    OtherDirectory {
        /// The volume.
        name: VolumeName,
        /// Who has it, as far as the kernel knows.
        holders: Vec<Holder>,
    },
    /// Who has the volume could not be found out.
    #[error("volume {name}: cannot find out who uses it: {error}")]
    Holders {
        /// The volume.
        name: VolumeName,
        /// Why.
        error: io::Error,
    },
    /// The caller of Mount hung up.
    #[error("volume {0}: the caller is gone, the mount was taken back")]
    CallerGone(VolumeName),
    /// Mount with something that is no id.
    #[error("the id is longer than {MOST_ID} bytes", MOST_ID = super::attach::MOST_ID)]
    Id,
}

impl DriverError {
    /// A short name of the cause that stays the same, for counting and for the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound(_) => kind::NO_SUCH_VOLUME,
            Self::Name(_) => kind::BAD_NAME,
            Self::Options { .. } => kind::BAD_OPTIONS,
            Self::Credential { error, .. } => error.kind(),
            Self::Exists { .. } => kind::EXISTS,
            Self::Unusable { .. } => kind::UNUSABLE,
            Self::Store { .. } => kind::DEFINITION_NOT_KEPT,
            Self::Mount { error, .. } => error.kind(),
            Self::Reference { .. } => kind::REFERENCE_NOT_KEPT,
            Self::Configuration(_) => kind::BAD_CONFIG,
            Self::Busy { .. } => kind::BUSY,
            Self::InUse { error, .. } => error.kind(),
            Self::CallerGone(_) => kind::CALLER_GONE,
            Self::OtherDirectory { .. } => kind::OTHER_DIRECTORY,
            Self::Holders { .. } => kind::NO_PROC,
            Self::Id => kind::BAD_ID,
        }
    }
}
