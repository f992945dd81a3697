//! Putting a fresh mount in the place of a dead or old one, inside the mount namespace of a container.
//!
//! A volume's mount in a container is private: what is mounted on the host later never appears there. But it can be put
//! there ([`swap`]), without a moment in which a write would land in the container's own layer.
//!
//! A process that joins a mount namespace must have one thread (setns(2)), so each graft is a process of its own,
//! `sshfs-docker graft`. Every step that could meet a link in the container's tree works on a file descriptor whose mount
//! id has been checked, so that the container cannot lead it elsewhere by moving directories meanwhile.

use crate::{
    mount::{
        mountinfo::Mount,
        swap::{Trees, how, mount_id, open_path, swap},
    },
    sys,
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::{
    fcntl::{ResolveFlag, openat2},
    sched::{CloneFlags, setns},
    unistd::{chroot, fchdir},
};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::{
    ffi::OsString,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What goes where.
#[derive(Args, Clone, Debug)]
pub struct Graft {
    /// The fresh mount on the host.
    #[arg(long)]
    pub from: PathBuf,
    /// Its id: what is at that path now may be something else.
    #[arg(long)]
    pub from_id: u32,
    /// The directory of it that the container has, `/` for all.
    #[arg(long)]
    pub root: PathBuf,
    /// What the container's mount forbids beyond the host's (`MOUNT_ATTR_*`).
    #[arg(long)]
    pub attributes: u64,
    /// A process of the container.
    #[arg(long)]
    pub pid: u32,
    /// The id of the mount that is replaced.
    #[arg(long)]
    pub mount_id: u32,
    /// Where that is in the container.
    pub target: PathBuf,
}

impl Graft {
    /// The graft that replaces `old`, as a process `pid` sees it, by `fresh`.
    #[must_use]
    pub fn over(old: &Mount, pid: u32, fresh: &Mount) -> Self {
        Self {
            from: fresh.mountpoint.clone(),
            from_id: fresh.id,
            root: old.root.clone(),
            attributes: attributes(&old.options),
            pid,
            mount_id: old.id,
            target: old.mountpoint.clone(),
        }
    }

    /// The command line after the program's name, which [`clap`] reads back.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let text = |name: &str, value: String| OsString::from(format!("--{name}={value}"));
        let path = |name: &str, value: &Path| {
            let mut argument = OsString::from(format!("--{name}="));
            argument.push(value);
            argument
        };
        vec![
            "graft".into(),
            path("from", &self.from),
            text("from-id", self.from_id.to_string()),
            path("root", &self.root),
            text("attributes", self.attributes.to_string()),
            text("pid", self.pid.to_string()),
            text("mount-id", self.mount_id.to_string()),
            "--".into(),
            self.target.clone().into(),
        ]
    }
}

/// The role of the process: grafts, and says on standard error why it could not.
#[must_use]
pub fn run(graft: &Graft) -> ExitCode {
    match graft_into_container(graft) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

fn graft_into_container(graft: &Graft) -> Result<()> {
    let process = PathBuf::from("/proc").join(graft.pid.to_string());
    let gone = || format!("process {} is gone", graft.pid);
    let namespace = File::open(process.join("ns/mnt")).with_context(gone)?;
    let root = open_path(&process.join("root"), ResolveFlag::empty()).with_context(gone)?;
    // Its entries stay those of this process, also where the container's /proc is another one.
    let own_descriptors = open_path(Path::new("/proc/self/fd"), ResolveFlag::empty())?;
    let trees = Trees { fresh: fresh_tree(graft)?, spare: fresh_tree(graft)? };

    setns(&namespace, CloneFlags::CLONE_NEWNS).context("cannot enter the mount namespace")?;
    fchdir(&root).and_then(|()| chroot(".")).context("cannot enter the root directory of the container")?;
    let target = open_path(&graft.target, ResolveFlag::RESOLVE_NO_SYMLINKS)
        .with_context(|| format!("cannot open {}", graft.target.display()))?;
    fchdir(&own_descriptors)?;
    // The working directory is /proc/self/fd of the host.
    ensure!(mount_id(&target, "../fdinfo")? == graft.mount_id, "the mount has changed meanwhile");
    swap(&trees, &target, Path::new(".")).context("the kernel refuses a mount there")
}

/// A copy of the fresh mount that is attached nowhere, private, and as restricted as the old one is.
fn fresh_tree(graft: &Graft) -> Result<OwnedFd> {
    let mount = open_path(&graft.from, ResolveFlag::RESOLVE_NO_SYMLINKS)?;
    ensure!(mount_id(&mount, "/proc/self/fdinfo")? == graft.from_id, "the fresh mount is gone again");
    let below = graft.root.strip_prefix("/").unwrap_or(&graft.root);
    let directory = if below.as_os_str().is_empty() {
        mount
    } else {
        let resolve =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        openat2(&mount, below, how(resolve))
            .with_context(|| format!("{} cannot be found in the volume any more", graft.root.display()))?
    };
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&directory, "", flags).context("cannot copy the mount")?;
    sys::restrict_mount(&tree, graft.attributes).context("cannot make the mount private (Linux 5.12 can)")?;
    Ok(tree)
}

/// The restrictions of a mount, from its options in mountinfo to the bits of mount_setattr(2).
fn attributes(options: &str) -> u64 {
    let bit = |option| match option {
        "ro" => libc::MOUNT_ATTR_RDONLY,
        "nosuid" => libc::MOUNT_ATTR_NOSUID,
        "nodev" => libc::MOUNT_ATTR_NODEV,
        "noexec" => libc::MOUNT_ATTR_NOEXEC,
        "noatime" => libc::MOUNT_ATTR_NOATIME,
        "nodiratime" => libc::MOUNT_ATTR_NODIRATIME,
        "nosymfollow" => libc::MOUNT_ATTR_NOSYMFOLLOW,
        _ => 0,
    };
    options.split(',').map(bit).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_only_mount_stays_read_only() {
        assert_eq!(attributes("ro,nosuid,nodev,relatime"), 1 | 2 | 4);
        assert_eq!(attributes("rw,noexec,noatime"), 8 | 0x10);
        assert_eq!(attributes(""), 0);
    }
}
