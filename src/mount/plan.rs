//! The command line of sshfs for a volume. Pure: what goes in are checked options, what comes out is argv.

use crate::{
    config::Config,
    launcher::{AgentAccess, Credential, credential_path},
    paths::Paths,
    store::PASSWORD_CREDENTIAL,
    volume::{
        CredentialSource, Generation, Spec,
        catalogue::{self, Effect, opposite_of_sshfs},
        options::{PasswordSource, Setting},
        policy::{HostKeyPolicy, Settings},
    },
};
use std::{
    collections::BTreeMap,
    iter,
    path::{Path, PathBuf},
};

/// Options of volumes where neither they nor the administrator say otherwise.
///
/// - `reconnect`: the mount outlives a restart of sshd.
/// - the keep-alive ends a connection whose server is silent for 40 s (ssh counts to three and gives up at the next
///   turn, clientloop.c `server_alive_check`); without it an access waits for ever.
/// - `ConnectTimeout`: without it a reconnect to a dark server waits for TCP's two minutes (the keep-alive does not
///   cover the handshake). With 8 s, a server that is back is found within 5 s whatever the last attempt does: the
///   kernel repeats its SYN after 1, 3 and 7 s, newer ones after 1, 2, 3, 4 and 6 s.
///
/// Together they are the promise that no access to a dark server blocks for longer than 60 s: 40 s until it is noticed,
/// 8 s for a connection attempt, 20 s if that hangs while logging in ([`crate::connection`]).
///
/// - AES-GCM first: twice the throughput of OpenSSH's first choice where the CPU has AES instructions. `^` puts them in
///   front of the client's own list, so that nothing else changes.
/// - `dcache_dir_timeout`: Docker copies an image's files into a volume that looks empty. With sshfs's own 20 s it writes
///   over files that another client has put there meanwhile. Attributes are remembered for 20 s all the same.
pub const DEFAULTS: &[(&str, Option<&str>)] = &[
    ("reconnect", None),
    ("ServerAliveInterval", Some("10")),
    ("ServerAliveCountMax", Some("3")),
    ("ConnectTimeout", Some("8")),
    ("Ciphers", Some("^aes128-gcm@openssh.com,aes256-gcm@openssh.com")),
    ("dcache_dir_timeout", Some("1")),
];

/// The default of `ServerAliveCountMax` for a `hard` mount, which bridges an outage instead of noticing it: 15 minutes,
/// about as long as TCP itself goes on (tcp(7), `tcp_retries2`).
const HARD_COUNT: &str = "90";

/// Whether ssh answers the questions of a server with the password.
const KEYBOARD: &str = "KbdInteractiveAuthentication";

/// Identifier of the credential that comes from a key file, as [`PASSWORD_CREDENTIAL`] is that of a password. Names of the credential store are their own and begin with a
/// letter or a digit, so they never meet.
const IDENTITY: &str = "_identity";

/// The file name of the socket on which the relay to an agent listens; see `systemd/sshfs-docker-agent@.socket`.
pub const AGENT_SOCKET: &str = "socket";

/// What sshfs is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `sshfs` and its arguments.
    pub argv: Vec<String>,
    /// The file that it has ssh read, see [`Paths::ssh_config_of`].
    pub ssh_config: String,
    /// Files that it may read.
    pub credentials: Vec<Credential>,
    /// The credential that answers ssh's questions.
    pub askpass: Option<String>,
    /// How it reaches the agent of the volume.
    pub agent: Option<AgentAccess>,
    /// Options for mount(2).
    pub kernel: Vec<Setting>,
}

/// Plans the mount of `spec` with the mountpoint passed as standard input. `program` is this program, which sshfs starts
/// in the place of ssh. The files of the user that runs ssh are never read. `password_is_encrypted` says how the value of
/// the `password` option is kept.
#[must_use]
pub fn plan(
    generation: &Generation,
    spec: &Spec,
    paths: &Paths,
    config: &Config,
    program: &Path,
    password_is_encrypted: bool,
) -> Plan {
    let name = generation.volume();
    let mut credentials = Vec::new();
    let mut identity = None;
    if let Some(source) = &spec.identity {
        identity = Some(add(&mut credentials, IDENTITY, source.clone(), false));
    }
    let askpass = spec.password.as_ref().map(|password| {
        let (source, encrypted) = match password {
            PasswordSource::Credential(source) => (source.clone(), false),
            PasswordSource::Stored if password_is_encrypted => {
                (CredentialSource::Path(paths.encrypted_secret(name)), true)
            }
            PasswordSource::Stored => (CredentialSource::Path(paths.secret(name)), false),
        };
        add(&mut credentials, PASSWORD_CREDENTIAL, source, encrypted)
    });

    let mut argv: Vec<String> =
        ["sshfs", &spec.remote.to_string(), "/dev/fd/0", "-f"].map(str::to_owned).into();
    argv.extend(["-F".to_owned(), text(&paths.ssh_config_of(generation))]);
    let hard = if spec.hard { " --hard" } else { "" };
    let ssh_command = ("ssh_command", format!("{} connect{hard}", program.display()));
    let own = own_options(generation, spec, paths, identity.as_deref(), askpass.is_some());
    let own: Vec<_> = iter::once(ssh_command).chain(own).collect();
    let mut effective = effective_options(spec, config);
    let find_own =
        |wanted: &str| own.iter().find(|(name, _)| *name == wanted).map(|(_, value)| Some(&**value));
    // OpenSSH before 8.7 keeps the two apart, and answers questions unless both say no (ssh_userauth2 in sshconnect2.c).
    if let Some(value) = effective.get(KEYBOARD).copied().or_else(|| find_own(KEYBOARD)) {
        effective.insert("ChallengeResponseAuthentication", value);
    }
    for (name, value) in &own {
        // What the volume or the administrator sets, as far as the catalogue and config.toml take it, is theirs.
        if !effective.contains_key(name) {
            push(&mut argv, name, Some(value));
        }
    }
    for (name, value) in effective {
        push(&mut argv, name, value);
    }
    let kernel = kernel_options(spec, config);
    let agent = spec.agent.as_ref().map(|_| AgentAccess {
        unit: Some(format!("sshfs-docker-agent@{name}.socket")),
        directory: paths.agent_directory(name),
        seen_at: paths.agent_in_unit(),
    });
    Plan { argv, ssh_config: ssh_config(spec, paths, config), credentials, askpass, agent, kernel }
}

/// Settings that are not handed on to the ssh of a jump host although they are fixed: whose they are there, or where it
/// goes, is another's business.
const OF_ONE_HOST: &[&str] = &["HostName", "HostKeyAlias", "ProxyJump"];

/// What ssh and the ssh of each jump host read, which gets nothing else of the command line (ssh.c, `ProxyJump`). The first
/// value of an option counts, so that the administrator's file sets what is not fixed.
fn ssh_config(spec: &Spec, paths: &Paths, config: &Config) -> String {
    // A pinned key and the permission to go without are for the server of the volume.
    let checking = match spec.host_key_policy.max(config.policy.host_keys) {
        HostKeyPolicy::Yes => "yes",
        HostKeyPolicy::AcceptNew | HostKeyPolicy::Unverified => "accept-new",
    };
    let own = [
        ("StrictHostKeyChecking", checking),
        ("UserKnownHostsFile", &text(&paths.learnt_known_hosts())),
        ("GlobalKnownHostsFile", &text(&paths.admin_known_hosts())),
        ("UpdateHostKeys", "no"),
    ]
    .map(|(name, value)| format!("{name} {value}"));
    let of_ssh = |name| catalogue::find(name).is_some_and(|entry| matches!(entry.effect, Effect::Ssh(_)));
    let forced = &config.policy.forced.sshfs;
    let forced = forced.iter().filter(|setting| of_ssh(setting.name) && !OF_ONE_HOST.contains(&setting.name));
    let forced = forced.filter_map(|setting| Some(format!("{} {}", setting.name, setting.value.as_deref()?)));
    // It need not exist.
    let include = format!("Include {}", text(&paths.ssh_config()));
    own.into_iter().chain(forced).chain([include]).map(|line| line + "\n").collect()
}

/// The socket of a volume's agent, as the unit of its mount sees it.
#[must_use]
pub fn agent_socket(paths: &Paths) -> PathBuf {
    paths.agent_in_unit().join(AGENT_SOCKET)
}

fn add(credentials: &mut Vec<Credential>, id: &str, source: CredentialSource, encrypted: bool) -> String {
    let id = match &source {
        CredentialSource::Path(_) => id.to_owned(),
        // systemd checks that an encrypted credential is used under the name it was encrypted for.
        CredentialSource::Store(name) => name.clone(),
    };
    if !credentials.iter().any(|known| known.id == id) {
        credentials.push(Credential { id: id.clone(), source, encrypted });
    }
    id
}

/// What the driver decides. First on the command line: ssh takes the first value of an option.
fn own_options(
    generation: &Generation,
    spec: &Spec,
    paths: &Paths,
    identity: Option<&str>,
    has_password: bool,
) -> Vec<(&'static str, String)> {
    let mut options = Vec::new();
    if let Some(port) = spec.port {
        options.push(("port", port.to_string()));
    }
    // What is learnt counts for all volumes, and an alias is a name that whoever creates a volume may choose: it must not
    // be that of another server.
    let has_alias = spec.settings.sshfs.iter().any(|setting| setting.name == "HostKeyAlias");
    let host_key_policy = match spec.host_key_policy {
        HostKeyPolicy::AcceptNew if has_alias => HostKeyPolicy::Yes,
        policy => policy,
    };
    let known_hosts = match (&spec.host_key, host_key_policy) {
        (Some(_), _) => ("yes", paths.pinned_host_key(generation), "none".to_owned()),
        (None, HostKeyPolicy::Yes) => ("yes", paths.learnt_known_hosts(), text(&paths.admin_known_hosts())),
        (None, HostKeyPolicy::AcceptNew) => {
            ("accept-new", paths.learnt_known_hosts(), text(&paths.admin_known_hosts()))
        }
        // Neither asks the store nor adds to it: a key that nobody verified must not count for other volumes.
        (None, HostKeyPolicy::Unverified) => ("no", "/dev/null".into(), "none".to_owned()),
    };
    options.push(("StrictHostKeyChecking", known_hosts.0.to_owned()));
    options.push(("UserKnownHostsFile", text(&known_hosts.1)));
    options.push(("GlobalKnownHostsFile", known_hosts.2));
    // A server must not add keys to the store after the first one.
    options.push(("UpdateHostKeys", "no".to_owned()));
    if let Some(id) = identity {
        // Offering other keys first would use up the server's MaxAuthTries. Of an agent's keys, only the one is offered
        // whose public part is in that file; the file need not have more.
        options.push(("IdentitiesOnly", "yes".to_owned()));
        options.push(("IdentityFile", credential_path(id)));
    }
    if spec.agent.is_some() {
        options.push(("IdentityAgent", text(&agent_socket(paths))));
    }
    if has_password {
        // The askpass program has one answer; asking again would only lock the account.
        options.push(("NumberOfPasswordPrompts", "1".to_owned()));
    } else {
        options.push(("BatchMode", "yes".to_owned()));
    }
    // With a key, 'password_file' is its passphrase, which a server that refuses the key must not get as a password.
    if identity.is_some() && matches!(spec.password, Some(PasswordSource::Credential(_))) {
        options.push(("PasswordAuthentication", "no".to_owned()));
        options.push((KEYBOARD, "no".to_owned()));
    }
    options
}

/// From the weakest to the strongest: what the administrator gives as a default, what the volume says, and what the
/// administrator has fixed.
fn layers<'a>(spec: &'a Spec, config: &'a Config) -> [&'a Settings; 3] {
    [&config.defaults, &spec.settings, &config.policy.forced]
}

fn kernel_options(spec: &Spec, config: &Config) -> Vec<Setting> {
    let mut options = BTreeMap::new();
    for Settings { kernel, switched_off, .. } in layers(spec, config) {
        options.retain(|name, _| !switched_off.contains(name));
        options.extend(kernel.iter().map(|setting| (setting.name, setting)));
    }
    options.into_values().cloned().collect()
}

/// The options of sshfs and ssh that are not ours to decide; the built-in defaults are the weakest.
fn effective_options<'a>(spec: &'a Spec, config: &'a Config) -> BTreeMap<&'a str, Option<&'a str>> {
    let mut options: BTreeMap<_, _> = DEFAULTS.iter().copied().collect();
    if spec.hard {
        options.insert("ServerAliveCountMax", Some(HARD_COUNT));
    }
    if config.debug {
        options.insert("LogLevel", Some("DEBUG1"));
    }
    for Settings { sshfs, switched_off, .. } in layers(spec, config) {
        options.retain(|name, _| !switched_off.contains(name));
        // Not to name a flag does not switch it off where sshfs has it on by itself.
        options.extend(switched_off.iter().filter_map(|name| Some((opposite_of_sshfs(name)?, None))));
        options.retain(|name, _| !sshfs.iter().any(|s| opposite_of_sshfs(s.name) == Some(*name)));
        options.extend(sshfs.iter().map(|s| (s.name, s.value.as_deref())));
    }
    // The user that sshfs runs as means nothing to a container. Where the predecessor's volumes map the remote user to
    // it, that was root.
    if options.get("idmap") == Some(&Some("user")) {
        options.entry("uid").or_insert(Some("0"));
        options.entry("gid").or_insert(Some("0"));
    }
    options
}

/// Appends `-o name=value`. A comma separates options there and a backslash escapes (libfuse's fuse_opt.c), so both
/// are escaped.
fn push(argv: &mut Vec<String>, name: &str, value: Option<&str>) {
    argv.push("-o".to_owned());
    argv.push(match value {
        Some(value) => format!("{name}={}", value.replace('\\', "\\\\").replace(',', "\\,")),
        None => name.to_owned(),
    });
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
#[path = "../../tests/support/sshfs_command.rs"]
mod sshfs_command;

#[cfg(test)]
mod tests {
    use super::{sshfs_command::SshfsCommand, *};
    use crate::volume::{
        Policy, VolumeName,
        catalogue::{CATALOGUE, Effect},
        options::Options,
    };
    use proptest::prelude::*;

    fn plan_of(pairs: &[(&str, &str)]) -> Plan {
        let mut options: Options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let has_password = options.remove("password").is_some();
        options.entry("sshcmd".to_owned()).or_insert_with(|| "alice@storage:/srv/my data".to_owned());
        plan_for(&Spec::parse(&options, has_password, &Policy::default()).unwrap())
    }

    fn plan_for(spec: &Spec) -> Plan {
        plan_with(spec, &Config::default())
    }

    fn plan_with(spec: &Spec, config: &Config) -> Plan {
        let paths =
            Paths { configuration: "/etc/x".into(), state: "/var/lib/x".into(), runtime: "/run/x".into() };
        plan(
            &Generation::first(&VolumeName::new("data").unwrap()),
            spec,
            &paths,
            config,
            Path::new("/usr/bin/sshfs-docker"),
            false,
        )
    }

    fn values<'a>(plan: &'a Plan, name: &str) -> Vec<&'a str> {
        plan.argv.iter().filter_map(|a| a.strip_prefix(name)?.strip_prefix('=')).collect()
    }

    #[test]
    fn with_debug_ssh_tells_all_unless_the_volume_says_how_much() {
        let config = Config::parse("[log]\ndebug = true").unwrap();
        let level = |pairs: &[(&str, &str)]| {
            let options = [&[("sshcmd", "h:/x")], pairs].concat();
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let plan = plan_with(&Spec::parse(&options, false, &config.policy).unwrap(), &config);
            values(&plan, "LogLevel").join(" ")
        };
        assert_eq!(level(&[]), "DEBUG1");
        assert_eq!(level(&[("LogLevel", "INFO")]), "INFO");
    }

    #[test]
    fn the_first_minute() {
        assert_eq!(
            plan_of(&[]).argv.join(" "),
            "sshfs alice@storage:/srv/my data /dev/fd/0 -f -F /run/x/ssh-config/data \
             -o ssh_command=/usr/bin/sshfs-docker connect \
             -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=/var/lib/x/home/known_hosts \
             -o GlobalKnownHostsFile=/etc/x/known_hosts -o UpdateHostKeys=no -o BatchMode=yes \
             -o Ciphers=^aes128-gcm@openssh.com\\,aes256-gcm@openssh.com -o ConnectTimeout=8 \
             -o ServerAliveCountMax=3 -o ServerAliveInterval=10 -o dcache_dir_timeout=1 -o reconnect"
        );
    }

    #[test]
    fn secrets_are_named_and_never_on_the_command_line() {
        let plan = plan_of(&[("identity_file", "/root/.ssh/id"), ("password", "hunter2")]);
        assert_eq!(values(&plan, "IdentityFile"), ["${CREDENTIALS_DIRECTORY}/_identity"]);
        assert_eq!(plan.askpass.as_deref(), Some("_password"));
        let sources: Vec<_> = plan.credentials.iter().map(|c| c.source.to_string()).collect();
        assert_eq!(sources, ["/root/.ssh/id", "/var/lib/x/secrets/data"]);
        assert!(!format!("{plan:?}").contains("hunter2"));
    }

    #[test]
    fn ssh_sees_its_own_end_of_the_way_to_the_agent() {
        let plan = plan_of(&[("identityagent", "/run/user/1000/agent"), ("identity_file", "/etc/id.pub")]);
        assert_eq!(values(&plan, "IdentityAgent"), ["/run/x/agent/socket"]);
        assert_eq!(values(&plan, "IdentitiesOnly"), ["yes"]);
        let access = plan.agent.unwrap();
        assert_eq!(access.unit.as_deref(), Some("sshfs-docker-agent@data.socket"));
        assert_eq!(access.directory, Path::new("/run/x/agents/data"));
        assert!(!plan.argv.join(" ").contains("/run/user"));
        assert_eq!(plan_of(&[]).agent, None);
    }

    #[test]
    fn a_pinned_key_leaves_no_other_way() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let plan = plan_of(&[("host_key", key), ("StrictHostKeyChecking", "accept-new")]);
        assert_eq!(values(&plan, "StrictHostKeyChecking"), ["yes"]);
        assert_eq!(values(&plan, "UserKnownHostsFile"), ["/run/x/host-keys/data"]);
        assert_eq!(values(&plan, "GlobalKnownHostsFile"), ["none"]);
    }

    #[test]
    fn under_a_name_that_a_volume_chooses_nothing_is_learnt() {
        let plan = plan_of(&[("HostKeyAlias", "storage")]);
        assert_eq!(values(&plan, "StrictHostKeyChecking"), ["yes"]);
        assert!(
            plan.ssh_config.starts_with("StrictHostKeyChecking accept-new\n"),
            "jump hosts have their own"
        );
    }

    #[test]
    fn jump_hosts_are_checked_as_the_policy_says_and_not_as_the_volume_does() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        for (options, checking) in [
            (&[("host_key", key)][..], "accept-new"),
            (&[], "accept-new"),
            (&[("StrictHostKeyChecking", "yes")], "yes"),
        ] {
            assert_eq!(
                plan_of(options).ssh_config,
                format!(
                    "StrictHostKeyChecking {checking}\nUserKnownHostsFile /var/lib/x/home/known_hosts\n\
                     GlobalKnownHostsFile /etc/x/known_hosts\nUpdateHostKeys no\nInclude /etc/x/ssh_config\n"
                )
            );
        }
    }

    #[test]
    fn what_the_administrator_fixes_holds_for_jump_hosts_where_it_can() {
        let setting = |name, value: &str| Setting { name, value: Some(value.to_owned()) };
        let mut config = Config::default();
        config.policy.host_keys = HostKeyPolicy::Yes;
        config.policy.forced.sshfs = vec![
            setting("Ciphers", "aes256-gcm@openssh.com"),
            setting("HostKeyAlias", "all"),
            setting("max_conns", "2"),
            setting("ProxyJump", "gate"),
        ];
        let options = [("sshcmd".to_owned(), "storage:".to_owned())].into();
        let unverified = Spec {
            host_key_policy: HostKeyPolicy::Unverified,
            ..Spec::parse(&options, false, &Policy::default()).unwrap()
        };
        let paths = Paths { configuration: "/e".into(), state: "/l".into(), runtime: "/r".into() };
        let lines = ssh_config(&unverified, &paths, &config);
        assert!(lines.starts_with("StrictHostKeyChecking yes\n"), "{lines}");
        assert!(
            lines.ends_with("UpdateHostKeys no\nCiphers aes256-gcm@openssh.com\nInclude /e/ssh_config\n")
        );
    }

    #[test]
    fn a_volume_overrides_and_switches_off_defaults() {
        let plan =
            plan_of(&[("Ciphers", "aes256-ctr"), ("reconnect", "false"), ("ServerAliveInterval", "5")]);
        assert_eq!(values(&plan, "Ciphers"), ["aes256-ctr"]);
        assert_eq!(values(&plan, "ServerAliveInterval"), ["5"]);
        assert!(!plan.argv.contains(&"reconnect".to_owned()));
    }

    #[test]
    fn what_the_administrator_sets_takes_the_place_of_our_own() {
        let options = [("sshcmd", "h:/x"), ("identity_file", "/id"), ("password_file", "/passphrase")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for table in ["options", "forced_options"] {
            for (name, value) in [
                ("UpdateHostKeys", "yes"),
                ("IdentitiesOnly", "no"),
                ("NumberOfPasswordPrompts", "2"),
                ("PasswordAuthentication", "yes"),
                ("KbdInteractiveAuthentication", "yes"),
                ("ssh_command", "ssh -v"),
            ] {
                let text = format!(
                    "[policy]\nallow_options = ['UpdateHostKeys', 'ssh_command']\n[{table}]\n{name} = '{value}'"
                );
                let config = Config::parse(&text).unwrap();
                let spec = Spec::parse(&options, false, &config.policy).unwrap();
                let plan = plan_with(&spec, &config);
                assert_eq!(values(&plan, name), [value], "{table}");
                read(&plan);
            }
        }
    }

    #[test]
    fn what_sshfs_may_have_on_by_itself_is_switched_off_by_name() {
        let off = plan_of(&[("contain_symlinks", "false"), ("noauto_cache", "")]);
        let on = plan_of(&[("no_contain_symlinks", "false"), ("auto_cache", "")]);
        for (plan, there, missing) in [
            (off, ["no_contain_symlinks", "noauto_cache"], ["contain_symlinks", "auto_cache"]),
            (on, ["contain_symlinks", "auto_cache"], ["no_contain_symlinks", "noauto_cache"]),
        ] {
            let has = |name: &&str| plan.argv.iter().any(|argument| argument == name);
            assert!(there.iter().all(has) && !missing.iter().any(has), "{:?}", plan.argv);
        }
        let config = Config::parse("[options]\nno_contain_symlinks = ''").unwrap();
        let spec = |name: &str| {
            let options = [("sshcmd", "h:/x"), (name, "")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
            Spec::parse(&options, false, &config.policy).unwrap()
        };
        let default = plan_with(&spec("ro"), &config).argv;
        assert!(default.contains(&"no_contain_symlinks".to_owned()), "{default:?}");
        let other = plan_with(&spec("contain_symlinks"), &config).argv;
        assert!(!other.contains(&"no_contain_symlinks".to_owned()), "{other:?}");
    }

    #[test]
    fn no_older_ssh_gives_a_passphrase_to_a_server_that_asks() {
        let plan = plan_of(&[("identity_file", "/id"), ("password_file", "/passphrase")]);
        for name in
            ["PasswordAuthentication", "KbdInteractiveAuthentication", "ChallengeResponseAuthentication"]
        {
            assert_eq!(values(&plan, name), ["no"], "{name}");
        }
        let own = plan_of(&[("ChallengeResponseAuthentication", "no")]);
        assert_eq!(values(&own, "ChallengeResponseAuthentication"), ["no"]);
        assert_eq!(values(&own, "KbdInteractiveAuthentication"), ["no"]);
    }

    #[test]
    fn a_hard_mount_waits_and_does_not_give_up_the_connection() {
        let plan = plan_of(&[("hard", "")]);
        assert_eq!(values(&plan, "ssh_command"), ["/usr/bin/sshfs-docker connect --hard"]);
        assert_eq!(values(&plan, "ServerAliveCountMax"), [HARD_COUNT]);
        let own = plan_of(&[("hard", ""), ("ServerAliveCountMax", "5")]);
        assert_eq!(values(&own, "ServerAliveCountMax"), ["5"]);
    }

    #[test]
    fn mapping_the_remote_user_means_root_unless_the_volume_says_who() {
        let plan = plan_of(&[("idmap", "user"), ("gid", "1000")]);
        assert_eq!((values(&plan, "uid"), values(&plan, "gid")), (vec!["0"], vec!["1000"]));
        assert!(values(&plan_of(&[]), "uid").is_empty());
    }

    #[test]
    fn credentials_of_the_store_keep_their_name() {
        let plan = plan_of(&[("identity_file", "storage-key")]);
        assert_eq!(plan.credentials[0].id, "storage-key");
        assert_eq!(values(&plan, "IdentityFile"), ["${CREDENTIALS_DIRECTORY}/storage-key"]);
    }

    /// What sshfs reads in a planned command line.
    fn read(plan: &Plan) -> (SshfsCommand, BTreeMap<String, Option<String>>) {
        let command = SshfsCommand::read(&plan.argv[1..]);
        let settings: BTreeMap<_, _> = command.settings.iter().cloned().collect();
        assert_eq!(settings.len(), command.settings.len(), "an option twice: {command:?}");
        (command, settings)
    }

    /// Options that the administrator allows take any text: of all others the catalogue limits the characters.
    fn settings_of_any_text() -> impl Strategy<Value = BTreeMap<&'static str, String>> {
        let names: Vec<_> =
            CATALOGUE.iter().filter(|e| matches!(e.effect, Effect::Gated(_))).map(|e| e.name).collect();
        let text = prop_oneof![
            r#"[ a-z,=\\%$"'\[\]#~@:/-]{1,20}"#,
            r"(\\[0-7]{0,3}|,){1,6}",
            r"\PC{1,12}",
            Just("x,ProxyCommand=touch /x".to_owned()),
        ];
        proptest::collection::btree_map(proptest::sample::select(names), text, 0..4)
    }

    /// So many that the rare texts come; `PROPTEST_CASES` has the last word, as for other properties.
    fn many() -> ProptestConfig {
        let usual = ProptestConfig::default();
        if std::env::var_os("PROPTEST_CASES").is_some() {
            usual
        } else {
            ProptestConfig { cases: 4_000, ..usual }
        }
    }

    proptest! {
        #![proptest_config(many())]

        #[test]
        fn sshfs_reads_the_planned_settings_and_no_others(
            path in r#"([a-z/ ,=\\%$"'\[\]#~@:-]|\\[0-7]{3}|\PC){0,16}"#,
            given in settings_of_any_text(),
        ) {
            let mut options: Options = given.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
            options.insert("sshcmd".to_owned(), format!("alice@[::1]:{path}"));
            let allowed = given.keys().copied().collect();
            let policy = Policy { allowed, ..Policy::default() };
            let (command, settings) = read(&plan_for(&Spec::parse(&options, false, &policy).unwrap()));
            prop_assert_eq!(command.operands, [format!("alice@[::1]:{path}"), "/dev/fd/0".to_owned()]);
            prop_assert_eq!(command.flags, ["f", "F/run/x/ssh-config/data"]);
            let (_, mut planned) = read(&plan_of(&[]));
            planned.extend(given.into_iter().map(|(name, value)| (name.to_owned(), Some(value))));
            prop_assert_eq!(settings, planned);
        }
    }
}
