//! Mounts in containers whose sshfs has died, and whose they are.

use crate::{
    mount::{
        fuse,
        holders::Everywhere,
        mountinfo::{Device, Mount},
    },
    volume::VolumeName,
};
use std::{fmt, fs, io};

/// A mount of a volume, somewhere on the host or in a container, of a file system that is not the live one.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The mount itself, with the path as `pid` sees it.
    pub mount: Mount,
    /// A process that sees it.
    pub pid: u32,
    /// Whether something else is mounted below it, which would go with it.
    pub has_mounts_inside: bool,
    who: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.who, self.mount.mountpoint.display())
    }
}

/// All stale mounts of a volume whose live file system, if it has one, is `live`.
pub fn find(name: &VolumeName, live: Option<Device>) -> io::Result<Vec<Stale>> {
    let everywhere = Everywhere::read()?;
    let mut found: Vec<_> = everywhere
        .iter()
        .filter(|mount| fuse::is_of(mount, name) && Some(mount.device) != live)
        .map(|mount| {
            let pid = everywhere.seen_by(mount);
            Stale {
                pid,
                has_mounts_inside: everywhere.iter().any(|other| other.parent == mount.id),
                who: describe(pid),
                mount: mount.clone(),
            }
        })
        .collect();
    found.sort_by_key(|stale| stale.mount.id);
    Ok(found)
}

/// `container 3f2a1b0c9d8e (nginx, pid 4711)`, or the process alone.
fn describe(pid: u32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command = read("comm");
    match container_id(&read("cgroup")) {
        Some(id) => format!("container {id} ({}, pid {pid})", command.trim_end()),
        None => format!("process {pid} ({})", command.trim_end()),
    }
}

/// The first twelve digits of the container's id, as `docker ps` shows it. Engines put the whole id into the name of the
/// cgroup: `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`.
fn container_id(cgroup: &str) -> Option<&str> {
    let words = cgroup.split(|c: char| !c.is_ascii_hexdigit());
    words.into_iter().find(|word| word.len() == 64).map(|id| &id[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_cgroup() {
        let id = "3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a";
        for cgroup in [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("12:pids:/docker/{id}\n11:cpu:/docker/{id}\n"),
            format!("0::/machine.slice/libpod-{id}.scope/container\n"),
        ] {
            assert_eq!(container_id(&cgroup), Some("3f2a1b0c9d8e"), "{cgroup}");
        }
        assert_eq!(container_id("0::/system.slice/ssh.service\n"), None);
    }
}
