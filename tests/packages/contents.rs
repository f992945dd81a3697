//! What is in the packages, apart from any host: the list of crates that scanners read.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use auditable_info::audit_info_from_slice;

use crate::lab::dirs;

/// More than any list of crates needs.
const LIMIT: usize = 8 << 20;

/// The program in a package lists all crates that Cargo.lock and the features of Cargo.toml put into it.
pub fn the_program_lists_the_crates_in_it(architecture: &str, target: &str) -> Result<()> {
    let package =
        dirs::packages().join(format!("sshfs-docker_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    let unpacked = tempfile::tempdir()?;
    let status = Command::new("dpkg-deb").arg("--extract").args([&package, unpacked.path()]).status()?;
    ensure!(status.success(), "dpkg-deb: {status}");
    let program = fs::read(unpacked.path().join("usr/bin/sshfs-docker"))?;
    let inside = audit_info_from_slice(&program, LIMIT).context("the program has no list")?;
    let listed: BTreeSet<_> =
        inside.packages.iter().map(|one| format!("{} v{}", one.name, one.version)).collect();
    let tree = Command::new("cargo")
        .current_dir(dirs::repository())
        .args([
            "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--target",
            target,
        ])
        .output()?;
    // "NAME vVERSION", and for some where they are or what they are.
    let linked: BTreeSet<_> = String::from_utf8(tree.stdout)?
        .lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    let missing: Vec<_> = linked.difference(&listed).collect();
    ensure!(linked.len() > 50 && missing.is_empty(), "in the program and not in its list: {missing:?}");
    Ok(())
}
