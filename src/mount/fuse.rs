//! The kernel's side of a mount: open /dev/fuse, mount(2), umount2(2), read-ahead.
//!
//! The daemon makes the mount and gives the open FUSE device to sshfs, which therefore needs neither a setuid helper
//! nor a capability (libfuse >= 3.3 takes `/dev/fd/N` as mountpoint).

use super::mountinfo::{Device, Mount};
use crate::volume::{Remote, VolumeName, options::Setting};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

/// The type that mountinfo shows.
pub const FILESYSTEM: &str = "fuse.sshfs";

/// What mount(8) shows as the source of a volume's mount. It tells, in every mount namespace and after the end of sshfs,
/// whose mount that is. No name contains a `=`, so two volumes never have the same.
#[must_use]
pub fn source(name: &VolumeName, remote: &Remote) -> String {
    format!("{name}={remote}")
}

/// Whether a mount, wherever it is, says that it shows the files of this volume.
#[must_use]
pub fn is_of(mount: &Mount, name: &VolumeName, remote: &Remote) -> bool {
    mount.filesystem == FILESYSTEM && mount.source == source(name, remote)
}

/// Why there is no FUSE mount.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The kernel has no FUSE, or this is a container without the device.
    #[error("cannot open /dev/fuse: {0}; load the kernel module with 'modprobe fuse'")]
    Device(io::Error),
    /// mount(2) failed.
    #[error("the kernel refused the mount: {0}")]
    Mount(Errno),
}

impl FuseError {
    /// A short name of the cause that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Device(_) => "no-fuse",
            Self::Mount(_) => "kernel-refused",
        }
    }
}

/// Mounts a file system whose server does not run yet at `mountpoint` and returns the device that the server reads.
/// `source` is what mount(8) shows. Accesses block until the server answers or the last copy of the device is closed.
pub fn mount_without_server(
    mountpoint: &Path,
    source: &str,
    options: &[Setting],
) -> Result<OwnedFd, FuseError> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(FuseError::Device)?;
    let (flags, data) = mount_options(options, &device);
    mount(Some(source), mountpoint, Some(FILESYSTEM), flags, Some(data.as_str()))
        .map_err(FuseError::Mount)?;
    Ok(device.into())
}

/// Translates checked options. A set-user-ID program or a device file of a remote server is never honoured.
fn mount_options(options: &[Setting], device: &File) -> (MsFlags, String) {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // The number in this process is what mount(2) looks up. rootmode: the root is a directory.
    // allow_other: containers run as other users than the one that mounts.
    let mut data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
    for Setting { name, value } in options {
        match (*name, value) {
            ("ro", _) => flags |= MsFlags::MS_RDONLY,
            ("noexec", _) => flags |= MsFlags::MS_NOEXEC,
            ("noatime", _) => flags |= MsFlags::MS_NOATIME,
            ("nodiratime", _) => flags |= MsFlags::MS_NODIRATIME,
            ("sync", _) => flags |= MsFlags::MS_SYNCHRONOUS,
            ("dirsync", _) => flags |= MsFlags::MS_DIRSYNC,
            // SELinux contexts contain commas; the kernel takes them in quotes.
            (name, Some(value)) => data.extend([",", name, "=\"", value, "\""]),
            (name, None) => data.extend([",", name]),
        }
    }
    (flags, data)
}

/// Unmounts; `EBUSY` where a process of this mount namespace uses it.
pub fn unmount(mountpoint: &Path) -> nix::Result<()> {
    umount2(mountpoint, MntFlags::UMOUNT_NOFOLLOW)
}

/// Takes the mount away at once, also when it is in use or its server is gone.
pub fn detach(mountpoint: &Path) -> nix::Result<()> {
    umount2(mountpoint, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH)
}

/// Shows `directories` read-only at `view`. Mounts are made below the view; where one is missing, the path lies on
/// a read-only mount, so that nobody, not even root in a container, can write to the host's disk in its place.
pub fn make_view(directories: &Path, view: &Path) -> nix::Result<()> {
    // A plain bind mount would be a peer of the file system below, and each mount in the view would appear a second time
    // in `directories`. A bind mount of something private starts a peer group of its own.
    bind(directories, directories)?;
    let private = mount(None::<&str>, directories, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>);
    let result = private
        .and_then(|()| bind(directories, view))
        .and_then(|()| protect_view(view).inspect_err(|_| _ = detach(view)));
    detach(directories)?;
    result
}

/// Makes the view read-only; also where a killed daemon left it half made.
pub fn protect_view(view: &Path) -> nix::Result<()> {
    let flags =
        MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(None::<&str>, view, None::<&str>, flags, None::<&str>)
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// Sets the kernel's read-ahead of a mount. The default of 128 KiB makes a sequential read wait for one round trip
/// per 128 KiB.
pub fn set_read_ahead(device: Device, kib: u32) -> io::Result<()> {
    std::fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), kib.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_data() {
        let device = File::open("/dev/null").unwrap();
        let setting = |name, value: Option<&str>| Setting { name, value: value.map(str::to_owned) };
        let (flags, data) = mount_options(
            &[
                setting("ro", None),
                setting("default_permissions", None),
                setting("context", Some("u:r:t:s0:c1,c2")),
            ],
            &device,
        );
        assert_eq!(flags, MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_RDONLY);
        let fd = device.as_raw_fd();
        assert_eq!(
            data,
            format!(
                "fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,context=\"u:r:t:s0:c1,c2\""
            )
        );
    }
}
