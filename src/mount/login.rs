//! Why a server refused a login: what it said, and what the volume had to show. Pure.

use crate::{
    diagnosis::OfferedKey,
    kind,
    volume::{CredentialSource, Spec, options::PasswordSource},
};
use std::fmt;

/// A login that was refused, of a volume without an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the server would have accepted, in its own words.
    accepts: String,
    key: Option<Key>,
    has_password: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    source: CredentialSource,
    /// Its kind and fingerprint, if they could be found out.
    name: Option<String>,
}

/// A locked account is told from a wrong key by nobody but the server's log.
const SAME_ANSWER: &str = "a user who is locked or not allowed there gets the same answer, which only the log of its sshd tells apart";

impl Refusal {
    /// Of a volume with these options.
    #[must_use]
    pub fn new(accepts: String, offered: Option<OfferedKey>, spec: &Spec) -> Self {
        let key = spec.identity.clone();
        let key = key.map(|source| Key { source, name: offered.and_then(|offered| offered.name) });
        let has_password = match spec.password {
            Some(PasswordSource::Stored) => true,
            // With a key it is the key's passphrase.
            Some(PasswordSource::Credential(_)) => key.is_none(),
            None => false,
        };
        Self { accepts, key, has_password }
    }

    /// A short name that stays the same.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.key, self.has_password) {
            (Some(_), false) => kind::KEY_REFUSED,
            (None, true) => kind::PASSWORD_REFUSED,
            (Some(_), true) => kind::LOGIN_REFUSED,
            (None, false) => kind::LOGIN_MISSING,
        }
    }

    fn accepts(&self, method: &str) -> bool {
        self.accepts.split(',').any(|accepted| accepted == method)
    }

    fn accepts_password(&self) -> bool {
        self.accepts("password") || self.accepts("keyboard-interactive")
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepts, .. } = self;
        f.write_str("permission denied: ")?;
        match (&self.key, self.has_password) {
            (Some(_), false) if !self.accepts("publickey") => write!(
                f,
                "the server takes no keys for this user (it accepts: {accepts}); give a password with 'password_file', or allow \
                 PubkeyAuthentication in its sshd_config"
            ),
            (None, true) if !self.accepts_password() => write!(
                f,
                "the server takes no passwords for this user (it accepts: {accepts}); give a key with 'identity_file', or allow \
                 PasswordAuthentication in its sshd_config"
            ),
            (Some(key), false) => write!(
                f,
                "the server refused {key}; add its public half to authorized_keys of the user on the server, or name another \
                 with 'identity_file'; {SAME_ANSWER}"
            ),
            (None, true) => {
                write!(
                    f,
                    "the server refused the password; check the user, and 'password_file' or 'password'; {SAME_ANSWER}"
                )
            }
            (Some(key), true) => write!(
                f,
                "the server refused the password, and {key} (it accepts: {accepts}); check the user, 'identity_file' and \
                 'password'; {SAME_ANSWER}"
            ),
            (None, false) => write!(
                f,
                "the volume has neither key nor password (the server accepts: {accepts}); give 'identity_file' or \
                 'password_file'"
            ),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "the key {name} ({})", self.source),
            None => write!(f, "the key {}", self.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Policy, options::Options};

    fn refusal(accepts: &str, options: &[(&str, &str)], has_password: bool) -> Refusal {
        let options: Options = options
            .iter()
            .chain(&[("sshcmd", "h:")])
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let spec = Spec::parse(&options, has_password, &Policy::default()).unwrap();
        Refusal::new(accepts.to_owned(), None, &spec)
    }

    #[test]
    fn what_was_shown_tells_what_was_refused() {
        let (key, file) = (("identity_file", "/id"), ("password_file", "/password"));
        for (options, has_password, kind) in [
            (&[key][..], false, kind::KEY_REFUSED),
            (&[key, file], false, kind::KEY_REFUSED),
            (&[file], false, kind::PASSWORD_REFUSED),
            (&[key], true, kind::LOGIN_REFUSED),
            (&[], false, kind::LOGIN_MISSING),
        ] {
            assert_eq!(refusal("publickey,password", options, has_password).kind(), kind, "{options:?}");
        }
    }

    #[test]
    fn a_password_where_only_keys_are_taken_is_told_as_such() {
        let text = refusal("publickey", &[], true).to_string();
        assert!(text.contains("takes no passwords for this user (it accepts: publickey)"), "{text}");
    }
}
