//! Other programs of the host, asked within a deadline.

use std::{
    io,
    process::{Command, Output, Stdio},
    time::Duration,
};
use tokio::time::timeout;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It is not installed.
    #[error("{0} is not installed")]
    Missing(String),
    /// It could not be started.
    #[error("cannot run {0}: {1}")]
    Start(String, io::Error),
    /// It hangs.
    #[error("'{0}' did not end within {after}s", after = .1.as_secs())]
    Hangs(String, Duration),
}

/// Runs `command`, and kills it where it takes longer than `patience`. What it writes is not translated.
pub fn run(mut command: Command, patience: Duration) -> Result<Output, Unanswered> {
    let program = command.get_program().to_string_lossy().into_owned();
    let line = std::iter::once(command.get_program()).chain(command.get_args());
    let line = line.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Unanswered::Missing(program.clone()),
        _ => Unanswered::Start(program.clone(), e),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let answer = runtime.block_on(async {
        let child = tokio::process::Command::from(command).kill_on_drop(true).output();
        timeout(patience, child).await
    });
    // Not waiting for one that cannot be killed.
    runtime.shutdown_background();
    answer.map_err(|_| Unanswered::Hangs(line, patience))?.map_err(failed)
}

/// A program with its arguments.
pub fn of(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_or_is_missing_is_named() {
        let hangs = run(of("sleep", &["60"]), Duration::from_millis(10)).unwrap_err();
        assert!(hangs.to_string().starts_with("'sleep 60' did not end"), "{hangs}");
        let missing = run(of("no-such-program", &[]), Duration::from_secs(1)).unwrap_err();
        assert_eq!(missing.to_string(), "no-such-program is not installed");
        assert_eq!(run(of("echo", &["x"]), Duration::from_secs(5)).unwrap().stdout, b"x\n");
    }
}
