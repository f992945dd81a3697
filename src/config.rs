//! `/etc/sshfs-docker/config.toml`: what the administrator decides. A missing file means the defaults; an unknown
//! key or a value out of range is an error, because a typo in a policy must not pass for one.

use crate::volume::{
    catalogue::{self, Effect},
    options::{HostKeyPolicy, OptionError, Options, Policy, Setting, Spec},
};
use serde::Deserialize;
use std::{collections::BTreeSet, io, path::Path, time::Duration};
use tracing_subscriber::EnvFilter;

/// dockerd waits 120 s for a mount, and clearing away one that failed may take 30 s.
const LONGEST_TIMEOUT: u64 = 80;

/// A year; what is longer is a mistake.
const LONGEST_IDLE: f64 = 365.0 * 24.0 * 3600.0;

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a mount may take, waiting for other calls on the same volume included.
    pub mount_timeout: Duration,
    /// Read-ahead of mounts in KiB.
    pub read_ahead_kib: u32,
    /// What volumes may do.
    pub policy: Policy,
    /// Options of volumes that do not set them.
    pub defaults: Defaults,
    /// Filter of the log, in the syntax of `RUST_LOG`.
    pub log: String,
    /// After how much time without a call the daemon ends, until systemd starts it for the next one; None: never.
    pub idle_exit: Option<Duration>,
}

/// The `[options]` table: sshfs, ssh and mount options in place of the built-in defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// Options of mount(2).
    pub kernel: Vec<Setting>,
    /// Options of sshfs and ssh.
    pub sshfs: Vec<Setting>,
    /// Flags switched off.
    pub switched_off: BTreeSet<&'static str>,
}

/// Why the file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is there but cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Not TOML, or not our keys.
    #[error(transparent)]
    Parse(#[from] toml::de::Error),
    /// dockerd gives up after 120 s without an answer; the volume must be given up before that.
    #[error("mount.timeout must be from 1 to {LONGEST_TIMEOUT} seconds, not {0}")]
    Timeout(u64),
    /// Neither 0 nor some time.
    #[error("daemon.idle_exit must be 0 or a number of seconds up to a year, not {0}")]
    IdleExit(f64),
    /// Not in the syntax of `RUST_LOG`.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Not `accept-new` or `yes`.
    #[error("ssh.host_keys must be \"accept-new\" or \"yes\", not {0:?}")]
    HostKeys(String),
    /// A name in `allow_options` that needs no permission or cannot be given one.
    #[error("policy.allow_options: {0:?} is not an option that can be allowed")]
    NotGated(String),
    /// A default that no volume could have.
    #[error("options: {0}")]
    Default(OptionError),
    /// A default for something that differs from volume to volume.
    #[error("options: only options of sshfs, ssh and mount can have a default, not {0:?}")]
    NoDefault(String),
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    daemon: Daemon,
    mount: Mount,
    ssh: Ssh,
    policy: PolicyTable,
    options: Options,
    log: Log,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Daemon {
    idle_exit: f64,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { idle_exit: 60.0 }
    }
}

impl Daemon {
    fn quiet_time(&self) -> Result<Option<Duration>, ConfigError> {
        if !(0.0..=LONGEST_IDLE).contains(&self.idle_exit) {
            return Err(ConfigError::IdleExit(self.idle_exit));
        }
        Ok(Some(Duration::from_secs_f64(self.idle_exit)).filter(|time| !time.is_zero()))
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mount {
    timeout: u64,
    read_ahead_kb: u32,
}

impl Default for Mount {
    fn default() -> Self {
        Self { timeout: 30, read_ahead_kb: 4096 }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Ssh {
    host_keys: String,
}

impl Default for Ssh {
    fn default() -> Self {
        Self { host_keys: "accept-new".to_owned() }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PolicyTable {
    allow_options: Vec<String>,
    allow_password: bool,
}

impl Default for PolicyTable {
    fn default() -> Self {
        Self { allow_options: Vec::new(), allow_password: true }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Log {
    filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned() }
    }
}

impl Config {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e.into()),
        }
    }

    fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)?;
        if !(1..=LONGEST_TIMEOUT).contains(&file.mount.timeout) {
            return Err(ConfigError::Timeout(file.mount.timeout));
        }
        EnvFilter::try_new(&file.log.filter)?;
        let host_keys = match file.ssh.host_keys.as_str() {
            "accept-new" => HostKeyPolicy::AcceptNew,
            "yes" => HostKeyPolicy::Yes,
            other => return Err(ConfigError::HostKeys(other.to_owned())),
        };
        let allowed = file.policy.allow_options.into_iter().map(gated_name).collect::<Result<_, _>>()?;
        let policy = Policy { allowed, host_keys, refuse_password: !file.policy.allow_password };
        let defaults = defaults(file.options, &policy)?;
        Ok(Self {
            mount_timeout: Duration::from_secs(file.mount.timeout),
            read_ahead_kib: file.mount.read_ahead_kb,
            policy,
            defaults,
            idle_exit: file.daemon.quiet_time()?,
            log: file.log.filter,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mount_timeout: Duration::from_secs(Mount::default().timeout),
            read_ahead_kib: Mount::default().read_ahead_kb,
            policy: Policy::default(),
            defaults: Defaults::default(),
            idle_exit: Some(Duration::from_secs_f64(Daemon::default().idle_exit)),
            log: Log::default().filter,
        }
    }
}

fn gated_name(name: String) -> Result<String, ConfigError> {
    match catalogue::find(&name) {
        Some(entry) if matches!(entry.effect, Effect::Gated(_)) => Ok(entry.name.to_owned()),
        // It needed to be allowed once, and was the example in the shipped file.
        Some(entry) if entry.name == "IdentityAgent" => Ok(entry.name.to_owned()),
        _ => Err(ConfigError::NotGated(name)),
    }
}

/// Checks the defaults as options of a volume with some remote.
fn defaults(mut options: Options, policy: &Policy) -> Result<Defaults, ConfigError> {
    let of_the_driver =
        |name: &str| catalogue::find(name).is_some_and(|entry| entry.effect == Effect::Driver);
    if let Some(name) = options.keys().find(|name| of_the_driver(name)) {
        return Err(ConfigError::NoDefault(name.clone()));
    }
    options.insert("sshcmd".to_owned(), "host:".to_owned());
    let spec = Spec::parse(&options, false, policy).map_err(ConfigError::Default)?;
    Ok(Defaults { kernel: spec.kernel, sshfs: spec.sshfs, switched_off: spec.switched_off })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_and_an_empty_one_mean_the_defaults() {
        let config = Config::read(Path::new("/nonexistent/config.toml")).unwrap();
        assert_eq!(config.mount_timeout, Duration::from_secs(30));
        assert_eq!(config.policy, Policy::default());
    }

    #[test]
    fn the_shipped_file_says_what_the_defaults_are() {
        let shipped = include_str!("../etc/config.toml");
        let uncommented: String = shipped
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(setting) if !setting.starts_with(' ') => setting,
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let (shipped, default) = (Config::parse(&uncommented).unwrap(), Config::default());
        assert_eq!(shipped.mount_timeout, default.mount_timeout);
        assert_eq!(shipped.read_ahead_kib, default.read_ahead_kib);
        assert_eq!(shipped.idle_exit, default.idle_exit);
        assert_eq!(shipped.policy, default.policy);
        assert_eq!(shipped.log, default.log);
        let commented = Config::parse(include_str!("../etc/config.toml")).unwrap();
        assert_eq!(commented.defaults, default.defaults);
    }

    #[test]
    fn mistakes_are_errors() {
        for text in [
            "mont.timeout = 3",
            "[daemon]\nidle_exit = -1",
            "[daemon]\nidle_exit = inf",
            "[mount]\ntimeout = 0",
            "[mount]\ntimeout = 81",
            "[ssh]\nhost_keys = 'no'",
            "[log]\nfilter = 'loud=very='",
            "[policy]\nallow_options = ['reconnect']",
            "[policy]\nallow_options = ['password_stdin']",
            "[options]\nrecconect = ''",
            "[options]\nProxyCommand = 'x'",
            "[options]\nport = '22'",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
