//! The options of a volume, from Docker's strings to a checked [`Spec`].
//!
//! The same function judges options when a volume is created, when its file is read at start-up and when the
//! administrator changes the policy, so that what is stored is what the user wrote.

use super::{
    CredentialSource, HostKey, Remote,
    catalogue::{self, Effect, Value},
    credential::InvalidSource,
    host_key::InvalidHostKey,
    remote::{self, InvalidRemote},
    spelling::Given,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU16,
};

/// Options as Docker sends them (`-o key=value`).
pub type Options = BTreeMap<String, String>;

/// What the administrator permits beyond the catalogue, and how strictly host keys are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names of [`Effect::Gated`] options that volumes may use.
    pub allowed: BTreeSet<String>,
    /// Host key checking of volumes that do not ask for a stricter one.
    pub host_keys: HostKeyPolicy,
    /// Whether the `password` option is refused.
    pub refuse_password: bool,
}

/// Which host keys are accepted. There is no weaker setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostKeyPolicy {
    /// The first key of an unknown host is stored; a changed one is refused.
    #[default]
    AcceptNew,
    /// Only keys that are known already.
    Yes,
}

/// The checked options of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The remote directory.
    pub remote: Remote,
    /// TCP port, where the volume sets one.
    pub port: Option<NonZeroU16>,
    /// The private key.
    pub identity: Option<CredentialSource>,
    /// The password or passphrase.
    pub password: Option<PasswordSource>,
    /// The pinned key of the server.
    pub host_key: Option<HostKey>,
    /// Which other host keys are accepted.
    pub host_key_policy: HostKeyPolicy,
    /// Read-ahead of the mount in KiB, where the volume sets one.
    pub read_ahead_kib: Option<u32>,
    /// Whether file accesses wait for a dark server as long as it takes, like those of an NFS hard mount.
    pub hard: bool,
    /// Options of mount(2).
    pub kernel: Vec<Setting>,
    /// Options of sshfs and ssh.
    pub sshfs: Vec<Setting>,
    /// Flags that the volume switches off although they are on by default.
    pub switched_off: BTreeSet<&'static str>,
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
    #[error("unknown option '{}'{}", .name.escape_debug(), .nearest.map(|n| format!("; did you mean '{n}'?")).unwrap_or_default())]
    Unknown {
        /// As written.
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
    /// The same option in two spellings or twice in a list.
    #[error("option '{0}' is given twice with different values")]
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
    #[error("the password is empty or contains a line break")]
    PasswordForm,
    /// See [`InvalidSource`].
    #[error("option '{name}': {source}")]
    Credential {
        /// The option.
        name: &'static str,
        /// What is wrong with it.
        source: InvalidSource,
    },
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
        "StrictHostKeyChecking must be 'yes' or 'accept-new': host keys are always verified. \
         Leave the option out; the key of an unknown server is then stored at the first mount"
    )]
    HostKeyChecking,
    /// Control characters in any value.
    #[error("the value of option '{0}' contains a control character")]
    ControlCharacter(&'static str),
}

impl Spec {
    /// Checks `options`, which are the volume's own without `password`; `has_password` says that there is one.
    pub fn parse(options: &Options, has_password: bool, policy: &Policy) -> Result<Self, OptionError> {
        let mut given = Given::read(options)?;

        if given.take("password").is_some() {
            return Err(OptionError::PasswordPlace);
        }
        let remote = Remote::parse(&given.take("sshcmd").ok_or(OptionError::NoRemote)?)?;
        let port = given.take("port").map(|text| remote::parse_port(&text)).transpose()?;
        let port = match (remote.port(), port) {
            (Some(url), Some(option)) if url != option => return Err(OptionError::TwoPorts { url, option }),
            (url, option) => option.or(url),
        };
        let identity = given.take_credential("identity_file")?;
        let password = match (has_password, given.take_credential("password_file")?) {
            (true, Some(_)) => return Err(OptionError::TwoPasswords),
            (true, None) if policy.refuse_password => return Err(OptionError::PasswordRefused),
            (true, None) => Some(PasswordSource::Stored),
            (false, file) => file.map(PasswordSource::Credential),
        };
        let host_key = given.take("host_key").map(|text| HostKey::parse(&text)).transpose()?;
        let host_key_policy = match given.take("StrictHostKeyChecking").as_deref() {
            None => policy.host_keys,
            Some("yes") => HostKeyPolicy::Yes,
            Some("accept-new") => policy.host_keys.max(HostKeyPolicy::AcceptNew),
            Some(_) => return Err(OptionError::HostKeyChecking),
        };
        let read_ahead_kib = given.take_number("read_ahead_kb")?;
        let hard = given.take("hard").map_or(Ok(None), |text| check("hard", Value::Flag, &text))?.is_some();

        let mut spec = Self {
            remote,
            port,
            identity,
            password,
            host_key,
            host_key_policy,
            read_ahead_kib,
            hard,
            kernel: Vec::new(),
            sshfs: Vec::new(),
            switched_off: BTreeSet::new(),
        };
        for (name, text) in given.rest {
            spec.add(name, &text, policy)?;
        }
        Ok(spec)
    }

    /// Sorts one option of the catalogue to who reads it.
    fn add(&mut self, name: &'static str, text: &str, policy: &Policy) -> Result<(), OptionError> {
        let Some(entry) = catalogue::find(name) else { return Ok(()) };
        match entry.effect {
            // The opposite of an option that the administrator may have made the default.
            Effect::NoEffect if name == "rw" => _ = self.switched_off.insert("ro"),
            Effect::Driver | Effect::NoEffect => {}
            Effect::Kernel(value) => match check(name, value, text)? {
                Some(setting) => self.kernel.push(setting),
                None => _ = self.switched_off.insert(name),
            },
            Effect::Sshfs(value) | Effect::Ssh(value) => match check(name, value, text)? {
                Some(setting) => self.sshfs.push(setting),
                None => _ = self.switched_off.insert(name),
            },
            Effect::Gated(reason) if !policy.allowed.contains(name) => {
                return Err(OptionError::Gated { name, reason });
            }
            Effect::Gated(_) => {
                let value = (!text.is_empty()).then(|| text.to_owned());
                self.sshfs.push(Setting { name, value });
            }
            Effect::Impossible(reason) => return Err(OptionError::Impossible { name, reason }),
        }
        Ok(())
    }
}

/// Checks a value; None is a flag that is switched off.
fn check(name: &'static str, value: Value, text: &str) -> Result<Option<Setting>, OptionError> {
    if value == Value::Flag {
        return match text.to_ascii_lowercase().as_str() {
            "" | "true" | "yes" | "1" => Ok(Some(Setting { name, value: None })),
            "false" | "no" | "0" => Ok(None),
            _ => Err(OptionError::Value { name, expected: "no value".to_owned() }),
        };
    }
    match value.check(text) {
        Ok(()) => Ok(Some(Setting { name, value: Some(text.to_owned()) })),
        Err(expected) => Err(OptionError::Value { name, expected }),
    }
}

/// Checks the value of the `password` option.
pub fn check_password(password: &str) -> Result<(), OptionError> {
    let deliverable = !password.is_empty() && !password.contains(['\n', '\r', '\0']);
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
        spec.sshfs.iter().map(|s| (s.name, s.value.as_deref())).collect()
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
        assert!(parse(&[("reconnect", "false")]).unwrap().switched_off.contains("reconnect"));
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
        let policy = Policy { allowed: ["ProxyCommand".to_owned()].into(), ..Policy::default() };
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

    proptest! {
        #[test]
        fn nothing_unchecked_reaches_sshfs(name in "[a-zA-Z_,]{1,24}", value in ".{0,40}") {
            if let Ok(spec) = parse(&[(&name, &value)]) {
                for setting in spec.sshfs.iter().chain(&spec.kernel) {
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
