//! Volume names: Docker's own rule, enforced here because dockerd does not enforce it for plugin volumes
//! (moby `volume/mounts/linux_parser.go`). It makes a name valid as a file name and as part of a unit name
//! as it stands, without escaping.

use std::{fmt, str::FromStr};

/// The longest name accepted, in bytes. `sshfs-docker-mount-NAME.service` must stay below systemd's 255.
pub const MAX_LENGTH: usize = 200;

/// A name that matches `[a-zA-Z0-9][a-zA-Z0-9_.-]*` and has at most [`MAX_LENGTH`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

/// Why a string is no volume name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The empty string; dockerd really asks for it at boot.
    #[error("a volume name must not be empty")]
    Empty,
    /// More than [`MAX_LENGTH`] bytes.
    #[error("the volume name is {0} bytes long; at most {MAX_LENGTH} are allowed")]
    TooLong(usize),
    /// A character outside the rule, or a first one that is no letter or digit.
    #[error(
        "volume name {0:?} is not valid: only letters, digits, '_', '.' and '-' are allowed, \
         and the first must be a letter or a digit"
    )]
    Character(String),
}

impl VolumeName {
    /// Checks `name` against the rule.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let first = name.bytes().next().ok_or(InvalidName::Empty)?;
        if name.len() > MAX_LENGTH {
            return Err(InvalidName::TooLong(name.len()));
        }
        let rest_is_valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if first.is_ascii_alphanumeric() && rest_is_valid {
            Ok(Self(name.to_owned()))
        } else {
            Err(InvalidName::Character(name.to_owned()))
        }
    }

    /// The name as Docker wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::new(text)
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dockers_rule() {
        for good in ["a", "data", "my_app.v2-x", "0", &"x".repeat(MAX_LENGTH)] {
            assert_eq!(VolumeName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "../x", "a/b", "sp ace", "ü", ".hid", "-dash", "_u", "a\n", "a\0", &"x".repeat(300)]
        {
            assert!(VolumeName::new(bad).is_err(), "{bad:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_path_component_and_unit_safe(name in ".{0,220}") {
            if let Ok(name) = VolumeName::new(&name) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(!name.as_str().starts_with('.'));
                let unit = format!("sshfs-docker-mount-{name}.service");
                prop_assert!(unit.len() <= 255);
            }
        }
    }
}
