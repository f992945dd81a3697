//! What client and server must agree on, as ssh calls it when they do not. Pure.

use std::fmt;

/// A sort of algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What encrypts.
    Cipher,
    /// What a session begins with.
    KeyExchange,
    /// The kind of the server's key.
    HostKey,
    /// What protects against changes.
    Mac,
}

impl Algorithm {
    /// The one that a line of ssh is about: `no matching … found`.
    #[must_use]
    pub fn of(line: &str) -> Self {
        if line.contains("no matching cipher") {
            Self::Cipher
        } else if line.contains("no matching MAC") {
            Self::Mac
        } else if line.contains("no matching host key") {
            Self::HostKey
        } else {
            Self::KeyExchange
        }
    }

    /// The option that chooses (ssh_config(5)).
    #[must_use]
    pub fn option(self) -> &'static str {
        match self {
            Self::Cipher => "Ciphers",
            Self::KeyExchange => "KexAlgorithms",
            Self::HostKey => "HostKeyAlgorithms",
            Self::Mac => "MACs",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cipher => "cipher",
            Self::KeyExchange => "key exchange method",
            Self::HostKey => "type of host key",
            Self::Mac => "MAC",
        })
    }
}
