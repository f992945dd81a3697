//! From what ssh and sshfs said to the one sentence that `docker run` shows. Pure.
//!
//! The texts are those of OpenSSH 8.4 to 10 and sshfs 3.7 with LC_ALL=C. What is not recognised is passed on in
//! ssh's own words: a strange message helps more than "exit status 1".

mod algorithm;
mod cause;
mod changed_key;
mod offered_key;

pub use algorithm::Algorithm;
pub use cause::Cause;
pub use changed_key::{ChangedKey, fingerprint};
pub use offered_key::{KeyState, OfferedKey};

use crate::notice::{self, Notice};
use nix::errno::Errno;
use std::{borrow::Cow, io, path::Path};

/// ssh says it when what it talks through, another ssh for a jump host, has ended.
const THROUGH_ANOTHER: &str = "UNKNOWN port 65535";

/// Finds the cause in what was said. `said` is the whole text in the order it came.
#[must_use]
pub fn diagnose(said: &str) -> Cause {
    match Notice::last_sentence(said) {
        Some(Notice::HostKey(sentence)) => return Cause::HostKey(clean_sentence(&sentence)),
        Some(Notice::Agent(sentence)) => return Cause::NoAgent(clean_sentence(&sentence)),
        _ => {}
    }
    let key = Notice::all(said).rev().find_map(|notice| match notice {
        Notice::Key(key) => OfferedKey::parse(&key),
        _ => None,
    });
    let had_login = Notice::tells_of_login(said);
    let said = &notice::without(said);
    let said = &without_debugging(said);
    if let Some((before, _)) = said.split_once(THROUGH_ANOTHER) {
        return match line_with(before, "open failed: ") {
            Some(line) => Cause::BehindJumpHost(reason(&line)),
            None => match of_one_host(before) {
                // It names the host.
                Cause::HostKeyChanged(change) => Cause::HostKeyChanged(change),
                cause => Cause::JumpHost(Box::new(cause)),
            },
        };
    }
    match (of_one_host(said), key) {
        (Cause::AccessDenied { .. } | Cause::BadKey(_) | Cause::TooManyKeys, Some(key))
            if key.state != KeyState::Usable =>
        {
            Cause::UnusableKey(key.state)
        }
        (Cause::AccessDenied { accepts, .. }, key) => Cause::AccessDenied { accepts, key },
        (Cause::Other(_), _) if had_login => Cause::NotSftp,
        (cause, _) => cause,
    }
}

/// The cause in what was said about one connection.
fn of_one_host(said: &str) -> Cause {
    let line_with = |needle: &str| line_with(said, needle);
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
    if let Some(line) = line_with("Can't open user config file")
        .or_else(|| line_with("Bad owner or permissions"))
        .or_else(|| line_with("unknown option(s)"))
    {
        return Cause::BadConfiguration(line);
    }
    if says("Bad configuration option") || says("terminating,") || says("command-line line ") {
        // The first mistake is told before the end, with its line.
        let mistake = line_with(" line ").or_else(|| line_with("terminating,"));
        return Cause::BadConfiguration(mistake.unwrap_or_else(|| last_words(said)));
    }
    if let Some(line) = line_with("no matching ").or_else(|| line_with("Unable to negotiate")) {
        let offer = said.split("Their offer: ").nth(1).and_then(|offer| offer.lines().next());
        return Cause::NoCommonAlgorithm {
            of: Algorithm::of(&line),
            offer: offer.map_or_else(String::new, clean),
        };
    }
    if let Some(line) = line_with("Load key ") {
        return Cause::BadKey(line);
    }
    if says("Too many authentication failures") {
        return Cause::TooManyKeys;
    }
    if let Some(accepts) = said.split("Permission denied (").nth(1).and_then(|rest| rest.split(')').next()) {
        return Cause::AccessDenied { accepts: clean(accepts), key: None };
    }
    if says("subsystem request failed") {
        return Cause::NoSftp;
    }
    if says("Connection refused") {
        return Cause::Refused;
    }
    if says("Connection timed out") || says("Operation timed out") || says("not responding") {
        return Cause::TimedOut;
    }
    if let Some(line) = line_with("ssh: connect to host ") {
        return Cause::Unreachable(reason(&line));
    }
    if let Some(line) = line_with("cannot start ").or_else(|| line_with("failed to execute")) {
        return Cause::NoProgram(line.split(" (os error").next().unwrap_or(&line).to_owned());
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
    // Before there is a key exchange, or while the user logs in.
    if says("kex_exchange_identification: ") {
        return Cause::Closed;
    }
    if says("Connection closed by") || says("Connection reset by ") && !is_only_of_sshfs(said) {
        let tells = |line: &String| is_telling(line) && !line.starts_with("Connection ");
        return Cause::LoginEnded(said.lines().map(clean).rfind(tells));
    }
    if says("remote host has disconnected") {
        return Cause::NotSftp;
    }
    Cause::Other(last_words(said))
}

/// With LogLevel=DEBUG ssh also tells of files that it need not find, in the words in which it tells what ends it.
fn without_debugging(said: &str) -> Cow<'_, str> {
    let is_debugging =
        |line: &str| ["debug1: ", "debug2: ", "debug3: "].iter().any(|level| line.starts_with(level));
    if said.lines().any(is_debugging) {
        said.split_inclusive('\n').filter(|line| !is_debugging(line)).collect()
    } else {
        said.into()
    }
}

/// sshfs says that ssh has ended as if a network had.
const END_OF_SSH: &str = "read: Connection reset by peer";

fn is_only_of_sshfs(said: &str) -> bool {
    said.lines().filter(|line| line.contains("Connection reset by ")).all(|line| line.trim() == END_OF_SSH)
}

fn line_with(said: &str, needle: &str) -> Option<String> {
    said.lines().find(|line| line.contains(needle)).map(clean)
}

/// What the C library says at the end of a line.
fn reason(line: &str) -> String {
    line.rsplit(": ").next().unwrap_or(line).to_owned()
}

/// The last line in which somebody says something about a mount that is still being made.
#[must_use]
pub fn last_line(said: &str) -> Option<String> {
    notice::without(said).lines().map(clean).rfind(is_telling)
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

/// An error of this host, without its number and with what helps.
#[must_use]
pub fn of_this_host(error: &io::Error) -> String {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or(&words);
    match error.kind() {
        io::ErrorKind::StorageFull => format!("{words}; free some, then try again"),
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{words}; 'dmesg' tells why it is read-only, if nobody made it so")
        }
        _ => words.to_owned(),
    }
}

/// A longer line is cut: the server may be who wrote it.
const LONGEST_LINE: usize = 300;

/// `PATH_MAX` of Linux.
const LONGEST_PATH: usize = 4096;

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

/// The same for a path that a container or the server has named.
#[must_use]
pub fn clean_path(path: &Path) -> String {
    shown(&path.to_string_lossy(), LONGEST_PATH)
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
    let lines: Vec<_> = said.lines().map(clean).filter(is_telling).collect();
    match lines.as_slice() {
        [] => "sshfs ended without saying why".to_owned(),
        lines => lines[lines.len().saturating_sub(3)..].join("; "),
    }
}

fn is_telling(line: &String) -> bool {
    !line.is_empty() && !line.starts_with("Warning: Permanently added") && line != END_OF_SSH
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
            (
                "ssh: connect to host storage port 22: Connection refused\r\nread: Connection reset by peer\n",
                Cause::Refused,
            ),
            ("ssh: connect to host storage port 22: Connection timed out\r\n", Cause::TimedOut),
            (
                "alice@storage: Permission denied (publickey,password).\r\nread: Connection reset by peer\n",
                Cause::AccessDenied { accepts: "publickey,password".to_owned(), key: None },
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
            (
                "a banner\n\u{1}host-key our own words\nread: reset\n",
                Cause::HostKey("our own words".to_owned()),
            ),
            (
                "ssh: connect to host gate port 22: Connection refused\r\n\
                 kex_exchange_identification: Connection closed by remote host\r\n\
                 Connection closed by UNKNOWN port 65535\r\nread: Connection reset by peer\n",
                Cause::JumpHost(Box::new(Cause::Refused)),
            ),
            (
                "channel 0: open failed: connect failed: Connection refused\r\nstdio forwarding failed\r\n\
                 Connection closed by UNKNOWN port 65535\r\n",
                Cause::BehindJumpHost("Connection refused".to_owned()),
            ),
            (
                "ssh: connect to host storage port 22: Permission denied\r\n",
                Cause::Unreachable("Permission denied".to_owned()),
            ),
            (
                "Your account has expired.\nConnection closed by 10.0.0.1 port 22\r\nread: Connection reset by peer\n",
                Cause::LoginEnded(Some("Your account has expired.".to_owned())),
            ),
            ("\u{1}logged-in \nread: Connection reset by peer\n", Cause::NotSftp),
            (
                "alice@storage: Permission denied (publickey).\r\n\n\u{1}key passphrase-wrong \n",
                Cause::UnusableKey(KeyState::PassphraseWrong),
            ),
            (
                "key: passphrase-wrong \nssh: connect to host storage port 22: Connection refused\r\n",
                Cause::Refused,
            ),
            ("alice@storage:/srv/x: No such file or directory\n", Cause::NoDirectory),
            ("alice@storage:/srv/x: Not a directory\n", Cause::NotADirectory),
            ("alice@storage:/srv/x: Permission denied\n", Cause::DirectoryDenied),
            (
                "Unable to negotiate with 10.0.0.1 port 22: no matching cipher found. Their offer: aes128-ctr\r\n",
                Cause::NoCommonAlgorithm { of: Algorithm::Cipher, offer: "aes128-ctr".to_owned() },
            ),
            (
                "Warning: Permanently added 'storage' (ED25519) to the list of known hosts.\r\n",
                Cause::Other("sshfs ended without saying why".to_owned()),
            ),
            ("", Cause::Other("sshfs ended without saying why".to_owned())),
            (
                "debug1: load_hostkeys: fopen /x: No such file or directory\r\ndebug1: SSH2_MSG_NEWKEYS sent\r\n\
                 ssh: connect to host storage port 22: Connection refused\r\n",
                Cause::Refused,
            ),
            ("a\nb\u{1b}[31m\nc\nd\n", Cause::Other("b[31m; c; d".to_owned())),
        ] {
            assert_eq!(diagnose(said), cause, "{said}");
        }
    }

    #[test]
    fn words_of_a_server_are_cut_and_show_nothing_that_is_not_there() {
        let long = format!("Permission denied ({}).", "\u{202e}x".repeat(9999));
        assert_eq!(diagnose(&long), Cause::AccessDenied { accepts: "x".repeat(LONGEST_LINE), key: None });
    }

    proptest! {
        #[test]
        fn whatever_a_server_says_is_one_printable_line(said in "\\PC{0,60}(\n|\r\n|\u{1b})?.{0,60}") {
            let shown = diagnose(&said).to_string();
            prop_assert!(!shown.is_empty() && !shown.contains(char::is_control), "{:?}", shown);
        }
    }
}
