//! The state file of the plugin vieux/sshfs and of its forks. Pure.
//!
//! ```json
//! {"data": {"Password": "", "Sshcmd": "alice@storage:/srv/data", "Port": "22", "Options": ["reconnect"],
//!           "Mountpoint": "/mnt/volumes/e822988cc3631985af368cae3e6def71"}}
//! ```
//!
//! Before its version 1.2 there were no `Options`; of a volume without any they are `null`. The fork ucphhpc/sshfs keeps a
//! file of the same name with `SSHCmd`, `IdentityFile` and some more. Go's decoder takes field names in any case, so this does.

use crate::{json, volume::Secret};
use serde_json::{Map, Value};

/// A volume as the plugin knows it. Its name may be anything.
#[derive(Debug)]
pub struct Recorded {
    /// Docker's name of it.
    pub name: String,
    /// What there is to know, or what is wrong with it.
    pub volume: Result<OldVolume, FieldError>,
}

/// What the plugin would hand to sshfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OldVolume {
    /// The remote directory.
    pub sshcmd: String,
    /// The TCP port; may be empty.
    pub port: String,
    /// `name=value` or `name`, each for one `-o`.
    pub options: Vec<String>,
    /// The path of the key, as the plugin sees it; may be empty.
    pub identity_file: String,
    /// In clear in the file.
    pub password: Option<Secret>,
}

/// Why the file is none that the plugin wrote.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not JSON. The text is not repeated: there are passwords in it.
    #[error("it is not JSON ({0})")]
    Json(String),
    /// JSON of another kind.
    #[error("it is not an object with a volume under each name")]
    NotVolumes,
}

/// Why one volume cannot be read. The values are not repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Not an object.
    #[error("what is written for it is not a volume")]
    NotAVolume,
    /// A value of another type.
    #[error("its field '{0}' is not of the type that the plugin writes")]
    Type(&'static str),
}

/// Reads the file; the volumes are in the order of their names.
pub fn parse(text: &str) -> Result<Vec<Recorded>, StateError> {
    match serde_json::from_str(text).map_err(|e| StateError::Json(json::mistake(&e)))? {
        Value::Object(volumes) => {
            Ok(volumes.into_iter().map(|(name, value)| Recorded { name, volume: read(value) }).collect())
        }
        // What Go writes for a map that was never made.
        Value::Null => Ok(Vec::new()),
        _ => Err(StateError::NotVolumes),
    }
}

fn read(value: Value) -> Result<OldVolume, FieldError> {
    let Value::Object(mut fields) = value else { return Err(FieldError::NotAVolume) };
    let password = text(&mut fields, "Password")?;
    Ok(OldVolume {
        sshcmd: text(&mut fields, "Sshcmd")?,
        port: text(&mut fields, "Port")?,
        options: list(&mut fields, "Options")?,
        identity_file: text(&mut fields, "IdentityFile")?,
        password: (!password.is_empty()).then(|| Secret::new(password)),
    })
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Value {
    let key = fields.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    key.and_then(|key| fields.remove(&key)).unwrap_or_default()
}

fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, FieldError> {
    match take(fields, name) {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        _ => Err(FieldError::Type(name)),
    }
}

fn list(fields: &mut Map<String, Value>, name: &'static str) -> Result<Vec<String>, FieldError> {
    match take(fields, name) {
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(FieldError::Type(name)),
            })
            .collect(),
        Value::Null => Ok(Vec::new()),
        _ => Err(FieldError::Type(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(text: &str) -> Result<OldVolume, FieldError> {
        let mut volumes = parse(text).unwrap();
        assert_eq!(volumes.len(), 1);
        volumes.remove(0).volume
    }

    #[test]
    fn what_the_plugin_and_its_fork_write() {
        let vieux = r#"{"v":{"Password":"","Sshcmd":"a@h:/x","Port":"2222","Options":["reconnect","uid=1"],"Mountpoint":"/m"}}"#;
        let expected = OldVolume {
            sshcmd: "a@h:/x".to_owned(),
            port: "2222".to_owned(),
            options: ["reconnect", "uid=1"].map(str::to_owned).into(),
            ..OldVolume::default()
        };
        assert_eq!(only(vieux), Ok(expected.clone()));
        let old = r#"{"v":{"Password":"","Sshcmd":"a@h:/x","Port":"2222","Mountpoint":"/m"}}"#;
        assert_eq!(only(old), Ok(OldVolume { options: Vec::new(), ..expected.clone() }));
        let fork = r#"{"v":{"Name":"v","MountPoint":"/m","CreatedAt":"2020-01-01T00:00:00Z","RefCount":1,
            "Options":null,"SSHCmd":"a@h:/x","IdentityFile":"/root/.ssh/k","Ephemeral":false,"Password":"pw","Port":"2222"}}"#;
        let expected = OldVolume {
            options: Vec::new(),
            identity_file: "/root/.ssh/k".to_owned(),
            password: Some(Secret::new("pw".to_owned())),
            ..expected
        };
        assert_eq!(only(fork), Ok(expected));
    }

    #[test]
    fn one_bad_volume_is_no_problem_of_the_others() {
        let volumes = parse(r#"{"a":{"Sshcmd":7},"b":{"Sshcmd":"h:/x"},"c":[]}"#).unwrap();
        let results: Vec<_> = volumes.into_iter().map(|v| v.volume.map(|v| v.sshcmd)).collect();
        assert_eq!(
            results,
            [Err(FieldError::Type("Sshcmd")), Ok("h:/x".to_owned()), Err(FieldError::NotAVolume)]
        );
        assert!(parse("").is_err() && parse("[]").is_err() && parse("null").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn mistakes_are_told_without_what_is_in_the_file(text in "[{\"a:s3cr3t,}]{0,24}") {
            if let Err(e) = parse(&text) {
                prop_assert!(!e.to_string().contains("s3cr3t"));
            }
        }
    }
}
