//! The commands of an administrator, who is root on the host. They ask the daemon over its socket where it knows, and look
//! for themselves where it does not.
//!
//! Each prints for people, or one JSON object with `--json`. The exit codes are [`EXIT_FAILED`] and those of clap.

pub mod check;
pub mod client;
mod command;
pub mod command_line;
pub mod doctor;
pub mod forget_host_key;
mod given;
pub mod import;
pub mod metrics;
pub mod output;
pub mod restart;
pub mod set;
pub mod status;
mod users;

use anyhow::Result;
use std::process::ExitCode;

/// What was asked for could not be done, or what was looked at is not in order.
pub const EXIT_FAILED: u8 = 1;

/// The exit code of a command, with its reason on standard error; where JSON was asked for, also as `{"error": "…"}` on
/// standard output. `Ok(false)` is a command that did its work and found something that is not in order.
#[must_use]
pub fn exit(json: bool, result: Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(e) => {
            let sentence = format!("{e:#}");
            if json {
                _ = output::json(&serde_json::json!({"error": sentence}));
            }
            eprintln!("sshfs-docker: {sentence}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}
