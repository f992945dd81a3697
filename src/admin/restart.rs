//! `sshfs-docker restart`: its answer. [`crate::heal::restart`] does it, and tells of each step.

use super::output;
use crate::{cli::Admin, heal::restart, volume::VolumeName};
use anyhow::{Context, Result};

/// Restarts the sshfs of a volume. False where a container keeps the old mount.
pub fn run(admin: &Admin, name: &VolumeName) -> Result<bool> {
    let outcome = restart::run(&admin.layout, name, admin.json).with_context(|| format!("volume {name}"))?;
    if admin.json {
        output::json(&outcome)?;
    }
    Ok(outcome.is_complete())
}
