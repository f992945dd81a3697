//! Which processes keep an sshfs alive that a restart has replaced: their files are open in it.
//!
//! Its mounts are gone, so no path leads to these files, and mountinfo has nothing of them. The device number is what is
//! left: statx(2) tells it for each link below /proc/PID, and, with `AT_STATX_DONT_SYNC`, without a question to the server,
//! which may hang (fs/fuse/dir.c, `fuse_update_get_attr`).

use crate::{
    diagnosis,
    mount::{
        fuse,
        mountinfo::{self, Device},
        process,
    },
    volume::{Generation, VolumeName},
};
use nix::sys::stat::makedev;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// What a process does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// It is open.
    Open,
    /// It is mapped into memory, or the program.
    Mapped,
    /// It is the working directory.
    WorkingDirectory,
    /// It is the root directory.
    RootDirectory,
}

/// A file that a process has of an earlier sshfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// The process.
    pub pid: u32,
    /// The process and its container, in words.
    pub who: String,
    /// How it uses the file.
    #[serde(rename = "use")]
    pub kind: Use,
    /// As the process would write it now, fit for a terminal: the server names its files.
    pub path: String,
    /// The unit of the sshfs.
    pub unit: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { who, path, .. } = self;
        match self.kind {
            Use::Open => write!(f, "{who} has {path} open"),
            Use::Mapped => write!(f, "{who} has {path} in its memory"),
            Use::WorkingDirectory => write!(f, "{who} works in {path}"),
            Use::RootDirectory => write!(f, "{who} has {path} as its root directory"),
        }
    }
}

/// All users of these sshfs. Reads all of /proc.
pub fn find(name: &VolumeName, remotes: &[String], generations: &[Generation]) -> io::Result<Vec<User>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            processes.push(Process { pid, directory: Path::new("/proc").join(format!("{pid}")) });
        }
    }
    let mut units = BTreeMap::new();
    for process in &processes {
        for generation in generations {
            if let Some(device) = process.serves(&generation.unit()) {
                units.insert(device, generation.unit());
            }
        }
    }
    let users_of = |process: &Process| process.users(name, remotes, &units);
    Ok(processes.iter().flat_map(users_of).collect())
}

struct Process {
    pid: u32,
    directory: PathBuf,
}

impl Process {
    /// The number of the connection for which it supervises sshfs, if it is in this unit.
    fn serves(&self, unit: &str) -> Option<u64> {
        let cgroup = fs::read_to_string(self.directory.join("cgroup")).ok()?;
        cgroup.lines().find(|line| line.ends_with(&format!("/{unit}")))?;
        let command = fs::read(self.directory.join("cmdline")).ok()?;
        let mut arguments = command.split(|byte| *byte == 0);
        arguments.find(|argument| *argument == b"--connection")?;
        let number = std::str::from_utf8(arguments.next()?).ok()?.parse().ok()?;
        Some(makedev(0, number))
    }

    /// What it has of the file systems with these numbers.
    fn users(&self, name: &VolumeName, remotes: &[String], units: &BTreeMap<u64, String>) -> Vec<User> {
        let mut used: Vec<(u64, Use, PathBuf)> = Vec::new();
        for (link, kind) in
            [("cwd", Use::WorkingDirectory), ("root", Use::RootDirectory), ("exe", Use::Mapped)]
        {
            used.extend(look(&self.directory.join(link)).map(|(device, path)| (device, kind, path)));
        }
        for entry in fs::read_dir(self.directory.join("fd")).into_iter().flatten().flatten() {
            used.extend(look(&entry.path()).map(|(device, path)| (device, Use::Open, path)));
        }
        let maps = fs::read(self.directory.join("maps")).unwrap_or_default();
        let maps = String::from_utf8_lossy(&maps).into_owned();
        used.extend(maps.lines().filter_map(mapped).map(|(device, path)| (device, Use::Mapped, path)));
        used.retain(|(device, ..)| units.contains_key(device));
        used.sort();
        used.dedup();
        if used.is_empty() {
            return Vec::new();
        }
        let who = process::Process::of(self.pid).to_string();
        let mounts = fs::read(self.directory.join("mountinfo")).unwrap_or_default();
        let mounts = mountinfo::uppermost(mountinfo::parse(&mounts));
        let ours: Vec<_> = mounts.iter().filter(|mount| fuse::is_of(mount, name, remotes)).collect();
        let named = |device: u64, path: &Path| match ours.as_slice() {
            // Of a mount that is gone, the kernel knows the path below it, and there is another mount now.
            [mount] if mount.device != Device::of(device) => {
                mount.mountpoint.join(path.strip_prefix("/").unwrap_or(path))
            }
            _ => path.to_owned(),
        };
        used.into_iter()
            .map(|(device, kind, path)| User {
                pid: self.pid,
                who: who.clone(),
                kind,
                path: diagnosis::clean_path(&named(device, &path)),
                unit: units.get(&device).cloned().unwrap_or_default(),
            })
            .collect()
    }
}

/// The device number of what a link below /proc leads to, and its path.
fn look(link: &Path) -> Option<(u64, PathBuf)> {
    let path = fs::read_link(link).ok().filter(|path| path.has_root())?;
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let status = statx(CWD, link, flags, StatxFlags::TYPE).ok()?;
    Some((makedev(status.stx_dev_major.into(), status.stx_dev_minor.into()), path))
}

/// The same of a line of /proc/PID/maps: `ADDRESSES PERMISSIONS OFFSET MAJOR:MINOR INODE PATH`.
fn mapped(line: &str) -> Option<(u64, PathBuf)> {
    let mut fields = line.splitn(6, ' ');
    let (major, minor) = fields.nth(3)?.split_once(':')?;
    let path = fields.nth(1)?.trim_start();
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((makedev(number(major)?, number(minor)?), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_is_told_by_its_device() {
        let line = "7f0c1000-7f0c2000 r--p 00001000 00:3a 1234                       /lib/with blank.so";
        assert_eq!(mapped(line), Some((makedev(0, 0x3a), "/lib/with blank.so".into())));
        assert_eq!(mapped("7f0c1000-7f0c2000 rw-p 00000000 00:00 0 "), Some((0, "".into())));
    }

    #[test]
    fn what_a_process_has_is_found_by_the_number_of_the_file_system() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let device = std::os::unix::fs::MetadataExt::dev(&file.path().metadata().unwrap());
        let pid = std::process::id();
        let process = Process { pid, directory: "/proc/self".into() };
        let name = VolumeName::new("data").unwrap();
        let users = process.users(&name, &[], &[(device, "the unit".to_owned())].into());
        let open = |user: &User| user.kind == Use::Open && Path::new(&user.path) == file.path();
        assert!(users.iter().any(open), "{users:?}");
        assert!(process.users(&name, &[], &[(u64::MAX, String::new())].into()).is_empty());
    }

    #[test]
    fn a_file_that_the_server_named_for_the_terminal_is_shown_without_that() {
        let file = tempfile::Builder::new().prefix("a\u{1b}[2Jb\nc").tempfile().unwrap();
        let device = std::os::unix::fs::MetadataExt::dev(&file.path().metadata().unwrap());
        let process = Process { pid: std::process::id(), directory: "/proc/self".into() };
        let name = VolumeName::new("data").unwrap();
        let users = process.users(&name, &[], &[(device, "the unit".to_owned())].into());
        let shown: Vec<_> = users.iter().map(ToString::to_string).collect();
        assert!(shown.iter().any(|line| line.contains("/a[2Jbc")), "{shown:?}");
        assert!(!shown.iter().any(|line| line.contains(char::is_control)), "{shown:?}");
    }
}
