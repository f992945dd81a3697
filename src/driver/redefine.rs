//! Set: a volume that exists gets other options, which its next mount has. What is mounted stays as it is.

use super::{
    DriverError,
    define::{check_credentials, take_password},
    volumes::{Volume, Volumes, warn_if_unverified},
};
use crate::{
    heal::stale::Stale,
    protocol::{Change, Redefined},
    store::Definition,
    volume::{
        Amendment, Remote, Secret, Spec, VolumeName,
        amendment::{Difference, NOT_SHOWN, PasswordChange, differences},
        options,
    },
};
use std::sync::Arc;
use tokio::time::timeout;

impl Volumes {
    /// Judges the options as Create does: those that are given and those that stay.
    pub(super) async fn set(&self, name: &str, mut change: Change) -> Result<Redefined, DriverError> {
        let name = self.find(name)?.name.clone();
        let wrong = |error| DriverError::Options { name: name.clone(), error };
        let password = take_password(&mut change.options);
        if let Some(password) = &password {
            options::check_password(password.expose()).map_err(wrong)?;
        }
        let patience = self.configuration().await?.mount_timeout;
        let _lock = timeout(patience, self.locks.lock(&name)).await.map_err(|_| DriverError::Busy {
            name: name.clone(),
            after: patience,
            trouble: self.healing.read(&name).trouble,
        })?;
        // Again: it may have been removed while this call waited.
        let volume = self.find(name.as_str())?;
        let Some(old) = volume.definition() else { return Err(volume.unusable()) };
        let password = self.without_what_is_kept(&name, &old, password).await;
        let mut amendment = Amendment { set: change.options, unset: change.unset, password };
        let options = amendment.apply(&old.options, old.has_password).map_err(wrong)?;
        let has_password = match amendment.password {
            PasswordChange::Keep => old.has_password,
            PasswordChange::Replace(_) => true,
            PasswordChange::Remove => false,
        };
        let config = self.configuration().await?;
        let spec = Spec::parse(&options, has_password, &config.policy).map_err(wrong)?;
        check_credentials(&name, &spec).await?;
        if let Some(agent) = &spec.agent {
            let option = "IdentityAgent";
            let wrong = |error| DriverError::Credential { name: name.clone(), option, error };
            self.mounter.check_agent(&name, agent).await.map_err(wrong)?;
        }
        self.refuse_another_directory(&volume, &spec.remote).await?;
        let mut differences = differences(&old.options, &options);
        differences.extend(of_password(&amendment.password, old.has_password));
        if !differences.is_empty() {
            let definition = Definition { created_at: old.created_at, options, has_password };
            self.replace(&name, &definition, amendment.password).await?;
            warn_if_unverified(&name, &spec);
            let changed: Vec<_> = differences.iter().map(|d| options::shown(&d.option)).collect();
            tracing::info!(volume = %name, "volume {name}: changed for the next mount: {}", changed.join(", "));
            volume.redefine(definition, Arc::new(spec));
        }
        Ok(Redefined { differences, mounted: volume.is_mounted() })
    }

    async fn replace(
        &self,
        name: &VolumeName,
        definition: &Definition,
        password: PasswordChange,
    ) -> Result<(), DriverError> {
        let (replaced, definition) = (name.clone(), definition.clone());
        self.on_disk(move |store| store.replace(&replaced, &definition, &password))
            .await
            .map_err(|error| DriverError::Store { name: name.clone(), verb: "save", error })
    }

    /// The same password again is no change.
    async fn without_what_is_kept(
        &self,
        name: &VolumeName,
        old: &Definition,
        password: Option<Secret>,
    ) -> PasswordChange {
        let Some(password) = password else { return PasswordChange::Keep };
        let stored_name = name.clone();
        let stored = if old.has_password {
            self.on_disk(move |store| store.password(&stored_name)).await.ok()
        } else {
            None
        };
        if stored.as_ref() == Some(&password) {
            PasswordChange::Keep
        } else {
            PasswordChange::Replace(password)
        }
    }

    /// Who has the volume has it of one directory. Its healing would put the mount of another in that place.
    async fn refuse_another_directory(&self, volume: &Volume, remote: &Remote) -> Result<(), DriverError> {
        let Some(old) = volume.remote() else { return Ok(()) };
        if old.to_string() == remote.to_string() {
            return Ok(());
        }
        let unknown = |error| DriverError::Holders { name: volume.name.clone(), error };
        let holders = if let Some(mount) = self.mounter.mounted(&volume.name).map_err(unknown)? {
            self.mounter.holders(&mount).await.map_err(unknown)?
        } else {
            // A container with a dead mount is one, too.
            let stale = self.stale(volume, None).await.map_err(unknown)?;
            stale.iter().map(Stale::holder).collect()
        };
        if holders.is_empty() && volume.references().is_empty() {
            return Ok(());
        }
        Err(DriverError::OtherDirectory { name: volume.name.clone(), holders })
    }
}

/// That a password has changed is told, nothing else of it.
fn of_password(change: &PasswordChange, had_one: bool) -> Option<Difference> {
    let shown = |is_there: bool| is_there.then(|| NOT_SHOWN.to_owned());
    let is_there = match change {
        PasswordChange::Keep => return None,
        PasswordChange::Replace(_) => true,
        PasswordChange::Remove => false,
    };
    Some(Difference { option: "password".to_owned(), before: shown(had_one), after: shown(is_there) })
}
