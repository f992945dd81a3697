//! Whatever a volume's options contain, sshfs and ssh are started with what was meant and nothing else. The command lines
//! are those that the real processes got, and are read as sshfs and ssh read them.

use crate::{cases, client::Reply, ssh_command::SshCommand, sshfs_command::SshfsCommand, world::World};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use sshfs_docker::volume::catalogue::{CATALOGUE, Effect, Value};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

cases![
    generated_options_keep_their_meaning_or_are_refused,
    known_attacks_on_the_command_line_are_refused,
    odd_but_honest_options_reach_ssh_unchanged,
];

/// How many generated volumes are tried, by how many callers at once.
const GENERATED: usize = 800;
const CALLERS: usize = 4;

/// The options of one volume.
#[derive(Clone, Debug, Default)]
struct Case {
    options: BTreeMap<String, String>,
    /// The name of a key file that is there, and of a password file.
    key: Option<String>,
    password: Option<String>,
    /// Whether something in it may be refused.
    hostile: bool,
}

/// What became of a case.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Refused,
    Launched,
    /// sshfs found a value out of its range.
    EndedBeforeSsh,
}

fn generated_options_keep_their_meaning_or_are_refused() {
    with_recorders(|recorders| {
        let mut runner = TestRunner::deterministic();
        let cases: Vec<_> = (0..GENERATED).map(|_| case().new_tree(&mut runner).unwrap().current()).collect();
        let [refused, launched, ended] = [(); 3].map(|()| AtomicUsize::new(0));
        thread::scope(|scope| {
            for (caller, cases) in cases.chunks(GENERATED / CALLERS).enumerate() {
                let (recorders, refused, launched, ended) = (&recorders, &refused, &launched, &ended);
                scope.spawn(move || {
                    for (number, case) in cases.iter().enumerate() {
                        match recorders.check(&format!("v{caller}-{number}"), case) {
                            Outcome::Refused => refused,
                            Outcome::Launched => launched,
                            Outcome::EndedBeforeSsh => ended,
                        }
                        .fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let [refused, launched, ended] = [refused, launched, ended].map(AtomicUsize::into_inner);
        println!("fault-count: option_sets_refused={refused} option_sets_launched_as_meant={launched}");
        assert_eq!(refused + launched + ended, GENERATED);
        assert!(refused > GENERATED / 4 && launched > GENERATED / 3, "{refused} {launched} {ended}");
    });
}

fn known_attacks_on_the_command_line_are_refused() {
    with_recorders(|recorders| {
        for (name, value, reason) in [
            // CVE-2026-48711: sshfs takes the brackets away, and ssh reads an option.
            ("sshcmd", "[-oProxyCommand=touch /x]:/x", "not the name or address"),
            ("sshcmd", "alice@[-oProxyCommand=touch /x]:/x", "not the name or address"),
            ("sshcmd", "-oProxyCommand=touch /x:/x", "begins with '-'"),
            ("sshcmd", "-F/tmp/x@storage:/x", "begins with '-'"),
            ("sshcmd", "-o@storage:/x", "begins with '-'"),
            ("sshcmd", "a%h@storage:/x", "not a user name"),
            ("sshcmd", "$(id)@storage:/x", "not a user name"),
            ("sshcmd", "alice@%h:/x", "not the name or address"),
            ("sshcmd", "alice@storage:/x\n-oProxyCommand=touch /x", "control character"),
            ("Ciphers", "aes128-ctr,ProxyCommand=touch /x", "needs a word"),
            ("Ciphers", "aes128-ctr\nProxyCommand touch /x", "control character"),
            ("ConnectTimeout", "5,ProxyCommand=touch /x", "runs a program"),
            ("ConnectTimeout", "5\\054ProxyCommand=touch /x", "whole number"),
            ("reconnect,ProxyCommand", "touch /x", "runs a program"),
            ("HostKeyAlias", "%h", "needs a word"),
            ("HostName", "-oProxyCommand=x", "needs a word"),
            ("HostName", "a\" ProxyCommand=x", "needs a word"),
            ("HostKeyAlias", "storage #", "needs a word"),
            ("ProxyJump", "a;touch /x", "[user@]host[:port]"),
            ("ProxyJump", "$(id)", "[user@]host[:port]"),
            ("ProxyJump", "a`id`", "[user@]host[:port]"),
            ("ProxyJump", "a b", "[user@]host[:port]"),
            ("ProxyJump", "-oProxyCommand=x", "[user@]host[:port]"),
            ("ProxyJump", "a,-F/x", "[user@]host[:port]"),
            // ssh takes these brackets away, too.
            ("ProxyJump", "[-v]", "[user@]host[:port]"),
            ("ProxyJump", "alice@[-lx]:22", "[user@]host[:port]"),
            ("sftp_server", "-oProxyCommand=x", "without shell characters"),
            ("sftp_server", "/x;id", "without shell characters"),
            ("port", "22,ProxyCommand=x", "1 to 65535"),
            ("port", "22 -F/x", "1 to 65535"),
            // systemd would read /root/a, as an encrypted file; and /root/ax.
            ("identity_file", "/root/a 1", "must not contain"),
            ("identity_file", "/root/a\\x", "must not contain"),
            ("identity_file", "%d/.ssh/id", "neither an absolute path"),
            ("identity_file", "~/.ssh/id", "neither an absolute path"),
            ("identity_file", "${HOME}/id", "neither an absolute path"),
        ] {
            let reply = recorders.world.create_with("data", &[(name, value)]);
            assert_readable(&reply, name);
            assert!(reply.err().contains(reason), "{name}={value:?}: {}", reply.err());
        }
        assert!(recorders.world.client().list().is_empty());
    });
}

fn odd_but_honest_options_reach_ssh_unchanged() {
    with_recorders(|recorders| {
        for (number, options) in [
            &[("sshcmd", "a@b@storage:/x")][..],
            &[("sshcmd", "alice@[fe80::1%eth0]:/x,allow_root,\\054 \"y\" $HOME ~ %h -oProxyCommand=z")],
            &[("sshcmd", "sftp://alice@[::1]:2222/-oProxyCommand=x:y"), ("port", "2222")],
            &[("sshcmd", "storage:")],
            &[("sshcmd", "storage:-s"), ("sftp_server", "sudo /usr/lib/sftp-server")],
            &[
                ("sshcmd", "storage:~"),
                ("ProxyJump", "a@gate:22,[::1]:22"),
                ("Ciphers", "^aes128-ctr,aes256-ctr"),
            ],
        ]
        .into_iter()
        .enumerate()
        {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let key = Some("a,key\"%h\"${HOME}~é-oProxyCommand=x".to_owned());
            let case = Case { options: options.collect(), key, ..Case::default() };
            assert_eq!(recorders.check(&format!("v{number}"), &case), Outcome::Launched, "{case:?}");
        }
    });
}

/// A world where ssh and sshfs note their command lines: sshfs then does its work, ssh ends.
struct Recorders {
    world: World,
}

/// Runs a case on a thread with a mount namespace of its own, where scripts lie over the programs. The others see theirs.
fn with_recorders(case: impl FnOnce(&Recorders) + Send) {
    let outcome = thread::scope(|scope| {
        scope
            .spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
                // What other cases unmount must go here, too; what is mounted here stays here.
                let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
                mount(None::<&str>, "/", None::<&str>, slave, None::<&str>).expect("a slave of the others");
                case(&Recorders::install(World::new()));
            })
            .join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

impl Recorders {
    fn install(world: World) -> Self {
        let recorders = Self { world };
        let records = recorders.world.path("records");
        fs::create_dir(&records).unwrap();
        fs::set_permissions(&records, PermissionsExt::from_mode(0o777)).unwrap();
        let genuine = recorders.world.path("genuine-sshfs");
        bind(&program("sshfs"), &genuine);
        recorders.record("ssh", "exit 255");
        recorders.record("sshfs", &format!("exec {} \"$@\"", genuine.display()));
        recorders
    }

    /// Lays a script over a program. The kernel knows the arguments as they are; the volume is in a variable that its
    /// processes share.
    fn record(&self, name: &str, then: &str) {
        let script = self.world.path(&format!("recorder-of-{name}"));
        let record = self.record_of("${CREDENTIALS_DIRECTORY##*/sshfs-docker-mount-}", name);
        let text = format!("#!/bin/sh\ncat /proc/$$/cmdline > {}\n{then}\n", record.display());
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        bind(&script, &program(name));
    }

    fn record_of(&self, unit: &str, program: &str) -> PathBuf {
        self.world.path(&format!("records/{unit}.{program}"))
    }

    /// What a program got behind its name, if it was started.
    fn recorded(&self, volume: &str, program: &str) -> Option<Vec<String>> {
        let line = fs::read(self.record_of(&format!("{volume}.service"), program)).ok()?;
        let line = String::from_utf8(line).expect("no character was cut").strip_suffix('\0')?.to_owned();
        // The first two are the shell and the script.
        Some(line.split('\0').skip(2).map(str::to_owned).collect())
    }

    /// Tries a case, and compares what was started with what was meant.
    fn check(&self, volume: &str, case: &Case) -> Outcome {
        let options = self.options_of(volume, case);
        let pairs: Vec<_> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let client = self.world.client();
        let created = client.create(volume, &pairs);
        if created.status != Some(200) {
            assert!(case.hostile, "refused although it is valid: {case:?}: {created:?}");
            assert_readable(&created, &format!("{case:?}"));
            assert!(client.get(volume).err().contains("not found"));
            return Outcome::Refused;
        }
        let failed = client.mount(volume, "x");
        client.remove(volume).ok();
        let meant = Meaning::of(volume, case, &options, &self.world);
        let sshfs = self.recorded(volume, "sshfs").unwrap_or_else(|| panic!("no sshfs: {case:?} {failed:?}"));
        meant.assert_of_sshfs(&SshfsCommand::read(&sshfs));
        let Some(ssh) = self.recorded(volume, "ssh") else {
            assert!(case.hostile, "sshfs does not take it: {case:?}: {failed:?}");
            return Outcome::EndedBeforeSsh;
        };
        assert!(failed.err().contains("cannot mount"), "{case:?}: {failed:?}");
        let read = SshCommand::read(&ssh).unwrap_or_else(|error| panic!("{error}: {case:?}\nssh {ssh:?}"));
        assert_eq!(read, meant.of_ssh(), "{case:?}\nssh {ssh:?}");
        Outcome::Launched
    }

    /// The options as Docker would send them, with the files that they name.
    fn options_of(&self, volume: &str, case: &Case) -> BTreeMap<String, String> {
        let mut options = case.options.clone();
        for (option, name) in [("identity_file", &case.key), ("password_file", &case.password)] {
            let Some(name) = name else { continue };
            let file = self.world.path(&format!("{volume}-{option}-{name}"));
            fs::write(&file, "x").unwrap();
            options.insert(option.to_owned(), file.to_string_lossy().into_owned());
        }
        options
    }
}

fn bind(from: &Path, to: &Path) {
    if !to.exists() {
        fs::write(to, "").unwrap();
    }
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
}

/// Where the daemon finds a program.
fn program(name: &str) -> PathBuf {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]
        .map(|directory| Path::new(directory).join(name))
        .into_iter()
        .find(|path| path.exists())
        .expect("an installed program")
}

/// An error as `docker volume create` shows it: one sentence, nothing that a terminal would obey.
fn assert_readable(reply: &Reply, what: &str) {
    let text = reply.err();
    assert_eq!(reply.status, Some(500), "{what}: {reply:?}");
    assert!(text.len() > 10 && !text.contains(char::is_control), "{what}: {text:?}");
}

/// What the options of a volume mean, found out apart from the code under test.
#[derive(Clone, Debug)]
struct Meaning {
    user: Option<String>,
    host: String,
    /// As sshfs wants it.
    remote: String,
    configuration: String,
    subsystem: Option<String>,
    /// `-o` of sshfs, by the name in lower case.
    settings: BTreeMap<String, Option<String>>,
}

impl Meaning {
    fn of(volume: &str, case: &Case, options: &BTreeMap<String, String>, world: &World) -> Self {
        let file = |name: &str| world.path(name).to_string_lossy().into_owned();
        let (authority, path, url_port) = read_sshcmd(&options["sshcmd"]);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority.as_str()),
        };
        let mut settings: BTreeMap<String, Option<String>> = [
            ("ssh_command", concat!(env!("CARGO_BIN_EXE_sshfs-docker"), " connect")),
            ("stricthostkeychecking", "accept-new"),
            ("userknownhostsfile", &file("lib/home/known_hosts")),
            ("globalknownhostsfile", &file("etc/known_hosts")),
            ("updatehostkeys", "no"),
            ("serveraliveinterval", "10"),
            ("serveralivecountmax", "3"),
            ("connecttimeout", "8"),
            ("ciphers", "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"),
            ("dcache_dir_timeout", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
        .into();
        settings.insert("reconnect".to_owned(), None);
        let mut set = |name: &str, value: &str| settings.insert(name.to_owned(), Some(value.to_owned()));
        if let Some(port) = options.get("port").or(url_port.as_ref()) {
            set("port", port);
        }
        if options.keys().any(|name| name.eq_ignore_ascii_case("HostKeyAlias")) {
            set("stricthostkeychecking", "yes");
        }
        match case.password {
            Some(_) => set("numberofpasswordprompts", "1"),
            None => set("batchmode", "yes"),
        };
        if case.key.is_some() {
            set("identitiesonly", "yes");
            set("identityfile", "${CREDENTIALS_DIRECTORY}/_identity");
        }
        if case.key.is_some() && case.password.is_some() {
            set("passwordauthentication", "no");
            set("kbdinteractiveauthentication", "no");
            set("challengeresponseauthentication", "no");
        }
        if options.get("idmap").is_some_and(|value| value == "user") {
            set("uid", "0");
            set("gid", "0");
        }
        for (name, value) in options {
            if let Some(kind) = kind_of(name) {
                let commas = [Value::Word, Value::Context, Value::Jump].contains(&kind);
                // Elsewhere a comma begins another option. What may follow it in the cases here is refused or empty.
                let value = if commas { value } else { value.split(',').next().unwrap_or_default() };
                let value = (kind != Value::Flag).then(|| value.to_owned());
                settings.insert(name.to_ascii_lowercase(), value);
            }
        }
        // For ssh before 8.7, which does not take the one for the other.
        if let Some(value) = settings.get("kbdinteractiveauthentication").cloned() {
            settings.insert("challengeresponseauthentication".to_owned(), value);
        }
        Self {
            user,
            host: host.trim_matches(['[', ']']).to_owned(),
            remote: format!("{authority}:{path}"),
            configuration: file(&format!("run/ssh-config/{volume}")),
            subsystem: options.get("sftp_server").cloned(),
            settings,
        }
    }

    fn assert_of_sshfs(&self, read: &SshfsCommand) {
        assert_eq!(read.operands, [self.remote.as_str(), "/dev/fd/0"], "{read:?}");
        assert_eq!(read.flags, ["f".to_owned(), format!("F{}", self.configuration)], "{read:?}");
        let settings = read.settings.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        assert_eq!(read.settings.len(), self.settings.len(), "an option too much: {read:?}, {self:?}");
        assert_eq!(settings.collect::<BTreeMap<_, _>>(), self.settings, "{read:?}");
    }

    fn of_ssh(&self) -> SshCommand {
        let of_sshfs = |name: &str| name == "ssh_command" || matches!(entry(name), Some(Effect::Sshfs(_)));
        let mut settings: BTreeMap<_, _> = self
            .settings
            .iter()
            .filter(|(name, _)| !of_sshfs(name))
            .map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()))
            .collect();
        settings.insert("clearallforwardings".to_owned(), "yes".to_owned());
        let command = self.subsystem.clone().unwrap_or("sftp".to_owned());
        let mut flags: Vec<String> = ["x", "a", "2"].map(str::to_owned).into();
        flags.push(format!("F{}", self.configuration));
        flags.extend((!command.contains('/')).then(|| "s".to_owned()));
        SshCommand {
            user: self.user.clone(),
            host: self.host.clone(),
            command: vec![command],
            flags: flags.into_iter().collect(),
            settings,
        }
    }
}

/// `[user@]host:path` or `sftp://[user@]host[:port]/path`: what is before the path, the path, the port. A colon in
/// brackets is part of an address.
fn read_sshcmd(text: &str) -> (String, String, Option<String>) {
    let colon = |text: &str| {
        let mut in_brackets = false;
        text.find(|c| {
            in_brackets = c == '[' || in_brackets && c != ']';
            c == ':' && !in_brackets
        })
    };
    let split = |text: &str, at: usize| (text[..at].to_owned(), text[at + 1..].to_owned());
    let Some(url) = text.strip_prefix("sftp://") else {
        let (authority, path) = split(text, colon(text).expect("a colon"));
        return (authority, path, None);
    };
    let (authority, path) = url.split_at(url.find('/').expect("a path"));
    match colon(authority) {
        Some(at) => {
            let (authority, port) = split(authority, at);
            (authority, path.to_owned(), Some(port))
        }
        None => (authority.to_owned(), path.to_owned(), None),
    }
}

fn entry(name: &str) -> Option<Effect> {
    CATALOGUE.iter().find(|entry| entry.name.eq_ignore_ascii_case(name)).map(|entry| entry.effect)
}

/// What values an option of sshfs or ssh takes.
fn kind_of(name: &str) -> Option<Value> {
    match entry(name) {
        Some(Effect::Sshfs(value) | Effect::Ssh(value)) => Some(value),
        _ => None,
    }
}

/// A volume that is valid in all its parts, or in all but one.
fn case() -> impl Strategy<Value = Case> {
    prop_oneof![valid_case(), hostile_case()]
}

fn valid_case() -> impl Strategy<Value = Case> {
    let option = select(
        CATALOGUE.iter().filter_map(|entry| Some((entry.name, kind_of(entry.name)?))).collect::<Vec<_>>(),
    );
    let option = option.prop_flat_map(|(name, kind)| (Just(name.to_owned()), valid_value(name, kind)));
    let port = proptest::option::of((1..=65535_u16).prop_map(|port| port.to_string()));
    let files = (proptest::option::of(file_name()), proptest::option::weighted(0.2, file_name()));
    let options = proptest::collection::btree_map(any::<u8>(), option, 0..5);
    (valid_sshcmd(), port, options, files).prop_map(|(sshcmd, port, options, (key, password))| {
        let mut options: BTreeMap<_, _> = options.into_values().collect();
        // A port in two places must be the same.
        if let Some(port) = port.filter(|_| !sshcmd.starts_with("sftp:")) {
            options.insert("port".to_owned(), port);
        }
        options.insert("sshcmd".to_owned(), sshcmd);
        Case { options, key, password, hostile: false }
    })
}

/// A name that is no number to anybody.
const HOST_NAME: &str = "[a-z0-9_.][A-Za-z0-9_.-]{0,11}[g-z]";

fn valid_sshcmd() -> impl Strategy<Value = String> {
    let user = prop_oneof![Just(String::new()), "[a-z0-9_.+][A-Za-z0-9_.+@-]{0,8}@"];
    let host = prop_oneof![HOST_NAME, Just("[::1]".to_owned()), Just("[fe80::1%eth-0]".to_owned())];
    let path = pieces(0..6).prop_map(|path| path.replace(char::is_control, ""));
    let port = (1..=65535_u16).prop_map(|port| format!(":{port}"));
    (user, host, path, proptest::option::weighted(0.2, port)).prop_map(|(user, host, path, url)| match url {
        Some(port) => format!("sftp://{user}{host}{port}/{path}"),
        // Without a user, "host:x@y:z" looks like a password.
        None if user.is_empty() => format!("{host}:{}", path.replace('@', "")),
        None => format!("{user}{host}:{path}"),
    })
}

/// A value of the option's kind, with all the characters that it may have.
fn valid_value(name: &str, kind: Value) -> BoxedStrategy<String> {
    match kind {
        Value::Flag => Just(String::new()).boxed(),
        Value::Number | Value::Seconds => (1..=100_u32).prop_map(|number| number.to_string()).boxed(),
        Value::Octal => "0[0-7]{3}".boxed(),
        // What sshfs takes only together with a file of the host.
        Value::OneOf(words) if name == "idmap" => select(&words[..2]).prop_map(str::to_owned).boxed(),
        Value::OneOf(words) => select(words).prop_map(str::to_owned).boxed(),
        Value::ColonList(words) => {
            proptest::collection::vec(select(words), 1..3).prop_map(|words| words.join(":")).boxed()
        }
        Value::Word if name == "HostName" => HOST_NAME.boxed(),
        Value::Word => "[A-Za-z0-9@+^._:,/*?=!\\[\\]][A-Za-z0-9@+^._:,/*?=!\\[\\]-]{0,10}".boxed(),
        Value::Context => "[a-z_:,]{1,9}".boxed(),
        Value::Jump => "([a-z]{1,3}@)?([a-z]{1,3}[a-z.-]{0,5}|\\[::1\\])(:[1-9][0-9]{0,3})?(,gate)?".boxed(),
        Value::RemoteProgram => "(sudo )?/usr/lib/[a-z._-]{1,5}|[a-z_.][a-z_.-]{0,5}".boxed(),
    }
}

fn hostile_case() -> impl Strategy<Value = Case> {
    (valid_case(), pieces(1..6), 0..8_usize, any::<proptest::sample::Index>()).prop_map(
        |(case, text, place, index)| {
            let mut case = Case { hostile: true, ..case };
            let ssh_options: Vec<_> =
                CATALOGUE.iter().map(|entry| entry.name).filter(|name| kind_of(name).is_some()).collect();
            let (name, value) = match place {
                0 => ("sshcmd".to_owned(), format!("{text}@storage:/x")),
                1 => ("sshcmd".to_owned(), format!("alice@{text}:/x")),
                2 => ("sshcmd".to_owned(), format!("alice@[{text}]:/x")),
                3 => ("sshcmd".to_owned(), format!("alice@storage:/x{text}")),
                4 => ("port".to_owned(), format!("2{text}")),
                5 => (text, "x".to_owned()),
                6 => {
                    case.key = None;
                    ("identity_file".to_owned(), text)
                }
                _ => ((*index.get(&ssh_options)).to_owned(), text),
            };
            if name == "port" {
                case.options.retain(|name, value| name != "sshcmd" || !value.starts_with("sftp:"));
                case.options.entry("sshcmd".to_owned()).or_insert_with(|| "storage:/x".to_owned());
            }
            case.options.insert(name, value);
            case
        },
    )
}

/// A file name with everything in it that a path of a credential may have.
fn file_name() -> impl Strategy<Value = String> {
    pieces(1..5)
        .prop_map(|name| name.replace(|c: char| c.is_control() || "/: \\".contains(c), "").replace("..", ""))
}

/// Text out of what means something to a shell, to sshfs or to ssh.
fn pieces(count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let piece = select(vec![
        "-",
        "--",
        "-o",
        "-F/x",
        "-oProxyCommand=touch /x",
        ",",
        ",ProxyCommand=x",
        "\n",
        "\0",
        "\t",
        "\u{1b}[31m",
        "%",
        "%h",
        "%%",
        "[",
        "]",
        "'",
        "\"",
        "\\",
        "\\,",
        "\\054",
        "\\n",
        "$",
        "$(id)",
        "${HOME}",
        "~",
        " ",
        "=",
        "#",
        ";",
        "|",
        "&",
        "`id`",
        "@",
        ":",
        "/",
        "..",
        "*",
        "!",
        "é",
        "日本",
        "\u{202e}",
        "\u{a0}",
        "q",
        "7",
    ]);
    proptest::collection::vec(piece, count).prop_map(|pieces| pieces.concat())
}
