//! The package under test, unpacked where this run's namespace ends with it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A directory of this mount namespace only.
const UNPACKED: &str = "/run/package";

/// The program in it.
const PROGRAM: &str = "/run/package/usr/bin/sshfs-docker";

/// `SSHFS_DOCKER_DEB_ARM64`, or the newest one that `make packages` left in `target/packages`.
pub fn find() -> Result<PathBuf, String> {
    let found = match env::var_os("SSHFS_DOCKER_DEB_ARM64") {
        Some(path) => path.into(),
        None => newest(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages"))?,
    };
    found.canonicalize().map_err(|error| format!("{}: {error}", found.display()))
}

fn newest(directory: &Path) -> Result<PathBuf, String> {
    let is_package = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("sshfs-docker_") && name.ends_with("_arm64.deb")
    };
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let newest = entries.map(|entry| entry.path()).filter(is_package).max_by_key(modified);
    newest.ok_or_else(|| {
        format!("no package for arm64 is in {}: run `make packages` first", directory.display())
    })
}

/// Unpacks it.
pub fn unpack() {
    let package = find().expect("it was there a moment ago");
    let status = Command::new("dpkg-deb").arg("-x").arg(package).arg(UNPACKED).status();
    assert!(status.expect("dpkg-deb runs").success(), "the package cannot be unpacked");
}

/// The program under test.
pub fn program() -> &'static Path {
    Path::new(PROGRAM)
}
