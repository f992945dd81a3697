//! A copy of the learnt host keys, so that a mount which is only tried learns none.
//!
//! Both directories belong to the user that mounts run as, and what parses bytes from the network runs as that user: the file
//! may be anything, and so may what is at the place of the copy. Root must neither read nor write through it.

use crate::regular_file;
use std::{
    fs::{OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::Path,
};

/// More than that is no `known_hosts` file; `connect` takes none, either.
const LARGEST: u64 = 1024 * 1024;

/// Copies the file, if it is there, with its owner and mode: where a mount could not read it, it cannot read the copy.
pub fn copy(file: &Path, copy: &Path) -> io::Result<()> {
    let (file, metadata) = match regular_file::open(file, LARGEST) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    // O_EXCL follows no link.
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copy)?;
    io::copy(&mut file.take(LARGEST), &mut copy)?;
    copy.set_permissions(Permissions::from_mode(metadata.mode() & 0o777))?;
    fchown(&copy, Some(metadata.uid()), Some(metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn neither_side_is_reached_through_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        copy(&path("none"), &path("copy")).unwrap();
        assert!(!path("copy").exists());
        fs::write(path("keys"), "keys").unwrap();
        fs::set_permissions(path("keys"), Permissions::from_mode(0o640)).unwrap();
        symlink(path("keys"), path("link")).unwrap();
        symlink(path("elsewhere"), path("planted")).unwrap();
        assert!(copy(&path("link"), &path("copy")).is_err() && !path("copy").exists());
        assert!(copy(&path("keys"), &path("planted")).is_err() && !path("elsewhere").exists());
        copy(&path("keys"), &path("copy")).unwrap();
        assert_eq!(fs::read(path("copy")).unwrap(), b"keys");
        assert_eq!(path("copy").metadata().unwrap().mode() & 0o7777, 0o640);
    }
}
