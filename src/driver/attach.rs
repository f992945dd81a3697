//! Mount and Unmount: a caller holds a volume, a caller lets go.

use super::{
    DriverError,
    volumes::{Volume, Volumes, warn_if_unverified},
};
use crate::{
    mount::{Made, Reason},
    protocol::Caller,
    uptime::Uptime,
};
use std::path::PathBuf;
use tokio::time::{Instant, timeout_at};

/// Ids are 64 characters long; a longer one is no id.
pub(super) const MOST_ID: usize = 1024;

impl Volumes {
    pub(super) async fn mount(&self, name: &str, id: &str, caller: &Caller) -> Result<PathBuf, DriverError> {
        let name = self.find(name)?.name.clone();
        let patience = self.configuration().await?.mount_timeout;
        let deadline = Instant::now() + patience;
        if id.len() > MOST_ID {
            return Err(DriverError::Id);
        }
        let _lock = timeout_at(deadline, self.locks.lock(&name)).await.map_err(|_| DriverError::Busy {
            name: name.clone(),
            after: patience,
            trouble: self.healing.read(&name).trouble,
        })?;
        // Again: it may have been removed while this call waited, and the policy may be another.
        let volume = self.find(name.as_str())?;
        let config = self.configuration().await?;
        let spec = volume.judge_again(&config.policy)?;
        warn_if_unverified(&name, &spec);
        let in_use = !volume.references().is_empty();
        let (begin, _mounting) = (Instant::now(), volume.begin_mounting());
        let result = self.mounter.mount(&name, &spec, &config, in_use, deadline).await;
        volume.note_mount(self.mounter.mounted(&name).ok().flatten().as_ref());
        if !matches!(result, Ok(Made::Before)) {
            self.look_at_mount(&volume);
            self.history.note_outcome(&name, &result, begin.elapsed());
        }
        let made = result.map_err(|error| DriverError::Mount {
            name: name.clone(),
            remote: spec.remote.to_string(),
            error,
        })?;
        if made == Made::Anew && (in_use || self.healing.read(&name).is_unfinished()) {
            // Who had the volume has a dead mount of it. The healing that its end started may have given up long ago.
            self.mounter.request_healing(&name).await;
        }

        let noted = {
            let mut references = volume.references();
            references.add(id, Uptime::now());
            self.note(&volume, &references).inspect_err(|_| _ = references.release(id, Uptime::now()))
        };
        let failure = match noted {
            Err(error) => DriverError::Reference { name: name.clone(), error },
            // dockerd sends no Unmount for a Mount that it gave up.
            Ok(()) if caller.is_gone() => {
                self.release(&volume, id);
                DriverError::CallerGone(name.clone())
            }
            Ok(()) => return Ok(self.mounter.mountpoint(&name)),
        };
        self.unmount_if_unused_locked(&volume, Reason::Asked).await;
        Err(failure)
    }

    /// Releases a reference. That it cannot be written down is no reason to keep it: the kernel still protects what is
    /// in use, and dockerd would only repeat the id.
    pub(super) fn release(&self, volume: &Volume, id: &str) {
        let mut references = volume.references();
        if !references.release(id, Uptime::now()) {
            tracing::debug!(volume = %volume.name, "volume {}: unmount by a caller that holds nothing", volume.name);
        }
        self.note_or_warn(volume, &references);
    }
}
