//! The remote directory of a volume, parsed from the `sshcmd` option: `[user@]host:[path]` as in ssh and
//! sshfs, or `sftp://[user@]host[:port]/path`.
//!
//! The parts end up on the command lines of sshfs and ssh. Nothing that either could read as an option, and
//! nothing that a shell or ssh's own parser gives a meaning, can be part of a [`Remote`].

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
};

/// Where the files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    user: Option<String>,
    host: Host,
    path: String,
    /// Only the URL form has one.
    port: Option<NonZeroU16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// A DNS name, an IPv4 address, or an alias of `/etc/sshfs-docker/ssh_config`.
    Name(String),
    V6 {
        address: Ipv6Addr,
        zone: Option<String>,
    },
}

/// Why an `sshcmd` is refused. The text is shown by `docker volume create`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRemote {
    /// The option is there but empty.
    #[error("'sshcmd' is empty; write [user@]host:[path]")]
    Empty,
    /// No colon between host and path; not repeated, it may be a password that was given to the wrong option.
    #[error("sshcmd has no ':' after the host; write [user@]host:[path]")]
    NoColon,
    /// A control character, such as a newline or NUL.
    #[error("sshcmd must not contain control characters")]
    ControlCharacter,
    /// ssh would read it as an option.
    #[error("{part} {value:?} begins with '-', which ssh would read as an option")]
    LeadingDash {
        /// "host" or "user".
        part: &'static str,
        /// What was written.
        value: String,
    },
    /// `sftp://user:password@host` or `user:password@host:path`; not repeated, Docker shows enough of it.
    #[error("sshcmd must not contain a password, which Docker would show in clear; use 'password_file'")]
    Password,
    /// Not a name or address of a host.
    #[error("{0:?} is not the name or address of a host")]
    Host(String),
    /// A user name with characters that cannot be one.
    #[error("{0:?} is not a user name that ssh accepts")]
    User(String),
    /// A port outside 1 to 65535; not repeated, it may be a password that was given to the wrong option.
    #[error("the port must be a number from 1 to 65535")]
    Port,
    /// `sftp://host` without a path; not repeated either.
    #[error("sshcmd has no path; write sftp://[user@]host[:port]/path")]
    UrlWithoutPath,
}

impl Remote {
    /// Parses the value of `sshcmd`.
    pub fn parse(text: &str) -> Result<Self, InvalidRemote> {
        if text.is_empty() {
            return Err(InvalidRemote::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(InvalidRemote::ControlCharacter);
        }
        match text.strip_prefix("sftp://") {
            Some(rest) => Self::parse_url(rest),
            None => Self::parse_scp(text),
        }
    }

    /// `[user@]host:[path]`
    fn parse_scp(text: &str) -> Result<Self, InvalidRemote> {
        let (authority, path) = split_at_colon(text).ok_or(InvalidRemote::NoColon)?;
        if looks_like_a_password(authority, path) {
            return Err(InvalidRemote::Password);
        }
        let (user, host) = parse_authority(authority)?;
        Ok(Self { user, host, path: path.to_owned(), port: None })
    }

    /// `[user@]host[:port]/path`, the part of a URL behind `sftp://`.
    fn parse_url(rest: &str) -> Result<Self, InvalidRemote> {
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(InvalidRemote::Password);
        }
        let (authority, port) = match split_at_colon(authority) {
            // A password may have a slash in it.
            Some((_, port)) if parse_port(port).is_err() && path.contains('@') => {
                return Err(InvalidRemote::Password);
            }
            Some((authority, port)) => (authority, Some(parse_port(port)?)),
            None => (authority, None),
        };
        if path.is_empty() {
            return Err(InvalidRemote::UrlWithoutPath);
        }
        let (user, host) = parse_authority(authority)?;
        Ok(Self { user, host, path: path.to_owned(), port })
    }

    /// The port of the URL form.
    #[must_use]
    pub fn port(&self) -> Option<NonZeroU16> {
        self.port
    }

    /// Host name or address without brackets, as messages show it.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::V6 { address, zone: None } => address.to_string(),
            Host::V6 { address, zone: Some(zone) } => format!("{address}%{zone}"),
        }
    }

    /// The remote user, where the volume names one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The remote directory; empty is the home of the remote user.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// The form that sshfs takes as its first argument.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.path),
            Host::V6 { .. } => write!(f, "[{}]:{}", self.host(), self.path),
        }
    }
}

/// Reads a TCP port.
pub fn parse_port(text: &str) -> Result<NonZeroU16, InvalidRemote> {
    let digits_only = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits_only).ok_or(InvalidRemote::Port)
}

/// Splits at the first colon outside brackets.
fn split_at_colon(text: &str) -> Option<(&str, &str)> {
    let search_from = match (text.find('['), text.find(']'), text.find(':')) {
        (Some(open), Some(close), Some(colon)) if open < colon && open < close => close,
        _ => 0,
    };
    let colon = search_from + text[search_from..].find(':')?;
    Some((&text[..colon], &text[colon + 1..]))
}

/// Whether `authority:path` was meant as `user:password@host:path`. As it stands, the password would be a directory in the
/// home on a server called like the user: no error, and in every log.
fn looks_like_a_password(authority: &str, path: &str) -> bool {
    let first = path.split('/').next().unwrap_or_default();
    !authority.contains('@') && first.split_once('@').is_some_and(|(_, host)| host.contains(':'))
}

/// `[user@]host`; as in ssh, the last `@` separates them.
fn parse_authority(authority: &str) -> Result<(Option<String>, Host), InvalidRemote> {
    match authority.rsplit_once('@') {
        Some((user, host)) => Ok((Some(parse_user(user)?), parse_host(host)?)),
        None => Ok((None, parse_host(authority)?)),
    }
}

fn parse_user(user: &str) -> Result<String, InvalidRemote> {
    if user.starts_with('-') {
        return Err(InvalidRemote::LeadingDash { part: "user", value: user.to_owned() });
    }
    let valid = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-+@".contains(&b));
    if valid { Ok(user.to_owned()) } else { Err(InvalidRemote::User(user.to_owned())) }
}

fn parse_host(host: &str) -> Result<Host, InvalidRemote> {
    let invalid = || InvalidRemote::Host(host.to_owned());
    if host.starts_with('-') {
        return Err(InvalidRemote::LeadingDash { part: "host", value: host.to_owned() });
    }
    if let Some(inside) = host.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or_else(invalid)?;
        let (address, zone) = match inside.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (inside, None),
        };
        let zone_is_valid =
            |z: &str| !z.is_empty() && z.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if !zone.is_none_or(zone_is_valid) {
            return Err(invalid());
        }
        let address = address.parse().map_err(|_| invalid())?;
        return Ok(Host::V6 { address, zone: zone.map(str::to_owned) });
    }
    if valid_name(host) { Ok(Host::Name(host.to_owned())) } else { Err(invalid()) }
}

/// Checks the name or address of a host where it stands without brackets.
pub fn check_host(host: &str) -> Result<(), InvalidRemote> {
    if valid_name(host) || host.parse::<Ipv6Addr>().is_ok() {
        Ok(())
    } else {
        Err(InvalidRemote::Host(host.to_owned()))
    }
}

fn valid_name(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with('-')
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && (!ends_in_a_number(host) || host.parse::<Ipv4Addr>().is_ok())
}

/// Such a name is an address to the C library: `2130706433`, `127.1` and `0x7f.0.0.1` are all 127.0.0.1
/// (inet_aton(3)). Only the form in which an administrator writes it into a policy is accepted.
fn ends_in_a_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or(host).to_ascii_lowercase();
    match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_that_users_write() {
        for (text, user, host, path, port) in [
            ("alice@storage:/srv/data", Some("alice"), "storage", "/srv/data", None),
            ("storage:", None, "storage", "", None),
            ("storage:relative dir", None, "storage", "relative dir", None),
            ("a@b@storage:/x", Some("a@b"), "storage", "/x", None),
            ("alice@[fe80::1%eth0]:/x:y", Some("alice"), "fe80::1%eth0", "/x:y", None),
            ("alice@10.0.0.1:/a,b \"c\"/ü", Some("alice"), "10.0.0.1", "/a,b \"c\"/ü", None),
            ("h:[x]:y", None, "h", "[x]:y", None),
            ("sftp://alice@storage:2222/srv", Some("alice"), "storage", "/srv", Some(2222)),
            ("sftp://storage/srv", None, "storage", "/srv", None),
            ("sftp://[::1]:22/srv", None, "::1", "/srv", Some(22)),
        ] {
            let remote = Remote::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(remote.user(), user, "{text}");
            assert_eq!(remote.host(), host, "{text}");
            assert_eq!(remote.path(), path, "{text}");
            assert_eq!(remote.port().map(NonZeroU16::get), port, "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "sftp://alice:hunter2@storage/srv",
            "sftp://alice:hunter2@storage",
            "sftp://alice:hunter2/x@storage/srv",
            "alice:hunter2@storage:/srv",
            "alice:hunter2@[::1]:",
        ] {
            assert_eq!(Remote::parse(text), Err(InvalidRemote::Password), "{text}");
        }
        for text in ["hunter2", "sftp://hunter2", "alice@hunter2", "sftp://alice@hunter2"] {
            let error = Remote::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        for text in ["h:me@work", "h:/x/a@b:c", "sftp://h:22/x@y"] {
            assert!(Remote::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_could_become_an_option_is_refused() {
        for text in
            ["-oProxyCommand=x:/", "a@-oProxyCommand=x:/", "-l@host:/", "[-oProxyCommand=x]:/", "a@[-l]:/"]
        {
            assert!(Remote::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_remote_is_refused() {
        for text in [
            "",
            ":",
            ":/x",
            "@h:/x",
            "storage",
            "a b:/x",
            "h;id:/x",
            "$(id):/x",
            "h:/x\n",
            "h:/\0",
            "[::1:/x",
            "sftp://alice:hunter2@storage/srv",
            "alice:hunter2@storage:/srv",
            "alice:hunter2@storage:",
            "[::g]:/x",
            "sftp://storage",
            "sftp://h:0/x",
            "sftp://h:99999/x",
            "sftp://h:x/x",
            "sftp://h:+1/x",
            "ü:/x",
            "2130706433:/x",
            "127.1:/x",
            "0x7f.0.0.1:/x",
            "127.0.0.01:/x",
            "127.0.0.1.:/x",
        ] {
            assert!(Remote::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_sshfs_gets_reads_back_as_the_same_remote(text in "([a-z@.\\[\\]:%0-9-]{0,12}):.{0,20}") {
            if let Ok(remote) = Remote::parse(&text) {
                let shown = remote.to_string();
                prop_assert!(!shown.starts_with('-'));
                prop_assert_eq!(Remote::parse(&shown).unwrap(), remote);
            }
        }
    }
}
