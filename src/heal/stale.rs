//! Mounts in containers that are not the volume's own any more, and whose they are: their sshfs has died, or another one
//! has taken its place.

use crate::{
    mount::{
        fuse,
        holders::{Everywhere, Holder},
        mountinfo::{Device, Mount},
        process::Process,
    },
    volume::{Generation, VolumeName},
};
use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path};
use tokio::task::spawn_blocking;

/// A mount of a volume, somewhere on the host or in a container, of a file system that is not the live one.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The mount itself, with the path as the process sees it.
    pub mount: Mount,
    /// A process that sees it.
    pub process: Process,
    /// Why it must be left alone, if it must.
    pub obstacle: Option<Obstacle>,
}

/// What keeps a stale mount from being replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Replacing it would detach these too, and writes to them would land in this volume.
    #[error("other mounts lie inside of it and would be lost")]
    MountsInside,
    /// Whether this driver made it is not known.
    #[error(
        "it cannot be told from somebody else's: the control files of FUSE are not mounted at {CONNECTIONS}"
    )]
    Unproven,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.holder().fmt(f)
    }
}

impl Stale {
    /// The short id of the container, if it is one.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.process.container.as_deref()
    }

    /// As one who holds the volume.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder::new(self.process.clone(), &self.mount)
    }
}

/// All stale mounts of a volume that shows these remotes, and whose live file system, if it has one, is `live`.
pub async fn find(name: &VolumeName, remotes: &[String], live: Option<Device>) -> io::Result<Vec<Stale>> {
    let (name, remotes) = (name.clone(), remotes.to_vec());
    // It reads all of /proc.
    spawn_blocking(move || find_now(&name, &remotes, live)).await.map_err(io::Error::other)?
}

fn find_now(name: &VolumeName, remotes: &[String], live: Option<Device>) -> io::Result<Vec<Stale>> {
    let everywhere = Everywhere::read()?;
    let mut found: Vec<_> = everywhere
        .iter()
        .filter(|mount| fuse::is_of(mount, name, remotes) && Some(mount.device) != live)
        .filter(|mount| !everywhere.iter().any(|other| covers(other, mount)))
        .filter_map(|mount| {
            let obstacle = match made_by_root(mount.device) {
                Some(false) => return None,
                None => Some(Obstacle::Unproven),
                Some(true) => {
                    everywhere.iter().any(|other| other.parent == mount.id).then_some(Obstacle::MountsInside)
                }
            };
            let process = Process::of(everywhere.seen_by(mount));
            Some(Stale { process, obstacle, mount: mount.clone() })
        })
        .collect();
    found.sort_by_key(|stale| stale.mount.id);
    Ok(found)
}

/// Whether `other` lies on all of `mount`, so that nobody sees it: an earlier healing put it there on a kernel that cannot
/// put it beneath.
fn covers(other: &Mount, mount: &Mount) -> bool {
    other.parent == mount.id && other.mountpoint == mount.mountpoint
}

/// What is left of the mounts of an sshfs whose place another one has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// None: it serves files that are open.
    Nothing,
    /// All of them are covered by others: where the kernel cannot put a mount beneath another, the fresh one lies on top.
    Hidden,
    /// Somebody sees one.
    Seen,
}

/// What is left of an sshfs of a volume, in all mount namespaces. It reads all of /proc.
pub fn left(generation: &Generation, remotes: &[String]) -> io::Result<Left> {
    let everywhere = Everywhere::read()?;
    Ok(left_of(generation, remotes, &everywhere.iter().collect::<Vec<_>>()))
}

fn left_of(generation: &Generation, remotes: &[String], all: &[&Mount]) -> Left {
    let name = generation.volume();
    let is_its =
        |mount: &Mount| fuse::is_of(mount, name, remotes) && fuse::generation(mount, name) == *generation;
    let its: Vec<_> = all.iter().filter(|mount| is_its(mount)).collect();
    match its.iter().all(|mount| all.iter().any(|other| covers(other, mount))) {
        _ if its.is_empty() => Left::Nothing,
        true => Left::Hidden,
        false => Left::Seen,
    }
}

/// The control files of FUSE.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

/// Whether root of the host made a FUSE mount; None where that cannot be seen.
///
/// Type and source of a mount are what whoever mounted it said: every user can mount FUSE in a user namespace or with
/// fusermount, as `fuse.sshfs` from `data=…`, and would be given the volume. The directory of the connection belongs to
/// the user of the mount as the host knows him (fs/fuse/control.c, `fuse_ctl_add_dentry`; `user_id=` of an unprivileged
/// mount cannot be root of the host). What mountinfo shows as `user_id=` is as seen in his namespace.
fn made_by_root(device: Device) -> Option<bool> {
    let connection = Path::new(CONNECTIONS).join(device.minor.to_string());
    fs::metadata(connection).ok().map(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::mountinfo;

    #[test]
    fn what_lives_on_for_a_mount_that_is_hidden_is_told_from_what_is_seen_or_only_open() {
        let generation = Generation::first(&VolumeName::new("data").unwrap());
        let left = |lines: &str| {
            let mounts = mountinfo::parse(lines.as_bytes());
            left_of(&generation, &["h:/x".to_owned()], &mounts.iter().collect::<Vec<_>>())
        };
        let old = "11 10 0:50 / /mnt/data rw - fuse.sshfs data=h:/x rw\n";
        let fresh = "12 11 0:51 / /mnt/data rw - fuse.sshfs data:2=h:/x rw\n";
        let in_container = "31 30 0:50 / /d rw - fuse.sshfs data=h:/x rw\n";
        assert_eq!(left(fresh), Left::Nothing);
        assert_eq!(left(&format!("{old}{fresh}")), Left::Hidden);
        assert_eq!(left(&format!("{old}{fresh}{in_container}")), Left::Seen);
        let of_another = "41 40 0:60 / /d rw - fuse.sshfs data=h:/other rw\n";
        assert_eq!(left(of_another), Left::Nothing);
    }
}
