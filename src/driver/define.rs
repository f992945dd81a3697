//! Create and Remove: a definition appears, a definition goes. Neither touches a remote.

use super::{
    DriverError,
    volumes::{Volume, Volumes, warn_if_unverified},
};
use crate::{
    heal::stale::Stale,
    launcher,
    mount::{Reason, UnmountError},
    references::References,
    store::Definition,
    volume::{
        Generation, Secret, Spec, VolumeName,
        options::{self, Options},
    },
};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long an sshfs may take to end after its last file was closed.
const END_PATIENCE: Duration = Duration::from_secs(5);

impl Volumes {
    pub(super) async fn create(&self, name: &str, mut options: Options) -> Result<(), DriverError> {
        let name = VolumeName::new(name)?;
        let wrong = |error| DriverError::Options { name: name.clone(), error };
        let password = take_password(&mut options);
        if let Some(password) = &password {
            options::check_password(password.expose()).map_err(wrong)?;
        }
        // Without waiting for a mount that is being made.
        if let Ok(existing) = self.find(name.as_str()) {
            return self.compare(&existing, &options, password).await;
        }
        let config = self.configuration().await?;
        let spec = Spec::parse(&options, password.is_some(), &config.policy).map_err(wrong)?;
        check_credentials(&name, &spec).await?;
        if let Some(agent) = &spec.agent {
            let option = "IdentityAgent";
            let wrong = |error| DriverError::Credential { name: name.clone(), option, error };
            self.mounter.check_agent(&name, agent).await.map_err(wrong)?;
        }
        // Not before: a lock leaves a file behind until the volume is removed.
        let lock = self.locks.lock(&name).await;
        if let Ok(existing) = self.find(name.as_str()) {
            return self.compare(&existing, &options, password).await;
        }
        // The policy may be another than before the wait.
        let judged = self
            .configuration()
            .await
            .and_then(|config| Spec::parse(&options, password.is_some(), &config.policy).map_err(wrong));
        let spec = match judged {
            Ok(spec) => spec,
            Err(e) => {
                lock.retire();
                return Err(e);
            }
        };
        let definition =
            Definition { created_at: SystemTime::now(), options, has_password: password.is_some() };
        let has_password = definition.has_password;
        let (saved_name, saved) = (name.clone(), definition.clone());
        self.on_disk(move |store| store.save(&saved_name, &saved, password.as_ref()))
            .await
            .map_err(|error| DriverError::Store { name: name.clone(), verb: "save", error })?;
        if has_password {
            tracing::warn!(volume = %name, "volume {name}: Docker itself keeps the option 'password' and shows it in clear (docker volume inspect); give a file or a credential of systemd's store with 'password_file' instead");
        }
        warn_if_unverified(&name, &spec);
        tracing::info!(volume = %name, remote = %spec.remote, "volume {name}: created for {}", spec.remote);
        let verdict = Ok(Arc::new(spec));
        let volume = Volume::new(name.clone(), Some(definition), verdict, References::default(), None);
        self.by_name().insert(name, Arc::new(volume));
        Ok(())
    }

    /// A repeated Create is a success, another one with the same name an error that names the options in question.
    async fn compare(
        &self,
        existing: &Volume,
        new: &Options,
        password: Option<Secret>,
    ) -> Result<(), DriverError> {
        let Some(definition) = existing.definition() else { return Err(existing.unusable()) };
        let names: BTreeSet<_> = definition.options.keys().chain(new.keys()).collect();
        let differs = |name: &&String| definition.options.get(*name) != new.get(*name);
        let mut differing: Vec<_> =
            names.into_iter().filter(differs).map(|name| options::shown(name)).collect();
        if definition.has_password != password.is_some() {
            differing.push("password".to_owned());
        } else if let Some(password) = password {
            let name = existing.name.clone();
            let stored = self.on_disk(move |store| store.password(&name)).await;
            // One that cannot be read is none that was given.
            if stored.ok() != Some(password) {
                differing.push("password".to_owned());
            }
        }
        if differing.is_empty() {
            Ok(())
        } else {
            Err(DriverError::Exists { name: existing.name.clone(), differing })
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let name = VolumeName::new(name).map_err(|_| DriverError::NotFound(name.to_owned()))?;
        let lock = self.locks.lock(&name).await;
        let volume = self.find(name.as_str())?;
        if volume.definition().is_none() {
            // It may be all that is left of what the user wrote.
            return Err(volume.unusable());
        }
        // The kernel decides: references may be leaked, holders are not.
        self.unmount(&volume, Reason::Asked)
            .await
            .map_err(|error| DriverError::InUse { name: name.clone(), error })?;
        self.refuse_while_containers_have_it(&volume).await?;
        self.refuse_while_files_are_open(&name).await?;
        // Before the definition: references that outlive it would be those of a later volume of the same name.
        {
            let mut references = volume.references();
            *references = References::default();
            self.note_or_warn(&volume, &references);
        }
        let removed = name.clone();
        self.on_disk(move |store| store.remove(&removed)).await.map_err(|error| DriverError::Store {
            name: name.clone(),
            verb: "remove",
            error,
        })?;
        self.by_name().remove(&name);
        self.history.forget(&name);
        if let Err(e) = self.mounter.remove_mountpoint(&name) {
            tracing::warn!(volume = %name, "volume {name}: cannot remove its empty mountpoint, ignoring: {e}");
        }
        lock.retire();
        tracing::info!(volume = %name, "volume {name}: removed; nothing was deleted on the server");
        Ok(())
    }
}

impl Volumes {
    /// A container whose mount is dead, of which the host has none any more, is a user too: it would be given what is
    /// created under the name later.
    async fn refuse_while_containers_have_it(&self, volume: &Volume) -> Result<(), DriverError> {
        let held = match self.stale(volume, None).await {
            Ok(stale) if stale.is_empty() => return Ok(()),
            Ok(stale) => UnmountError::Held(stale.iter().map(Stale::holder).collect()),
            Err(e) => UnmountError::from(e),
        };
        Err(DriverError::InUse { name: volume.name.clone(), error: held })
    }

    /// So is a process that has files open of an sshfs before a restart.
    async fn refuse_while_files_are_open(&self, name: &VolumeName) -> Result<(), DriverError> {
        let error = match self.mounter.lingering(name, None, END_PATIENCE).await {
            Ok(lingering) if lingering.is_empty() => return Ok(()),
            Ok(lingering) => UnmountError::Lingers(lingering.iter().map(Generation::unit).collect()),
            Err(e) => UnmountError::from(e),
        };
        Err(DriverError::InUse { name: name.clone(), error })
    }
}

/// Takes the password out of the options before anything else looks at them. In any case: a misspelt `Password` is a
/// secret too.
pub(super) fn take_password(options: &mut Options) -> Option<Secret> {
    let key = options.keys().find(|key| key.eq_ignore_ascii_case("password"))?.clone();
    options.remove(&key).map(Secret::new)
}

/// A key file that is missing is better told at create than at the first `docker run`.
pub(super) async fn check_credentials(name: &VolumeName, spec: &Spec) -> Result<(), DriverError> {
    for (option, source) in spec.credential_files() {
        let wrong = |error| DriverError::Credential { name: name.clone(), option, error };
        launcher::check_source(source).await.map_err(wrong)?;
    }
    Ok(())
}
