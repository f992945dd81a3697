//! `sshfs-docker run-sshfs`: the main process of a mount unit. It starts sshfs and passes on what sshfs and ssh say:
//! to the journal, and, while the daemon listens, to the daemon.
//!
//! In the foreground sshfs keeps ssh's standard error, but a mount that fails must tell its reason to `docker run`
//! while the same text belongs into the unit's journal, also months later when the daemon is not running. One file
//! descriptor cannot do both; this process, without a runtime and with a third of a megabyte of its own, can.
//!
//! Standard input is the FUSE device, for sshfs. Standard output is the report: the text, and [`END_OF_REPORT`] when
//! sshfs has ended. Nobody reading it is fine, and means that the mount had succeeded.
//!
//! The exit status says whether somebody has lost a mount, because systemd starts the healing of a unit that fails
//! (`OnFailure=`): it is 0 where the mount never succeeded, of which the daemon has heard, and where it was unmounted.

use crate::{
    agent,
    connection::{LEDGER, Ledger, exit_code},
    events,
    health::{Change, Health},
    launcher::{ASKPASS_CREDENTIAL, CREDENTIALS_DIRECTORY},
    notice::{Notice, Sorter},
    sys,
    uptime::Uptime,
};
use libsystemd::logging::{Priority, connected_to_journal, journal_send};
use nix::{
    fcntl::OFlag,
    unistd::{dup2_stdin, pipe2},
};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// Follows the last byte of text and is not in it: a server may say anything on its standard error, and this is not its
/// to say.
pub const END_OF_REPORT: u8 = 0;

/// ssh may outlive sshfs, waiting for a connection that nobody needs any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The control files of FUSE: a directory for each connection, as long as its file system is mounted anywhere.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// How long the kernel may take to remove the FUSE connection of what was unmounted.
const UNMOUNTED: Duration = Duration::from_secs(1);

/// Runs `argv` until it ends. `connection` is the number of its FUSE connection, if that is known; `agent` the socket of
/// the agent that ssh will use; `directory` the unit's own.
#[must_use]
pub fn run(
    connection: Option<u32>,
    agent: Option<&Path>,
    directory: Option<PathBuf>,
    argv: &[OsString],
) -> ExitCode {
    // Where the kernel cannot do it, the mounts' processes, which are one user's, can signal each other.
    _ = sys::keep_to_ourselves();
    let end = match agent.map_or(Ok(()), agent::ask) {
        Ok(()) => supervise(argv, directory).inspect_err(|e| {
            let program = argv.first().map(|p| p.to_string_lossy()).unwrap_or_default();
            pass_on(format!("cannot start {program}: {e}\n").as_bytes());
        }),
        Err(reason) => {
            pass_on(Notice::Agent(reason).line().as_bytes());
            Err(io::ErrorKind::NotConnected.into())
        }
    };
    if report(&[END_OF_REPORT]) {
        return ExitCode::SUCCESS;
    }
    match end {
        Ok(status) if !status.success() && !connection.is_some_and(was_unmounted) => exit_code(status),
        Ok(_) if connection.is_some_and(still_mounted) => {
            pass_on(b"sshfs ended although its mount is still there\n");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(127),
    }
}

/// Whether a connection is known to be gone, and so nobody has lost a mount: a restart was killed before its mount had a
/// place, and sshfs found none when it began to serve it.
fn was_unmounted(connection: u32) -> bool {
    // Where they are not mounted, the directory belongs to the file system of the one above.
    let device =
        |path: &Path| path.metadata().map(|metadata| std::os::unix::fs::MetadataExt::dev(&metadata)).ok();
    let control = Path::new(CONNECTIONS);
    let is_shown = control.parent().is_some_and(|above| device(above) != device(control));
    is_shown && !control.join(connection.to_string()).exists()
}

/// Whether a file system is still mounted somewhere whose sshfs has ended. That sshfs says success also when its
/// connection was aborted. Where the control files of FUSE are not mounted, nothing is known.
fn still_mounted(connection: u32) -> bool {
    let control = Path::new(CONNECTIONS).join(connection.to_string());
    let deadline = Instant::now() + UNMOUNTED;
    while control.exists() {
        if Instant::now() > deadline {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    false
}

fn supervise(argv: &[OsString], directory: Option<PathBuf>) -> io::Result<ExitStatus> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (messages, messages_of_child) = pipe2(OFlag::O_CLOEXEC)?;
    let mut messages = File::from(messages);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::inherit());
    command.stdout(messages_of_child.try_clone()?).stderr(messages_of_child);
    // The daemon recognises causes by their English text.
    command.env("LC_ALL", "C");
    // ssh reaches a ProxyJump host through $SHELL, which systemd sets to the user's: nologin.
    command.env("SHELL", "/bin/sh");
    answer_questions(&mut command)?;
    // Kept open for the connections to come.
    let (_ledger, path) = Ledger::create()?;
    command.env(LEDGER, path);
    // If this process is killed, the mount must fail at once and not go on unsupervised.
    sys::die_with_parent(&mut command);
    let mut child = command.spawn()?;
    // Drops this process's copies of the pipe's end and of the FUSE device: as long as one is open, a dead sshfs would
    // not be noticed.
    drop(command);
    dup2_stdin(File::open("/dev/null")?)?;

    let book = Arc::new(Mutex::new(HealthBook::open(child.id(), directory)));
    let (all_said, wait_for_last_words) = mpsc::channel::<()>();
    let notes = Arc::clone(&book);
    thread::spawn(move || {
        let (mut buffer, mut sorter) = ([0; 4096], Sorter::default());
        while let Ok(length @ 1..) = messages.read(&mut buffer) {
            for notice in pass_on_and_sort(&buffer[..length], &mut sorter) {
                let change = notes.lock().unwrap_or_else(PoisonError::into_inner).note(&notice);
                // Not under the lock: a journal that hangs must not keep the end of sshfs from being seen.
                if let Some(change) = change {
                    tell_of(change);
                }
            }
        }
        _ = io::stderr().write_all(&sorter.finish());
        drop(all_said);
    });
    let status = child.wait()?;
    _ = wait_for_last_words.recv_timeout(LAST_WORDS);
    book.lock().unwrap_or_else(PoisonError::into_inner).end();
    Ok(status)
}

/// What is known of the connection, and where it is written.
struct HealthBook {
    health: Health,
    directory: Option<PathBuf>,
}

impl HealthBook {
    fn open(sshfs: u32, directory: Option<PathBuf>) -> Self {
        let book = Self { health: Health::new(sshfs, Uptime::now()), directory };
        book.write();
        book
    }

    fn note(&mut self, notice: &Notice) -> Option<Change> {
        let change = self.health.note(notice, Uptime::now());
        self.write();
        change
    }

    fn end(&mut self) {
        self.health.end(Uptime::now());
        self.write();
    }

    fn write(&self) {
        // Without it an administrator sees less; the mount is none the worse.
        if let Some(Err(e)) = self.directory.as_ref().map(|directory| self.health.write(directory)) {
            eprintln!("cannot write down the state of the connection, ignoring: {e}");
        }
    }
}

fn tell_of(change: Change) {
    match change {
        Change::Lost => tell(
            Priority::Warning,
            events::CONNECTION_LOST,
            "the connection to the server has ended; the next access makes it anew",
        ),
        Change::Failing(reason) => tell(
            Priority::Error,
            events::CONNECTION_FAILING,
            &format!("the connection cannot be made anew, accesses fail: {reason}"),
        ),
        Change::Back => {
            tell(Priority::Notice, events::CONNECTION_BACK, "the connection to the server is back");
        }
    }
}

/// Says something of our own, as an event where there is a journal. The unit adds VOLUME= and REMOTE= (`LogExtraFields=`).
fn tell(priority: Priority, id: &str, text: &str) {
    let fields = [("MESSAGE_ID", id)];
    if !connected_to_journal() || journal_send(priority, text, fields.into_iter()).is_err() {
        eprintln!("{text}");
    }
}

/// Lets ssh ask this program for the password (ssh(1), SSH_ASKPASS; `force` needs OpenSSH >= 8.4).
fn answer_questions(command: &mut Command) -> io::Result<()> {
    if env::var_os(ASKPASS_CREDENTIAL).is_some() && env::var_os(CREDENTIALS_DIRECTORY).is_some() {
        command.env("SSH_ASKPASS", env::current_exe()?).env("SSH_ASKPASS_REQUIRE", "force");
    }
    Ok(())
}

/// Passes on what this process itself says.
fn pass_on(text: &[u8]) {
    pass_on_and_sort(text, &mut Sorter::default());
}

/// First to the daemon, who may be waiting: a journal that hangs must not keep it from hearing the reason. Of the notices
/// the journal gets the sentences; all are returned.
fn pass_on_and_sort(text: &[u8], sorter: &mut Sorter) -> Vec<Notice> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| *byte != END_OF_REPORT).collect();
    report(&text);
    let (notices, rest) = sorter.take(&text);
    _ = io::stderr().write_all(&rest);
    for notice in &notices {
        if let Notice::HostKey(sentence) | Notice::Agent(sentence) = notice {
            _ = io::stderr().write_all(format!("{sentence}\n").as_bytes());
        }
    }
    notices
}

/// Writes to the daemon and returns whether it listens. After the mount succeeded it no longer does: Rust ignores
/// SIGPIPE and gets an error.
fn report(text: &[u8]) -> bool {
    let mut daemon = io::stdout().lock();
    daemon.write_all(text).and_then(|()| daemon.flush()).is_ok()
}
