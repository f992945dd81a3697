//! What can keep a remote directory from being mounted, and the sentence for each that `docker run` shows. Pure.

use super::{Algorithm, ChangedKey, KeyState, OfferedKey};
use crate::kind;
use std::fmt;

/// Why a remote directory could not be mounted, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The name has no address.
    UnknownHost,
    /// Nothing listens on the port.
    Refused,
    /// No route, or a firewall that says so; in the words of the C library.
    Unreachable(String),
    /// The server did not answer in time.
    TimedOut,
    /// The server's key is not the stored one.
    HostKeyChanged(Box<ChangedKey>),
    /// The server's key is not known and must be.
    HostKeyUnknown,
    /// The server's key has been revoked.
    HostKeyRevoked,
    /// What `connect` found out about host keys, in its own words.
    HostKey(String),
    /// The server refused key and password.
    AccessDenied {
        /// What it would have accepted, in its own words.
        accepts: String,
        /// The key of the volume.
        key: Option<OfferedKey>,
    },
    /// The server gave up before it tried all keys.
    TooManyKeys,
    /// The private key of the volume cannot be used; never [`KeyState::Usable`].
    UnusableKey(KeyState),
    /// Another key cannot be used.
    BadKey(String),
    /// The agent of the volume cannot be used.
    NoAgent(String),
    /// Client and server share no algorithm of some sort.
    NoCommonAlgorithm {
        /// The sort.
        of: Algorithm,
        /// What the server has.
        offer: String,
    },
    /// Something is wrong with a host on the way, which is not the server.
    JumpHost(Box<Self>),
    /// The last host on the way cannot reach the server, which it says in these words.
    BehindJumpHost(String),
    /// The server has no SFTP.
    NoSftp,
    /// The login worked, and what the server then started ended without speaking SFTP.
    NotSftp,
    /// The remote directory is missing.
    NoDirectory,
    /// The remote path is a file.
    NotADirectory,
    /// The remote user may not see the directory.
    DirectoryDenied,
    /// ssh_config or an option is wrong.
    BadConfiguration(String),
    /// sshfs or ssh is not installed.
    NoProgram(String),
    /// The server ended the connection before the login.
    Closed,
    /// The server ended the connection while the user logged in; what it said before, if anything.
    LoginEnded(Option<String>),
    /// None of these: the last words.
    Other(String),
}

impl Cause {
    /// A short name that stays the same, for counting and for the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownHost => kind::UNKNOWN_HOST,
            Self::Refused => kind::REFUSED,
            Self::Unreachable(_) => kind::UNREACHABLE,
            Self::TimedOut => kind::TIMED_OUT,
            Self::HostKeyChanged(_) => kind::HOST_KEY_CHANGED,
            Self::HostKeyUnknown => kind::HOST_KEY_UNKNOWN,
            Self::HostKeyRevoked => kind::HOST_KEY_REVOKED,
            Self::HostKey(sentence) if ChangedKey::is_told_by(sentence) => kind::HOST_KEY_CHANGED,
            Self::HostKey(_) => kind::KNOWN_HOSTS_UNUSABLE,
            Self::AccessDenied { .. } => kind::LOGIN_REFUSED,
            Self::TooManyKeys => kind::TOO_MANY_ATTEMPTS,
            Self::UnusableKey(KeyState::PassphraseMissing) => kind::PASSPHRASE_MISSING,
            Self::UnusableKey(KeyState::PassphraseWrong) => kind::PASSPHRASE_WRONG,
            Self::UnusableKey(_) | Self::BadKey(_) => kind::KEY_UNUSABLE,
            Self::NoAgent(_) => kind::AGENT_UNUSABLE,
            Self::NoCommonAlgorithm { .. } => kind::NO_COMMON_ALGORITHM,
            Self::JumpHost(_) => kind::JUMP_HOST,
            Self::BehindJumpHost(_) => kind::BEHIND_JUMP_HOST,
            Self::NoSftp => kind::NO_SFTP,
            Self::NotSftp => kind::NOT_SFTP,
            Self::NoDirectory => kind::NO_DIRECTORY,
            Self::NotADirectory => kind::NOT_A_DIRECTORY,
            Self::DirectoryDenied => kind::DIRECTORY_DENIED,
            Self::BadConfiguration(_) => kind::BAD_SSH_CONFIG,
            Self::NoProgram(_) => kind::PROGRAM_MISSING,
            Self::Closed => kind::CONNECTION_CLOSED,
            Self::LoginEnded(_) => kind::LOGIN_ENDED,
            Self::Other(_) => kind::OTHER,
        }
    }

    /// Whether another attempt would end the same, and might lock the account.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::HostKeyChanged(_)
            | Self::HostKeyUnknown
            | Self::HostKeyRevoked
            | Self::HostKey(_)
            | Self::AccessDenied { .. }
            | Self::TooManyKeys
            | Self::UnusableKey(_)
            | Self::BadKey(_) => true,
            Self::JumpHost(cause) => cause.is_refusal(),
            _ => false,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownHost => f.write_str(
                "the host name cannot be resolved; check the name, the DNS of this host and the aliases in \
                 /etc/sshfs-docker/ssh_config",
            ),
            Self::Refused => f.write_str("connection refused: nothing listens on that port; check sshd and the 'port' option"),
            Self::Unreachable(reason) => write!(
                f,
                "the server is unreachable ({reason}); check the address, the routes of this host and the firewalls between"
            ),
            Self::TimedOut => f.write_str("the server did not answer: timed out; check the address, the firewall and that the server is up"),
            Self::HostKeyChanged(change) => change.fmt(f),
            Self::HostKeyUnknown => f.write_str(
                "the host key of the server is not known and must be; add it to /etc/sshfs-docker/known_hosts, or pin it \
                 with the 'host_key' option",
            ),
            Self::HostKeyRevoked => f.write_str(
                "the host key of the server has been revoked (@revoked in a known_hosts file, or RevokedHostKeys): \
                 whoever shows it may have stolen it; give the server a new key",
            ),
            Self::HostKey(sentence) => f.write_str(sentence),
            Self::AccessDenied { accepts, .. } => write!(
                f,
                "permission denied: the server accepted neither key nor password (it accepts: {accepts}); check the user, \
                 'identity_file' or 'password_file', and authorized_keys on the server"
            ),
            Self::TooManyKeys => f.write_str(
                "the server ended the login after too many attempts; name the right key with 'identity_file'",
            ),
            Self::UnusableKey(state) => unusable_key(*state, f),
            Self::BadKey(line) => write!(
                f,
                "the private key cannot be used ({line}); check 'identity_file', and 'password_file' if the key has a \
                 passphrase"
            ),
            Self::NoAgent(reason) => write!(f, "the ssh agent cannot be used: {reason}; check that it runs, and 'IdentityAgent'"),
            Self::NoCommonAlgorithm { of, offer } => write!(
                f,
                "client and server have no {of} in common (the server offers: {offer}); allow one of these with the option \
                 '{}', or a newer one on the server",
                of.option()
            ),
            Self::JumpHost(cause) => match &**cause {
                Self::AccessDenied { accepts, .. } => write!(
                    f,
                    "the jump host on the way to the server refused the login (it accepts: {accepts}); its user and its key are \
                     those of its own section in /etc/sshfs-docker/ssh_config (User, IdentityFile)"
                ),
                Self::Closed | Self::LoginEnded(_) | Self::Other(_) => f.write_str(
                    "the jump host on the way to the server ended the connection; see the log of its sshd, and the journal \
                     of the mount",
                ),
                cause => write!(f, "the jump host on the way to the server cannot be passed: {cause}"),
            },
            Self::BehindJumpHost(reason) => write!(
                f,
                "the jump host lets us in, but cannot reach the server ({reason}); check the address and the port as the jump \
                 host sees them, and AllowTcpForwarding there"
            ),
            Self::NoSftp => f.write_str(
                "the login worked but the server offers no SFTP; enable 'Subsystem sftp' in its sshd_config",
            ),
            Self::NotSftp => f.write_str(
                "the login worked but what the server then started is no SFTP server and has ended; check the user's shell \
                 (nologin), ForceCommand and command=\"…\" on the server, and set 'Subsystem sftp internal-sftp' in its \
                 sshd_config",
            ),
            Self::NoDirectory => f.write_str(
                "the remote directory does not exist, or a link on the way to it leads nowhere; create it on the server, or \
                 correct the path in 'sshcmd'",
            ),
            Self::NotADirectory => {
                f.write_str("the remote path is not a directory (a link to one needs a '/' at its end)")
            }
            Self::DirectoryDenied => f.write_str(
                "the login worked but the remote user may not enter the remote directory; check its permissions",
            ),
            Self::BadConfiguration(line) => bad_configuration(line.trim_end_matches('.'), f),
            Self::NoProgram(line) => write!(f, "{line}; install the packages sshfs and openssh-client"),
            Self::Closed => f.write_str(
                "the server ended the connection before the login; it may have too many at once (MaxStartups), or shut out this \
                 host for a while (PerSourcePenalties, fail2ban): see the log of its sshd, and try again later",
            ),
            Self::LoginEnded(words) => {
                f.write_str("the server ended the connection while the user logged in")?;
                if let Some(words) = words {
                    write!(f, ", and says: {}", words.trim_end_matches('.'))?;
                }
                f.write_str(
                    "; the account may have expired, or nobody may log in there now (/etc/nologin): see the log of its sshd",
                )
            }
            Self::Other(words) => {
                write!(f, "{words}; the journal of the mount may say more (journalctl -u 'sshfs-docker-mount-*')")
            }
        }
    }
}

fn bad_configuration(line: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // What stands on the command line of ssh is of the volume, or of config.toml.
    if let Some(mistake) = line.strip_prefix("command-line line 0: ") {
        return write!(
            f,
            "ssh refuses an option: {mistake}; correct it in the volume, or in config.toml if it is set there"
        );
    }
    let remedy = if line.contains("Bad owner or permissions") {
        "it must belong to root, and nobody else may write to it"
    } else if line.contains("Permission denied") {
        "the user sshfs-docker must be able to read it"
    } else {
        "correct the file"
    };
    write!(f, "ssh refuses its configuration: {line}; {remedy}")
}

fn unusable_key(state: KeyState, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match state {
        KeyState::PassphraseMissing => {
            "the private key has a passphrase, and the volume has none; give it with 'password_file'"
        }
        KeyState::PassphraseWrong => {
            "the passphrase in 'password_file' does not open the private key in 'identity_file'"
        }
        KeyState::Empty => "the private key cannot be used: the file is empty; check 'identity_file'",
        KeyState::Public => {
            "the private key cannot be used: the file is the public half; name the other one (without .pub) in 'identity_file'"
        }
        KeyState::Putty => {
            "the private key cannot be used: it is in PuTTY's format; convert it: puttygen KEY.ppk -O private-openssh -o KEY"
        }
        KeyState::Damaged => {
            "the private key cannot be used: it is damaged, or of a kind that this ssh does not know; compare the file with the \
             original (ssh-keygen -y -f FILE reads a good one)"
        }
        KeyState::NotAKey | KeyState::Usable => {
            "the private key cannot be used: the file is no private key; check 'identity_file'"
        }
    })
}
