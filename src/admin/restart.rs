//! `sshfs-docker restart`: what it prints. [`crate::heal::restart`] does it.

use super::output;
use crate::{cli::Admin, heal::restart, volume::VolumeName};
use anyhow::{Context, Result};

/// Restarts the sshfs of a volume and tells of each step, or, with `--json`, of all in the end. False where a container
/// keeps the old mount.
pub fn run(admin: &Admin, name: &VolumeName) -> Result<bool> {
    let say = |line: &str| {
        if !admin.json {
            // That it cannot be told is no reason to stop half way.
            _ = output::line(line);
        }
    };
    let outcome = restart::run(&admin.layout, name, &say).with_context(|| format!("volume {name}"))?;
    if admin.json {
        output::json(&outcome)?;
    }
    Ok(outcome.is_complete())
}
