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
    diagnosis::OWN_WORDS,
    launcher::{ASKPASS_CREDENTIAL, CREDENTIALS_DIRECTORY},
    sys,
};
use nix::{
    fcntl::OFlag,
    unistd::{dup2_stdin, pipe2},
};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
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
/// the agent that ssh will use.
#[must_use]
pub fn run(connection: Option<u32>, agent: Option<&Path>, argv: &[OsString]) -> ExitCode {
    // Where the kernel cannot do it, the mounts' processes, which are one user's, can signal each other.
    _ = sys::keep_to_ourselves();
    let end = match agent.map_or(Ok(()), agent::ask) {
        Ok(()) => supervise(argv).inspect_err(|e| {
            let program = argv.first().map(|p| p.to_string_lossy()).unwrap_or_default();
            pass_on(format!("cannot start {program}: {e}\n").as_bytes());
        }),
        Err(reason) => {
            pass_on(format!("{}{reason}\n", agent::TROUBLE).as_bytes());
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

fn supervise(argv: &[OsString]) -> io::Result<ExitStatus> {
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

    let (all_said, wait_for_last_words) = mpsc::channel::<()>();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = messages.read(&mut buffer) {
            pass_on(&buffer[..length]);
        }
        drop(all_said);
    });
    let status = child.wait()?;
    _ = wait_for_last_words.recv_timeout(LAST_WORDS);
    Ok(status)
}

/// Lets ssh ask this program for the password (ssh(1), SSH_ASKPASS; `force` needs OpenSSH >= 8.4).
fn answer_questions(command: &mut Command) -> io::Result<()> {
    if env::var_os(ASKPASS_CREDENTIAL).is_some() && env::var_os(CREDENTIALS_DIRECTORY).is_some() {
        command.env("SSH_ASKPASS", env::current_exe()?).env("SSH_ASKPASS_REQUIRE", "force");
    }
    Ok(())
}

/// First to the daemon, who may be waiting: a journal that hangs must not keep it from hearing the reason.
fn pass_on(text: &[u8]) {
    let mut text: Vec<u8> = text.iter().copied().filter(|byte| *byte != END_OF_REPORT).collect();
    report(&text);
    // journalctl(1) would show the line as data.
    text.retain(|byte| char::from(*byte) != OWN_WORDS);
    _ = io::stderr().write_all(&text);
}

/// Writes to the daemon and returns whether it listens. After the mount succeeded it no longer does: Rust ignores
/// SIGPIPE and gets an error.
fn report(text: &[u8]) -> bool {
    let mut daemon = io::stdout().lock();
    daemon.write_all(text).and_then(|()| daemon.flush()).is_ok()
}
