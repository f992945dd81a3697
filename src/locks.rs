//! A lock per volume name. Calls for one volume run one after another, calls for different volumes do not wait for
//! each other.

use crate::volume::VolumeName;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::OwnedMutexGuard;

/// Locks that exist as long as somebody holds or awaits them.
#[derive(Debug, Default)]
pub struct NameLocks {
    locks: Mutex<HashMap<VolumeName, Weak<tokio::sync::Mutex<()>>>>,
}

impl NameLocks {
    /// Waits until nobody else holds `name`, first come, first served.
    pub async fn lock(&self, name: &VolumeName) -> OwnedMutexGuard<()> {
        self.get(name).lock_owned().await
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, pin::pin, task::Poll};

    #[tokio::test(flavor = "current_thread")]
    async fn one_name_waits_for_itself_only_and_leaves_nothing_behind() {
        let locks = NameLocks::default();
        let (a, b) = (VolumeName::new("a").unwrap(), VolumeName::new("b").unwrap());
        let first = locks.lock(&a).await;
        drop(locks.lock(&b).await);
        {
            let mut second = pin!(locks.lock(&a));
            assert!(poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await);
            drop(first);
            drop(second.await);
        }
        drop(locks.lock(&b).await);
        assert_eq!(locks.locks.lock().unwrap().len(), 1);
    }
}
