//! From what ssh and sshfs said to the one sentence that `docker run` shows. Pure.
//!
//! The texts are those of OpenSSH 8.4 to 10 and sshfs 3.7 with LC_ALL=C. What is not recognised is passed on in
//! ssh's own words: a strange message helps more than "exit status 1".

mod changed_key;

pub use changed_key::{ChangedKey, fingerprint};

use crate::notice::{self, Notice};
use nix::errno::Errno;
use std::fmt;

/// Why a remote directory could not be mounted, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The name has no address.
    UnknownHost,
    /// Nothing listens on the port.
    Refused,
    /// No route.
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
    },
    /// The server gave up before it tried all keys.
    TooManyKeys,
    /// The private key cannot be used.
    BadKey(String),
    /// The agent of the volume cannot be used.
    NoAgent(String),
    /// Client and server share no algorithm.
    NoCommonAlgorithm(String),
    /// The server has no SFTP.
    NoSftp,
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
    /// The server ended the connection before a session.
    Closed(String),
    /// None of these: the last words.
    Other(String),
}

/// Finds the cause in what was said. `said` is the whole text in the order it came.
#[must_use]
pub fn diagnose(said: &str) -> Cause {
    match Notice::last_sentence(said) {
        Some(Notice::HostKey(sentence)) => return Cause::HostKey(clean_sentence(&sentence)),
        Some(Notice::Agent(sentence)) => return Cause::NoAgent(clean_sentence(&sentence)),
        _ => {}
    }
    let said = &notice::without(said);
    let line_with = |needle: &str| said.lines().find(|line| line.contains(needle)).map(clean);
    let says = |needle: &str| said.contains(needle);

    // The order matters: a changed host key also ends in "verification failed", a refused key in "reset by peer".
    if says("REVOKED HOST KEY DETECTED") || says(" revoked by file ") {
        return Cause::HostKeyRevoked;
    }
    if let Some(change) = ChangedKey::parse(said) {
        return Cause::HostKeyChanged(Box::new(change.unchecked()));
    }
    if says("Host key verification failed") || says("you have requested strict checking") {
        return Cause::HostKeyUnknown;
    }
    if says("Could not resolve hostname") {
        return Cause::UnknownHost;
    }
    if let Some(line) = line_with("Bad configuration option")
        .or_else(|| line_with("Bad owner or permissions"))
        .or_else(|| line_with("terminating,"))
        .or_else(|| line_with("Can't open user config file"))
        .or_else(|| line_with("unknown option(s)"))
        .or_else(|| line_with("Bad SSH2"))
    {
        return Cause::BadConfiguration(line);
    }
    if let Some(line) = line_with("no matching ").or_else(|| line_with("Unable to negotiate")) {
        return Cause::NoCommonAlgorithm(line);
    }
    if let Some(line) = line_with("Load key ") {
        return Cause::BadKey(line);
    }
    if says("Too many authentication failures") {
        return Cause::TooManyKeys;
    }
    if let Some(accepts) = said.split("Permission denied (").nth(1).and_then(|rest| rest.split(')').next()) {
        return Cause::AccessDenied { accepts: clean(accepts) };
    }
    if says("subsystem request failed") {
        return Cause::NoSftp;
    }
    if says("Connection refused") {
        return Cause::Refused;
    }
    if let Some(line) = line_with("No route to host").or_else(|| line_with("Network is unreachable")) {
        return Cause::Unreachable(line);
    }
    if says("Connection timed out") || says("Operation timed out") || says("not responding") {
        return Cause::TimedOut;
    }
    if let Some(line) = line_with("cannot start ").or_else(|| line_with("failed to execute")) {
        return Cause::NoProgram(line);
    }
    // sshfs about the remote path: "host:/path: No such file or directory".
    if says(": No such file or directory") {
        return Cause::NoDirectory;
    }
    if says(": Not a directory") {
        return Cause::NotADirectory;
    }
    if says(": Permission denied") {
        return Cause::DirectoryDenied;
    }
    if let Some(line) = line_with("Connection closed by").or_else(|| line_with("Connection reset by")) {
        return Cause::Closed(line);
    }
    Cause::Other(last_words(said))
}

/// The cause that an error number stands for, where a running mount answers with one.
#[must_use]
pub fn of_errno(errno: Errno) -> Cause {
    match errno {
        Errno::ENOENT => Cause::NoDirectory,
        Errno::ENOTDIR => Cause::NotADirectory,
        Errno::EACCES | Errno::EPERM => Cause::DirectoryDenied,
        Errno::ETIMEDOUT => Cause::TimedOut,
        errno => Cause::Other(errno.desc().to_owned()),
    }
}

impl Cause {
    /// A short name that stays the same, for counting and for the journal.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown-host",
            Self::Refused => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed-out",
            Self::HostKeyChanged(_) => "host-key-changed",
            Self::HostKeyUnknown => "host-key-unknown",
            Self::HostKeyRevoked => "host-key-revoked",
            Self::HostKey(sentence) if ChangedKey::is_told_by(sentence) => "host-key-changed",
            Self::HostKey(_) => "known-hosts-unusable",
            Self::AccessDenied { .. } => "login-refused",
            Self::TooManyKeys => "too-many-attempts",
            Self::BadKey(_) => "key-unusable",
            Self::NoAgent(_) => "agent-unusable",
            Self::NoCommonAlgorithm(_) => "no-common-algorithm",
            Self::NoSftp => "no-sftp",
            Self::NoDirectory => "no-directory",
            Self::NotADirectory => "not-a-directory",
            Self::DirectoryDenied => "directory-denied",
            Self::BadConfiguration(_) => "bad-ssh-config",
            Self::NoProgram(_) => "program-missing",
            Self::Closed(_) => "connection-closed",
            Self::Other(_) => "other",
        }
    }

    /// Whether another attempt would end the same, and might lock the account.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::HostKeyChanged(_)
                | Self::HostKeyUnknown
                | Self::HostKeyRevoked
                | Self::HostKey(_)
                | Self::AccessDenied { .. }
                | Self::TooManyKeys
                | Self::BadKey(_)
        )
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
            Self::Unreachable(line) => write!(f, "the server is unreachable ({line}); check the network and the address"),
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
            Self::AccessDenied { accepts } => write!(
                f,
                "permission denied: the server accepted neither key nor password (it accepts: {accepts}); check the user, \
                 'identity_file' or 'password_file', and authorized_keys on the server"
            ),
            Self::TooManyKeys => f.write_str(
                "the server ended the login after too many attempts; name the right key with 'identity_file'",
            ),
            Self::BadKey(line) => write!(
                f,
                "the private key cannot be used ({line}); check 'identity_file', and 'password_file' if the key has a \
                 passphrase"
            ),
            Self::NoAgent(reason) => {
                write!(f, "the ssh agent cannot be used: {reason}; check that it runs, and 'IdentityAgent'")
            }
            Self::NoCommonAlgorithm(line) => {
                write!(f, "client and server have no algorithm in common ({line}); see Ciphers, KexAlgorithms, HostKeyAlgorithms")
            }
            Self::NoSftp => f.write_str(
                "the login worked but the server offers no SFTP; enable 'Subsystem sftp' in its sshd_config",
            ),
            Self::NoDirectory => f.write_str("the remote directory does not exist"),
            Self::NotADirectory => {
                f.write_str("the remote path is not a directory (a link to one needs a '/' at its end)")
            }
            Self::DirectoryDenied => f.write_str(
                "the login worked but the remote user may not enter the remote directory; check its permissions",
            ),
            Self::BadConfiguration(line) => write!(f, "ssh refuses its configuration: {line}"),
            Self::NoProgram(line) => write!(f, "{line}; install the packages sshfs and openssh-client"),
            Self::Closed(line) => write!(f, "the server ended the connection before the login was complete ({line})"),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// A longer line is cut: the server may be who wrote it.
const LONGEST_LINE: usize = 300;

/// Without carriage returns, which ssh writes at the end of lines, and without what else a hostile server could send to
/// the terminal of `docker run` so that it shows something else than is there.
#[must_use]
pub fn clean(line: &str) -> String {
    shown(line, LONGEST_LINE)
}

/// The same for a sentence of ours, which may be longer.
#[must_use]
pub fn clean_sentence(sentence: &str) -> String {
    shown(sentence, notice::LONGEST)
}

fn shown(line: &str, longest: usize) -> String {
    let shown = line.chars().filter(|c| !c.is_control() && !is_invisible(*c));
    shown.take(longest).collect::<String>().trim().to_owned()
}

/// Characters that change the direction or the lines of a text, or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The last lines, for a cause that is not known.
fn last_words(said: &str) -> String {
    let tells = |line: &String| !line.is_empty() && !line.starts_with("Warning: Permanently added");
    let lines: Vec<_> = said.lines().map(clean).filter(tells).collect();
    match lines.as_slice() {
        [] => "sshfs ended without saying why".to_owned(),
        lines => lines[lines.len().saturating_sub(3)..].join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
The fingerprint for the ED25519 key sent by the remote host is\nSHA256:SbH6zDPZCGlDyaCulSNwPrP4hr4Jqearp+xNoOGheIQ.\r
Host key for storage has changed and you have requested strict checking.\r
Host key verification failed.\r
read: Connection reset by peer\n";

    #[test]
    fn what_ssh_says_becomes_a_cause() {
        for (said, cause) in [
            (
                CHANGED,
                Cause::HostKeyChanged(Box::new(ChangedKey {
                    shown: Some("SHA256:SbH6zDPZCGlDyaCulSNwPrP4hr4Jqearp+xNoOGheIQ".to_owned()),
                    known: None,
                    place: None,
                    host: None,
                })),
            ),
            (
                "No ED25519 host key is known for storage and you have requested strict checking.\r\nHost key verification failed.\r\n",
                Cause::HostKeyUnknown,
            ),
            ("ssh: Could not resolve hostname storage: Name or service not known\r\n", Cause::UnknownHost),
            ("ssh: connect to host storage port 22: Connection refused\r\nread: Connection reset by peer\n", Cause::Refused),
            ("ssh: connect to host storage port 22: Connection timed out\r\n", Cause::TimedOut),
            (
                "alice@storage: Permission denied (publickey,password).\r\nread: Connection reset by peer\n",
                Cause::AccessDenied { accepts: "publickey,password".to_owned() },
            ),
            ("subsystem request failed on channel 0\r\n", Cause::NoSftp),
            (
                "\u{1}agent /run/user/1000/agent does not exist\n",
                Cause::NoAgent("/run/user/1000/agent does not exist".to_owned()),
            ),
            (
                "@       WARNING: REVOKED HOST KEY DETECTED!               @\r\n\
                 ED25519 host key for storage was revoked and you have requested strict checking.\r\n\
                 Host key verification failed.\r\n",
                Cause::HostKeyRevoked,
            ),
            ("a banner\n\u{1}host-key our own words\nread: reset\n", Cause::HostKey("our own words".to_owned())),
            ("alice@storage:/srv/x: No such file or directory\n", Cause::NoDirectory),
            ("alice@storage:/srv/x: Not a directory\n", Cause::NotADirectory),
            ("alice@storage:/srv/x: Permission denied\n", Cause::DirectoryDenied),
            (
                "Unable to negotiate with 10.0.0.1 port 22: no matching cipher found. Their offer: aes128-ctr\r\n",
                Cause::NoCommonAlgorithm(
                    "Unable to negotiate with 10.0.0.1 port 22: no matching cipher found. Their offer: aes128-ctr".to_owned(),
                ),
            ),
            (
                "Warning: Permanently added 'storage' (ED25519) to the list of known hosts.\r\n",
                Cause::Other("sshfs ended without saying why".to_owned()),
            ),
            ("", Cause::Other("sshfs ended without saying why".to_owned())),
            ("a\nb\u{1b}[31m\nc\nd\n", Cause::Other("b[31m; c; d".to_owned())),
        ] {
            assert_eq!(diagnose(said), cause, "{said}");
        }
    }

    #[test]
    fn words_of_a_server_are_cut_and_show_nothing_that_is_not_there() {
        let long = format!("Permission denied ({}).", "\u{202e}x".repeat(9999));
        assert_eq!(diagnose(&long), Cause::AccessDenied { accepts: "x".repeat(LONGEST_LINE) });
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_one_printable_line(said in "\\PC{0,60}(\n|\r\n|\u{1b})?.{0,60}") {
            let shown = diagnose(&said).to_string();
            prop_assert!(!shown.is_empty() && !shown.contains(char::is_control), "{:?}", shown);
        }
    }
}
