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
    /// What it is for, in one line of docker-volume-sshfs(7); empty where the effect says it: another name, a refusal.
    pub about: &'static str,
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

const fn entry(name: &'static str, effect: Effect, about: &'static str) -> Entry {
    Entry { name, effect, about }
}

/// One whose effect says all there is to say.
const fn plain(name: &'static str, effect: Effect) -> Entry {
    entry(name, effect, "")
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
    entry("sshcmd", Driver, "the server and the directory on it"),
    entry("port", Driver, "the TCP port of the server"),
    entry("identity_file", Driver, "the private key to log in with"),
    plain("IdentityFile", Means("identity_file")),
    entry("IdentityAgent", Driver, "the socket of an ssh agent that has the keys"),
    entry(
        "password_file",
        Driver,
        "a file with the password, or with 'identity_file' the passphrase of the key",
    ),
    entry("password", Driver, "the password itself, which Docker stores and shows in clear"),
    entry("host_key", Driver, "the public key that the server must show"),
    entry(
        "read_ahead_kb",
        Driver,
        "how much the kernel reads ahead, 'auto' by the round trip; mount.read_ahead_kb of config.toml unless set",
    ),
    entry("hard", Driver, "accesses wait for a dark server; ServerAliveCountMax is then 90 unless set"),
    entry(
        "StrictHostKeyChecking",
        Driver,
        "'accept-new' stores the first key of a server, 'yes' wants a known one, 'no' needs the administrator",
    ),
    // mount(2). allow_other is always on: containers have other users than root.
    entry("allow_other", NoEffect, "always on: containers have other users than root"),
    entry("ro", Kernel(Flag), "read-only, for every container"),
    plain("rw", MeansNot("ro")),
    entry("noexec", Kernel(Flag), "no program on it can be run"),
    plain("exec", MeansNot("noexec")),
    entry("nosuid", NoEffect, "always on: set-user-ID bits of the server count for nothing"),
    entry("nodev", NoEffect, "always on: device files of the server are none here"),
    entry("noatime", Kernel(Flag), "reading does not change access times"),
    entry("nodiratime", Kernel(Flag), "reading a directory does not change its access time"),
    entry("relatime", NoEffect, "what Linux does by itself"),
    entry("sync", Kernel(Flag), "writes go to the server before they return, as with O_SYNC"),
    entry("dirsync", Kernel(Flag), "the same for changes of directories"),
    entry(
        "default_permissions",
        Kernel(Flag),
        "the kernel checks owners and modes as they are shown, before the server does",
    ),
    entry("context", Kernel(Context), "the SELinux context of all files"),
    entry("fscontext", Kernel(Context), "the SELinux context of the file system itself"),
    entry("defcontext", Kernel(Context), "the SELinux context of files without one"),
    entry("rootcontext", Kernel(Context), "the SELinux context of the top directory"),
    plain("suid", Impossible("a remote server must not hand set-user-ID programs to containers")),
    plain("dev", Impossible("a remote server must not hand device files to containers")),
    plain("allow_root", Impossible("containers have other users than root; access is open to all of them")),
    plain(
        "auto_unmount",
        Impossible("the driver unmounts; a mountpoint must never turn into a local directory"),
    ),
    plain("fsname", Impossible("the driver sets it, so that mount(8) shows the remote")),
    plain("subtype", Impossible("the driver sets it, so that mount(8) shows fuse.sshfs")),
    // Words of /etc/fstab, which sshfs ignores too.
    entry("auto", NoEffect, "a word of fstab(5)"),
    entry("noauto", NoEffect, "a word of fstab(5)"),
    entry("user", NoEffect, "a word of fstab(5)"),
    entry("nouser", NoEffect, "a word of fstab(5)"),
    entry("users", NoEffect, "a word of fstab(5)"),
    entry("_netdev", NoEffect, "a word of fstab(5)"),
    // sshfs(1): connection.
    entry("reconnect", Sshfs(Flag), "connect again at the next access when the connection has broken"),
    plain("delay_connect", Impossible("the driver would report a mount that was never tried")),
    entry("max_conns", Sshfs(Number), "how many connections the mount uses, each an ssh of its own"),
    entry("sftp_server", Sshfs(RemoteProgram), "the SFTP server to start there: a subsystem or a program"),
    entry("sshfs_sync", Sshfs(Flag), "each write waits for the server's answer"),
    entry("no_readahead", Sshfs(Flag), "sshfs asks for no more than was read"),
    entry("sync_readdir", Sshfs(Flag), "the parts of a directory are asked for one after the other"),
    entry("sshfs_debug", Sshfs(Flag), "sshfs logs what it asks the server"),
    entry("debug", Sshfs(Flag), "sshfs logs every call of the kernel"),
    entry("ssh_command", Gated(RUNS_A_PROGRAM), "a program to run in the place of ssh"),
    plain("ssh_protocol", Impossible(NOT_OPENSSH_ANY_MORE)),
    entry(
        "directport",
        Gated("it talks to the server without ssh: nothing is encrypted and nobody is verified"),
        "a TCP port of the server where an SFTP server answers without ssh",
    ),
    plain("vsock", Impossible("the sandbox of the mount has no sockets of that kind")),
    plain("passive", Impossible(STDIN_IS_TAKEN)),
    plain("slave", Impossible(STDIN_IS_TAKEN)),
    plain("password_stdin", Impossible(STDIN_IS_TAKEN)),
    plain("no_check_root", Impossible("a missing remote directory must be an error at mount")),
    // sshfs(1): caches and transfer sizes. The names without 'd' are those of sshfs 2, which sshfs 3 still reads.
    entry("dir_cache", Sshfs(YES_NO), "whether sshfs remembers names and attributes; 'yes' unless set"),
    plain("cache", Means("dir_cache")),
    entry("dcache_max_size", Sshfs(Number), "how many entries it remembers at most"),
    plain("dcache_timeout", MeansAll(CACHE_TIMEOUTS)),
    entry("dcache_stat_timeout", Sshfs(Number), "how many seconds it remembers attributes; 20 unless set"),
    entry(
        "dcache_link_timeout",
        Sshfs(Number),
        "how many seconds it remembers targets of links; 20 unless set",
    ),
    entry("dcache_dir_timeout", Sshfs(Number), "how many seconds it remembers names in a directory"),
    entry("dcache_clean_interval", Sshfs(Number), "how often, in seconds, it forgets what is old"),
    entry("dcache_min_clean_interval", Sshfs(Number), "the same for when there is no more room"),
    plain("cache_timeout", MeansAll(CACHE_TIMEOUTS)),
    plain("cache_max_size", Means("dcache_max_size")),
    plain("cache_stat_timeout", Means("dcache_stat_timeout")),
    plain("cache_link_timeout", Means("dcache_link_timeout")),
    plain("cache_dir_timeout", Means("dcache_dir_timeout")),
    plain("cache_clean_interval", Means("dcache_clean_interval")),
    plain("cache_min_clean_interval", Means("dcache_min_clean_interval")),
    entry("direct_io", Sshfs(Flag), "file content is not cached by the kernel"),
    entry("kernel_cache", Sshfs(Flag), "the kernel keeps the content of a file when that is opened again"),
    entry("auto_cache", Sshfs(Flag), "the same, unless its size or time of change is another"),
    plain("noauto_cache", MeansNot("auto_cache")),
    entry("entry_timeout", Sshfs(Seconds), "how many seconds the kernel remembers names"),
    entry(
        "negative_timeout",
        Sshfs(Seconds),
        "how many seconds the kernel remembers that a name does not exist",
    ),
    entry("attr_timeout", Sshfs(Seconds), "how many seconds the kernel remembers attributes"),
    entry("ac_attr_timeout", Sshfs(Seconds), "how many seconds auto_cache takes attributes for current"),
    // libfuse's fuse.c writes -1 for it into the number of 'remember'.
    plain("noforget", MeansValue("remember", "4294967295")),
    entry(
        "remember",
        Sshfs(Number),
        "how many seconds libfuse remembers files that the kernel has forgotten",
    ),
    entry("max_read", Sshfs(Number), "the most bytes in one read"),
    entry("max_write", Sshfs(Number), "the most bytes in one write"),
    plain("max_background", Impossible(FUSE2)),
    plain("congestion_threshold", Impossible(FUSE2)),
    plain("clone_fd", Impossible("it needs /dev/fuse, which the sandbox of the mount does not have")),
    plain("max_idle_threads", Impossible(NOT_READ)),
    plain("max_threads", Impossible(NOT_READ)),
    plain("intr", Impossible(FUSE2)),
    // sshfs(1): names, owners, modes, links.
    entry("uid", Sshfs(Number), "the owner that all files show"),
    entry("gid", Sshfs(Number), "the group that all files show"),
    entry("umask", Sshfs(Octal), "all files show the mode 0777 without these bits"),
    entry(
        "idmap",
        Sshfs(OneOf(&["none", "user", "file"])),
        "'user' shows files of the remote user as those of root (or of 'uid', 'gid'); 'file' asks 'uidfile' and 'gidfile'",
    ),
    entry("uidfile", Gated(HOST_FILE), "user names and their numbers, for 'idmap=file'"),
    entry("gidfile", Gated(HOST_FILE), "group names and their numbers, for 'idmap=file'"),
    entry(
        "nomap",
        Sshfs(OneOf(&["ignore", "error"])),
        "what becomes of owners that 'idmap=file' does not know",
    ),
    entry("transform_symlinks", Sshfs(Flag), "absolute links of the server become relative ones"),
    entry(
        "follow_symlinks",
        Sshfs(Flag),
        "links are followed on the server and look like what they point to",
    ),
    entry(
        "contain_symlinks",
        Sshfs(Flag),
        "links that are absolute or contain '..' cannot be followed; where sshfs has it, it is on",
    ),
    plain("no_contain_symlinks", MeansNot("contain_symlinks")),
    entry("disable_hardlink", Sshfs(Flag), "no hard links can be made"),
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
        "what sshfs does about servers that lack something",
    ),
    entry("modules", Gated("it loads a library into sshfs"), "a libfuse module to put in between"),
    // libfuse 2 only.
    plain("big_writes", Impossible(FUSE2)),
    plain("nonempty", Impossible(FUSE2)),
    plain("large_read", Impossible(FUSE2)),
    plain("hard_remove", Impossible(FUSE2)),
    plain("use_ino", Impossible(FUSE2)),
    plain("readdir_ino", Impossible(FUSE2)),
    // ssh_config(5).
    entry("AddressFamily", Ssh(OneOf(&["any", "inet", "inet6"])), "the kind of address to connect to"),
    entry("BindAddress", Ssh(Word), "the address of this host to connect from"),
    entry("BindInterface", Ssh(Word), "the network interface to connect from"),
    entry("CheckHostIP", Ssh(YES_NO), "whether the key must also be that of the address"),
    entry("Ciphers", Ssh(Word), "the ciphers to offer, best first"),
    entry("Compression", Ssh(YES_NO), "whether the connection is compressed"),
    entry("ConnectionAttempts", Ssh(Number), "how often to try before giving up"),
    entry("ConnectTimeout", Ssh(Number), "how many seconds a server may take to accept a connection"),
    entry("FingerprintHash", Ssh(OneOf(&["md5", "sha256"])), "how fingerprints are shown"),
    entry("GSSAPIAuthentication", Ssh(YES_NO), "whether to log in with Kerberos"),
    entry("HostKeyAlgorithms", Ssh(Word), "the kinds of host keys to accept, best first"),
    entry(
        "HostKeyAlias",
        Ssh(Word),
        "the name that the server's key is known by; that key must be known or pinned",
    ),
    entry("HostName", Ssh(Word), "the name or address to connect to"),
    entry(
        "IdentitiesOnly",
        Ssh(YES_NO),
        "whether only the key of 'identity_file' is offered; with that option it is",
    ),
    entry("IPQoS", Ssh(Word), "the class of service of the packets"),
    entry(
        "KbdInteractiveAuthentication",
        Ssh(YES_NO),
        "whether to answer the server's questions with the password",
    ),
    plain("ChallengeResponseAuthentication", Means("KbdInteractiveAuthentication")),
    entry("KexAlgorithms", Ssh(Word), "the key exchanges to offer, best first"),
    entry(
        "LogLevel",
        Ssh(OneOf(&["INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"])),
        "how much ssh says in the journal of the mount",
    ),
    entry("MACs", Ssh(Word), "the integrity checks to offer, best first"),
    entry("NumberOfPasswordPrompts", Ssh(Number), "how often the password is given; once unless set"),
    entry("PasswordAuthentication", Ssh(YES_NO), "whether to log in with the password"),
    entry("PreferredAuthentications", Ssh(Word), "the ways to log in, in the order to try them"),
    entry("ProxyJump", Ssh(Jump), "the hosts to go through, in this order"),
    entry("PubkeyAcceptedKeyTypes", Ssh(Word), "the kinds of keys to log in with"),
    entry("PubkeyAuthentication", Ssh(YES_NO), "whether to log in with a key"),
    entry("RekeyLimit", Ssh(Word), "how much data and time one session key is used for"),
    entry(
        "ServerAliveCountMax",
        Ssh(Number),
        "how many times a silent server is asked before the connection is given up",
    ),
    entry("ServerAliveInterval", Ssh(Number), "after how many seconds of silence a server is asked"),
    entry("TCPKeepAlive", Ssh(YES_NO), "whether TCP looks after the connection, too"),
    // ssh_config(5): run something, or weaken what the driver promises.
    entry("ProxyCommand", Gated(RUNS_A_PROGRAM), "a program to reach the server through"),
    entry("ProxyUseFdpass", Gated(RUNS_A_PROGRAM), "that program passes on a connection instead of data"),
    entry("LocalCommand", Gated(RUNS_A_PROGRAM), "a program to run once connected"),
    entry("PermitLocalCommand", Gated(RUNS_A_PROGRAM), "whether that program is run"),
    plain("KnownHostsCommand", Impossible(NOT_PASSED_ON)),
    entry("PKCS11Provider", Gated("it loads a library into ssh"), "a library that reads smart cards"),
    plain("SmartcardDevice", Means("PKCS11Provider")),
    plain("SecurityKeyProvider", Impossible(NOT_PASSED_ON)),
    plain("Include", Impossible(NOT_PASSED_ON)),
    plain("Match", Impossible(NOT_PASSED_ON)),
    entry("UserKnownHostsFile", Gated(WEAKENS_HOST_KEYS), "another file of learnt host keys"),
    entry("GlobalKnownHostsFile", Gated(WEAKENS_HOST_KEYS), "another file of the administrator's host keys"),
    entry(
        "NoHostAuthenticationForLocalhost",
        Gated(WEAKENS_HOST_KEYS),
        "host keys of this host are not checked",
    ),
    entry("VerifyHostKeyDNS", Gated(WEAKENS_HOST_KEYS), "host keys are looked up in DNS"),
    entry("UpdateHostKeys", Gated(WEAKENS_HOST_KEYS), "a server may add keys to the learnt ones"),
    entry("RevokedHostKeys", Gated(HOST_FILE), "a file of host keys that are never accepted"),
    entry("CertificateFile", Gated(HOST_FILE), "a certificate for the key of 'identity_file'"),
    entry("ControlMaster", Gated(SHARES_CONNECTIONS), "one connection for several mounts"),
    entry("ControlPath", Gated(SHARES_CONNECTIONS), "the socket of that connection"),
    entry("ControlPersist", Gated(SHARES_CONNECTIONS), "how long that connection stays without a mount"),
    plain("BatchMode", Impossible("the driver sets it: nobody is there to answer a question")),
    plain("SendEnv", Impossible("the environment of the mount is empty")),
    plain(
        "id_rsa",
        Impossible("Docker shows every option in clear; put the key into a file and use 'identity_file'"),
    ),
    // ssh protocol 1.
    plain("Cipher", Impossible(NOT_OPENSSH_ANY_MORE)),
    plain("CompressionLevel", Impossible(NOT_OPENSSH_ANY_MORE)),
    plain("RhostsRSAAuthentication", Impossible(NOT_OPENSSH_ANY_MORE)),
    plain("RSAAuthentication", Impossible(NOT_OPENSSH_ANY_MORE)),
    plain("UsePrivilegedPort", Impossible(NOT_OPENSSH_ANY_MORE)),
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
    fn what_an_option_is_for_is_said_once_and_in_one_line() {
        for entry in CATALOGUE {
            let says_itself =
                names_meant(entry) != [entry.name] || matches!(entry.effect, MeansAll(_) | Impossible(_));
            assert_eq!(entry.about.is_empty(), says_itself, "{}", entry.name);
            assert!(entry.about.len() <= 120 && !entry.about.ends_with('.'), "{}", entry.name);
        }
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
