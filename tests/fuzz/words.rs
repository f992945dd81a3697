//! Texts that users, servers and the kernel write: options, remotes, keys, what ssh says, mountinfo.

use crate::{Target, assert_readable, examples, text};
use sshfs_docker::{
    config::Config,
    diagnosis,
    mount::{
        mountinfo::{self, Device, Mount},
        plan,
    },
    notice::{Notice, Sorter},
    paths::Paths,
    volume::{
        CredentialSource, Generation, HostKey, OptionError, Policy, Remote, Spec, VolumeName,
        catalogue::{self, CATALOGUE, Effect},
        options::{Options, PasswordSource, Setting},
        policy::{HostKeyPolicy, HostPattern, HostRules, Settings},
    },
};
use std::{collections::BTreeSet, os::unix::ffi::OsStrExt, path::Path};

pub fn targets() -> Vec<Target> {
    let target = |name, seeds, words, check: fn(&[u8])| Target {
        name,
        seeds,
        words,
        open: Box::new(move || Box::new(check)),
        needs_root: false,
    };
    vec![
        target("options", option_seeds, option_words, options),
        target("remotes", || examples(REMOTES), Vec::new, remotes),
        target("host_keys", || examples(HOST_KEYS), || vec!["ssh-ed25519 ", "AAAA"], host_keys),
        target("credentials", || examples(CREDENTIALS), Vec::new, credentials),
        target("names", || examples(&["data", "0", "my_app.v2-x", "0:55"]), Vec::new, names),
        target("words_of_ssh", || examples(SAID), || KEYWORDS.to_vec(), words_of_ssh),
        target("notices", || examples(NOTICES), || vec!["\u{1}", "\n", "\u{1}lost", "\u{1}failed "], notices),
        target("mountinfo", || examples(MOUNTINFO), || vec!["\\040", "shared:", "master:", " - "], mountinfo),
    ]
}

/// Between a name and its value, and behind that; no value has them.
const IS: char = '\x1f';
const NEXT: char = '\x1e';

fn option_seeds() -> Vec<Vec<u8>> {
    let lists: [&[(&str, &str)]; 9] = [
        &[],
        &[("port", "2222"), ("allow_other", ""), ("reconnect", ""), ("IdentityFile", "/root/.ssh/id_rsa")],
        &[("auto_cache,sshfs_sync", ""), ("uid", "1000,gid=1000"), ("compression", "no")],
        &[("Ciphers", "aes128-gcm@openssh.com,aes256-ctr"), ("ServerAliveInterval", "15"), ("ro", "true")],
        &[("password_file", "storage-password"), ("StrictHostKeyChecking", "yes"), ("hard", "")],
        &[("ProxyJump", "a@gate:22,[::1]:22"), ("sftp_server", "sudo /usr/lib/sftp-server"), ("rw", "")],
        &[("ProxyCommand", "nc %h %p"), ("ssh_command", "ssh -v"), ("IdentityAgent", "/run/agent")],
        &[("host_key", HOST_KEYS[0]), ("context", "u:r:t:s0:c1,c2"), ("noexec", ""), ("read_ahead_kb", "64")],
        &[("workaround", "rename:truncate"), ("umask", "022"), ("idmap", "user"), ("entry_timeout", "0.5")],
    ];
    let write = |(name, value): &(&str, &str)| format!("{name}{IS}{value}{NEXT}").into_bytes();
    let with_remote = |list: &&[(&str, &str)]| {
        let remote = ("sshcmd", "alice@storage:/srv/my data");
        [remote].iter().chain(list.iter()).flat_map(write).collect()
    };
    lists.iter().map(with_remote).collect()
}

fn option_words() -> Vec<&'static str> {
    let names = CATALOGUE.iter().map(|entry| entry.name);
    names.chain(["\x1f", "\x1e", ",", "=", "password=", "true", "false", "yes", "no", "accept-new"]).collect()
}

fn read_options(input: &[u8]) -> Options {
    let pairs = text(input);
    let pairs = pairs.split(NEXT).filter_map(|pair| pair.split_once(IS));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn options(input: &[u8]) {
    let options = read_options(input);
    if let Err(e @ OptionError::Unknown { .. }) = Spec::parse(&options, false, &Policy::default()) {
        // Whoever has a password, and whatever the policy.
        return assert_readable(&e.to_string());
    }
    let gated = CATALOGUE.iter().filter(|entry| matches!(entry.effect, Effect::Gated(_)));
    let all = gated.map(|entry| entry.name).collect();
    let strict = Policy { host_keys: HostKeyPolicy::Yes, refuse_password: true, ..Policy::default() };
    let any = || vec![HostPattern::parse("*").unwrap()];
    let permissive = Policy { allowed: all, unverified: any(), ..Policy::default() };
    let fixed = |name, value: &str| Setting { name, value: Some(value.to_owned()) };
    let narrow = Policy {
        hosts: HostRules { allow: vec![HostPattern::parse("storage").unwrap()], deny: Vec::new() },
        forced: Settings { sshfs: vec![fixed("Compression", "no")], ..Settings::default() },
        ..Policy::default()
    };
    for policy in [Policy::default(), strict, permissive, narrow] {
        for has_password in [false, true] {
            match Spec::parse(&options, has_password, &policy) {
                Ok(spec) => {
                    let hosts = &policy.hosts.allow;
                    assert!(
                        hosts.is_empty()
                            || spec.remote.host().to_lowercase().trim_end_matches('.') == "storage"
                    );
                    assert_harmless(&spec, &policy);
                    let again = Spec::parse(&written_again(&spec), has_password, &policy).unwrap();
                    // The port of a URL is an option by now.
                    assert_eq!(again.remote.to_string(), spec.remote.to_string());
                    assert_eq!(Spec { remote: spec.remote.clone(), ..again }, spec);
                }
                Err(e) => assert_readable(&e.to_string()),
            }
        }
    }
}

/// What sshfs gets are its own options, one per argument, and none that the policy refuses.
fn assert_harmless(spec: &Spec, policy: &Policy) {
    let paths =
        Paths { configuration: "/etc/x".into(), state: "/var/lib/x".into(), runtime: "/run/x".into() };
    let first = Generation::first(&VolumeName::new("data").unwrap());
    let program = Path::new("/usr/bin/sshfs-docker");
    let plan = plan::plan(&first, spec, &paths, &Config::default(), program, false);
    let argv: Vec<_> = plan.argv.iter().map(String::as_str).collect();
    assert!(argv.iter().all(|argument| !argument.contains(char::is_control)), "{argv:?}");
    let ["sshfs", remote, "/dev/fd/0", "-f", "-F", "/run/x/ssh-config/data", pairs @ ..] = &argv[..] else {
        panic!("another command line: {argv:?}");
    };
    assert!(!remote.starts_with('-') && remote.contains(':'), "{remote:?}");
    let own = ["ssh_command", "UserKnownHostsFile", "GlobalKnownHostsFile", "UpdateHostKeys", "BatchMode"];
    for pair in pairs.chunks(2) {
        let ["-o", option] = pair else { panic!("no option: {pair:?}") };
        let name = option.split('=').next().unwrap();
        let entry = catalogue::find(name).unwrap_or_else(|| panic!("{name} reaches sshfs"));
        let permitted = match entry.effect {
            Effect::Gated(_) => own.contains(&name) || policy.allowed.contains(name),
            Effect::Impossible(_) => own.contains(&name),
            _ => true,
        };
        assert!(permitted && entry.name == name, "{option}");
        let unescaped = option.replace("\\\\", "").replace("\\,", "");
        assert!(!unescaped.contains(',') && !unescaped.contains('\\'), "another option is in {option:?}");
    }
    let (_, rest) =
        plan.ssh_config.split_at(plan.ssh_config.find("UpdateHostKeys no\n").expect("ours comes first"));
    assert_eq!(rest, "UpdateHostKeys no\nInclude /etc/x/ssh_config\n", "nothing of a volume is in it");
    for setting in &plan.kernel {
        let effect = catalogue::find(setting.name).unwrap().effect;
        assert!(matches!(effect, Effect::Kernel(_)), "{setting:?}");
        assert!(!setting.value.as_deref().unwrap_or_default().contains(['"', '\\', ' ']), "{setting:?}");
    }
}

/// The options of which a spec is the meaning.
fn written_again(spec: &Spec) -> Options {
    let mut options = vec![("sshcmd", spec.remote.to_string())];
    options.extend(spec.port.map(|port| ("port", port.to_string())));
    options.extend(spec.identity.as_ref().map(|source| ("identity_file", source.to_string())));
    if let Some(PasswordSource::Credential(source)) = &spec.password {
        options.push(("password_file", source.to_string()));
    }
    options.extend(spec.agent.as_ref().map(|socket| ("IdentityAgent", socket.to_string())));
    options.extend(spec.host_key.as_ref().map(|key| ("host_key", key.to_string())));
    options.extend(spec.read_ahead.map(|read_ahead| ("read_ahead_kb", read_ahead.to_string())));
    if spec.hard {
        options.push(("hard", String::new()));
    }
    match spec.host_key_policy {
        HostKeyPolicy::Yes => options.push(("StrictHostKeyChecking", "yes".to_owned())),
        HostKeyPolicy::AcceptNew => {}
        HostKeyPolicy::Unverified => options.push(("StrictHostKeyChecking", "no".to_owned())),
    }
    options.extend(spec.settings.switched_off.iter().map(|name| (*name, "false".to_owned())));
    let settings = spec.settings.kernel.iter().chain(&spec.settings.sshfs);
    options.extend(settings.map(|setting| (setting.name, setting.value.clone().unwrap_or_default())));
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

const REMOTES: &[&str] = &[
    "alice@storage:/srv/data",
    "storage:",
    "a@b@storage:relative dir",
    "alice@[fe80::1%eth0]:/x:y",
    "alice@10.0.0.1:/a,b \"c\"/\\ü",
    "h:[x]:y",
    "sftp://alice@storage:2222/srv",
    "sftp://[::1]:22/srv",
    "-oProxyCommand=x:/",
    "a@-l:/",
];

fn remotes(input: &[u8]) {
    match Remote::parse(&text(input)) {
        Ok(remote) => {
            let shown = remote.to_string();
            assert!(!shown.starts_with('-') && !shown.contains(char::is_control), "{shown:?}");
            for part in [&remote.host(), remote.user().unwrap_or("x")] {
                assert!(!part.is_empty() && !part.starts_with('-'), "{remote:?}");
                assert!(!part.contains([' ', '"', '\'', '$', '`', ';', '\\', '/']), "{remote:?}");
            }
            // A host that is called sftp and a path of two slashes; sshfs does not know URLs.
            if !shown.starts_with("sftp://") {
                assert_eq!(Remote::parse(&shown).unwrap().to_string(), shown);
            }
        }
        Err(e) => assert_readable(&e.to_string()),
    }
}

const HOST_KEYS: &[&str] = &[
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
    "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA== root@storage",
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY+/=\n",
];

fn host_keys(input: &[u8]) {
    match HostKey::parse(&text(input)) {
        Ok(key) => {
            let line = key.known_hosts();
            assert!(line.starts_with("* ") && line.ends_with('\n') && line.lines().count() == 1, "{line:?}");
            assert_eq!(line.split_ascii_whitespace().count(), 3, "{line:?}");
            assert_eq!(HostKey::parse(&key.to_string()), Ok(key));
        }
        Err(e) => assert_readable(&e.to_string()),
    }
}

const CREDENTIALS: &[&str] =
    &["/root/.ssh/id_ed25519", "storage-key", "~/.ssh/id", "/root/../x", "/a b/%i", "x.y"];

fn credentials(input: &[u8]) {
    match CredentialSource::parse(&text(input)) {
        Ok(source) => {
            let shown = source.to_string();
            assert!(!shown.is_empty() && !shown.contains(|c: char| c.is_control() || c == ':'), "{shown:?}");
            match &source {
                CredentialSource::Path(path) => assert!(path.is_absolute() && !shown.contains("/../")),
                CredentialSource::Store(name) => {
                    assert!(!name.contains('/') && !name.starts_with(['-', '.']));
                }
            }
            assert_eq!(CredentialSource::parse(&shown), Ok(source));
        }
        Err(e) => assert_readable(&e.to_string()),
    }
}

fn names(input: &[u8]) {
    let text = text(input);
    match VolumeName::new(&text) {
        Ok(name) => {
            assert_eq!(
                (name.as_str(), VolumeName::new(&name.to_string())),
                (text.as_str(), Ok(name.clone()))
            );
            let whole = Path::new(name.as_str());
            assert!(whole.components().count() == 1 && !text.starts_with(['.', '-']), "{text:?}");
        }
        Err(e) => assert_readable(&e.to_string()),
    }
    if let Ok(device) = text.parse::<Device>() {
        assert_eq!(device.to_string().parse(), Ok(device));
    }
}

const SAID: &[&str] = &[
    "@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nThe fingerprint for the ED25519 key \
     sent by the remote host is\nSHA256:Zm9vYmFy.\r\nHost key verification failed.\r\nread: Connection reset by peer\n",
    "ssh: Could not resolve hostname storage: Name or service not known\r\n",
    "ssh: connect to host storage port 22: No route to host\r\n",
    "alice@storage: Permission denied (publickey,password).\r\nread: Connection reset by peer\n",
    "Load key \"/run/credentials/x/_identity\": error in libcrypto\r\n",
    "Unable to negotiate with 10.0.0.1 port 22: no matching cipher found. Their offer: aes128-ctr\r\n",
    "command-line: line 0: Bad configuration option: foo\r\n",
    "alice@storage:/srv/x: No such file or directory\n",
    "Connection closed by 10.0.0.1 port 22\r\n",
];

const KEYWORDS: &[&str] = &[
    "IDENTIFICATION HAS CHANGED",
    "SHA256:",
    "Permission denied (",
    ")",
    "Too many authentication failures",
    "terminating,",
    "subsystem request failed",
    "cannot start ",
    "remote host has disconnected",
    "UNKNOWN port 65535",
    "open failed: connect failed: ",
    "no matching cipher found. Their offer: ",
    "kex_exchange_identification: ",
    "\u{1}key: passphrase-wrong ",
];

fn words_of_ssh(input: &[u8]) {
    let shown = diagnosis::diagnose(&text(input)).to_string();
    assert_readable(&shown);
    // A sentence of our own may have long paths in it; what a server says is cut much earlier.
    let most = if Notice::last_sentence(&text(input)).is_some() { 2_200 } else { 1_500 };
    assert!(shown.chars().count() <= most, "{} characters", shown.chars().count());
}

const NOTICES: &[&str] = &[
    "a banner\n\u{1}connected SHA256:J01WKzjDKAUR/TjzE7Hpwl0m4FFSrvTL1tywSCtvzIc (ED25519)\n\u{1}lost \n",
    "no end\n\u{1}failed connection refused: nothing listens\nread: reset\n\u{1}host-key it has changed\n",
    "\u{1}agent it does not answer\n\u{1}\u{1}agent \u{202e}\n",
];

/// However they come in pieces, and whatever is between them.
fn notices(input: &[u8]) {
    let sorted = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut sorter, mut notices, mut rest) = (Sorter::default(), Vec::new(), Vec::new());
        for piece in pieces {
            let (found, other) = sorter.take(piece);
            notices.extend(found);
            rest.extend(other);
        }
        rest.extend(sorter.finish());
        (notices, rest)
    };
    let (whole, rest) = sorted(&mut std::iter::once(input));
    assert_eq!((whole.clone(), rest), sorted(&mut input.chunks(3)));
    for notice in whole {
        assert_eq!(Notice::parse(notice.line().trim_matches('\n')), Some(notice));
    }
}

const MOUNTINFO: &[&str] = &[
    "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n",
    "71 29 0:55 / /var/lib/sshfs-docker/mnt/data rw,nosuid,nodev shared:40 - fuse.sshfs alice@h:/a\\040b rw\n",
    "72 29 0:56 / /with\\040blank\\134 rw shared:4 master:3 propagate_from:2 - fuse x rw\n72 29 0:57 / / rw - a b c",
];

fn mountinfo(input: &[u8]) {
    for mount in mountinfo::parse(input) {
        assert_eq!(mountinfo::parse(&line(&mount)), [mount]);
    }
}

/// As the kernel writes it.
fn line(mount: &Mount) -> Vec<u8> {
    let mut line = format!("{} {} {} ", mount.id, mount.parent, mount.device).into_bytes();
    for path in [&mount.root, &mount.mountpoint] {
        line.extend(escape(path.as_os_str().as_bytes()));
        line.push(b' ');
    }
    line.extend_from_slice(mount.options.as_bytes());
    line.extend(mount.shared.into_iter().flat_map(|group| format!(" shared:{group}").into_bytes()));
    line.extend(mount.master.into_iter().flat_map(|group| format!(" master:{group}").into_bytes()));
    line.extend_from_slice(b" - ");
    line.extend(escape(mount.filesystem.as_bytes()));
    line.push(b' ');
    line.extend(escape(mount.source.as_bytes()));
    line.extend_from_slice(b" rw\n");
    line
}

fn escape(text: &[u8]) -> Vec<u8> {
    let special: BTreeSet<_> = b" \t\n\\".iter().collect();
    let escape =
        |byte: &u8| if special.contains(byte) { format!("\\{byte:03o}").into() } else { vec![*byte] };
    text.iter().flat_map(escape).collect()
}
