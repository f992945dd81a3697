//! Who uses a mounted volume, and where they see it: as the kernel knows it, not as Docker counts.

use crate::mount::{
    fuse,
    holders::{self, Holder},
    mountinfo,
};
use std::{io, path::Path};

/// All users of what is mounted at `mountpoint`; nobody where nothing of ours is.
pub fn of(mountpoint: &Path) -> io::Result<Vec<Holder>> {
    match mountinfo::at(mountpoint)? {
        Some(mount) if mount.filesystem == fuse::FILESYSTEM => holders::find(&mount),
        _ => Ok(Vec::new()),
    }
}
