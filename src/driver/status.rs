//! What Get and List tell of a volume, at once: from memory and from small files in /run. Nothing here asks a remote, a
//! mount or another process. Which containers have a volume is therefore what was seen last, a few seconds ago.

use super::volumes::{KnownMount, Seen, Volume, Volumes, unverified};
use crate::{
    heal::record::Record,
    health::{Connection, Health},
    history::History,
    mount,
    protocol::VolumeInfo,
    timestamp::Timestamp,
    uptime::Uptime,
    volume::Remote,
};
use serde::{Serialize, Serializer};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{task::spawn_blocking, time::sleep};

/// How long Docker takes to start a container after its Mount, or to end one before its Unmount.
const CONTAINER_STARTS: Duration = Duration::from_secs(2);

/// `Status` in `docker volume inspect`. Times are RFC 3339, and what is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    state: State,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// `user@host:path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Shown<Arc<Remote>>>,
    /// How many calls of Docker hold it.
    references: u64,
    /// Short ids of the containers that have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    containers: Option<BTreeSet<String>>,
    /// The unit of its mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    /// The process of its sshfs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// Fingerprints and kinds of the keys that the server is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_keys: Option<Vec<String>>,
    /// How often the connection of this mount was made anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconnects: Option<u64>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<Timestamp>,
    /// Why it is unusable.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// That its server is not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
    /// What its healing met.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// Containers that are without it until they restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    unhealed: Option<Vec<String>>,
}

/// What is written as a text that need not be made beforehand.
#[derive(Clone, Debug, PartialEq)]
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What a volume is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Unmounted,
    Mounting,
    Mounted,
    /// Mounted, and the server is not there.
    Failing,
    /// sshfs has ended.
    Dead,
    /// Its definition cannot be used.
    Unusable,
}

/// Decides what a volume is doing, and since when. `is_ill` says that its healing goes on or has given up.
fn state(
    known: &KnownMount,
    health: Option<&Health>,
    history: &History,
    is_ill: bool,
) -> (State, Option<Uptime>) {
    if known.seen.is_none() {
        return match known.mounting {
            Some(since) => (State::Mounting, Some(since)),
            // Its containers have dead mounts, and the host has none.
            None if is_ill => (State::Dead, history.unmounted_at),
            None => (State::Unmounted, history.unmounted_at),
        };
    }
    match health {
        Some(Health { state: Connection::Failing, since, .. }) => (State::Failing, Some(*since)),
        Some(Health { state: Connection::Ended, since, .. }) => (State::Dead, Some(*since)),
        None if known.has_told || is_ill => (State::Dead, None),
        Some(Health { since, .. }) => (State::Mounted, history.mounted_at.or(Some(*since))),
        // Mounted by a version whose units told nothing.
        None => (State::Mounted, history.mounted_at),
    }
}

impl Volumes {
    /// What Get and List tell, with what the healing and the history of the volume say.
    pub(super) fn info(&self, volume: &Volume, record: Record, history: History) -> VolumeInfo<Status> {
        let (known, health) = self.look_at_mount(volume);
        let time = |at: Uptime| Timestamp(at.by_wall_clock());
        let mut status = Status {
            remote: volume.remote().map(Shown),
            references: volume.references().total(),
            ..Status::default()
        };
        match volume.verdict() {
            Ok(spec) => {
                let (state, since) = state(&known, health.as_ref(), &history, record.trouble.is_some());
                (status.state, status.since) = (state, since.map(time));
                status.warning = spec.weakened_host_key_checking().map(unverified);
            }
            Err(reason) => (status.state, status.error) = (State::Unusable, Some(reason)),
        }
        if let Some(Seen { generation, .. }) = &known.seen {
            (status.unit, status.containers) = (Some(generation.unit()), Some(known.containers));
        }
        let mut last_error = history.last_error.map(|error| (error.at, error.text));
        if let Some(Health { sshfs, state, reconnects, host_keys, last_error: text, last_error_at, .. }) =
            health
        {
            status.pid = Some(sshfs).filter(|_| state != Connection::Ended);
            (status.host_keys, status.reconnects) = (Some(host_keys), Some(reconnects));
            last_error = last_error.into_iter().chain(last_error_at.zip(text)).max_by_key(|(at, _)| *at);
        }
        (status.last_error_at, status.last_error) = last_error.map(|(at, text)| (time(at), text)).unzip();
        status.trouble = record.trouble;
        let unhealed: Vec<_> = record.unhealed.iter().map(ToString::to_string).collect();
        status.unhealed = Some(unhealed).filter(|unhealed| !unhealed.is_empty());
        VolumeInfo {
            name: volume.name.to_string(),
            mountpoint: known.seen.map(|_| self.mounter.mountpoint(&volume.name)),
            created_at: volume.created_at(),
            status,
        }
    }

    /// What is known of the mount, and what its unit says.
    pub(super) fn look_at_mount(&self, volume: &Volume) -> (KnownMount, Option<Health>) {
        let mut health = self.health(volume);
        if health.is_none() && volume.known_mount().has_told {
            // Its unit has ended. A restart or a healing may have put another mount in its place.
            if let Ok(mount) = self.mounter.mounted(&volume.name) {
                volume.note_mount(mount.as_ref());
            }
            health = self.health(volume);
        }
        (volume.known_mount().clone(), health)
    }

    fn health(&self, volume: &Volume) -> Option<Health> {
        let mut known = volume.known_mount();
        let health = known.seen.as_ref().and_then(|seen| self.mounter.health(&seen.generation));
        known.has_told |= health.is_some();
        health
    }

    /// Looks for the containers of all mounted volumes, in a thread: it reads all of /proc.
    pub(super) async fn look_for_containers(&self) {
        let volumes: Vec<_> = self.by_name().values().cloned().collect();
        let devices: BTreeSet<_> =
            volumes.iter().filter_map(|volume| Some(volume.known_mount().seen.as_ref()?.device)).collect();
        if devices.is_empty() {
            return;
        }
        let Ok(Ok(found)) = spawn_blocking(move || mount::containers::of(&devices)).await else { return };
        for volume in volumes {
            let mut known = volume.known_mount();
            let containers = known.seen.as_ref().and_then(|seen| found.get(&seen.device)).cloned();
            known.containers = containers.unwrap_or_default();
        }
    }

    /// The same once Docker has done what it called for. Calls that come close together are looked after once.
    pub(super) fn look_for_containers_soon(self: &Arc<Self>) {
        if self.looking.swap(true, Ordering::Relaxed) {
            return;
        }
        let volumes = Arc::clone(self);
        tokio::spawn(async move {
            sleep(CONTAINER_STARTS).await;
            volumes.looking.store(false, Ordering::Relaxed);
            volumes.look_for_containers().await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mount::mountinfo::Device,
        notice::Notice,
        volume::{Generation, VolumeName},
    };

    fn at(seconds: u64) -> Uptime {
        Uptime::of_seconds(seconds)
    }

    fn health(notices: &[Notice]) -> Health {
        let mut health = Health::new(7, at(1));
        notices.iter().zip(2..).for_each(|(notice, second)| _ = health.note(notice, at(second)));
        health
    }

    #[test]
    fn the_state_is_what_the_user_sees_of_the_volume() {
        let generation = Generation::first(&VolumeName::new("data").unwrap());
        let seen = Seen { device: Device { major: 0, minor: 57 }, generation };
        let mounted = KnownMount { seen: Some(seen), ..KnownMount::default() };
        let has_told = KnownMount { has_told: true, ..mounted.clone() };
        let unmounted = KnownMount::default();
        let mounting = KnownMount { mounting: Some(at(9)), ..unmounted.clone() };
        let asked = KnownMount { mounting: Some(at(9)), ..has_told.clone() };
        let mut history = History::default();
        (history.mounted_at, history.unmounted_at) = (Some(at(3)), Some(at(5)));
        let (connected, lost) = (Notice::Connected(Vec::new()), Notice::Lost);
        let failed = Notice::Failed("refused".to_owned());
        let good = health(std::slice::from_ref(&connected));
        let idle = health(&[connected.clone(), lost.clone()]);
        let failing = health(&[connected, lost, failed]);
        let mut ended = good.clone();
        ended.end(at(8));
        for (known, health, is_ill, expected) in [
            (&unmounted, None, false, (State::Unmounted, Some(at(5)))),
            (&unmounted, None, true, (State::Dead, Some(at(5)))),
            (&mounting, None, false, (State::Mounting, Some(at(9)))),
            (&asked, Some(&good), false, (State::Mounted, Some(at(3)))),
            (&has_told, Some(&good), false, (State::Mounted, Some(at(3)))),
            // The next access connects again.
            (&has_told, Some(&idle), false, (State::Mounted, Some(at(3)))),
            (&has_told, Some(&failing), false, (State::Failing, Some(at(4)))),
            (&has_told, Some(&ended), false, (State::Dead, Some(at(8)))),
            (&has_told, None, false, (State::Dead, None)),
            (&mounted, None, false, (State::Mounted, Some(at(3)))),
            (&mounted, None, true, (State::Dead, None)),
        ] {
            assert_eq!(state(known, health, &history, is_ill), expected);
        }
    }
}
