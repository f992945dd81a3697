//! Who uses a mounted volume, and where they see it: as the kernel knows it, not as Docker counts.

use crate::mount::{
    containers, fuse,
    holders::{self, Holder},
    mountinfo,
};
use serde::Serialize;
use std::{fmt, io, path::Path};

/// A container, or a process of the host.
#[derive(Debug, Serialize)]
pub struct User {
    /// The first digits of its id; null for a process outside of containers.
    pub container: Option<String>,
    /// Where it sees the volume.
    pub path: String,
    /// One of its processes.
    pub pid: u32,
    /// The name of that.
    pub command: String,
}

/// All users of what is mounted at `mountpoint`; nobody where nothing of ours is.
pub fn of(mountpoint: &Path) -> io::Result<Vec<User>> {
    match mountinfo::at(mountpoint)? {
        Some(mount) if mount.filesystem == fuse::FILESYSTEM => {
            Ok(holders::find(&mount)?.into_iter().map(User::from).collect())
        }
        _ => Ok(Vec::new()),
    }
}

impl From<Holder> for User {
    fn from(Holder { pid, command, mountpoint }: Holder) -> Self {
        let path = mountpoint.to_string_lossy().into_owned();
        Self { container: containers::of_process(pid), path, pid, command }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, path, pid, command } = self;
        match container {
            Some(id) => write!(f, "container {id} at {path} ({command}, pid {pid})"),
            None => write!(f, "process {pid} ({command}) at {path}"),
        }
    }
}
