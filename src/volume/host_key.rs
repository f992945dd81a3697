//! The server's public key, where a volume pins it with the `host_key` option.

use std::fmt;

/// A public key as in a `known_hosts` line, without the host: `ssh-ed25519 AAAA…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    algorithm: String,
    /// The key in base64.
    blob: String,
}

/// Why a `host_key` is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "host_key must be a public key such as 'ssh-ed25519 AAAA…', as the server's /etc/ssh/ssh_host_*_key.pub has it; \
     {0}"
)]
pub struct InvalidHostKey(&'static str);

impl HostKey {
    /// Reads the first two fields of a public key line; a comment behind them is dropped.
    pub fn parse(text: &str) -> Result<Self, InvalidHostKey> {
        let mut fields = text.split_ascii_whitespace();
        let (Some(algorithm), Some(blob)) = (fields.next(), fields.next()) else {
            return Err(InvalidHostKey("it needs a key type and a key"));
        };
        let known_type = ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|prefix| algorithm.starts_with(prefix));
        let word = algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b));
        if !known_type || !word {
            return Err(InvalidHostKey("its first word is no key type"));
        }
        // The blob repeats the type: a length of 4 bytes, then the name. Its first 4 bytes are therefore "\0\0\0?",
        // which base64 writes as "AAAA".
        let base64 = blob.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        if !base64 || !blob.starts_with("AAAA") || blob.len() < 40 {
            return Err(InvalidHostKey("its second word is no key in base64"));
        }
        Ok(Self { algorithm: algorithm.to_owned(), blob: blob.to_owned() })
    }

    /// A `known_hosts` file that accepts this key, and no other, for any host.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        format!("* {self}\n")
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.blob)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

    #[test]
    fn a_line_of_a_public_key_file() {
        let key = HostKey::parse(&format!("{KEY} root@storage\n")).unwrap();
        assert_eq!(key.to_string(), KEY);
        assert_eq!(key.known_hosts(), format!("* {KEY}\n"));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "ssh-ed25519", "SHA256:abc", "ssh-ed25519 short", "@revoked * AAAA", "ssh-rsa AAAA\u{a0}"]
        {
            assert!(HostKey::parse(text).is_err(), "{text:?}");
        }
    }
}
