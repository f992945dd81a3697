//! What the administrator lets volumes do. Pure; config.toml fills it in, [`super::Spec::parse`] asks it.

use super::options::Setting;
use std::{collections::BTreeSet, fmt, net::Ipv6Addr};

/// The limits for options of volumes. The default is what holds without a config.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names of [`super::catalogue::Effect::Gated`] options that volumes may use.
    pub allowed: BTreeSet<String>,
    /// Names of options that no volume may have.
    pub denied: BTreeSet<&'static str>,
    /// Options that no volume can change.
    pub forced: Settings,
    /// Host key checking of volumes that do not ask for a stricter one.
    pub host_keys: HostKeyPolicy,
    /// Hosts whose key a volume may leave unverified.
    pub unverified: Vec<HostPattern>,
    /// Which servers volumes may have.
    pub hosts: HostRules,
    /// Whether the `password` option is refused.
    pub refuse_password: bool,
}

/// Which host keys are accepted, from the weakest to the strictest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostKeyPolicy {
    /// Any: whoever is between here and the server reads and changes everything. Only where the administrator permits it.
    Unverified,
    /// The first key of an unknown host is stored; a changed one is refused.
    #[default]
    AcceptNew,
    /// Only keys that are known already.
    Yes,
}

/// Options of sshfs, ssh and mount(2) that hold for all volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Options of mount(2).
    pub kernel: Vec<Setting>,
    /// Options of sshfs and ssh.
    pub sshfs: Vec<Setting>,
    /// Flags switched off.
    pub switched_off: BTreeSet<&'static str>,
}

/// Allowed and denied hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostRules {
    /// None but these; empty: all.
    pub allow: Vec<HostPattern>,
    /// Not these, whatever `allow` says.
    pub deny: Vec<HostPattern>,
}

/// A pattern for names and addresses of hosts: `*` is any text, `?` any character, case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

/// Why a pattern is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name or address of a host, with '*' and '?' for any text and any character")]
pub struct InvalidPattern(String);

/// Why a host is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostRefused {
    /// It matches a pattern of `deny_hosts`.
    #[error("the administrator denies the host {0} (deny_hosts in /etc/sshfs-docker/config.toml)")]
    Denied(String),
    /// It matches no pattern of `allow_hosts`.
    #[error(
        "the host {0} is none of those that the administrator allows (allow_hosts in /etc/sshfs-docker/config.toml)"
    )]
    NotAllowed(String),
}

impl Settings {
    /// What is fixed here and said otherwise there: its name, and the fixed value as a user would write it.
    #[must_use]
    pub fn contradiction(&self, other: &Self) -> Option<(&'static str, String)> {
        let fixed = || self.sshfs.iter().chain(&self.kernel);
        let changed = other.sshfs.iter().chain(&other.kernel).find_map(|given| {
            let setting = fixed().find(|setting| setting.name == given.name && *setting != given)?;
            Some((setting.name, setting.value.clone().unwrap_or_default()))
        });
        let switched_off = fixed().find(|setting| other.switched_off.contains(setting.name));
        let switched_on =
            other.sshfs.iter().chain(&other.kernel).find(|given| self.switched_off.contains(given.name));
        changed
            .or_else(|| switched_off.map(|setting| (setting.name, "true".to_owned())))
            .or_else(|| switched_on.map(|given| (given.name, "false".to_owned())))
    }
}

impl HostRules {
    /// Judges a host as a volume names it.
    pub fn check(&self, host: &str) -> Result<(), HostRefused> {
        if matches_any(&self.deny, host) {
            return Err(HostRefused::Denied(host.to_owned()));
        }
        if !self.allow.is_empty() && !matches_any(&self.allow, host) {
            return Err(HostRefused::NotAllowed(host.to_owned()));
        }
        Ok(())
    }
}

/// Whether one of the patterns matches.
#[must_use]
pub fn matches_any(patterns: &[HostPattern], host: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(host))
}

impl HostPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let valid =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-:%*?".contains(&b));
        if valid { Ok(Self(text.to_ascii_lowercase())) } else { Err(InvalidPattern(text.to_owned())) }
    }

    /// Whether `host`, in any of the ways to write it, matches.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        // "storage." is "storage" without a search domain.
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let address: Option<Ipv6Addr> = host.parse().ok();
        let shortened = address.map(|address| address.to_string());
        let mapped = address.and_then(|address| address.to_ipv4_mapped()).map(|address| address.to_string());
        let spellings = [Some(host.to_owned()), shortened, mapped];
        spellings.iter().flatten().any(|spelling| wildcard(self.0.as_bytes(), spelling.as_bytes()))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares in linear space: a `*` takes as little as possible first, and one byte more at each failure behind it.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((star, taken)) = last_star else { return false };
                last_star = Some((star, taken + 1));
                p = star + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_matches_every_way_to_write_the_host() {
        for (text, host) in [
            ("storage", "storage"),
            ("storage", "STORAGE."),
            ("*.example.net", "a.b.Example.net"),
            ("10.0.?.*", "10.0.7.255"),
            ("10.*", "::ffff:10.0.0.1"),
            ("fd00:*", "fd00::1"),
            ("fd00::1", "FD00:0:0::0:1"),
            ("*", "anything"),
        ] {
            assert!(pattern(text).matches(host), "{text} {host}");
        }
        for (text, host) in [
            ("storage", "storage2"),
            ("*.example.net", "example.net"),
            ("*.example.net", "x.example.net.evil"),
            ("10.0.?.*", "10.0.17.1"),
        ] {
            assert!(!pattern(text).matches(host), "{text} {host}");
        }
    }

    #[test]
    fn what_is_denied_stays_denied_where_all_else_is_allowed() {
        let rules = HostRules { allow: vec![pattern("*.net")], deny: vec![pattern("evil.*")] };
        assert_eq!(rules.check("good.net"), Ok(()));
        assert_eq!(rules.check("evil.net"), Err(HostRefused::Denied("evil.net".to_owned())));
        assert_eq!(rules.check("good.org"), Err(HostRefused::NotAllowed("good.org".to_owned())));
        assert_eq!(HostRules::default().check("anything"), Ok(()));
    }

    #[test]
    fn bad_patterns_are_refused() {
        for text in ["", "a b", "10.0.0.0/8", "a,b", "[::1]"] {
            assert!(HostPattern::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_fixed_option_can_be_repeated_and_not_changed() {
        let setting = |name, value: &str| Setting { name, value: Some(value.to_owned()) };
        let flag = |name| Setting { name, value: None };
        let forced = Settings {
            kernel: vec![flag("ro")],
            sshfs: vec![setting("Compression", "no")],
            switched_off: ["reconnect"].into(),
        };
        let given = |sshfs: Vec<Setting>| Settings { sshfs, ..Settings::default() };
        assert_eq!(
            forced.contradiction(&given(vec![setting("Compression", "no"), flag("auto_cache")])),
            None
        );
        assert_eq!(
            forced.contradiction(&given(vec![setting("Compression", "yes")])),
            Some(("Compression", "no".to_owned()))
        );
        assert_eq!(
            forced.contradiction(&given(vec![flag("reconnect")])),
            Some(("reconnect", "false".to_owned()))
        );
        let rw = Settings { switched_off: ["ro"].into(), ..Settings::default() };
        assert_eq!(forced.contradiction(&rw), Some(("ro", "true".to_owned())));
    }

    proptest! {
        /// Against the plain recursive definition.
        #[test]
        fn wildcards_mean_what_they_say(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            fn means(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|taken| means(rest, &text[taken..])),
                    Some((byte, rest)) => text
                        .split_first()
                        .is_some_and(|(first, others)| (*byte == b'?' || byte == first) && means(rest, others)),
                }
            }
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(wildcard(pattern, text), means(pattern, text));
        }
    }
}
