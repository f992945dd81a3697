//! Who else has a volume's file system mounted: the kernel's own count of its users.
//!
//! A container holds a volume through a bind mount in its own mount namespace. dockerd's references may be lost or
//! doubled; this list is not. A mount counts unless it is the volume's mountpoint itself or a copy that goes with it.
//! systemd services with a mount namespace of their own have such copies: a mount or an unmount in a directory is
//! repeated in all copies of that directory's mount, its peers and slaves (mount_namespaces(7)). So it is the mount
//! below that tells: a copy lies at the same place of a peer or slave of the mount that ours lies on. A bind mount
//! anywhere else stays when ours goes, whatever its own propagation.
//!
//! /proc/PID/mountinfo is readable without ptrace rights (mode 0444), so this needs no capability. Where /proc hides
//! processes (hidepid=), nothing can be said, and that is an error: what cannot be seen may be in use. `docker cp` works
//! in a thread of dockerd with a mount namespace of its own, so the threads of container engines are looked at too.

use super::{
    mountinfo::{self, Mount},
    process::{self, Process},
};
use crate::diagnosis;
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// A process that sees the file system somewhere else than at our mountpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// One process of the mount namespace.
    #[serde(flatten)]
    pub process: Process,
    /// Where it sees the file system, fit for a terminal.
    pub path: String,
}

impl Holder {
    /// A process that sees `mount`.
    #[must_use]
    pub fn new(process: Process, mount: &Mount) -> Self {
        Self { process, path: diagnosis::clean_path(&mount.mountpoint) }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.process, self.path)
    }
}

/// Processes whose threads may have mount namespaces of their own (moby `daemon/containerfs_linux.go`).
const ENGINES: [&str; 2] = ["dockerd", "podman"];

/// Every mount that some process sees, in whatever mount namespace.
#[derive(Debug)]
pub struct Everywhere {
    mounts: HashMap<u32, Mount>,
    seen_by: HashMap<u32, u32>,
}

impl Everywhere {
    /// Reads the mountinfo of all processes.
    pub fn read() -> io::Result<Self> {
        // Also the proof that other users' processes are visible.
        fs::read("/proc/1/mountinfo")?;
        let mut everywhere = Self { mounts: HashMap::new(), seen_by: HashMap::new() };
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            for mount in mounts_of(&entry.path())? {
                everywhere.seen_by.entry(mount.id).or_insert(pid);
                everywhere.mounts.entry(mount.id).or_insert(mount);
            }
        }
        Ok(everywhere)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.values()
    }

    /// One process that sees `mount`.
    #[must_use]
    pub fn seen_by(&self, mount: &Mount) -> u32 {
        self.seen_by.get(&mount.id).copied().unwrap_or_default()
    }
}

/// All holders of the file system that is mounted at `ours`, each mount once.
pub fn find(ours: &Mount) -> io::Result<Vec<Holder>> {
    let everywhere = Everywhere::read()?;
    let mut holders: Vec<_> = holding(ours, &everywhere.mounts)
        .into_iter()
        .map(|mount| Holder::new(Process::of(everywhere.seen_by(mount)), mount))
        .collect();
    holders.sort_by_key(|holder| holder.process.pid);
    Ok(holders)
}

/// What a process sees mounted. One that ends meanwhile holds nothing.
fn mounts_of(process: &Path) -> io::Result<Vec<Mount>> {
    let mut tasks = vec![process.to_owned()];
    if ENGINES.contains(&process::command(process).as_str()) {
        let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
        tasks.extend(threads.map(|thread| thread.path()));
    }
    let mut mounts = Vec::new();
    for task in tasks {
        match fs::read(task.join("mountinfo")) {
            Ok(text) => mounts.extend(mountinfo::parse(&text)),
            Err(e) if has_ended(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(mounts)
}

/// ENOENT: gone; ESRCH: gone since the file was opened; EINVAL: a zombie, which has no namespace any more.
fn has_ended(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::ENOENT | nix::errno::Errno::ESRCH | nix::errno::Errno::EINVAL)
    )
}

/// Those of `all` mounts, by id, that keep the file system of `ours` in use independently of `ours`.
fn holding<'a>(ours: &Mount, all: &'a HashMap<u32, Mount>) -> Vec<&'a Mount> {
    let below = lies_on(ours, all);
    let followed =
        below.and_then(|below| below.shared).map(|group| groups_that_follow(group, all)).unwrap_or_default();
    let goes_with_ours = |mount: &Mount| {
        let (Some(below), Some(its_below)) = (below, lies_on(mount, all)) else { return false };
        let same_place = place(ours, below).is_some_and(|ours| place(mount, its_below) == Some(ours));
        let repeats =
            [its_below.shared, its_below.master].into_iter().flatten().any(|group| followed.contains(&group));
        same_place && repeats
    };
    all.values()
        .filter(|mount| mount.device == ours.device && mount.id != ours.id && !goes_with_ours(mount))
        .collect()
}

/// The mount that a mount lies on, and all those between that it covers whole: what goes with the place.
fn lies_on<'a>(mount: &Mount, all: &'a HashMap<u32, Mount>) -> Option<&'a Mount> {
    let mut below = all.get(&mount.parent)?;
    // As many as there are mounts, at most: what processes show while mounts change need not fit together.
    for _ in all {
        if below.mountpoint != mount.mountpoint {
            break;
        }
        below = all.get(&below.parent)?;
    }
    Some(below)
}

/// The peer groups that repeat what happens in `group`: itself, its slaves where they are shared again, and so on.
fn groups_that_follow(group: u32, all: &HashMap<u32, Mount>) -> HashSet<u32> {
    let mut groups = HashSet::from([group]);
    loop {
        let slaves = all.values().filter(|m| m.master.is_some_and(|master| groups.contains(&master)));
        let more: Vec<_> = slaves.filter_map(|m| m.shared).filter(|g| !groups.contains(g)).collect();
        if more.is_empty() {
            return groups;
        }
        groups.extend(more);
    }
}

/// Where `mount` lies in the file system of the mount `below` it.
fn place(mount: &Mount, below: &Mount) -> Option<PathBuf> {
    mount.mountpoint.strip_prefix(&below.mountpoint).ok().map(|rest| below.root.join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The view with our volume on it as every case has it: `10 ← 11`, group 5 below, group 7 of the volume.
    const OURS: &str = "\
        10 1 8:1 /lib/mountpoints /lib/mnt ro shared:5 - ext4 /dev/sda rw\n\
        11 10 0:50 / /lib/mnt/data rw shared:7 - fuse.sshfs h:/x rw\n";

    fn holders(others: &str) -> usize {
        let all: HashMap<_, _> =
            mountinfo::parse(format!("{OURS}{others}").as_bytes()).into_iter().map(|m| (m.id, m)).collect();
        holding(&all[&11], &all).len()
    }

    #[test]
    fn a_mountpoint_inside_of_a_container_does_not_write_to_the_terminal() {
        let line = "31 30 0:50 / /d\u{1b}[2J\\012x rw - fuse.sshfs h:/x rw\n";
        let mount = mountinfo::parse(line.as_bytes()).remove(0);
        let process = Process { container: None, pid: 7, command: "sh".to_owned() };
        assert_eq!(Holder::new(process, &mount).to_string(), "process 7 (sh) at /d[2Jx");
    }

    #[test]
    fn nobody_else() {
        assert_eq!(holders(""), 0);
        assert_eq!(holders("20 1 0:51 / /lib/mnt/other rw - fuse.sshfs h:/y rw\n"), 0);
    }

    #[test]
    fn a_containers_bind_mount_holds_whatever_its_propagation() {
        for propagation in ["", "shared:7", "shared:9", "master:7", "shared:9 master:7"] {
            let line =
                format!("31 30 0:50 / /data rw {propagation} - fuse.sshfs h:/x rw\n").replace("  ", " ");
            assert_eq!(holders(&format!("30 2 0:40 / / rw - overlay o rw\n{line}")), 1, "{propagation}");
        }
    }

    #[test]
    fn a_bind_mount_elsewhere_on_the_host_holds() {
        assert_eq!(
            holders(
                "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n12 1 0:50 / /srv/x rw shared:7 - fuse.sshfs h:/x rw\n"
            ),
            1
        );
    }

    #[test]
    fn what_lies_beneath_ours_or_on_it_at_the_mountpoint_goes_with_it() {
        assert_eq!(holders("12 11 0:50 / /lib/mnt/data rw shared:7 - fuse.sshfs h:/x rw\n"), 0);
        let in_a_service = "40 3 8:1 /lib/mountpoints /lib/mnt ro master:5 - ext4 /dev/sda rw\n\
                            41 40 0:51 / /lib/mnt/data rw master:8 - fuse.sshfs h:/x rw\n\
                            42 41 0:50 / /lib/mnt/data rw master:7 - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(in_a_service), 0);
        let in_a_container = "30 2 0:40 / / rw - overlay o rw\n\
                              31 30 0:51 / /data rw - fuse.sshfs h:/x rw\n\
                              32 31 0:50 / /data rw - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(in_a_container), 1);
    }

    #[test]
    fn the_copies_of_sandboxed_services_go_with_ours() {
        let slave = "40 3 8:1 /lib/mountpoints /lib/mnt ro master:5 - ext4 /dev/sda rw\n\
                     41 40 0:50 / /lib/mnt/data rw master:7 - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(slave), 0);
        let peer = "40 3 8:1 /lib/mountpoints /lib/mnt ro shared:5 - ext4 /dev/sda rw\n\
                    41 40 0:50 / /lib/mnt/data rw shared:7 - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(peer), 0);
        let slave_of_a_shared_slave = "40 3 8:1 /lib/mountpoints /lib/mnt ro shared:6 master:5 - ext4 /dev/sda rw\n\
                     50 4 8:1 /lib/mountpoints /lib/mnt ro master:6 - ext4 /dev/sda rw\n\
                     51 50 0:50 / /lib/mnt/data rw master:8 - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(slave_of_a_shared_slave), 0);
        let private_copy_of_the_host = "40 3 8:1 /lib/mountpoints /lib/mnt ro - ext4 /dev/sda rw\n\
                    41 40 0:50 / /lib/mnt/data rw - fuse.sshfs h:/x rw\n";
        assert_eq!(holders(private_copy_of_the_host), 1);
    }
}
