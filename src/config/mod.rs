//! `/etc/sshfs-docker/config.toml`: what the administrator decides. A missing file means the defaults; an unknown
//! key or a value out of range is an error, because a typo in a policy must not pass for one.

mod live;

pub use live::LiveConfig;

use crate::volume::{
    ReadAhead,
    catalogue::{self, Effect},
    options::{self, OptionError, Options, Spec},
    policy::{HostKeyPolicy, HostPattern, HostRules, InvalidPattern, Policy, Settings},
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
    /// Read-ahead of mounts that do not set it.
    pub read_ahead: ReadAhead,
    /// What volumes may do.
    pub policy: Policy,
    /// Options of volumes that do not set them.
    pub defaults: Settings,
    /// Filter of the log, in the syntax of `RUST_LOG`.
    pub log: String,
    /// Whether everything is logged, of ssh too.
    pub debug: bool,
    /// After how much time without a call the daemon ends, until systemd starts it for the next one; None: never.
    pub idle_exit: Option<Duration>,
}

/// Why the file is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is there but cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// Not TOML, or not our keys.
    #[error("line {line}, '{written}': {message}")]
    Parse {
        /// Where.
        line: usize,
        /// What is written there.
        written: String,
        /// What, in one line.
        message: String,
    },
    /// dockerd gives up after 120 s without an answer; the volume must be given up before that.
    #[error("mount.timeout must be from 1 to {LONGEST_TIMEOUT} seconds, not {0}")]
    Timeout(u64),
    /// Neither 0 nor some time.
    #[error("daemon.idle_exit must be 0 or a number of seconds up to a year, not {0}")]
    IdleExit(f64),
    /// Not in the syntax of `RUST_LOG`.
    #[error("log.filter: {0}")]
    Filter(tracing_subscriber::filter::ParseError),
    /// Not `accept-new` or `yes`.
    #[error("ssh.host_keys must be \"accept-new\" or \"yes\", not {0:?}")]
    HostKeys(String),
    /// A name in `allow_options` that needs no permission or cannot be given one.
    #[error("policy.allow_options: {0:?} is not an option that can be allowed")]
    NotGated(String),
    /// A name in `deny_options` that is no option, or without which there is no volume.
    #[error("policy.deny_options: {0:?} is not an option that can be denied")]
    NotDeniable(String),
    /// A pattern of a policy that is none.
    #[error("policy.{key}: {error}")]
    Pattern {
        /// The list that it is in.
        key: &'static str,
        /// What is wrong with it.
        error: InvalidPattern,
    },
    /// A value that no volume could have.
    #[error("{table}: {error}")]
    Setting {
        /// `options` or `forced_options`.
        table: &'static str,
        /// What is wrong.
        error: OptionError,
    },
    /// Files of host keys, which have a place of their own.
    #[error(
        "{table}: {name:?} cannot be set for all volumes: host keys for all are those in \
         /etc/sshfs-docker/known_hosts, and those that were learnt unless ssh.host_keys says otherwise"
    )]
    HostKeyFile {
        /// `options` or `forced_options`.
        table: &'static str,
        /// The option.
        name: &'static str,
    },
    /// Something that differs from volume to volume, or has a place of its own here.
    #[error("{table}: only options of sshfs, ssh and mount can be set for all volumes, not {name:?}")]
    NotForAll {
        /// `options` or `forced_options`.
        table: &'static str,
        /// The option.
        name: &'static str,
    },
}

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    daemon: Daemon,
    mount: Mount,
    ssh: Ssh,
    policy: PolicyTable,
    options: Options,
    forced_options: Options,
    log: Log,
}

#[cfg_attr(test, derive(serde::Serialize))]
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

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Mount {
    timeout: u64,
    read_ahead_kb: ReadAhead,
}

impl Default for Mount {
    fn default() -> Self {
        Self { timeout: 30, read_ahead_kb: ReadAhead::Auto }
    }
}

#[cfg_attr(test, derive(serde::Serialize))]
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

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PolicyTable {
    allow_hosts: Vec<String>,
    deny_hosts: Vec<String>,
    allow_options: Vec<String>,
    deny_options: Vec<String>,
    allow_password: bool,
    allow_unverified_hosts: Vec<String>,
}

impl Default for PolicyTable {
    fn default() -> Self {
        Self {
            allow_hosts: Vec::new(),
            deny_hosts: Vec::new(),
            allow_options: Vec::new(),
            deny_options: Vec::new(),
            allow_password: true,
            allow_unverified_hosts: Vec::new(),
        }
    }
}

#[cfg_attr(test, derive(serde::Serialize))]
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Log {
    filter: String,
    debug: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), debug: false }
    }
}

impl Log {
    fn filter(&self) -> String {
        // The more specific one counts.
        if self.debug { format!("{},sshfs_docker=debug", self.filter) } else { self.filter.clone() }
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

    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|e| mistake(text, &e))?;
        if !(1..=LONGEST_TIMEOUT).contains(&file.mount.timeout) {
            return Err(ConfigError::Timeout(file.mount.timeout));
        }
        EnvFilter::try_new(&file.log.filter).map_err(ConfigError::Filter)?;
        let host_keys = match file.ssh.host_keys.as_str() {
            "accept-new" => HostKeyPolicy::AcceptNew,
            "yes" => HostKeyPolicy::Yes,
            other => return Err(ConfigError::HostKeys(other.to_owned())),
        };
        let PolicyTable {
            allow_hosts,
            deny_hosts,
            allow_options,
            deny_options,
            allow_password,
            allow_unverified_hosts,
        } = file.policy;
        let mut policy = Policy {
            allowed: allow_options.into_iter().map(gated_name).collect::<Result<_, _>>()?,
            denied: deniable_names(deny_options)?,
            forced: Settings::default(),
            host_keys,
            unverified: patterns("allow_unverified_hosts", &allow_unverified_hosts)?,
            hosts: HostRules {
                allow: patterns("allow_hosts", &allow_hosts)?,
                deny: patterns("deny_hosts", &deny_hosts)?,
            },
            refuse_password: !allow_password,
        };
        let defaults = settings("options", file.options, &policy)?;
        policy.forced = settings("forced_options", file.forced_options, &policy)?;
        Ok(Self {
            mount_timeout: Duration::from_secs(file.mount.timeout),
            read_ahead: file.mount.read_ahead_kb,
            policy,
            defaults,
            idle_exit: file.daemon.quiet_time()?,
            log: file.log.filter(),
            debug: file.log.debug,
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mount_timeout: Duration::from_secs(Mount::default().timeout),
            read_ahead: Mount::default().read_ahead_kb,
            policy: Policy::default(),
            defaults: Settings::default(),
            idle_exit: Some(Duration::from_secs_f64(Daemon::default().idle_exit)),
            log: Log::default().filter(),
            debug: Log::default().debug,
        }
    }
}

/// One line, because Docker shows it; toml quotes the file on several.
fn mistake(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count();
    let written = printable(text.lines().nth(line).unwrap_or_default().trim());
    ConfigError::Parse { line: line + 1, written, message: printable(error.message()) }
}

fn printable(text: &str) -> String {
    let shows = |c: char| c.is_ascii_graphic() || c.is_alphanumeric();
    text.chars().take(200).map(|c| if shows(c) { c } else { ' ' }).collect()
}

fn gated_name(name: String) -> Result<&'static str, ConfigError> {
    let meant = catalogue::find(&name).map(catalogue::names_meant).unwrap_or_default();
    match meant.first().and_then(|name| catalogue::find(name)) {
        Some(entry) if matches!(entry.effect, Effect::Gated(_)) => Ok(entry.name),
        _ => Err(ConfigError::NotGated(name)),
    }
}

/// The names by which the denied options are known once they are read.
fn deniable_names(names: Vec<String>) -> Result<BTreeSet<&'static str>, ConfigError> {
    let mut denied = BTreeSet::new();
    for name in names {
        match catalogue::find(&name) {
            Some(entry) if entry.name != "sshcmd" => denied.extend(catalogue::names_meant(entry)),
            _ => return Err(ConfigError::NotDeniable(name)),
        }
    }
    Ok(denied)
}

fn patterns(key: &'static str, texts: &[String]) -> Result<Vec<HostPattern>, ConfigError> {
    texts
        .iter()
        .map(|text| HostPattern::parse(text).map_err(|error| ConfigError::Pattern { key, error }))
        .collect()
}

/// Checks options for all volumes as those of a volume with some remote.
fn settings(table: &'static str, mut options: Options, policy: &Policy) -> Result<Settings, ConfigError> {
    let names = options::names(&options).map_err(|error| ConfigError::Setting { table, error })?;
    for name in names {
        if catalogue::find(name).is_some_and(|entry| entry.effect == Effect::Driver) {
            return Err(ConfigError::NotForAll { table, name });
        }
        // A volume's pin, and what is not to be verified, are in files of their own: one for all could only take their
        // place.
        if ["UserKnownHostsFile", "GlobalKnownHostsFile"].contains(&name) {
            return Err(ConfigError::HostKeyFile { table, name });
        }
    }
    options.insert("sshcmd".to_owned(), "host:".to_owned());
    // That remote is nobody's, and what volumes may not do themselves can be done for them.
    let policy = Policy { hosts: HostRules::default(), denied: BTreeSet::new(), ..policy.clone() };
    let spec =
        Spec::parse(&options, false, &policy).map_err(|error| ConfigError::Setting { table, error })?;
    Ok(spec.settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_missing_file_and_an_empty_one_mean_the_defaults() {
        let config = Config::read(Path::new("/nonexistent/config.toml")).unwrap();
        assert_eq!(config.mount_timeout, Duration::from_secs(30));
        assert_eq!(config.policy, Policy::default());
    }

    /// The tables and keys of the code, each with its default.
    fn defaults() -> BTreeMap<String, toml::Table> {
        toml::Table::try_from(File::default()).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_shipped_file_has_all_keys_and_says_what_the_defaults_are() {
        let shipped = include_str!("../../etc/config.toml");
        let uncommented: String = shipped
            .lines()
            .map(|line| match line.strip_prefix("#") {
                Some(setting) if !setting.starts_with(' ') => setting,
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let mut tables: BTreeMap<String, toml::Table> = toml::from_str(&uncommented).unwrap();
        as_floats(&mut tables);
        assert_eq!(tables, defaults());
        let commented = Config::parse(shipped).unwrap();
        assert_eq!(commented.defaults, Config::default().defaults);
    }

    #[test]
    fn the_manual_has_all_keys_and_says_what_the_defaults_are() {
        let page = include_str!("../../man/sshfs-docker.toml.5");
        let lines = page.lines().filter_map(|line| {
            let heading = line.strip_prefix(".Ss ").filter(|title| title.starts_with('['));
            Some(heading.or(line.strip_prefix(".It Ic "))?.replace("\\(dq", "\"").replace("\\&", ""))
        });
        let mut tables: BTreeMap<String, toml::Table> =
            toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        as_floats(&mut tables);
        assert_eq!(tables, defaults());
    }

    /// A number that may have a fraction is one in the code, and need not have it in a file.
    fn as_floats(tables: &mut BTreeMap<String, toml::Table>) {
        for (key, default) in defaults().into_values().flatten() {
            for value in tables.values_mut().filter_map(|table| table.get_mut(&key)) {
                if let (toml::Value::Float(_), toml::Value::Integer(whole)) = (&default, &*value) {
                    *value = format!("{whole}.0").parse().map_or_else(|_| value.clone(), toml::Value::Float);
                }
            }
        }
    }

    #[test]
    fn what_is_forced_is_no_mere_default() {
        let config = Config::parse("[options]\nCompression = 'yes'\n[forced_options]\nro = ''").unwrap();
        let judge = |options: &[(&str, &str)]| {
            let all = [("sshcmd", "h:/x")].iter().chain(options);
            let options = all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Spec::parse(&options, false, &config.policy)
        };
        assert!(judge(&[("Compression", "no"), ("ro", "")]).is_ok());
        let text = judge(&[("rw", "")]).unwrap_err().to_string();
        assert!(text.starts_with("option 'ro' is fixed to 'true' by the administrator"), "{text}");
    }

    #[test]
    fn a_mistake_is_told_in_one_line() {
        let text = |config: &str| Config::parse(config).unwrap_err().to_string();
        assert!(text("[mount]\ntimeot = 3").starts_with("line 2, 'timeot = 3': unknown field `timeot`"));
        assert!(!text("\"a\\nb\" = 1\n[mount]").contains(char::is_control));
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
            "[policy]\nallow_options = ['vsock']",
            "[options]\nrecconect = ''",
            "[options]\nProxyCommand = 'x'",
            "[options]\nport = '22'",
            "[forced_options]\nidentity_file = '/x'",
            "[forced_options]\nIdentityFile = '/x'",
            "[forced_options]\n'reconnect,port' = '22'",
            "[options]\nuid = '0,hard'",
            "[options]\nuserknownhostsfile = '/x'\n[policy]\nallow_options = ['UserKnownHostsFile']",
            "[forced_options]\nGlobalKnownHostsFile = '/x'\n[policy]\nallow_options = ['GlobalKnownHostsFile']",
            "[forced_options]\nCompression = 'maybe'",
            "[policy]\ndeny_options = ['sshcmd']",
            "[policy]\ndeny_options = ['pasword']",
            "[policy]\nallow_hosts = ['10.0.0.0/8']",
            "[policy]\ndeny_hosts = ['']",
            "[policy]\nallow_unverified_hosts = ['a b']",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
