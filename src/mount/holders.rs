//! Who else has a volume's file system mounted: the kernel's own count of its users.
//!
//! A container holds a volume through a bind mount in its own mount namespace. dockerd's references may be lost or
//! doubled; this list is not. A mount counts unless it is the volume's mountpoint itself or a copy of it that follows
//! it: systemd services with a mount namespace of their own have such copies, as propagation slaves, and lose them
//! when the host unmounts.
//!
//! /proc/PID/mountinfo is readable without ptrace rights (mode 0444), so this needs no capability. `docker cp` works in
//! a thread of dockerd with a mount namespace of its own, so the threads of container engines are looked at too.

use super::mountinfo::{self, Mount};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A process that sees the file system somewhere else than at our mountpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// One process of the mount namespace.
    pub pid: u32,
    /// Its name, from /proc/PID/comm.
    pub command: String,
    /// Where it sees the file system.
    pub mountpoint: PathBuf,
}

/// Processes whose threads may have mount namespaces of their own (moby `daemon/containerfs_linux.go`).
const ENGINES: [&str; 2] = ["dockerd", "podman"];

/// All holders of the file system that is mounted at `ours`, each mount once.
pub fn find(ours: &Mount) -> io::Result<Vec<Holder>> {
    let mut holders: Vec<Holder> = Vec::new();
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        for mount in mounts_of(&entry.path()) {
            if holds(ours, &mount) && !seen.contains(&mount.id) {
                seen.push(mount.id);
                holders.push(Holder { pid, command: command(&entry.path()), mountpoint: mount.mountpoint });
            }
        }
    }
    Ok(holders)
}

/// What a process sees mounted. One that ends meanwhile holds nothing.
fn mounts_of(process: &Path) -> Vec<Mount> {
    let mut tasks = vec![process.to_owned()];
    if ENGINES.contains(&command(process).as_str()) {
        let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
        tasks.extend(threads.map(|thread| thread.path()));
    }
    let texts = tasks.iter().filter_map(|task| fs::read(task.join("mountinfo")).ok());
    texts.flat_map(|text| mountinfo::parse(&text)).collect()
}

/// Whether `other` keeps the file system of `ours` in use independently of `ours`.
fn holds(ours: &Mount, other: &Mount) -> bool {
    let same_group = |group: Option<u32>| group.is_some() && group == ours.shared;
    other.device == ours.device
        && other.id != ours.id
        && !same_group(other.shared)
        && !same_group(other.master)
}

fn command(process: &Path) -> String {
    fs::read_to_string(process.join("comm")).map(|name| name.trim_end().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{super::mountinfo::Device, *};

    fn mount(id: u32, minor: u32, shared: Option<u32>, master: Option<u32>) -> Mount {
        let device = Device { major: 0, minor };
        Mount { id, device, mountpoint: "/d".into(), shared, master, filesystem: "fuse.sshfs".into() }
    }

    #[test]
    fn a_containers_private_bind_mount_holds_and_copies_that_follow_do_not() {
        let ours = mount(1, 50, Some(7), None);
        for (other, expected) in [
            (mount(2, 50, None, None), true),
            (mount(2, 50, Some(8), None), true),
            (mount(1, 50, Some(7), None), false),
            (mount(2, 50, None, Some(7)), false),
            (mount(2, 50, Some(7), None), false),
            (mount(2, 51, None, None), false),
        ] {
            assert_eq!(holds(&ours, &other), expected, "{other:?}");
        }
        let private = mount(1, 50, None, None);
        assert!(holds(&private, &mount(2, 50, None, None)));
    }
}
