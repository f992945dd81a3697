//! The kernel's side of a mount: open /dev/fuse, mount(2), umount2(2), read-ahead.
//!
//! The daemon makes the mount and gives the open FUSE device to sshfs, which therefore needs neither a setuid helper
//! nor a capability (libfuse >= 3.3 takes `/dev/fd/N` as mountpoint).

use super::{
    mountinfo::{self, Device, Mount},
    swap::Trees,
};
use crate::{
    kind,
    volume::{Generation, Remote, VolumeName, options::Setting},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    thread,
};

/// The type that mountinfo shows.
pub const FILESYSTEM: &str = "fuse.sshfs";

/// What mount(8) shows as the source of a volume's mount. It tells, in every mount namespace and after the end of sshfs,
/// whose mount that is, and which unit serves it. No name contains a `=`, so two volumes never have the same.
#[must_use]
pub fn source(generation: &Generation, remote: &Remote) -> String {
    format!("{generation}={remote}")
}

/// Whether a mount, wherever it is, says that it shows the files of this volume from one of these remotes.
#[must_use]
pub fn is_of(mount: &Mount, name: &VolumeName, remotes: &[String]) -> bool {
    let of_these = |remote| remotes.iter().any(|known| known == remote);
    mount.filesystem == FILESYSTEM && read_source(mount, name).is_some_and(|(_, remote)| of_these(remote))
}

/// Whether the mount that is at the mountpoint of `name` was made for it.
#[must_use]
pub fn bears_name(mount: &Mount, name: &VolumeName) -> bool {
    mount.filesystem == FILESYSTEM && read_source(mount, name).is_some()
}

/// Which sshfs serves the mount that is at the mountpoint of `name`.
#[must_use]
pub fn generation(mount: &Mount, name: &VolumeName) -> Generation {
    read_source(mount, name).map_or_else(|| Generation::first(name), |(generation, _)| generation)
}

/// The remotes whose files a volume shows: that of its definition, and that of the mount at its mountpoint, which is
/// another one if the volume has been moved to another server since.
#[must_use]
pub fn remotes(name: &VolumeName, defined: Option<&Remote>, mounted: Option<&Mount>) -> Vec<String> {
    let mounted = mounted.and_then(|mount| read_source(mount, name)).map(|(_, remote)| remote.to_owned());
    defined.map(ToString::to_string).into_iter().chain(mounted).collect()
}

fn read_source<'a>(mount: &'a Mount, name: &VolumeName) -> Option<(Generation, &'a str)> {
    let (generation, remote) = mount.source.split_once('=')?;
    Some((Generation::read(generation, name)?, remote))
}

/// Why there is no FUSE mount.
#[derive(Debug, thiserror::Error)]
pub enum FuseError {
    /// The kernel has no FUSE, or this is a container without the device.
    #[error("cannot open /dev/fuse ({}); {}", .0.desc(), device_advice(*.0))]
    Device(Errno),
    /// mount(2) failed.
    #[error("the kernel refused the mount ({}); {}", .0.desc(), mount_advice(*.0))]
    Mount(Errno),
    /// A mount apart from all others failed.
    #[error("the kernel refused a mount that is attached nowhere: {0}")]
    Apart(io::Error),
}

// Not with #[from], which would make sources of them: the sentence has them already.
impl From<Errno> for FuseError {
    fn from(errno: Errno) -> Self {
        Self::Mount(errno)
    }
}

impl From<io::Error> for FuseError {
    fn from(error: io::Error) -> Self {
        Self::Apart(error)
    }
}

impl FuseError {
    /// A short name of the cause that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Device(_) => kind::NO_FUSE,
            Self::Mount(_) | Self::Apart(_) => kind::KERNEL_REFUSED,
        }
    }
}

fn device_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EACCES | Errno::EPERM => {
            "the driver may not use it: if it runs in a container, give it the device; else see DeviceAllow= in \
             'systemctl cat sshfs-docker.service'"
        }
        _ => "load the kernel module with 'modprobe fuse'; a container needs the device of its host",
    }
}

fn mount_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EINVAL => "it does not know an option of the volume (context and the like need SELinux)",
        Errno::EACCES | Errno::EPERM => {
            "the driver needs CAP_SYS_ADMIN: see 'systemctl cat sshfs-docker.service', and AppArmor or SELinux in the log of \
             the kernel"
        }
        _ => "see the log of the kernel with 'dmesg'",
    }
}

/// Mounts a file system whose server does not run yet at `mountpoint` and returns the device that the server reads.
/// `source` is what mount(8) shows. Accesses block until the server answers or the last copy of the device is closed.
pub fn mount_without_server(
    mountpoint: &Path,
    source: &str,
    options: &[Setting],
) -> Result<OwnedFd, FuseError> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|e| device_error(&e))?;
    let (flags, data) = mount_options(options, &device);
    mount(Some(source), mountpoint, Some(FILESYSTEM), flags, Some(data.as_str()))
        .map_err(FuseError::Mount)?;
    Ok(device.into())
}

/// A mount that is attached nowhere: only who has its trees sees it, and when they are closed it is gone.
#[derive(Debug)]
pub struct Detached {
    /// The device that the server reads.
    pub device: OwnedFd,
    /// Copies of the mount, to be attached.
    pub trees: Trees,
    /// What mountinfo said of it.
    pub mount: Mount,
}

/// The same as [`mount_without_server`], in a mount namespace that ends with this call: `mountpoint` stays as it is for
/// everybody.
pub fn mount_detached(mountpoint: &Path, source: &str, options: &[Setting]) -> Result<Detached, FuseError> {
    let mount_apart = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // What is unmounted elsewhere goes here, too; what is mounted here appears nowhere else.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)?;
        let device = mount_without_server(mountpoint, source, options)?;
        let copy = || {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            open_tree(rustix::fs::CWD, mountpoint, flags).map_err(io::Error::from)
        };
        let trees = Trees { fresh: copy()?, spare: copy()? };
        let mounts = mountinfo::uppermost(mountinfo::of_this_thread()?);
        let mount = mounts.into_iter().rfind(|mount| mount.mountpoint == mountpoint).ok_or(Errno::ENOENT)?;
        Ok(Detached { device, trees, mount })
    };
    // Threads have a mount namespace each, if they ask for it.
    let apart = thread::scope(|scope| scope.spawn(mount_apart).join());
    apart.unwrap_or(Err(FuseError::Mount(Errno::EIO)))
}

fn device_error(error: &io::Error) -> FuseError {
    FuseError::Device(Errno::from_raw(error.raw_os_error().unwrap_or_default()))
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
