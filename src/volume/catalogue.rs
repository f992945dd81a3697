//! Every option name that a volume may have, and what becomes of it.
//!
//! Options are checked against this list when a volume is created, so that a typo, or an option that would run
//! a program, is refused there and not found at the first `docker run`. The names of sshfs are those of
//! sshfs(1) 3.7; the names of ssh are those that sshfs passes on (`ssh_opts` in sshfs.c 3.7) and that
//! ssh_config(5) describes as data, not as commands.

/// One option.
#[derive(Debug)]
pub struct Entry {
    /// The name as sshfs, ssh or mount(8) write it; volumes may use any case.
    pub name: &'static str,
    /// What becomes of it.
    pub effect: Effect,
}

/// What becomes of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The driver itself reads it ([`super::options`]).
    Driver,
    /// Another name of this option. All that is judged and passed on has that one: otherwise a policy about one name could
    /// be got around with the other.
    Means(&'static str),
    /// The opposite of this flag, for the same reason.
    MeansNot(&'static str),
    /// Another way to say this option with this value.
    MeansValue(&'static str, &'static str),
    /// Several options at once, where they are not given themselves.
    MeansAll(&'static [&'static str]),
    /// `-o name[=value]` for sshfs.
    Sshfs(Value),
    /// `-o Name=value`, which sshfs passes to ssh.
    Ssh(Value),
    /// An option of mount(2). The daemon makes the mount, sshfs never sees it.
    Kernel(Value),
    /// Accepted and without effect, for a reason that harms nobody.
    NoEffect,
    /// Refused with this reason, unless the administrator allows it in config.toml; then sshfs gets it.
    Gated(&'static str),
    /// Refused with this reason, always: it cannot work here.
    Impossible(&'static str),
}

/// What an option's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// None: the option is there or not. `true` and `false` are understood.
    Flag,
    /// A whole number from 0 to 2^32 - 1.
    Number,
    /// A number of seconds, possibly with a fraction.
    Seconds,
    /// An octal file mode.
    Octal,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One or more of these words with colons between them.
    ColonList(&'static [&'static str]),
    /// A word that ssh reads: letters, digits and the punctuation of its lists. No blanks, quotes, `%` or `$`.
    Word,
    /// An SELinux context.
    Context,
    /// `[user@]host[:port]`, comma separated. ssh hands it to a shell, so nothing else may be in it.
    Jump,
    /// A program or subsystem on the server.
    RemoteProgram,
}

const YES_NO: Value = Value::OneOf(&["yes", "no"]);
const RUNS_A_PROGRAM: &str = "it runs a program on the Docker host";
const WEAKENS_HOST_KEYS: &str = "host keys are always verified; pin the server's key with 'host_key', or let the administrator put it into \
     /etc/sshfs-docker/known_hosts";
const SHARES_CONNECTIONS: &str = "connections are not shared between volumes";
const HOST_FILE: &str = "it names a file of the Docker host; the administrator can set it for a host in /etc/sshfs-docker/ssh_config";
const FUSE2: &str = "sshfs 3 no longer has it; leave it out";
const NOT_READ: &str = "sshfs leaves it to libfuse and does not take it; leave it out";
const STDIN_IS_TAKEN: &str = "the standard input of sshfs is the FUSE device here; use 'password_file'";
const NOT_PASSED_ON: &str = "sshfs does not pass it on to ssh; the administrator can set it for a host in /etc/sshfs-docker/ssh_config";
const NOT_OPENSSH_ANY_MORE: &str = "OpenSSH no longer has it; leave it out";

const fn entry(name: &'static str, effect: Effect) -> Entry {
    Entry { name, effect }
}

/// What `dcache_timeout` sets (`cache_opts` in cache.c of sshfs 3.7).
const CACHE_TIMEOUTS: &[&str] = &["dcache_dir_timeout", "dcache_link_timeout", "dcache_stat_timeout"];

use Effect::{
    Driver, Gated, Impossible, Kernel, Means, MeansAll, MeansNot, MeansValue, NoEffect, Ssh, Sshfs,
};
use Value::{ColonList, Context, Flag, Jump, Number, Octal, OneOf, RemoteProgram, Seconds, Word};

/// The catalogue, grouped by who reads the option.
pub const CATALOGUE: &[Entry] = &[
    // The driver's own.
    entry("sshcmd", Driver),
    entry("port", Driver),
    entry("identity_file", Driver),
    entry("IdentityFile", Means("identity_file")),
    entry("IdentityAgent", Driver),
    entry("password_file", Driver),
    entry("password", Driver),
    entry("host_key", Driver),
    entry("read_ahead_kb", Driver),
    entry("hard", Driver),
    entry("StrictHostKeyChecking", Driver),
    // mount(2). allow_other is always on: containers have other users than root.
    entry("allow_other", NoEffect),
    entry("ro", Kernel(Flag)),
    entry("rw", MeansNot("ro")),
    entry("noexec", Kernel(Flag)),
    entry("exec", MeansNot("noexec")),
    entry("nosuid", NoEffect),
    entry("nodev", NoEffect),
    entry("noatime", Kernel(Flag)),
    entry("nodiratime", Kernel(Flag)),
    entry("relatime", NoEffect),
    entry("sync", Kernel(Flag)),
    entry("dirsync", Kernel(Flag)),
    entry("default_permissions", Kernel(Flag)),
    entry("context", Kernel(Context)),
    entry("fscontext", Kernel(Context)),
    entry("defcontext", Kernel(Context)),
    entry("rootcontext", Kernel(Context)),
    entry("suid", Impossible("a remote server must not hand set-user-ID programs to containers")),
    entry("dev", Impossible("a remote server must not hand device files to containers")),
    entry("allow_root", Impossible("containers have other users than root; access is open to all of them")),
    entry(
        "auto_unmount",
        Impossible("the driver unmounts; a mountpoint must never turn into a local directory"),
    ),
    entry("fsname", Impossible("the driver sets it, so that mount(8) shows the remote")),
    entry("subtype", Impossible("the driver sets it, so that mount(8) shows fuse.sshfs")),
    // Words of /etc/fstab, which sshfs ignores too.
    entry("auto", NoEffect),
    entry("noauto", NoEffect),
    entry("user", NoEffect),
    entry("nouser", NoEffect),
    entry("users", NoEffect),
    entry("_netdev", NoEffect),
    // sshfs(1): connection.
    entry("reconnect", Sshfs(Flag)),
    entry("delay_connect", Impossible("the driver would report a mount that was never tried")),
    entry("max_conns", Sshfs(Number)),
    entry("sftp_server", Sshfs(RemoteProgram)),
    entry("sshfs_sync", Sshfs(Flag)),
    entry("no_readahead", Sshfs(Flag)),
    entry("sync_readdir", Sshfs(Flag)),
    entry("sshfs_debug", Sshfs(Flag)),
    entry("debug", Sshfs(Flag)),
    entry("ssh_command", Gated(RUNS_A_PROGRAM)),
    entry("ssh_protocol", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry(
        "directport",
        Gated("it talks to the server without ssh: nothing is encrypted and nobody is verified"),
    ),
    entry("vsock", Impossible("the sandbox of the mount has no sockets of that kind")),
    entry("passive", Impossible(STDIN_IS_TAKEN)),
    entry("slave", Impossible(STDIN_IS_TAKEN)),
    entry("password_stdin", Impossible(STDIN_IS_TAKEN)),
    entry("no_check_root", Impossible("a missing remote directory must be an error at mount")),
    // sshfs(1): caches and transfer sizes. The names without 'd' are those of sshfs 2, which sshfs 3 still reads.
    entry("dir_cache", Sshfs(YES_NO)),
    entry("cache", Means("dir_cache")),
    entry("dcache_max_size", Sshfs(Number)),
    entry("dcache_timeout", MeansAll(CACHE_TIMEOUTS)),
    entry("dcache_stat_timeout", Sshfs(Number)),
    entry("dcache_link_timeout", Sshfs(Number)),
    entry("dcache_dir_timeout", Sshfs(Number)),
    entry("dcache_clean_interval", Sshfs(Number)),
    entry("dcache_min_clean_interval", Sshfs(Number)),
    entry("cache_timeout", MeansAll(CACHE_TIMEOUTS)),
    entry("cache_max_size", Means("dcache_max_size")),
    entry("cache_stat_timeout", Means("dcache_stat_timeout")),
    entry("cache_link_timeout", Means("dcache_link_timeout")),
    entry("cache_dir_timeout", Means("dcache_dir_timeout")),
    entry("cache_clean_interval", Means("dcache_clean_interval")),
    entry("cache_min_clean_interval", Means("dcache_min_clean_interval")),
    entry("direct_io", Sshfs(Flag)),
    entry("kernel_cache", Sshfs(Flag)),
    entry("auto_cache", Sshfs(Flag)),
    entry("noauto_cache", MeansNot("auto_cache")),
    entry("entry_timeout", Sshfs(Seconds)),
    entry("negative_timeout", Sshfs(Seconds)),
    entry("attr_timeout", Sshfs(Seconds)),
    entry("ac_attr_timeout", Sshfs(Seconds)),
    // libfuse's fuse.c writes -1 for it into the number of 'remember'.
    entry("noforget", MeansValue("remember", "4294967295")),
    entry("remember", Sshfs(Number)),
    entry("max_read", Sshfs(Number)),
    entry("max_write", Sshfs(Number)),
    entry("max_background", Impossible(FUSE2)),
    entry("congestion_threshold", Impossible(FUSE2)),
    entry("clone_fd", Impossible("it needs /dev/fuse, which the sandbox of the mount does not have")),
    entry("max_idle_threads", Impossible(NOT_READ)),
    entry("max_threads", Impossible(NOT_READ)),
    entry("intr", Impossible(FUSE2)),
    // sshfs(1): names, owners, modes, links.
    entry("uid", Sshfs(Number)),
    entry("gid", Sshfs(Number)),
    entry("umask", Sshfs(Octal)),
    entry("idmap", Sshfs(OneOf(&["none", "user", "file"]))),
    entry("uidfile", Gated(HOST_FILE)),
    entry("gidfile", Gated(HOST_FILE)),
    entry("nomap", Sshfs(OneOf(&["ignore", "error"]))),
    entry("transform_symlinks", Sshfs(Flag)),
    entry("follow_symlinks", Sshfs(Flag)),
    entry("contain_symlinks", Sshfs(Flag)),
    entry("no_contain_symlinks", MeansNot("contain_symlinks")),
    entry("disable_hardlink", Sshfs(Flag)),
    entry(
        "workaround",
        Sshfs(ColonList(&[
            "none",
            "rename",
            "norename",
            "renamexdev",
            "norenamexdev",
            "truncate",
            "notruncate",
            "buflimit",
            "nobuflimit",
            "fstat",
            "nofstat",
            "createmode",
            "nocreatemode",
        ])),
    ),
    entry("modules", Gated("it loads a library into sshfs")),
    // libfuse 2 only.
    entry("big_writes", Impossible(FUSE2)),
    entry("nonempty", Impossible(FUSE2)),
    entry("large_read", Impossible(FUSE2)),
    entry("hard_remove", Impossible(FUSE2)),
    entry("use_ino", Impossible(FUSE2)),
    entry("readdir_ino", Impossible(FUSE2)),
    // ssh_config(5).
    entry("AddressFamily", Ssh(OneOf(&["any", "inet", "inet6"]))),
    entry("BindAddress", Ssh(Word)),
    entry("BindInterface", Ssh(Word)),
    entry("CheckHostIP", Ssh(YES_NO)),
    entry("Ciphers", Ssh(Word)),
    entry("Compression", Ssh(YES_NO)),
    entry("ConnectionAttempts", Ssh(Number)),
    entry("ConnectTimeout", Ssh(Number)),
    entry("FingerprintHash", Ssh(OneOf(&["md5", "sha256"]))),
    entry("GSSAPIAuthentication", Ssh(YES_NO)),
    entry("HostKeyAlgorithms", Ssh(Word)),
    entry("HostKeyAlias", Ssh(Word)),
    entry("HostName", Ssh(Word)),
    entry("IdentitiesOnly", Ssh(YES_NO)),
    entry("IPQoS", Ssh(Word)),
    entry("KbdInteractiveAuthentication", Ssh(YES_NO)),
    entry("ChallengeResponseAuthentication", Means("KbdInteractiveAuthentication")),
    entry("KexAlgorithms", Ssh(Word)),
    entry("LogLevel", Ssh(OneOf(&["INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"]))),
    entry("MACs", Ssh(Word)),
    entry("NumberOfPasswordPrompts", Ssh(Number)),
    entry("PasswordAuthentication", Ssh(YES_NO)),
    entry("PreferredAuthentications", Ssh(Word)),
    entry("ProxyJump", Ssh(Jump)),
    entry("PubkeyAcceptedKeyTypes", Ssh(Word)),
    entry("PubkeyAuthentication", Ssh(YES_NO)),
    entry("RekeyLimit", Ssh(Word)),
    entry("ServerAliveCountMax", Ssh(Number)),
    entry("ServerAliveInterval", Ssh(Number)),
    entry("TCPKeepAlive", Ssh(YES_NO)),
    // ssh_config(5): run something, or weaken what the driver promises.
    entry("ProxyCommand", Gated(RUNS_A_PROGRAM)),
    entry("ProxyUseFdpass", Gated(RUNS_A_PROGRAM)),
    entry("LocalCommand", Gated(RUNS_A_PROGRAM)),
    entry("PermitLocalCommand", Gated(RUNS_A_PROGRAM)),
    entry("KnownHostsCommand", Impossible(NOT_PASSED_ON)),
    entry("PKCS11Provider", Gated("it loads a library into ssh")),
    entry("SmartcardDevice", Means("PKCS11Provider")),
    entry("SecurityKeyProvider", Impossible(NOT_PASSED_ON)),
    entry("Include", Impossible(NOT_PASSED_ON)),
    entry("Match", Impossible(NOT_PASSED_ON)),
    entry("UserKnownHostsFile", Gated(WEAKENS_HOST_KEYS)),
    entry("GlobalKnownHostsFile", Gated(WEAKENS_HOST_KEYS)),
    entry("NoHostAuthenticationForLocalhost", Gated(WEAKENS_HOST_KEYS)),
    entry("VerifyHostKeyDNS", Gated(WEAKENS_HOST_KEYS)),
    entry("UpdateHostKeys", Gated(WEAKENS_HOST_KEYS)),
    entry("RevokedHostKeys", Gated(HOST_FILE)),
    entry("CertificateFile", Gated(HOST_FILE)),
    entry("ControlMaster", Gated(SHARES_CONNECTIONS)),
    entry("ControlPath", Gated(SHARES_CONNECTIONS)),
    entry("ControlPersist", Gated(SHARES_CONNECTIONS)),
    entry("BatchMode", Impossible("the driver sets it: nobody is there to answer a question")),
    entry("SendEnv", Impossible("the environment of the mount is empty")),
    entry(
        "id_rsa",
        Impossible("Docker shows every option in clear; put the key into a file and use 'identity_file'"),
    ),
    // ssh protocol 1.
    entry("Cipher", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry("CompressionLevel", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry("RhostsRSAAuthentication", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry("RSAAuthentication", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry("UsePrivilegedPort", Impossible(NOT_OPENSSH_ANY_MORE)),
];

/// About as long as names are.
pub const LONGEST_NAME: usize = 40;

/// The longest name or value, in bytes, lists of options included: room for a path of 4095 bytes (`PATH_MAX`) with user and
/// host before it, and for the largest public keys.
pub const LONGEST_VALUE: usize = 8192;

/// The most hosts in a `ProxyJump`: each is judged by the policy, at each mount.
const MOST_HOPS: usize = 16;

/// The entry with this name, whatever its case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
}

/// The names that options have once they are read ([`super::spelling`]) where this entry is meant.
#[must_use]
pub fn names_meant(entry: &'static Entry) -> Vec<&'static str> {
    match entry.effect {
        Means(name) | MeansNot(name) | MeansValue(name, _) => vec![name],
        MeansAll(names) => names.to_vec(),
        _ => vec![entry.name],
    }
}

/// Whether a comma in the value of this option is the end of it, and another option follows.
#[must_use]
pub fn comma_separates(entry: &'static Entry) -> bool {
    match names_meant(entry).first().and_then(|name| find(name)).map(|entry| entry.effect) {
        Some(Sshfs(value) | Ssh(value) | Kernel(value)) => !value.may_contain_comma(),
        Some(NoEffect) => true,
        _ => false,
    }
}

/// The name under which sshfs switches off a flag that it may have on by itself.
#[must_use]
pub fn opposite_of_sshfs(name: &str) -> Option<&'static str> {
    let flag = find(name).filter(|entry| matches!(entry.effect, Sshfs(Flag)))?;
    let opposite = CATALOGUE.iter().find(|entry| entry.effect == MeansNot(flag.name))?;
    Some(opposite.name)
}

/// Whether an option makes the server's key count for less.
#[must_use]
pub fn weakens_host_keys(name: &str) -> bool {
    find(name).is_some_and(|entry| entry.effect == Gated(WEAKENS_HOST_KEYS))
}

/// The hosts of a `ProxyJump` value ([`Value::Jump`]), without users, ports and brackets.
#[must_use]
pub fn jump_hosts(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|hop| {
            let host = hop.rsplit_once('@').map_or(hop, |(_, host)| host);
            match host.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
                Some((address, _)) => address.to_owned(),
                None => host.split(':').next().unwrap_or_default().to_owned(),
            }
        })
        .collect()
}

/// The known name nearest to a mistyped one, if one is near enough to be what was meant.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    // The distance takes time and memory for each pair of letters.
    if name.len() > 2 * LONGEST_NAME {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let distance = |entry: &Entry| strsim::damerau_levenshtein(&name, &entry.name.to_ascii_lowercase());
    let offered = CATALOGUE.iter().filter(|e| !matches!(e.effect, Gated(_) | Impossible(_)));
    let (found, nearest) = offered.map(|entry| (distance(entry), entry.name)).min()?;
    let near_enough = 1 + name.len() / 4;
    (found <= near_enough).then_some(nearest)
}

impl Value {
    /// Whether `text` is such a value; if not, what it would have to be.
    pub fn check(self, text: &str) -> Result<(), String> {
        let of = |allowed: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || allowed.as_bytes().contains(&b))
        };
        let (valid, expected) = match self {
            Self::Flag => (text.is_empty(), "no value".to_owned()),
            Self::Number => (digits(text) && text.parse::<u32>().is_ok(), "a whole number".to_owned()),
            Self::Seconds => (seconds(text), "a number of seconds".to_owned()),
            Self::Octal => (
                digits(text) && text.len() <= 5 && text.bytes().all(|b| b < b'8'),
                "an octal mode such as 022".to_owned(),
            ),
            Self::OneOf(words) => (words.contains(&text), format!("one of {}", words.join(", "))),
            Self::ColonList(words) => (
                text.split(':').all(|word| words.contains(&word)),
                format!("a list of {} with ':' between", words.join(", ")),
            ),
            Self::Word => (of("@+^._:,/*?=![]-"), "a word of letters, digits and -+^*?!@._:,/=[]".to_owned()),
            Self::Context => (of("_.:,-"), "an SELinux context".to_owned()),
            // ssh takes brackets away before it hands the host on, so '-' must not be the first in there either.
            Self::Jump => (
                of("@._:,[]-")
                    && [",-", "@-", "[-"].iter().all(|option| !text.contains(option))
                    && text.split(',').count() <= MOST_HOPS,
                format!("[user@]host[:port], or up to {MOST_HOPS} of them with ',' between"),
            ),
            Self::RemoteProgram => {
                (of("/ ._-"), "a subsystem or a program on the server, without shell characters".to_owned())
            }
        };
        if valid { Ok(()) } else { Err(expected) }
    }

    /// Whether a comma is part of the value. Elsewhere it separates options, as it does in `mount -o`.
    #[must_use]
    pub fn may_contain_comma(self) -> bool {
        matches!(self, Self::Word | Self::Context | Self::Jump)
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn seconds(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    digits(whole) && digits(fraction) && text.len() <= 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_in_any_case_but_for_our_alias() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|e| e.name.to_ascii_lowercase()).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn what_an_option_means_is_one_that_means_itself() {
        for entry in CATALOGUE {
            for name in names_meant(entry) {
                assert_eq!(find(name).map(names_meant), Some(vec![name]), "{}", entry.name);
            }
            if let MeansNot(name) = entry.effect {
                assert!(matches!(find(name).unwrap().effect, Sshfs(Flag) | Kernel(Flag)), "{}", entry.name);
            }
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("recconect"), Some("reconnect"));
        assert_eq!(nearest("identityfile_"), Some("IdentityFile"));
        assert_eq!(nearest("ServerAliveIntervall"), Some("ServerAliveInterval"));
        assert_eq!(nearest("passwd"), Some("password"));
        assert_eq!(nearest("xyzzy"), None);
        assert_eq!(nearest("ProxyComand"), None, "a refused option must not be suggested");
    }

    #[test]
    fn values_are_checked() {
        let hops = |count| vec!["a"; count].join(",");
        assert!(
            Value::Jump.check(&hops(MOST_HOPS)).is_ok() && Value::Jump.check(&hops(MOST_HOPS + 1)).is_err()
        );
        for (value, good, bad) in [
            (Value::Flag, &[""][..], &["x"][..]),
            (Value::Number, &["0", "4294967295"], &["", "-1", "+1", "x", "4294967296"]),
            (Value::Seconds, &["1", "0.5"], &["", ".", "1.", "-1", "1e3", "inf"]),
            (Value::Octal, &["022", "0777"], &["", "8", "0o22", "1234567"]),
            (
                Value::Word,
                &["^aes128-gcm@openssh.com,aes256-ctr", "*"],
                &["", "-x", "a b", "a\"b", "%h", "$x", "a\nb"],
            ),
            (Value::Context, &["system_u:object_r:svirt_t:s0:c1,c2"], &["", "a b", "\"x\""]),
            (
                Value::Jump,
                &["a@jump:22,[::1]:22"],
                &["-oX", "a,-oX", "a@-x", "[-x]", "a@[-x]:1", "$(id)", "a b", "a;b", "a`b`"],
            ),
            (
                Value::RemoteProgram,
                &["/usr/lib/sftp-server", "sudo /usr/lib/sftp-server", "sftp"],
                &["-x", "a;b", "$(x)"],
            ),
        ] {
            for text in good {
                assert_eq!(value.check(text), Ok(()), "{value:?} {text:?}");
            }
            for text in bad {
                assert!(value.check(text).is_err(), "{value:?} {text:?}");
            }
        }
    }
}
