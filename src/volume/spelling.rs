//! From what users write to the names of the catalogue: any case, two names for one thing, names for the opposite, and the
//! comma lists that the predecessor handed to sshfs.

use super::{
    CredentialSource, ReadAhead,
    catalogue::{self, Effect, Value},
    options::{self, OptionError, Options},
    read_ahead::NoReadAhead,
};
use std::collections::BTreeMap;

/// Options by their catalogue names, to be taken one after the other.
#[derive(Default)]
pub(super) struct Given {
    pub(super) rest: BTreeMap<&'static str, String>,
    /// Options that another one means unless they are given themselves.
    meant: BTreeMap<&'static str, String>,
}

impl Given {
    /// Resolves spellings, and the comma lists that the predecessor passed on to sshfs: `-o auto_cache,reconnect`
    /// arrives as one key, `-o uid=1000,gid=1000` as one value.
    pub(super) fn read(options: &Options) -> Result<Self, OptionError> {
        let mut given = Self::default();
        for (key, value) in options {
            if key.len().max(value.len()) > catalogue::LONGEST_VALUE {
                return Err(OptionError::TooLong(options::shown(key)));
            }
            if key.contains(',') {
                given.add_list(&format!("{key}={value}"))?;
            } else if let Some(list) = given.add(key, value)? {
                given.add_list(list)?;
            }
        }
        for (name, text) in std::mem::take(&mut given.meant) {
            given.rest.entry(name).or_insert(text);
        }
        Ok(given)
    }

    /// Adds one option and returns the list of further ones that its value was the beginning of.
    fn add<'a>(&mut self, key: &str, text: &'a str) -> Result<Option<&'a str>, OptionError> {
        let entry = catalogue::find(key).ok_or_else(|| OptionError::Unknown {
            name: options::shown(key),
            nearest: catalogue::nearest(key),
        })?;
        let names = catalogue::names_meant(entry);
        let (text, further) = match text.split_once(',') {
            Some((text, further)) if catalogue::comma_separates(entry) => (text, Some(further)),
            _ => (text, None),
        };
        if text.chars().any(char::is_control) {
            return Err(if text.contains("PRIVATE KEY") {
                OptionError::InlineKey(entry.name)
            } else {
                OptionError::ControlCharacter(entry.name)
            });
        }
        match entry.effect {
            Effect::MeansNot(name) => self.insert(name, switch(!options::flag(entry.name, text)?))?,
            // Not given is what it means when it is switched off.
            Effect::MeansValue(name, value) => {
                if options::flag(entry.name, text)? {
                    self.insert(name, value)?;
                }
            }
            Effect::MeansAll(names) => {
                for name in names {
                    insert(&mut self.meant, name, text)?;
                }
            }
            _ => {
                for name in names {
                    self.insert(name, text)?;
                }
            }
        }
        Ok(further)
    }

    fn insert(&mut self, name: &'static str, text: &str) -> Result<(), OptionError> {
        match catalogue::find(name).map(|entry| entry.effect) {
            // Lists for mount(8) have both words, and the last one counts there; here options have no order. Of both, the
            // one that permits less is the safe choice.
            Some(Effect::Kernel(Value::Flag)) => {
                let before = self.rest.get(name).map_or(Ok(false), |text| options::flag(name, text))?;
                let on = options::flag(name, text)? || before;
                _ = self.rest.insert(name, switch(on).to_owned());
                Ok(())
            }
            Some(Effect::Sshfs(Value::Flag)) => {
                insert(&mut self.rest, name, switch(options::flag(name, text)?))
            }
            _ => insert(&mut self.rest, name, text),
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

    /// Whether an option is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.rest.contains_key(name)
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
            Err(error) => Err(OptionError::Credential { name, error }),
        }
    }

    /// Takes `read_ahead_kb` out.
    pub(super) fn take_read_ahead(&mut self) -> Result<Option<ReadAhead>, OptionError> {
        let name = "read_ahead_kb";
        let read = |text: String| {
            text.parse().map_err(|e: NoReadAhead| OptionError::Value { name, expected: e.to_string() })
        };
        self.take(name).map(read).transpose()
    }
}

fn insert(
    options: &mut BTreeMap<&'static str, String>,
    name: &'static str,
    text: &str,
) -> Result<(), OptionError> {
    match options.insert(name, text.to_owned()) {
        Some(other) if other != text => Err(OptionError::Twice(name)),
        _ => Ok(()),
    }
}

/// A flag as it is written.
fn switch(on: bool) -> &'static str {
    if on { "" } else { "false" }
}
