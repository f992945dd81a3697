//! The package once more, as a version before this one that differs where a version may: in a setting, in a unit, and in
//! files that the later one does not have, Docker's link among them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::lab::dirs;
use crate::lab::driver;
use crate::lab::guest::Guest;

/// Its version.
pub const VERSION: &str = "0.0.9";

/// A line that its config.toml has and later ones have not.
pub const LINE: &str = "# from the older package";

/// A file that it has and later ones have not.
pub const FILE: &str = "/usr/share/sshfs-docker/older";

/// Makes an installed tree that of the older package.
fn changes(tree: &str) -> String {
    format!(
        "cd {tree}
         echo '{LINE}' >> etc/sshfs-docker/config.toml
         echo '{LINE}' >> usr/lib/systemd/system/sshfs-docker.service
         touch .{FILE}
         mkdir -p etc/docker/plugins; ln -s /usr/share/sshfs-docker/sshfs.spec etc/docker/plugins/sshfs.spec"
    )
}

/// Where [`build`] leaves it.
pub fn rpm() -> PathBuf {
    dirs::packages().join(format!("older/sshfs-docker-{VERSION}-1.x86_64.rpm"))
}

/// Builds the rpm as `make packages` built `current`, of the same tree.
pub fn build(current: &Path) -> Result<()> {
    let (packages, older) = (dirs::packages(), dirs::packages().join("older"));
    let tree = older.join("tree");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    fs::create_dir_all(&older)?;
    run(Command::new("cp").arg("-a").args([packages.join("tree/amd64"), tree.clone()]))?;
    run(Command::new("sh").args(["-euc", &changes(&tree.display().to_string())]))?;
    let top = current.ancestors().nth(3).context("a package outside of target/packages")?;
    run(Command::new(top.join("packaging/rpm/build")).args([VERSION, "amd64"]).arg(&tree).arg(&older))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Makes the Debian package in a guest.
pub fn repack(guest: &Guest, current: &str, older: &str) -> Result<()> {
    driver::repack(guest, current, older, VERSION, changes)
}
