//! The options of a volume, from Docker's strings to a checked [`Spec`].
//!
//! The same function judges options when a volume is created, when its file is read at start-up and when the
//! administrator changes the policy, so that what is stored is what the user wrote.

use super::{
    AgentSocket, CredentialSource, HostKey, ReadAhead, Remote,
    agent::InvalidAgent,
    catalogue::{self, Effect, Value},
    credential::InvalidSource,
    host_key::InvalidHostKey,
    policy::{HostKeyPolicy, HostRefused, Policy, Settings, matches_any},
    remote::{self, InvalidRemote},
    spelling::Given,
};
use std::{collections::BTreeMap, iter, num::NonZeroU16, sync::Arc};

/// Options as Docker sends them (`-o key=value`).
pub type Options = BTreeMap<String, String>;

/// The checked options of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The remote directory. Shared: it is told again and again.
    pub remote: Arc<Remote>,
    /// TCP port, where the volume sets one.
    pub port: Option<NonZeroU16>,
    /// The private key.
    pub identity: Option<CredentialSource>,
    /// The agent that has keys.
    pub agent: Option<AgentSocket>,
    /// The password or passphrase.
    pub password: Option<PasswordSource>,
    /// The pinned key of the server.
    pub host_key: Option<HostKey>,
    /// Which other host keys are accepted.
    pub host_key_policy: HostKeyPolicy,
    /// Read-ahead of the mount in KiB, where the volume sets one.
    pub read_ahead: Option<ReadAhead>,
    /// Whether file accesses wait for a dark server as long as it takes, like those of an NFS hard mount.
    pub hard: bool,
    /// Options of sshfs, ssh and mount(2).
    pub settings: Settings,
}

/// Where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// The `password_file` option.
    Credential(CredentialSource),
    /// The `password` option; the store keeps the value apart from the definition.
    Stored,
}

/// A checked option for sshfs, ssh or the kernel, with the name as they write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// From the catalogue.
    pub name: &'static str,
    /// None for a flag.
    pub value: Option<String>,
}

/// Why the options of a volume are refused; shown by `docker volume create`. Values are quoted only where they
/// cannot be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Also what an anonymous volume gets, which has no options at all.
    #[error("the option 'sshcmd' is required: -o sshcmd=[user@]host:[path]")]
    NoRemote,
    /// See [`InvalidRemote`].
    #[error(transparent)]
    Remote(#[from] InvalidRemote),
    /// `sftp://host:PORT` and the port option disagree.
    #[error("sshcmd says port {url}, the option 'port' says {option}")]
    TwoPorts {
        /// Port in sshcmd.
        url: NonZeroU16,
        /// Port in the option.
        option: NonZeroU16,
    },
    /// A name that is not in the catalogue.
    #[error("unknown option '{name}'{}", .nearest.map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    Unknown {
        /// As [`shown`].
        name: String,
        /// The known name nearest to it.
        nearest: Option<&'static str>,
    },
    /// A value of the wrong form.
    #[error("option '{name}' needs {expected}")]
    Value {
        /// The option.
        name: &'static str,
        /// What it would have to be.
        expected: String,
    },
    /// An option that only the administrator can allow.
    #[error(
        "option '{name}' is refused: {reason} \
         (the administrator can allow it with allow_options in /etc/sshfs-docker/config.toml)"
    )]
    Gated {
        /// The option.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// An option that cannot work here.
    #[error("option '{name}' is refused: {reason}")]
    Impossible {
        /// The option.
        name: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The same option in two spellings, twice in a list, or with its opposite.
    #[error("option '{0}' is given twice with different values, or together with its opposite")]
    Twice(&'static str),
    /// `password` in a list or in two spellings, where it would be stored like any other option.
    #[error("the password must be given once and as an option of its own: -o password=…")]
    PasswordPlace,
    /// `password` and `password_file`.
    #[error("'password' and 'password_file' exclude each other")]
    TwoPasswords,
    /// The administrator refuses `password`.
    #[error(
        "option 'password' is refused by /etc/sshfs-docker/config.toml, because Docker stores and shows it in clear; use 'password_file'"
    )]
    PasswordRefused,
    /// An empty password, or one that SSH_ASKPASS cannot deliver.
    #[error("the password is empty, longer than {LONGEST_PASSWORD} bytes, or contains a line break")]
    PasswordForm,
    /// See [`InvalidSource`].
    #[error("option '{name}': {error}")]
    Credential {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        error: InvalidSource,
    },
    /// See [`InvalidAgent`].
    #[error(transparent)]
    Agent(#[from] InvalidAgent),
    /// A private key where its file name belongs.
    #[error(
        "option '{0}' must be the path of a key file, not the key itself: Docker shows every option in clear"
    )]
    InlineKey(&'static str),
    /// See [`InvalidHostKey`].
    #[error(transparent)]
    HostKey(#[from] InvalidHostKey),
    /// StrictHostKeyChecking=no and its relatives.
    #[error(
        "StrictHostKeyChecking must be 'yes' or 'accept-new': host keys are verified. \
         Leave the option out; the key of an unknown server is then stored at the first mount \
         (the administrator can permit 'no' for a host with allow_unverified_hosts in /etc/sshfs-docker/config.toml)"
    )]
    HostKeyChecking,
    /// See [`HostRefused`].
    #[error(transparent)]
    Host(#[from] HostRefused),
    /// The administrator lets no volume have it.
    #[error("option '{0}' is denied by the administrator (deny_options in /etc/sshfs-docker/config.toml)")]
    Denied(&'static str),
    /// The administrator has fixed it.
    #[error(
        "option '{name}' is fixed to '{value}' by the administrator (forced_options in /etc/sshfs-docker/config.toml)"
    )]
    Forced {
        /// The option.
        name: &'static str,
        /// What it is fixed to.
        value: String,
    },
    /// Judged at each mount, by a daemon that has one thread for all volumes.
    #[error("option '{0}' is longer than {longest} bytes", longest = catalogue::LONGEST_VALUE)]
    TooLong(String),
    /// Control characters in any value.
    #[error("the value of option '{0}' contains a control character")]
    ControlCharacter(&'static str),
}

impl Spec {
    /// Checks `options`, which are the volume's own without `password`; `has_password` says that there is one.
    pub fn parse(options: &Options, has_password: bool, policy: &Policy) -> Result<Self, OptionError> {
        let mut given = Given::read(options)?;

        let is_given = |name: &str| given.has(name) || has_password && name == "password";
        if let Some(name) = policy.denied.iter().copied().find(|name| is_given(name)) {
            return Err(OptionError::Denied(name));
        }
        if given.take("password").is_some() {
            return Err(OptionError::PasswordPlace);
        }
        let remote = Remote::parse(&given.take("sshcmd").ok_or(OptionError::NoRemote)?)?;
        if remote.port().is_some() && policy.denied.contains("port") {
            return Err(OptionError::Denied("port"));
        }
        let port = given.take("port").map(|text| remote::parse_port(&text)).transpose()?;
        let port = match (remote.port(), port) {
            (Some(url), Some(option)) if url != option => return Err(OptionError::TwoPorts { url, option }),
            (url, option) => option.or(url),
        };
        let identity = given.take_credential("identity_file")?;
        let agent = given.take("IdentityAgent").map(|text| AgentSocket::parse(&text)).transpose()?;
        let password = match (has_password, given.take_credential("password_file")?) {
            (true, Some(_)) => return Err(OptionError::TwoPasswords),
            (true, None) if policy.refuse_password => return Err(OptionError::PasswordRefused),
            (true, None) => Some(PasswordSource::Stored),
            (false, file) => file.map(PasswordSource::Credential),
        };
        let host_key = given.take("host_key").map(|text| HostKey::parse(&text)).transpose()?;
        let host_key_policy = match given.take("StrictHostKeyChecking").as_deref() {
            // The stricter one counts: whoever pins a key has no other accepted.
            Some("no" | "off") if host_key.is_some() => HostKeyPolicy::Yes,
            None => policy.host_keys,
            Some("yes") => HostKeyPolicy::Yes,
            Some("accept-new") => policy.host_keys.max(HostKeyPolicy::AcceptNew),
            Some("no" | "off") if !policy.unverified.is_empty() => HostKeyPolicy::Unverified,
            Some(_) => return Err(OptionError::HostKeyChecking),
        };
        let read_ahead = given.take_read_ahead()?;
        let hard = given.take("hard").map_or(Ok(None), |text| check("hard", Value::Flag, &text))?.is_some();

        let mut spec = Self {
            remote: Arc::new(remote),
            port,
            identity,
            agent,
            password,
            host_key,
            host_key_policy,
            read_ahead,
            hard,
            settings: Settings::default(),
        };
        for (name, text) in given.rest {
            spec.add(name, &text, policy)?;
        }
        let servers = spec.servers();
        let may_go_unverified = |host: &String| matches_any(&policy.unverified, host);
        if host_key_policy == HostKeyPolicy::Unverified && !servers.iter().all(may_go_unverified) {
            return Err(OptionError::HostKeyChecking);
        }
        for host in servers.into_iter().chain(spec.jump_hosts()) {
            remote::check_host(host.split('%').next().unwrap_or_default())?;
            policy.hosts.check(&host)?;
        }
        match policy.forced.contradiction(&spec.settings) {
            Some((name, value)) => Err(OptionError::Forced { name, value }),
            None => Ok(spec),
        }
    }

    /// The options that name a file or a credential, with what they name.
    pub fn credential_files(&self) -> impl Iterator<Item = (&'static str, &CredentialSource)> {
        let password_file = match &self.password {
            Some(PasswordSource::Credential(source)) => Some(source),
            Some(PasswordSource::Stored) | None => None,
        };
        let both = [("identity_file", self.identity.as_ref()), ("password_file", password_file)];
        both.into_iter().filter_map(|(name, source)| Some((name, source?)))
    }

    /// The server as the volume names it, and what `HostName` puts in the place of it.
    fn servers(&self) -> Vec<String> {
        let host_name = self.sshfs_option("HostName").map(str::to_owned);
        iter::once(self.remote.host()).chain(host_name).collect()
    }

    /// The hosts on the way, of which each is connected to, too.
    fn jump_hosts(&self) -> Vec<String> {
        self.sshfs_option("ProxyJump").map(catalogue::jump_hosts).unwrap_or_default()
    }

    fn sshfs_option(&self, name: &str) -> Option<&str> {
        self.settings.sshfs.iter().find(|setting| setting.name == name)?.value.as_deref()
    }

    /// What about the volume leaves the key of the server unverified, if anything does.
    #[must_use]
    pub fn weakened_host_key_checking(&self) -> Option<&'static str> {
        if self.host_key_policy == HostKeyPolicy::Unverified {
            return Some("StrictHostKeyChecking");
        }
        self.settings.sshfs.iter().map(|setting| setting.name).find(|name| catalogue::weakens_host_keys(name))
    }

    /// Sorts one option of the catalogue to who reads it.
    fn add(&mut self, name: &'static str, text: &str, policy: &Policy) -> Result<(), OptionError> {
        let Some(entry) = catalogue::find(name) else { return Ok(()) };
        match entry.effect {
            // The last four were read as what they mean ([`Given`]).
            Effect::Driver
            | Effect::NoEffect
            | Effect::Means(_)
            | Effect::MeansNot(_)
            | Effect::MeansValue(..)
            | Effect::MeansAll(_) => {}
            Effect::Kernel(value) => match check(name, value, text)? {
                Some(setting) => self.settings.kernel.push(setting),
                None => _ = self.settings.switched_off.insert(name),
            },
            Effect::Sshfs(value) | Effect::Ssh(value) => match check(name, value, text)? {
                Some(setting) => self.settings.sshfs.push(setting),
                None => _ = self.settings.switched_off.insert(name),
            },
            Effect::Gated(reason) if !policy.allowed.contains(name) => {
                return Err(OptionError::Gated { name, reason });
            }
            Effect::Gated(_) => {
                let value = (!text.is_empty()).then(|| text.to_owned());
                self.settings.sshfs.push(Setting { name, value });
            }
            Effect::Impossible(reason) => return Err(OptionError::Impossible { name, reason }),
        }
        Ok(())
    }
}

/// The names of the options that are given in some spelling or list.
pub fn names(options: &Options) -> Result<Vec<&'static str>, OptionError> {
    Ok(parts(options)?.into_keys().collect())
}

/// What is given in some spelling or list, by the names of the catalogue.
pub(super) fn parts(options: &Options) -> Result<BTreeMap<&'static str, String>, OptionError> {
    Ok(Given::read(options)?.rest)
}

/// The remote of options that may be refused for another reason.
#[must_use]
pub fn remote(options: &Options) -> Option<Remote> {
    Remote::parse(&Given::read(options).ok()?.take("sshcmd")?).ok()
}

/// A name that nobody has checked, as a message shows it: short, and only as far as it could be a name. What is behind
/// that may be a password in the wrong place.
#[must_use]
pub fn shown(name: &str) -> String {
    let of_a_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let start: String = name.chars().take_while(of_a_name).take(catalogue::LONGEST_NAME).collect();
    let more = if start.len() < name.len() { "…" } else { "" };
    format!("{start}{more}")
}

/// Checks a value; None is a flag that is switched off.
fn check(name: &'static str, value: Value, text: &str) -> Result<Option<Setting>, OptionError> {
    if value == Value::Flag {
        return Ok(flag(name, text)?.then_some(Setting { name, value: None }));
    }
    match value.check(text) {
        Ok(()) => Ok(Some(Setting { name, value: Some(text.to_owned()) })),
        Err(expected) => Err(OptionError::Value { name, expected }),
    }
}

/// Whether a flag with this value is on.
pub(super) fn flag(name: &'static str, text: &str) -> Result<bool, OptionError> {
    match text.to_ascii_lowercase().as_str() {
        "" | "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(OptionError::Value { name, expected: "no value".to_owned() }),
    }
}

/// ssh reads so much of what its askpass program says (readpass.c, `ssh_askpass`).
const LONGEST_PASSWORD: usize = 1023;

/// Checks the value of the `password` option.
pub fn check_password(password: &str) -> Result<(), OptionError> {
    let deliverable =
        (1..=LONGEST_PASSWORD).contains(&password.len()) && !password.contains(['\n', '\r', '\0']);
    if deliverable { Ok(()) } else { Err(OptionError::PasswordForm) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn parse(pairs: &[(&str, &str)]) -> Result<Spec, OptionError> {
        let mut all = options(pairs);
        all.entry("sshcmd".to_owned()).or_insert_with(|| "alice@storage:/srv/data".to_owned());
        Spec::parse(&all, false, &Policy::default())
    }

    fn sshfs(spec: &Spec) -> Vec<(&str, Option<&str>)> {
        spec.settings.sshfs.iter().map(|s| (s.name, s.value.as_deref())).collect()
    }

    #[test]
    fn options_of_the_predecessor_work() {
        let spec = parse(&[
            ("port", "2222"),
            ("allow_other", ""),
            ("reconnect", ""),
            ("IdentityFile", "/root/.ssh/id_rsa"),
            ("compression", "no"),
            ("auto_cache,sshfs_sync", ""),
            ("uid", "1000,gid=1000"),
        ])
        .unwrap();
        assert_eq!(spec.port.map(NonZeroU16::get), Some(2222));
        assert_eq!(spec.identity, Some(CredentialSource::Path("/root/.ssh/id_rsa".into())));
        assert_eq!(
            sshfs(&spec),
            [
                ("Compression", Some("no")),
                ("auto_cache", None),
                ("gid", Some("1000")),
                ("reconnect", None),
                ("sshfs_sync", None),
                ("uid", Some("1000")),
            ]
        );
    }

    #[test]
    fn lists_of_ssh_keep_their_commas() {
        let spec = parse(&[("ciphers", "aes128-gcm@openssh.com,aes256-ctr")]).unwrap();
        assert_eq!(sshfs(&spec), [("Ciphers", Some("aes128-gcm@openssh.com,aes256-ctr"))]);
    }

    #[test]
    fn a_default_flag_can_be_switched_off() {
        let switched_off = |options| parse(options).unwrap().settings.switched_off;
        assert!(switched_off(&[("reconnect", "false")]).contains("reconnect"));
        assert!(switched_off(&[("rw", "")]).contains("ro"));
        assert!(switched_off(&[("exec", "")]).contains("noexec"));
        assert!(switched_off(&[("noauto_cache", "yes")]).contains("auto_cache"));
        // Of both, the one that permits less.
        for both in [&[("rw", ""), ("ro", "")][..], &[("exec,noexec", "")], &[("noexec,exec", "")]] {
            assert!(switched_off(both).is_empty(), "{both:?}");
        }
    }

    #[test]
    fn anonymous_volumes_are_told_what_is_missing() {
        assert_eq!(Spec::parse(&Options::new(), false, &Policy::default()), Err(OptionError::NoRemote));
    }

    #[test]
    fn an_unknown_option_names_the_nearest_known_one_and_not_its_value() {
        let text = parse(&[("pasword", "hunter2")]).unwrap_err().to_string();
        assert_eq!(text, "unknown option 'pasword'; did you mean 'password'?");
    }

    #[test]
    fn what_runs_a_program_needs_the_administrator() {
        for name in ["ProxyCommand", "ssh_command", "LocalCommand", "PKCS11Provider", "proxycommand"] {
            assert!(matches!(parse(&[(name, "x")]), Err(OptionError::Gated { .. })), "{name}");
        }
        let policy = Policy { allowed: ["ProxyCommand"].into(), ..Policy::default() };
        let given = options(&[("sshcmd", "h:/x"), ("ProxyCommand", "nc %h %p")]);
        assert_eq!(
            sshfs(&Spec::parse(&given, false, &policy).unwrap()),
            [("ProxyCommand", Some("nc %h %p"))]
        );
    }

    #[test]
    fn host_key_checking_cannot_be_weakened() {
        for value in ["no", "off", "ask", "", "YES please"] {
            assert_eq!(
                parse(&[("StrictHostKeyChecking", value)]),
                Err(OptionError::HostKeyChecking),
                "{value}"
            );
        }
        let strict = Policy { host_keys: HostKeyPolicy::Yes, ..Policy::default() };
        let asks = options(&[("sshcmd", "h:/x"), ("StrictHostKeyChecking", "accept-new")]);
        assert_eq!(Spec::parse(&asks, false, &strict).unwrap().host_key_policy, HostKeyPolicy::Yes);
    }

    #[test]
    fn a_pinned_key_is_verified_whatever_else_is_said() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        for word in ["no", "off"] {
            let spec = parse(&[("host_key", key), ("StrictHostKeyChecking", word)]).unwrap();
            assert_eq!(spec.host_key_policy, HostKeyPolicy::Yes);
            assert_eq!(spec.weakened_host_key_checking(), None);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(matches!(
            parse(&[("sshcmd", "sftp://h:1/x"), ("port", "2")]),
            Err(OptionError::TwoPorts { .. })
        ));
        assert!(matches!(
            parse(&[("identity_file", "/a"), ("IdentityFile", "/b")]),
            Err(OptionError::Twice("identity_file"))
        ));
        let both = options(&[("sshcmd", "h:/x"), ("password_file", "/p")]);
        assert_eq!(Spec::parse(&both, true, &Policy::default()), Err(OptionError::TwoPasswords));
    }

    /// Two ways to say something else about the same thing.
    const RIVALS: [(&str, &str, &str, &str); 17] = [
        ("contain_symlinks", "", "no_contain_symlinks", ""),
        ("no_contain_symlinks", "", "contain_symlinks", ""),
        ("auto_cache", "", "noauto_cache", ""),
        ("noauto_cache", "", "auto_cache", ""),
        ("dir_cache", "no", "cache", "yes"),
        ("dcache_timeout", "20", "cache_timeout", "30"),
        ("dcache_stat_timeout", "20", "dcache_timeout", "30"),
        ("dcache_stat_timeout", "20", "cache_timeout", "30"),
        ("dcache_stat_timeout", "20", "cache_stat_timeout", "30"),
        ("dcache_link_timeout", "20", "cache_link_timeout", "30"),
        ("dcache_dir_timeout", "20", "cache_dir_timeout", "30"),
        ("dcache_max_size", "20", "cache_max_size", "30"),
        ("dcache_clean_interval", "20", "cache_clean_interval", "30"),
        ("dcache_min_clean_interval", "20", "cache_min_clean_interval", "30"),
        ("remember", "20", "noforget", ""),
        ("KbdInteractiveAuthentication", "no", "ChallengeResponseAuthentication", "yes"),
        ("dcache_timeout", "20", "cache_dir_timeout", "30"),
    ];

    fn policy(table: &str, option: &str, value: &str) -> Policy {
        let text = format!("[{table}]\n{option} = {value}");
        crate::config::Config::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}")).policy
    }

    #[test]
    fn what_is_forced_or_denied_is_so_by_every_name() {
        let mount_options = [("ro", "", "rw", ""), ("noexec", "", "exec", "")];
        for (name, value, rival, other) in RIVALS.into_iter().chain(mount_options) {
            for (fixed, value, rival, other) in [(name, value, rival, other), (rival, other, name, value)] {
                let given = options(&[("sshcmd", "h:/x"), (rival, other)]);
                let forced = policy("forced_options", fixed, &format!("'{value}'"));
                let judged = Spec::parse(&given, false, &forced);
                assert!(matches!(judged, Err(OptionError::Forced { .. })), "{fixed} {rival}: {judged:?}");
                // The same by its own name is no change.
                let same = options(&[("sshcmd", "h:/x"), (fixed, value)]);
                assert!(Spec::parse(&same, false, &forced).is_ok(), "{fixed}");
                let denied = policy("policy", "deny_options", &format!("['{fixed}']"));
                let judged = Spec::parse(&given, false, &denied);
                assert!(matches!(judged, Err(OptionError::Denied(_))), "{fixed} {rival}: {judged:?}");
            }
        }
    }

    #[test]
    fn both_names_with_different_values_are_refused() {
        let specific = |name: &str| name.ends_with("cache_timeout");
        for (name, value, rival, other) in RIVALS {
            let judged = parse(&[(name, value), (rival, other)]);
            // Of the three that 'dcache_timeout' sets, each may be given a value of its own.
            if specific(name) == specific(rival) {
                assert!(matches!(judged, Err(OptionError::Twice(_))), "{name} {rival}: {judged:?}");
            } else {
                assert!(judged.is_ok(), "{name} {rival}: {judged:?}");
            }
        }
        let spec = parse(&[("dcache_timeout", "20"), ("dcache_stat_timeout", "5")]).unwrap();
        let timeouts =
            [("dcache_dir_timeout", "20"), ("dcache_link_timeout", "20"), ("dcache_stat_timeout", "5")];
        assert_eq!(sshfs(&spec), timeouts.map(|(name, value)| (name, Some(value))));
    }

    #[test]
    fn a_port_that_is_denied_is_none_in_a_url_either() {
        let denied = policy("policy", "deny_options", "['port']");
        let judge = |sshcmd| Spec::parse(&options(&[("sshcmd", sshcmd)]), false, &denied);
        assert_eq!(judge("sftp://h:2222/"), Err(OptionError::Denied("port")));
        assert!(judge("sftp://h/").is_ok());
    }

    #[test]
    fn a_password_inside_another_option_is_refused() {
        for (name, value) in
            [("uid", "1000,password=hunter2"), ("reconnect,password", "hunter2"), ("PASSWORD", "hunter2")]
        {
            assert_eq!(parse(&[(name, value)]), Err(OptionError::PasswordPlace), "{name}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_path_is_not_repeated() {
        let key = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----";
        let text = parse(&[("identity_file", key)]).unwrap_err().to_string();
        assert!(!text.contains("c2VjcmV0") && text.contains("path of a key file"), "{text}");
    }

    #[test]
    fn bad_values_are_refused() {
        for (name, value) in [
            ("port", "ssh"),
            ("port", "0"),
            ("port", "65536"),
            ("uid", "alice"),
            ("umask", "rwx"),
            ("ro", "maybe"),
            ("ServerAliveInterval", "soon"),
            ("ProxyJump", "-oX=y"),
            ("ProxyJump", "a;reboot"),
            ("Ciphers", "a b"),
            ("HostKeyAlias", "%h"),
            ("identity_file", "~/.ssh/id_rsa"),
            ("IdentityAgent", "$SSH_AUTH_SOCK"),
            ("IdentityAgent", "none"),
            ("host_key", "SHA256:x"),
            ("uid", "1\n2"),
            ("big_writes", ""),
            ("nonempty", ""),
            ("read_ahead_kb", "much"),
            ("workaround", "all"),
        ] {
            assert!(parse(&[(name, value)]).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_long_list_takes_neither_long_nor_much_stack() {
        let long = |count| format!("1{}", ",uid=1".repeat(count));
        assert_eq!(sshfs(&parse(&[("uid", &long(1000))]).unwrap()), [("uid", Some("1"))]);
        assert!(parse(&[(&",".repeat(8000), "")]).is_ok());
        for (name, value) in [("uid", &*long(150_000)), (&",".repeat(1_000_000), ""), ("sshcmd", &long(1500))]
        {
            assert!(matches!(parse(&[(name, value)]), Err(OptionError::TooLong(_))), "{}", value.len());
        }
    }

    #[test]
    fn what_is_long_in_earnest_is_taken() {
        let path = format!("alice@{}:/{}", "h".repeat(253), "x".repeat(4094));
        // RSA of 16384 bits, the longest that ssh-keygen makes.
        let key = format!("ssh-rsa AAAA{}", "B".repeat(2764));
        let ciphers = vec!["chacha20-poly1305@openssh.com"; 100].join(",");
        assert!(parse(&[("sshcmd", &path), ("host_key", &key), ("Ciphers", &ciphers)]).is_ok());
    }

    #[test]
    fn an_unknown_name_is_cut_and_shown_without_a_value() {
        for (name, shown) in [
            ("pass\u{1b}[2J=hunter2", "pass…"),
            (&"x".repeat(1000), &("x".repeat(40) + "…")),
            ("top$hunter2", "top…"),
        ] {
            let text = parse(&[(name, "")]).unwrap_err().to_string();
            assert!(text.starts_with(&format!("unknown option '{shown}'")), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_unchecked_reaches_sshfs(name in "[a-zA-Z_,]{1,24}", value in ".{0,40}") {
            if let Ok(spec) = parse(&[(&name, &value)]) {
                for setting in spec.settings.sshfs.iter().chain(&spec.settings.kernel) {
                    let entry = catalogue::find(setting.name).unwrap();
                    let (Effect::Sshfs(kind) | Effect::Ssh(kind) | Effect::Kernel(kind)) = entry.effect else {
                        return Err(TestCaseError::fail(format!("{entry:?} got through")));
                    };
                    prop_assert_eq!(kind.check(setting.value.as_deref().unwrap_or("")), Ok(()));
                }
            }
        }

        #[test]
        fn every_known_name_with_any_value_is_judged_without_panic(
            index in 0..catalogue::CATALOGUE.len(), value in ".{0,40}"
        ) {
            let _ = parse(&[(catalogue::CATALOGUE[index].name, &value)]);
        }
    }
}
