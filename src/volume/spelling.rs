//! From what users write to the names of the catalogue: any case, two names for one thing, and the comma lists that
//! the predecessor handed to sshfs.

use super::{
    CredentialSource,
    catalogue::{self, Effect, Value},
    options::{OptionError, Options},
};
use std::collections::BTreeMap;

/// Options by their catalogue names, to be taken one after the other.
#[derive(Default)]
pub(super) struct Given {
    pub(super) rest: BTreeMap<&'static str, String>,
}

impl Given {
    /// Resolves spellings, and the comma lists that the predecessor passed on to sshfs: `-o auto_cache,reconnect`
    /// arrives as one key, `-o uid=1000,gid=1000` as one value.
    pub(super) fn read(options: &Options) -> Result<Self, OptionError> {
        let mut given = Self::default();
        for (key, value) in options {
            if key.contains(',') {
                given.add_list(&format!("{key}={value}"))?;
            } else {
                given.add(key, value)?;
            }
        }
        Ok(given)
    }

    fn add(&mut self, key: &str, text: &str) -> Result<(), OptionError> {
        let entry = catalogue::find(key)
            .ok_or_else(|| OptionError::Unknown { name: key.to_owned(), nearest: catalogue::nearest(key) })?;
        if text.chars().any(char::is_control) {
            return Err(if text.contains("PRIVATE KEY") {
                OptionError::InlineKey(entry.name)
            } else {
                OptionError::ControlCharacter(entry.name)
            });
        }
        let comma_separates = match entry.effect {
            Effect::Sshfs(value) | Effect::Ssh(value) | Effect::Kernel(value) => !value.may_contain_comma(),
            Effect::NoEffect => true,
            Effect::Driver | Effect::Gated(_) | Effect::Impossible(_) => false,
        };
        let (text, further) = match text.split_once(',') {
            Some((text, further)) if comma_separates => (text, Some(further)),
            _ => (text, None),
        };
        let name = if entry.name == "IdentityFile" { "identity_file" } else { entry.name };
        match self.rest.insert(name, text.to_owned()) {
            Some(other) if other != text => Err(OptionError::Twice(name)),
            _ => further.map_or(Ok(()), |list| self.add_list(list)),
        }
    }

    /// `name[=value],name[=value],…`
    fn add_list(&mut self, list: &str) -> Result<(), OptionError> {
        let (first, further) = match list.split_once(',') {
            Some((first, further)) if !first.contains('=') => (first, Some(further)),
            _ => (list, None),
        };
        let (key, value) = first.split_once('=').unwrap_or((first, ""));
        if !key.is_empty() {
            self.add(key, value)?;
        }
        further.map_or(Ok(()), |list| self.add_list(list))
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.rest.remove(name)
    }

    pub(super) fn take_credential(
        &mut self,
        name: &'static str,
    ) -> Result<Option<CredentialSource>, OptionError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        if text.contains("PRIVATE KEY") {
            return Err(OptionError::InlineKey(name));
        }
        match CredentialSource::parse(&text) {
            Ok(source) => Ok(Some(source)),
            Err(source) => Err(OptionError::Credential { name, source }),
        }
    }

    pub(super) fn take_number(&mut self, name: &'static str) -> Result<Option<u32>, OptionError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match Value::Number.check(&text) {
            Ok(()) => Ok(text.parse().ok()),
            Err(expected) => Err(OptionError::Value { name, expected }),
        }
    }
}
