//! `sshfs-docker connect`: what sshfs starts in the place of ssh (`-o ssh_command=`), so that a dark server costs one
//! attempt and not one per access.
//!
//! sshfs connects again inside the next file access and holds a lock over it (sshfs.c 3.7, `sftp_request_send`). While a
//! server is dark, each access therefore waits for an attempt of its own, one after another: fifty processes, fifty
//! timeouts. This process remembers in a [`Ledger`] that the last attempt has just failed, and then fails at once; with
//! `hard` it tries until the server is back instead. It stays above ssh as long as that lives.
//!
//! An attempt has succeeded when ssh has read what sshfs sent first (the SFTP INIT, nine bytes in the socket that is our
//! standard input): it does so when the server has opened the session. Until then a second ssh may take over.

use crate::{
    diagnosis::{self, Cause, ChangedKey},
    host_keys::{self, Way},
    identity,
    notice::{self, Notice},
    sys,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::memfd::{MFdFlags, memfd_create},
    time::{ClockId, clock_gettime},
};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::FileExt, process::ExitStatusExt},
    },
    path::PathBuf,
    process::{Child, ChildStderr, Command, ExitCode, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// For so long a failed attempt answers for the server. Accesses that were waiting for it fail at once; a server that is
/// back is noticed not much later.
const FRESH: Duration = Duration::from_secs(2);

/// Pause before an answer from memory, because some programs try again without one.
const SPACING: Duration = Duration::from_millis(10);

/// How long a new attempt may take in all, logging in included. `ConnectTimeout` ends the usual failures earlier. The
/// first attempt of a mount has the deadline of the mount instead.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Between two attempts of a `hard` mount.
const PAUSE: Duration = Duration::from_secs(1);

/// How long what ssh said last may take. Something that ssh started may hold the pipe, and sshfs waits for our end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The exit code of ssh where it has no session. Otherwise it is that of what the server started.
const SSH_FAILED: i32 = 255;

/// The wait status of an ssh that failed, where none was started.
const REFUSED: i32 = SSH_FAILED << 8;

/// How long sshfs may take to send its first bytes after it started us.
const FIRST_BYTES: u16 = 5_000;

/// The environment variable with the path of the ledger.
pub const LEDGER: &str = "SSHFS_DOCKER_LEDGER";

/// What is known of the last attempt of a mount, in memory that its processes share and that ends with them.
#[derive(Debug)]
pub struct Ledger(File);

/// The entry of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// No attempt has ended yet.
    Empty,
    /// The last one led to a session.
    Connected,
    /// The last one failed at this time, in milliseconds since boot.
    Failed(u64),
    /// The server, or the check of its key, refused the login at this time.
    Refused(u64),
}

impl Entry {
    /// Whether the last attempt failed so recently that another one would only cost time. A `hard` mount waits for a
    /// server that is dark, but not for one that refuses.
    fn answers_for_the_server(self, hard: bool, now: u64) -> bool {
        let is_fresh = |at| now.saturating_sub(at) < u64::try_from(FRESH.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Empty | Self::Connected => false,
            Self::Failed(at) => !hard && is_fresh(at),
            Self::Refused(at) => is_fresh(at),
        }
    }
}

impl Ledger {
    /// A new ledger, kept open by the processes that inherit it. Returns its path as they see it.
    pub fn create() -> io::Result<(Self, PathBuf)> {
        let file = File::from(memfd_create("connection", MFdFlags::empty())?);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        Ok((Self(file), path))
    }

    fn inherited() -> Option<Self> {
        let path = env::var_os(LEDGER)?;
        File::options().read(true).write(true).open(path).ok().map(Self)
    }

    fn read(&self) -> Entry {
        let text = fs::read_to_string(format!("/proc/self/fd/{}", self.0.as_raw_fd())).unwrap_or_default();
        match text.trim().split_once(' ') {
            Some(("failed", at)) => at.parse().map_or(Entry::Connected, Entry::Failed),
            Some(("refused", at)) => at.parse().map_or(Entry::Connected, Entry::Refused),
            _ if text.is_empty() => Entry::Empty,
            _ => Entry::Connected,
        }
    }

    fn write(&self, entry: Entry) -> io::Result<()> {
        let text = match entry {
            Entry::Empty => return Ok(()),
            Entry::Connected => "connected".to_owned(),
            Entry::Failed(at) => format!("failed {at}"),
            Entry::Refused(at) => format!("refused {at}"),
        };
        // In one step and of one length, because with several connections another process may be reading.
        self.0.write_all_at(format!("{text:<32}").as_bytes(), 0)
    }
}

/// Runs ssh with `arguments`, unless it is known to fail. The exit status is that of ssh.
#[must_use]
pub fn run(hard: bool, arguments: &[OsString]) -> ExitCode {
    // Without a ledger, as under a foreign supervisor, every attempt is the first one.
    let ledger = Ledger::inherited();
    let known = ledger.as_ref().map_or(Entry::Empty, Ledger::read);
    if known.answers_for_the_server(hard, now()) {
        sleep(SPACING);
        return ExitCode::FAILURE;
    }
    wait_for_first_bytes();
    let limit = (known != Entry::Empty).then_some(ATTEMPT);
    loop {
        let said = Said::default();
        let outcome = match attempt(arguments, limit, ledger.as_ref(), &said) {
            Ok(outcome) => outcome,
            Err(e) => {
                eprintln!("cannot start ssh: {e}");
                return ExitCode::from(127);
            }
        };
        match outcome {
            Outcome::Ended(status) => return exit_code(status),
            // The user of a mount that never was waits for the reason.
            Outcome::Failed { status, refused } if !hard || known == Entry::Empty || refused || hung_up() => {
                return exit_code(status);
            }
            Outcome::Failed { .. } => sleep(PAUSE),
        }
    }
}

enum Outcome {
    /// There was a session, and it ended.
    Ended(ExitStatus),
    /// There was none.
    Failed {
        status: ExitStatus,
        /// The next one would end the same.
        refused: bool,
    },
}

fn attempt(
    arguments: &[OsString],
    limit: Option<Duration>,
    ledger: Option<&Ledger>,
    said: &Said,
) -> io::Result<Outcome> {
    let note = |entry| {
        if let Some(Err(e)) = ledger.map(|ledger| ledger.write(entry)) {
            eprintln!("cannot note the state of the connection, ignoring: {e}");
        }
    };
    let way = Way::of(arguments)?;
    if let Err(unusable) = way.check() {
        say(&Notice::HostKey(unusable.to_string()));
        note(Entry::Refused(now()));
        return Ok(Outcome::Failed { status: ExitStatus::from_raw(REFUSED), refused: true });
    }
    let mut command = Command::new("ssh");
    // ssh takes the first value of an option.
    command.args(way.options()?).args(arguments).stderr(Stdio::piped());
    sys::die_with_parent(&mut command);
    let mut ssh = command.spawn()?;
    let all_said = ssh.stderr.take().map(|stderr| said.pass_on(stderr));
    let wait_for_last_words = || _ = all_said.map(|all_said| all_said.recv_timeout(LAST_WORDS));
    match establish(&mut ssh, limit)? {
        None => {
            note(Entry::Connected);
            // Only now: the first key of a server has just been stored.
            say(&Notice::Connected(way.keys()));
            let status = ssh.wait()?;
            wait_for_last_words();
            if !hung_up() {
                say(&Notice::Lost);
            }
            Ok(Outcome::Ended(status))
        }
        Some(status) => {
            // ssh itself fails with 255; what the server started may have ended before ssh read from sshfs.
            if status.code().is_some_and(|code| code != SSH_FAILED) {
                say(&Notice::LoggedIn);
            }
            wait_for_last_words();
            let mut said = String::from_utf8_lossy(&said.text()).into_owned();
            let cause = diagnosis::diagnose(&said);
            note(if cause.is_refusal() { Entry::Refused(now()) } else { Entry::Failed(now()) });
            let told = match (&cause, ChangedKey::parse(&said)) {
                (Cause::HostKeyChanged(_), Some(change)) => {
                    Some(Notice::HostKey(explain(&change, &way).to_string()))
                }
                (Cause::AccessDenied { .. } | Cause::TooManyKeys | Cause::BadKey(_), _) => {
                    identity::offered(arguments).map(|key| Notice::Key(key.to_string()))
                }
                _ => None,
            };
            if let Some(notice) = &told {
                say(notice);
                said += &notice.line();
            }
            say(&Notice::Failed(diagnosis::diagnose(&said).to_string()));
            Ok(Outcome::Failed { status, refused: cause.is_refusal() })
        }
    }
}

/// Tells the supervisor.
fn say(notice: &Notice) {
    // In one piece: another connection may be saying something.
    _ = io::stderr().write_all(notice.line().as_bytes());
}

/// What ssh says, which goes on to the journal.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

/// So much is kept of it: the refusal of a login comes last, behind a banner of any length.
const LAST_OF_SAID: usize = 16 * 1024;

impl Said {
    /// Copies from ssh to our standard error. The channel closes when all is copied.
    fn pass_on(&self, mut stderr: ChildStderr) -> mpsc::Receiver<()> {
        let said = self.clone();
        let (open, all_said) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                let mut text = buffer[..length].to_vec();
                notice::unmark(&mut text);
                _ = io::stderr().write_all(&text);
                let mut said = said.text();
                said.extend_from_slice(&text);
                let too_much = said.len().saturating_sub(LAST_OF_SAID);
                said.drain(..too_much);
            }
            drop(open);
        });
        all_said
    }

    fn text(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until ssh has a session, or has ended without one.
fn establish(ssh: &mut Child, limit: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = ssh.try_wait()? {
            return Ok(Some(status));
        }
        if rustix::io::ioctl_fionread(io::stdin()).is_ok_and(|unread| unread == 0) {
            return Ok(None);
        }
        if limit.is_some_and(|limit| started.elapsed() > limit) {
            eprintln!("the server let nobody in for {} s, giving up this attempt", ATTEMPT.as_secs());
            ssh.kill()?;
            return ssh.wait().map(Some);
        }
        sleep(Duration::from_millis(20));
    }
}

/// Adds what ssh leaves out: which key is known, and how to accept the new one. Only here can the file be read, and only
/// here is it said when a connection is made anew, months after the mount.
///
/// What ssh said is not believed: a banner that a server shows before the login is in it, too.
fn explain(change: &ChangedKey, way: &Way) -> ChangedKey {
    let place = change.place.clone().filter(|place| way.has_file(place.file.as_ref()));
    let host = change.host.clone().filter(|host| way.has_name(host));
    let known =
        place.as_ref().and_then(|place| fingerprint_of(&host_keys::line(place.file.as_ref(), place.line)?));
    ChangedKey { known, place, host, ..change.clone() }
}

/// The fingerprint of the key in a line of a `known_hosts` file.
fn fingerprint_of(line: &str) -> Option<String> {
    let mut keygen = Command::new("ssh-keygen")
        .args(["-l", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    // Closed by this, too.
    keygen.stdin.take()?.write_all(format!("{line}\n").as_bytes()).ok()?;
    let output = keygen.wait_with_output().ok()?.stdout;
    String::from_utf8_lossy(&output).split_whitespace().find_map(diagnosis::fingerprint)
}

/// sshfs sends the INIT right after it started us. Waiting for it makes its disappearance a sign.
fn wait_for_first_bytes() {
    let stdin = io::stdin();
    _ = poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::from(FIRST_BYTES));
}

/// Whether sshfs has closed its side, or is gone.
fn hung_up() -> bool {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let time = Duration::from(time);
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The exit code of a program that takes over the status of its child, as a shell says it: 128 and the signal.
#[must_use]
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_failure_answers_for_the_server_and_a_hard_mount_asks_again() {
        assert!(Entry::Failed(5_000).answers_for_the_server(false, 6_999));
        assert!(!Entry::Failed(5_000).answers_for_the_server(false, 7_000));
        assert!(!Entry::Failed(5_000).answers_for_the_server(true, 5_001));
        assert!(Entry::Refused(5_000).answers_for_the_server(true, 5_001));
        assert!(!Entry::Connected.answers_for_the_server(false, 0));
    }

    #[test]
    fn what_ssh_says_is_not_taken_for_ours() {
        let forged = "printf 'a banner\\n\\001our own words\\n' >&2";
        let mut ssh = Command::new("sh").args(["-c", forged]).stderr(Stdio::piped()).spawn().unwrap();
        let said = Said::default();
        _ = said.pass_on(ssh.stderr.take().unwrap()).recv();
        ssh.wait().unwrap();
        assert_eq!(*said.text(), b"a banner\nour own words\n");
    }

    #[test]
    fn a_ledger_reads_back_what_was_written_last() {
        let (ledger, _) = Ledger::create().unwrap();
        assert_eq!(ledger.read(), Entry::Empty);
        for entry in [Entry::Failed(1_234_567), Entry::Connected, Entry::Refused(77), Entry::Failed(8)] {
            ledger.write(entry).unwrap();
            assert_eq!(ledger.read(), entry);
        }
    }
}
