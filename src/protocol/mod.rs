//! Docker's volume plugin protocol, version 1: HTTP on a Unix socket, one POST per call, JSON both ways.
//!
//! This module knows the wire and hardly anything of what a volume is. The behaviour follows what dockerd and podman do, not
//! only what the documentation says:
//!
//! - Only status 200 with a JSON object is success (moby `pkg/plugins/client.go`), and podman takes every 200 for
//!   success, so each error is a status other than 200 with `{"Err": "…"}`.
//! - dockerd takes any error of Get for "no such volume" and forgets what it knows about it. [`VolumeDriver::get`]
//!   and [`VolumeDriver::list`] therefore are plain functions: they cannot wait for anything.
//! - dockerd repeats a call whose connection broke with an empty body (`callWithRetry`). An empty Get gets its
//!   connection closed, which dockerd does not take for an answer; other calls get an error.
//! - A call runs to its end when its caller hangs up. Mount learns of it, to take the mount back.
//!
//! On the same socket are calls of this program's own commands, [`Administration`], which Docker does not know.

pub mod activity;
pub mod router;
pub mod server;
pub mod wire;

use crate::volume::amendment::Difference;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// A driver of volumes, as Docker sees it.
pub trait VolumeDriver: Send + Sync + 'static {
    /// Shown to the user as it is.
    type Error: fmt::Display + Send;

    /// An object that `docker volume inspect` shows.
    type Status: Serialize;

    /// VolumeDriver.Create: defines a volume. Repeating it with the same options is a success.
    fn create(
        &self,
        name: &str,
        options: BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// VolumeDriver.Remove: forgets a volume that is not in use.
    fn remove(&self, name: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// VolumeDriver.Mount: makes a volume available for the caller `id`. The path is absolute and a live mountpoint.
    fn mount(
        &self,
        name: &str,
        id: &str,
        caller: &Caller,
    ) -> impl Future<Output = Result<PathBuf, Self::Error>> + Send;

    /// VolumeDriver.Unmount: the caller `id` is done. Unknown names and ids are fine.
    fn unmount(&self, name: &str, id: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// VolumeDriver.Path: where the volume is mounted; None while it is not.
    fn path(&self, name: &str) -> Result<Option<PathBuf>, Self::Error>;

    /// VolumeDriver.Get: what is known of a volume, at once.
    fn get(&self, name: &str) -> Result<VolumeInfo<Self::Status>, Self::Error>;

    /// VolumeDriver.List: all volumes, at once. Each is told and forgotten: together they would take many times what the
    /// answer does.
    fn list(&self) -> impl Iterator<Item = VolumeInfo<Self::Status>> + Clone;
}

/// What an administrator may ask beside what Docker asks.
pub trait Administration: Send + Sync + 'static {
    /// Shown to the user as it is.
    type Error: fmt::Display + Send;

    /// SshfsDocker.Set: changes options of a volume for its next mount.
    fn set(&self, name: &str, change: Change) -> impl Future<Output = Result<Redefined, Self::Error>> + Send;
}

/// What Set is to change.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Options that take the place of what means the same, `password` among them.
    pub options: BTreeMap<String, String>,
    /// Names of options that go.
    pub unset: Vec<String>,
}

/// What Set has changed.
#[derive(Clone, Debug)]
pub struct Redefined {
    /// Empty where everything was so already.
    pub differences: Vec<Difference>,
    /// Whether the volume is mounted with its former options.
    pub mounted: bool,
}

/// What Get and List tell of a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeInfo<S> {
    /// Exactly as created.
    pub name: String,
    /// Where it is mounted; None while it is not.
    pub mountpoint: Option<PathBuf>,
    /// None where it is not known.
    pub created_at: Option<SystemTime>,
    /// Shown by `docker volume inspect`.
    pub status: S,
}

/// The peer of a connection.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    gone: Arc<AtomicBool>,
}

impl Caller {
    /// Whether the peer closed its side, so that an answer reaches nobody.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn has_gone(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}
