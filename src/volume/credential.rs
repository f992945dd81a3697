//! Where a secret of a volume is kept: a file of the host, or systemd's credential store.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

/// The value of `identity_file` or `password_file`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// An absolute path on the host. Only root needs to be able to read it.
    Path(PathBuf),
    /// A name in systemd's credential store: `/etc/credstore` or, encrypted, `/etc/credstore.encrypted`.
    Store(String),
}

/// Why a value names no credential. It is not repeated: it may be a password in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// Neither form.
    #[error(
        "the value is neither an absolute path on the Docker host nor a bare name in systemd's credential store \
         (the driver is a service: it has no '~' and no working directory)"
    )]
    Form,
    /// `..` in a path, or a character that means something to systemd. Its syntax separates with ':'. Version 257 (252 does
    /// not) takes a blank for the end of the path and drops a backslash when it hands the path to the process that
    /// becomes the unit's, and so reads another file.
    #[error("a path must not contain '..', ':', blanks, backslashes or control characters; rename the file")]
    Character,
}

impl CredentialSource {
    /// Reads an absolute path or a bare name.
    pub fn parse(text: &str) -> Result<Self, InvalidSource> {
        let path = Path::new(text);
        if path.is_absolute() {
            let climbs = path.components().any(|c| c == Component::ParentDir);
            if climbs || text.chars().any(|c| c.is_control() || [':', ' ', '\\'].contains(&c)) {
                return Err(InvalidSource::Character);
            }
            return Ok(Self::Path(path.to_owned()));
        }
        let mut bytes = text.bytes();
        let valid = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
            && text.len() <= 200;
        if valid { Ok(Self::Store(text.to_owned())) } else { Err(InvalidSource::Form) }
    }
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Store(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_or_a_bare_name() {
        assert_eq!(
            CredentialSource::parse("/root/.ssh/id_ed25519"),
            Ok(CredentialSource::Path("/root/.ssh/id_ed25519".into()))
        );
        assert_eq!(CredentialSource::parse("storage-key"), Ok(CredentialSource::Store("storage-key".into())));
        for bad in
            ["", "~/.ssh/id", "a/b", "./id", "/root/../x", "/a:b", "/a\nb", "/a 1", "/a\\b", "-x", ".x", "%h"]
        {
            assert!(CredentialSource::parse(bad).is_err(), "{bad:?}");
        }
    }
}
