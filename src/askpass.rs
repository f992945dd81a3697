//! Answering ssh's question for a password or a passphrase, as its SSH_ASKPASS program.
//!
//! ssh runs the program with the question as its only argument, so the role shows in the environment, which the
//! supervisor of the mount sets. The answer is read from `$CREDENTIALS_DIRECTORY` each time, also at a reconnect.

use crate::{
    launcher::{ASKPASS_CREDENTIAL, CREDENTIALS_DIRECTORY},
    volume::Secret,
};
use std::{
    env, fs,
    io::{self, Write},
    iter,
    path::PathBuf,
    process::ExitCode,
};

/// More than there are between one ssh and another.
const MOST_ANCESTORS: usize = 16;

/// Answers if ssh asks; None where this process was started for something else.
#[must_use]
pub fn answer_if_asked() -> Option<ExitCode> {
    let credential = env::var_os(ASKPASS_CREDENTIAL)?;
    env::var_os("SSH_ASKPASS")?;
    let question = env::args().nth(1).unwrap_or_default();
    // The environment is inherited by what sshfs starts in the place of ssh, which is this program too. No question of
    // ssh is one word.
    if question == "connect" {
        return None;
    }
    if !asks_for_a_secret(&question) || a_jump_host_asks() {
        eprintln!("not answering: {question}");
        return Some(ExitCode::FAILURE);
    }
    let path = PathBuf::from(env::var_os(CREDENTIALS_DIRECTORY)?).join(credential);
    match fs::read_to_string(&path).map(Secret::new) {
        Ok(secret) => {
            _ = writeln!(io::stdout(), "{}", first_line(secret.expose()));
            Some(ExitCode::SUCCESS)
        }
        Err(e) => {
            eprintln!("cannot read the password of this mount: {e}");
            Some(ExitCode::FAILURE)
        }
    }
}

/// Never true for "Are you sure you want to continue connecting (yes/no/[fingerprint])?": a password sent there would
/// be shown, and a host key is never confirmed by a program.
fn asks_for_a_secret(question: &str) -> bool {
    let question = question.to_ascii_lowercase();
    let mut words = question.split(|c: char| !c.is_alphanumeric());
    !question.contains("yes/no")
        && words.any(|word| ["password", "passphrase", "passcode", "pin"].contains(&word))
}

/// The password is the volume's, for the server at the end of the way. ssh reaches a ProxyJump host, and with some
/// ProxyCommands any other, with another ssh below it, which inherits this program.
fn a_jump_host_asks() -> bool {
    let asking = std::os::unix::process::parent_id();
    // To the top, which is near: sshfs forks twice, so that the ssh of a mount has nobody above `connect`.
    iter::successors(parent_of(asking), |pid| parent_of(*pid)).take(MOST_ANCESTORS).any(|ancestor| {
        fs::read_to_string(format!("/proc/{ancestor}/comm")).is_ok_and(|name| name.trim_end() == "ssh")
    })
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; behind it are the state and the parent (proc_pid_stat(5)).
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Editors end a file with a newline; passwords do not.
fn first_line(secret: &str) -> &str {
    secret.lines().next().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_for_a_secret_are_answered() {
        for question in
            ["alice@storage's password: ", "Enter passphrase for key '/x/identity': ", "(a@h) Password: "]
        {
            assert!(asks_for_a_secret(question), "{question}");
        }
        for question in [
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? ",
            "",
            "Really?",
            "Shipping?",
        ] {
            assert!(!asks_for_a_secret(question), "{question}");
        }
    }

    #[test]
    fn the_secret_is_the_first_line_with_its_blanks() {
        assert_eq!(first_line("hunter 2 \n"), "hunter 2 ");
        assert_eq!(first_line("hunter2\r\nx"), "hunter2");
        assert_eq!(first_line(""), "");
    }
}
