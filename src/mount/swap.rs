//! One mount in the place of another that may be in use. In no order of the steps is there a moment without a mount.
//!
//! The fresh mount goes *beneath* the old one (`MOVE_MOUNT_BENEATH`, Linux 6.5), then the old one is detached; on older
//! kernels, and where the kernel refuses that, it goes on top. Whoever has a file of the old one open keeps it.
//!
//! Every step works on file descriptors whose mount ids have been checked: what lies at a path may change meanwhile.

use super::mountinfo::Mount;
use nix::{
    fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2},
    mount::{MntFlags, umount2},
};
use rustix::mount::{MoveMountFlags, move_mount};
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

/// Two copies of a mount that are attached nowhere yet. The second one is for where the first one has been used in vain.
#[derive(Debug)]
pub struct Trees {
    /// What is attached.
    pub fresh: OwnedFd,
    /// What is attached if that does not show.
    pub spare: OwnedFd,
}

/// Puts a mount in the place of the one that `old` is the root of. `own_descriptors` is this process's /proc/self/fd, as
/// it can be reached from here.
pub fn swap(trees: &Trees, old: &OwnedFd, own_descriptors: &Path) -> io::Result<()> {
    if attach(&trees.fresh, old, beneath()).is_ok() {
        // Followed to the very mount that was checked, whatever lies at the path now.
        let old = own_descriptors.join(old.as_raw_fd().to_string());
        if umount2(&old, MntFlags::MNT_DETACH).is_ok() {
            return Ok(());
        }
    }
    attach(&trees.spare, old, MoveMountFlags::empty())
}

/// The same on the host, where `old` is.
pub fn swap_on_host(trees: &Trees, old: &Mount) -> io::Result<()> {
    let target = open_path(&old.mountpoint, ResolveFlag::RESOLVE_NO_SYMLINKS)?;
    if mount_id(&target, "/proc/self/fdinfo")? != old.id {
        return Err(io::Error::other("the mount has changed meanwhile"));
    }
    swap(trees, &target, Path::new("/proc/self/fd"))
}

fn attach(tree: &OwnedFd, target: &OwnedFd, how: MoveMountFlags) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH | how;
    Ok(move_mount(tree, "", target, "", flags)?)
}

/// `MOVE_MOUNT_BENEATH`, which is newer than the crate's list (linux/mount.h, 6.5).
fn beneath() -> MoveMountFlags {
    MoveMountFlags::from_bits_retain(0x200)
}

/// Opens a path without asking anything of its file system, which may be dead.
pub fn open_path(path: &Path, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    openat2(AT_FDCWD, path, how(resolve))
}

/// How [`open_path`] opens.
#[must_use]
pub fn how(resolve: ResolveFlag) -> OpenHow {
    let nofollow =
        if resolve.contains(ResolveFlag::RESOLVE_NO_SYMLINKS) { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | nofollow).resolve(resolve)
}

/// The id of the mount that an open file lies on, from this process's directory `fdinfo`.
pub fn mount_id(file: &impl AsFd, fdinfo: &str) -> io::Result<u32> {
    let info = fs::read_to_string(format!("{fdinfo}/{}", file.as_fd().as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok()).ok_or_else(|| io::Error::other("no mount id in fdinfo"))
}
