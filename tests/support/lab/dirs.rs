//! Where the lab keeps its files: all of them under `target/lab`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The repository this test program was built from.
pub fn repository() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// `target/lab`, or what `SSHFS_DOCKER_LAB_DIR` says.
fn lab() -> PathBuf {
    env::var_os("SSHFS_DOCKER_LAB_DIR").map_or_else(|| repository().join("target/lab"), PathBuf::from)
}

/// Root file systems, kept between runs.
pub fn roots() -> PathBuf {
    lab().join("roots")
}

/// What one run writes. Inside the namespace a tmpfs lies on it, so the directory itself stays empty.
pub fn run() -> PathBuf {
    lab().join("run")
}

/// What `make packages` or `make deb` made.
pub fn packages() -> PathBuf {
    repository().join("target/packages")
}

/// The package under test: `SSHFS_DOCKER_DEB`, or the newest one that `make deb` left in `target/packages`.
pub fn deb() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SSHFS_DOCKER_DEB") {
        return PathBuf::from(path).canonicalize().context("SSHFS_DOCKER_DEB");
    }
    newest("sshfs-docker_", "_amd64.deb")
        .with_context(|| format!("no package in {}: run `make deb` first", packages().display()))
}

/// The same for the other family.
pub fn rpm() -> Result<PathBuf> {
    newest("sshfs-docker-", ".x86_64.rpm")
        .with_context(|| format!("no rpm in {}: run `make packages` first", packages().display()))
}

fn newest(prefix: &str, suffix: &str) -> Option<PathBuf> {
    let is_package = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    fs::read_dir(packages())
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_package)
        .max_by_key(modified)
}
