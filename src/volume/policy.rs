//! What the administrator lets volumes do. Pure; config.toml fills it in, [`super::Spec::parse`] asks it.

use super::options::Setting;
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

/// The limits for options of volumes. The default is what holds without a config.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names of [`super::catalogue::Effect::Gated`] options that volumes may use.
    pub allowed: BTreeSet<&'static str>,
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

/// Whether one of the patterns matches `host`, in any of the ways to write it.
#[must_use]
pub fn matches_any(patterns: &[HostPattern], host: &str) -> bool {
    let spellings = spellings(host);
    patterns.iter().any(|pattern| pattern.matches_one_of(&spellings))
}

impl HostPattern {
    /// Reads a pattern. One that is an address becomes the shortest spelling of it, which is among the [`spellings`].
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let lower = text.to_ascii_lowercase();
        let pattern = without_final_dot(&lower);
        let (address, zone) = split_zone(pattern);
        let valid = |text: &str, others: &[u8]| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
        };
        if !valid(address, b"_.-:*?") || !zone.is_none_or(|zone| valid(zone, b"_.-*?")) {
            return Err(InvalidPattern(text.to_owned()));
        }
        let address = match address.parse().map(|address: Ipv6Addr| (address, address.to_ipv4_mapped())) {
            Ok((_, Some(mapped))) => mapped.to_string(),
            Ok((address, None)) => address.to_string(),
            Err(_) => address.to_owned(),
        };
        Ok(Self(with_zone(&address, zone)))
    }

    fn matches_one_of(&self, spellings: &BTreeSet<String>) -> bool {
        spellings.iter().any(|spelling| wildcard(self.0.as_bytes(), spelling.as_bytes()))
    }
}

/// The ways to write a host that mean the same server. An address goes with and without its zone: the C library takes a
/// number as the zone of any address, also where it has no meaning (getaddrinfo(3)).
fn spellings(host: &str) -> BTreeSet<String> {
    let lower = host.to_ascii_lowercase();
    // "storage." is "storage" without a search domain.
    let host = without_final_dot(&lower);
    let (address, zone) = split_zone(host);
    let mut spellings = BTreeSet::from([address.to_owned()]);
    let v6: Option<Ipv6Addr> = address.parse().ok();
    let v4: Option<Ipv4Addr> = v6.map_or_else(|| address.parse().ok(), |v6| v6.to_ipv4_mapped());
    if let Some(v6) = v6.or_else(|| v4.map(|v4| v4.to_ipv6_mapped())) {
        let groups = v6.segments().map(|group| format!("{group:x}")).join(":");
        spellings.extend([v6.to_string(), groups]);
    }
    spellings.extend(v4.map(|v4| v4.to_string()));
    if zone.is_some() {
        let with_zone: Vec<_> = spellings.iter().map(|address| with_zone(address, zone)).collect();
        spellings.extend(with_zone);
    }
    spellings
}

fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn split_zone(host: &str) -> (&str, Option<&str>) {
    host.split_once('%').map_or((host, None), |(address, zone)| (address, Some(zone)))
}

fn with_zone(address: &str, zone: Option<&str>) -> String {
    zone.map_or_else(|| address.to_owned(), |zone| format!("{address}%{zone}"))
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
            ("fd00::1", "fd00::1%1"),
            ("10.0.0.1", "::ffff:10.0.0.1%1"),
            ("10.0.0.1", "::ffff:a00:1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::FFFF:a00:1", "::ffff:10.0.0.1%2"),
            ("::ffff:10.*", "10.0.0.1"),
            ("fd00:0:0::9", "fd00::9"),
            ("fd00:0:0:*", "fd00::9%eth0"),
            ("FE80:0::1%ETH0", "fe80::1%eth0"),
            ("fe80::1%*", "fe80::1%eth0"),
            ("storage.", "storage"),
            ("*.example.net.", "a.example.net"),
            ("*", "anything"),
        ] {
            assert!(matches_any(&[pattern(text)], host), "{text} {host}");
        }
        for (text, host) in [
            ("storage", "storage2"),
            ("*.example.net", "example.net"),
            ("*.example.net", "x.example.net.evil"),
            ("10.0.?.*", "10.0.17.1"),
            ("fe80::1%eth0", "fe80::1%eth1"),
            ("fe80::1%eth0", "fe80::1"),
        ] {
            assert!(!matches_any(&[pattern(text)], host), "{text} {host}");
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
        for text in ["", ".", "a b", "10.0.0.0/8", "a,b", "[::1]", "%1", "fe80::1%", "fe80::1%a%b"] {
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
