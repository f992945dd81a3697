//! `sshfs-docker run-sshfs`: the main process of a mount unit. It starts sshfs and passes on what sshfs and ssh say:
//! to the journal, and, while the daemon listens, to the daemon.
//!
//! In the foreground sshfs keeps ssh's standard error, but a mount that fails must tell its reason to `docker run`
//! while the same text belongs into the unit's journal, also months later when the daemon is not running. One file
//! descriptor cannot do both; this process, without a runtime and with a third of a megabyte of its own, can.
//!
//! Standard input is the FUSE device, for sshfs. Standard output is the report: the text, and [`END_OF_REPORT`] when
//! sshfs has ended. Nobody reading it is fine.

use crate::{
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
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Follows the last byte of text: no program writes it in a message.
pub const END_OF_REPORT: u8 = 0;

/// ssh may outlive sshfs, waiting for a connection that nobody needs any more.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs `argv` until it ends and takes over its exit status.
#[must_use]
pub fn run(argv: &[OsString]) -> ExitCode {
    match supervise(argv) {
        Ok(status) => {
            report(&[END_OF_REPORT]);
            code(status)
        }
        Err(e) => {
            let program = argv.first().map(|p| p.to_string_lossy()).unwrap_or_default();
            pass_on(format!("cannot start {program}: {e}\n").as_bytes());
            report(&[END_OF_REPORT]);
            ExitCode::from(127)
        }
    }
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

fn pass_on(text: &[u8]) {
    _ = io::stderr().write_all(text);
    report(text);
}

/// Writes to the daemon. After the mount succeeded it no longer listens: Rust ignores SIGPIPE, and the error with it.
fn report(text: &[u8]) {
    let mut daemon = io::stdout().lock();
    _ = daemon.write_all(text).and_then(|()| daemon.flush());
}

fn code(status: ExitStatus) -> ExitCode {
    // As a shell says it: 128 and the signal.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
