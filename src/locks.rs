//! A lock per volume. Calls for one volume run one after another, calls for different volumes do not wait for each
//! other. Healing is a process of its own, so the lock is one between processes too: flock(2) on a file per volume.
//!
//! Who holds a lock does nothing without a deadline, so nobody waits for ever; the longest is a mount and the clearing away
//! of one that failed.

use crate::{directories, paths::Paths, volume::VolumeName};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::OwnedMutexGuard, time::sleep};

/// How often a lock is tried that another process has.
const INTERVAL: Duration = Duration::from_millis(20);

/// Locks that exist as long as somebody holds or awaits them.
#[derive(Debug)]
pub struct VolumeLocks {
    directory: PathBuf,
    locks: Mutex<HashMap<VolumeName, Weak<tokio::sync::Mutex<()>>>>,
}

/// A held lock; dropping it lets the next one in.
#[derive(Debug)]
pub struct VolumeLock {
    path: PathBuf,
    /// None where the file could not be locked. Fields are dropped in this order: first the other processes' turn.
    file: Option<Flock<File>>,
    _calls: OwnedMutexGuard<()>,
}

impl VolumeLocks {
    /// Locks with their files below the runtime directory.
    pub fn open(paths: &Paths) -> io::Result<Self> {
        directories::ensure(&paths.locks(), 0o700)?;
        Ok(Self { directory: paths.locks(), locks: Mutex::default() })
    }

    /// Waits until nobody else holds `name`; in this process first come, first served.
    pub async fn lock(&self, name: &VolumeName) -> VolumeLock {
        let calls = self.get(name).lock_owned().await;
        let path = self.directory.join(name.as_str());
        let file = loop {
            match try_lock(&path) {
                Ok(Some(file)) => break Some(file),
                Ok(None) => sleep(INTERVAL).await,
                Err(e) => {
                    // /run is full, for example. Refusing to unmount would be worse than meeting the healing.
                    tracing::warn!(volume = %name, "volume {name}: cannot lock {}, going on without: {e}", path.display());
                    break None;
                }
            }
        };
        VolumeLock { path, file, _calls: calls }
    }

    fn get(&self, name: &VolumeName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        locks.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let lock = Arc::default();
            locks.insert(name.clone(), Arc::downgrade(&lock));
            lock
        })
    }
}

impl VolumeLock {
    /// Gives the lock back for good, when its volume is gone: the file is removed too.
    pub fn retire(self) {
        if self.file.is_some() {
            // Who waits for the removed file finds out that it is no longer the one at its path.
            _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks the file at `path`; None while another process has it.
fn try_lock(path: &PathBuf) -> io::Result<Option<Flock<File>>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    let is_current = fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|m| m.ino() == now.ino()));
    Ok(is_current.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, path::Path, pin::pin, task::Poll};

    fn locks(root: &Path) -> VolumeLocks {
        let paths = Paths { configuration: "/".into(), state: "/".into(), runtime: root.to_owned() };
        VolumeLocks::open(&paths).unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn one_name_waits_for_itself_only_and_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let locks = locks(root.path());
        let (a, b) = (VolumeName::new("a").unwrap(), VolumeName::new("b").unwrap());
        let first = locks.lock(&a).await;
        drop(locks.lock(&b).await);
        {
            let mut second = pin!(locks.lock(&a));
            assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
            drop(first);
            second.await.retire();
        }
        locks.lock(&b).await.retire();
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
        assert_eq!(fs::read_dir(root.path().join("locks")).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn another_process_waits_too_also_when_the_file_is_removed_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        // Open file descriptions of their own stand for processes.
        let (ours, theirs) = (locks(root.path()), locks(root.path()));
        let name = VolumeName::new("a").unwrap();
        let first = ours.lock(&name).await;
        let mut second = pin!(theirs.lock(&name));
        assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
        first.retire();
        let second = second.await;
        assert!(second.file.is_some() && second.path.exists());
        let third = ours.lock(&name);
        assert!(tokio::time::timeout(INTERVAL * 3, third).await.is_err());
    }
}
