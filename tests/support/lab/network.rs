//! The lab's network: a bridge in the namespace of the test program, an address per guest.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The bridge the guests are plugged into.
pub const BRIDGE: &str = "labbr0";

/// The Docker host.
pub const DOCKER_HOST: &str = "10.78.0.2";

/// The SSH server.
pub const SSH_SERVER: &str = "10.78.0.3";

/// A second Docker host.
pub const WORKER: &str = "10.78.0.4";

/// An address of the lab's network where nobody lives.
pub const NOBODY: &str = "10.78.0.99";

/// Makes the bridge, unless an earlier lab of this test program did.
pub fn set_up() -> Result<()> {
    if ip(&["link", "show", BRIDGE]).is_ok() {
        return Ok(());
    }
    ip(&["link", "add", BRIDGE, "type", "bridge"])?;
    ip(&["addr", "add", "10.78.0.1/24", "dev", BRIDGE])?;
    ip(&["link", "set", BRIDGE, "up"])
}

/// Pulls a guest's cable.
pub fn cut_link(guest: &str) -> Result<()> {
    ip(&["link", "set", &format!("vb-{guest}"), "down"])
}

/// Puts it back.
pub fn restore_link(guest: &str) -> Result<()> {
    ip(&["link", "set", &format!("vb-{guest}"), "up"])
}

/// Frees the name of a guest's cable. The kernel takes down a dead guest's interfaces in its own time, and
/// the next boot wants the same name at once.
pub fn unplug(guest: &str) {
    // Gone already after an orderly shutdown.
    let _ = ip(&["link", "delete", &format!("vb-{guest}")]);
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
