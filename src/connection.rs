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

use crate::sys;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::memfd::{MFdFlags, memfd_create},
    time::{ClockId, clock_gettime},
};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Seek, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::ExitStatusExt,
    },
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus},
    thread::sleep,
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
            _ if text.is_empty() => Entry::Empty,
            _ => Entry::Connected,
        }
    }

    fn write(&mut self, entry: Entry) -> io::Result<()> {
        self.0.rewind()?;
        self.0.set_len(0)?;
        match entry {
            Entry::Empty => Ok(()),
            Entry::Connected => self.0.write_all(b"connected"),
            Entry::Failed(at) => write!(self.0, "failed {at}"),
        }
    }
}

/// Runs ssh with `arguments`, unless it is known to fail. The exit status is that of ssh.
#[must_use]
pub fn run(hard: bool, arguments: &[OsString]) -> ExitCode {
    // Without a ledger, as under a foreign supervisor, every attempt is the first one.
    let mut ledger = Ledger::inherited();
    let known = ledger.as_ref().map_or(Entry::Empty, Ledger::read);
    if let (Entry::Failed(at), false) = (known, hard) {
        if now().saturating_sub(at) < u64::try_from(FRESH.as_millis()).unwrap_or(u64::MAX) {
            sleep(SPACING);
            return ExitCode::FAILURE;
        }
    }
    wait_for_first_bytes();
    let limit = (known != Entry::Empty).then_some(ATTEMPT);
    loop {
        let outcome = match attempt(arguments, limit, &mut ledger) {
            Ok(outcome) => outcome,
            Err(e) => {
                eprintln!("cannot start ssh: {e}");
                return ExitCode::from(127);
            }
        };
        match outcome {
            Outcome::Ended(status) => return code(status),
            // The user of a mount that never was waits for the reason.
            Outcome::Failed(status) if !hard || known == Entry::Empty || hung_up() => return code(status),
            Outcome::Failed(_) => sleep(PAUSE),
        }
    }
}

enum Outcome {
    /// There was a session, and it ended.
    Ended(ExitStatus),
    /// There was none.
    Failed(ExitStatus),
}

fn attempt(
    arguments: &[OsString],
    limit: Option<Duration>,
    ledger: &mut Option<Ledger>,
) -> io::Result<Outcome> {
    let mut note = |entry| {
        if let Some(Err(e)) = ledger.as_mut().map(|ledger| ledger.write(entry)) {
            eprintln!("cannot note the state of the connection, ignoring: {e}");
        }
    };
    let mut command = Command::new("ssh");
    command.args(arguments);
    sys::die_with_parent(&mut command);
    let mut ssh = command.spawn()?;
    match establish(&mut ssh, limit)? {
        None => {
            note(Entry::Connected);
            Ok(Outcome::Ended(ssh.wait()?))
        }
        Some(status) => {
            note(Entry::Failed(now()));
            Ok(Outcome::Failed(status))
        }
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

fn code(status: ExitStatus) -> ExitCode {
    // As a shell says it: 128 and the signal.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_reads_back_what_was_written_last() {
        let (mut ledger, _) = Ledger::create().unwrap();
        assert_eq!(ledger.read(), Entry::Empty);
        for entry in [Entry::Failed(1_234_567), Entry::Connected, Entry::Failed(8)] {
            ledger.write(entry).unwrap();
            assert_eq!(ledger.read(), entry);
        }
    }
}
