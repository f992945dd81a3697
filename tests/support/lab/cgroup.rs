//! A cgroup of its own for each guest, in every hierarchy the machine has.
//!
//! `systemd-nspawn --keep-unit` makes `payload` and `supervisor` beneath the cgroup it is started in: two
//! guests started from the same one would share them. On version 1 the controllers' hierarchies are the
//! guest's to fill as well, so it gets a directory in each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::poll;
use crate::isolation;

/// Tells the lab's cgroups from all others on the machine.
const PREFIX: &str = "sshfs-docker-lab-";

/// Where the machine mounts its hierarchies.
const MOUNTS: &str = "/sys/fs/cgroup";

/// The directories of one guest. Removed when dropped.
#[derive(Debug)]
pub struct Cgroup(Vec<PathBuf>);

impl Cgroup {
    /// Makes the directories of `guest` beneath the cgroups of the calling process.
    pub fn create(guest: &str) -> Result<Self> {
        // A run has guests of one name one after the other.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
        let name = format!("{PREFIX}{}-{guest}-{time}", isolation::owner());
        let cgroup = Self(parents()?.into_iter().map(|parent| parent.join(&name)).collect());
        for directory in &cgroup.0 {
            fs::create_dir(directory).with_context(|| directory.display().to_string())?;
            inherit_cpuset(directory.parent().context("a cgroup without a parent")?, directory)?;
        }
        Ok(cgroup)
    }

    /// The files a process writes `0` to in order to move into this cgroup.
    pub fn entrances(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().map(|directory| directory.join("cgroup.procs"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_when_empty(&self.0);
    }
}

/// Removes what this run and killed ones left behind. That of a lab which runs at the same time stays, also while a guest
/// of it is off.
pub fn sweep() {
    let mut found = Vec::new();
    find(Path::new(MOUNTS), &mut found);
    found.retain(|directory| !is_of_another_run(directory));
    remove_when_empty(&found);
}

fn is_of_another_run(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    owner.is_some_and(|pid| pid != isolation::owner() && Path::new(&format!("/proc/{pid}")).exists())
}

/// The directory of this process in each hierarchy.
fn parents() -> Result<Vec<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    Ok(mounts.lines().filter_map(|mount| parent(mount, &own)).collect())
}

fn parent(mount: &str, own: &str) -> Option<PathBuf> {
    let [_, target, kind, options] = mount.split(' ').take(4).collect::<Vec<_>>().try_into().ok()?;
    let path = own.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let ours = match kind {
            "cgroup2" => controllers.is_empty(),
            "cgroup" => {
                controllers.split(',').all(|one| !one.is_empty() && options.split(',').any(|o| o == one))
            }
            _ => false,
        };
        ours.then_some(path)
    })?;
    Some(Path::new(target).join(path.trim_start_matches('/')))
}

/// A new version 1 cpuset is empty, and no process may enter it.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // On version 2 an empty value already means "as the parent".
        if child.join(file).exists() && parent.join("tasks").exists() {
            fs::write(child.join(file), fs::read(parent.join(file))?).context(file)?;
        }
    }
    Ok(())
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for child in children(directory) {
        let name = child.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(PREFIX) { found.push(child) } else { find(&child, found) }
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_directory).map(|entry| entry.path()).collect()
}

/// The kernel lets go of a cgroup a moment after its last process: waits for that, but not for ever.
fn remove_when_empty(directories: &[PathBuf]) {
    // Nobody is told of a timeout: what stays is in use, or the next sweep's.
    let _ = poll::until_true("empty cgroups", Duration::from_secs(3), || {
        directories.iter().filter(|directory| is_empty(directory)).for_each(|directory| remove(directory));
        Ok(directories.iter().all(|directory| !directory.exists()))
    });
}

fn is_empty(directory: &Path) -> bool {
    let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    procs.is_empty() && children(directory).iter().all(|child| is_empty(child))
}

fn remove(directory: &Path) {
    for child in children(directory) {
        remove(&child);
    }
    // Fails when a process entered meanwhile; the caller looks at the result.
    let _ = fs::remove_dir(directory);
}
