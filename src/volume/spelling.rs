//! From what users write to the names of the catalogue: any case, two names for one thing, and the comma lists that
//! the predecessor handed to sshfs.

use super::{
    CredentialSource,
    catalogue::{self, Effect, Value},
    options::{self, OptionError, Options},
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
            } else if let Some(list) = given.add(key, value)? {
                given.add_list(list)?;
            }
        }
        Ok(given)
    }

    /// Adds one option and returns the list of further ones that its value was the beginning of.
    fn add<'a>(&mut self, key: &str, text: &'a str) -> Result<Option<&'a str>, OptionError> {
        let entry = catalogue::find(key).ok_or_else(|| OptionError::Unknown {
            name: options::shown(key),
            nearest: catalogue::nearest(key),
        })?;
        let comma_separates = match entry.effect {
            Effect::Sshfs(value) | Effect::Ssh(value) | Effect::Kernel(value) => !value.may_contain_comma(),
            Effect::NoEffect => true,
            Effect::Driver | Effect::Gated(_) | Effect::Impossible(_) => false,
        };
        let (text, further) = match text.split_once(',') {
            Some((text, further)) if comma_separates => (text, Some(further)),
            _ => (text, None),
        };
        if text.chars().any(char::is_control) {
            return Err(if text.contains("PRIVATE KEY") {
                OptionError::InlineKey(entry.name)
            } else {
                OptionError::ControlCharacter(entry.name)
            });
        }
        let name = if entry.name == "IdentityFile" { "identity_file" } else { entry.name };
        match self.rest.insert(name, text.to_owned()) {
            Some(other) if other != text => Err(OptionError::Twice(name)),
            _ => Ok(further),
        }
    }

    /// `name[=value],name[=value],…`
    fn add_list(&mut self, mut list: &str) -> Result<(), OptionError> {
        loop {
            let (first, behind) = match list.split_once(',') {
                Some((first, behind)) if !first.contains('=') => (first, Some(behind)),
                _ => (list, None),
            };
            let (key, value) = first.split_once('=').unwrap_or((first, ""));
            let further = if key.is_empty() { None } else { self.add(key, value)? };
            match further.or(behind) {
                Some(further) => list = further,
                None => return Ok(()),
            }
        }
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
