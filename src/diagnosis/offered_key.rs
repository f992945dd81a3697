//! The key that a volume logs in with, and what is wrong with it: ssh says neither when a login is refused. Pure.
//!
//! `sshfs-docker connect` looks at the key, where it can be read, and tells it in a notice.

use super::fingerprint;
use std::fmt;

/// What `connect` saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// Its kind and fingerprint, as in `ED25519 SHA256:…`.
    pub name: Option<String>,
    /// Whether it can be used.
    pub state: KeyState,
}

/// Whether a file is a private key, and one that opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is, and does.
    Usable,
    /// It has a passphrase, and the volume has none.
    PassphraseMissing,
    /// The volume has another one.
    PassphraseWrong,
    /// Nothing is in it.
    Empty,
    /// It is the half that belongs on the server.
    Public,
    /// It is in PuTTY's format.
    Putty,
    /// It begins as a key does, and ssh cannot read it.
    Damaged,
    /// It is something else.
    NotAKey,
}

impl KeyState {
    const ALL: [Self; 8] = [
        Self::Usable,
        Self::PassphraseMissing,
        Self::PassphraseWrong,
        Self::Empty,
        Self::Public,
        Self::Putty,
        Self::Damaged,
        Self::NotAKey,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::PassphraseMissing => "passphrase-missing",
            Self::PassphraseWrong => "passphrase-wrong",
            Self::Empty => "empty",
            Self::Public => "public",
            Self::Putty => "putty",
            Self::Damaged => "damaged",
            Self::NotAKey => "not-a-key",
        }
    }

    /// Of what ssh-keygen cannot load, for another reason than its passphrase.
    #[must_use]
    pub fn of_unusable(content: &[u8]) -> Self {
        let text = String::from_utf8_lossy(content);
        let text = text.trim_start();
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
        if text.is_empty() {
            Self::Empty
        } else if begins(&["ssh-", "ecdsa-", "sk-"]) {
            Self::Public
        } else if begins(&["PuTTY-User-Key-File"]) {
            Self::Putty
        } else if text.contains("PRIVATE KEY-----") {
            Self::Damaged
        } else {
            Self::NotAKey
        }
    }
}

impl OfferedKey {
    /// Reads back what it is written as.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (state, name) = line.split_once(' ').unwrap_or((line, ""));
        let state = KeyState::ALL.into_iter().find(|known| known.word() == state)?;
        Some(Self { name: Some(name.trim().to_owned()).filter(|name| !name.is_empty()), state })
    }

    /// What `ssh-keygen -l` calls a key: `256 SHA256:… comment (ED25519)`.
    #[must_use]
    pub fn name_of(listed: &str) -> Option<String> {
        let fingerprint = listed.split_whitespace().find_map(fingerprint)?;
        let kind = listed.trim_end().strip_suffix(')')?.rsplit_once('(')?.1;
        let plain = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain.then(|| format!("{kind} {fingerprint}"))
    }
}

/// What a notice has of it.
impl fmt::Display for OfferedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.state.word(), self.name.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back() {
        for state in KeyState::ALL {
            for name in [None, Some("ED25519 SHA256:x".to_owned())] {
                let key = OfferedKey { name, state };
                assert_eq!(OfferedKey::parse(&key.to_string()), Some(key));
            }
        }
        assert_eq!(OfferedKey::parse("something else"), None);
    }

    #[test]
    fn a_key_is_called_by_its_kind_and_fingerprint_whatever_its_comment_says() {
        let print = "SHA256:SbH6zDPZCGlDyaCulSNwPrP4hr4Jqearp+xNoOGheIQ";
        let listed = format!("256 {print} me (at home) (ED25519)\n");
        assert_eq!(OfferedKey::name_of(&listed), Some(format!("ED25519 {print}")));
        assert_eq!(OfferedKey::name_of("is not a public key file.\n"), None);
    }

    #[test]
    fn what_is_no_key_is_told_by_its_first_words() {
        for (content, state) in [
            ("", KeyState::Empty),
            ("\n", KeyState::Empty),
            ("ssh-ed25519 AAAA me", KeyState::Public),
            ("PuTTY-User-Key-File-3: ssh-ed25519", KeyState::Putty),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl", KeyState::Damaged),
            ("hello", KeyState::NotAKey),
        ] {
            assert_eq!(KeyState::of_unusable(content.as_bytes()), state, "{content}");
        }
    }
}
