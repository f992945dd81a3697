//! What ssh will check the keys of a server against, asked of ssh itself (`ssh -G`) before `connect` starts it.
//!
//! ssh takes a `known_hosts` file that it cannot open for one that is not there (hostfile.c, `load_hostkeys`), and with
//! `accept-new` any key is then the first one. So each file is tried first, as the user and in the sandbox of ssh.

use crate::diagnosis::fingerprint;
use nix::unistd::{AccessFlags, Uid, User, access};
use std::{
    cell::OnceCell,
    collections::HashMap,
    ffi::{OsStr, OsString},
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// More than that is no `known_hosts` file.
const LARGEST: u64 = 1024 * 1024;

/// The servers of a connection: the last one is that of the volume, those before it are jump hosts.
#[derive(Clone, Debug, Default)]
pub struct Way(Vec<Server>);

/// How the key of one server is checked.
#[derive(Clone, Debug)]
struct Server {
    /// As ssh writes it into a `known_hosts` file.
    name: String,
    checking: Checking,
    /// Learnt ones are added to the first.
    user_files: Vec<PathBuf>,
    global_files: Vec<PathBuf>,
    /// What [`Server::is_vouched_for`] has found.
    vouched_for: OnceCell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checking {
    Known,
    KnownOrNew,
    None,
}

/// A `known_hosts` file with which ssh would accept a key that it must not. Its sentence is what the user reads.
#[derive(Debug)]
pub struct Unusable {
    path: PathBuf,
    needed: Use,
    source: io::Error,
}

#[derive(Clone, Copy, Debug)]
enum Use {
    Read,
    Add,
}

impl Way {
    /// What ssh would do with these arguments. What it refuses to tell, it would refuse to do, and says why then.
    pub fn of(arguments: &[OsString]) -> io::Result<Self> {
        let Some(settings) = ask(arguments.iter().map(OsString::as_os_str))? else {
            return Ok(Self::default());
        };
        let configuration = arguments.iter().find(|argument| argument.as_bytes().starts_with(b"-F"));
        let jumps = settings.get("proxyjump").filter(|jumps| *jumps != "none");
        let mut servers = Vec::new();
        for jump in jumps.into_iter().flat_map(|jumps| jumps.split(',')) {
            let url = if jump.contains("://") { jump.to_owned() } else { format!("ssh://{jump}") };
            // All that ssh hands on to the ssh of a jump host.
            let handed_on = configuration.map(OsString::as_os_str).into_iter();
            let jump = ask(handed_on.chain([OsStr::new("--"), url.as_ref()]))?;
            servers.extend(jump.as_ref().map(Server::read));
        }
        servers.push(Server::read(&settings));
        Ok(Self(servers))
    }

    /// Tries the files.
    pub fn check(&self) -> Result<(), Unusable> {
        self.0.iter().filter(|server| server.checking != Checking::None).try_for_each(Server::check)
    }

    /// Options that go before all others.
    ///
    /// ssh accepts what any of its files has. Where the administrator's knows the server of the volume, it alone must
    /// count, also if what it has is a certificate authority, which with `accept-new` binds nobody.
    pub fn options(&self) -> io::Result<&'static [&'static str]> {
        match self.0.last() {
            Some(server) if server.checking != Checking::None && server.is_vouched_for()? => {
                Ok(&["-oStrictHostKeyChecking=yes", "-oUserKnownHostsFile=/dev/null"])
            }
            _ => Ok(&[]),
        }
    }

    /// The keys that ssh accepts of the server of the volume: fingerprint and kind of each. A server that nobody verifies
    /// has none.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.0.last().map(Server::keys).unwrap_or_default()
    }

    /// Whether one of the servers is known by this name.
    #[must_use]
    pub fn has_name(&self, name: &str) -> bool {
        self.0.iter().any(|server| server.name == name)
    }

    /// Whether keys are looked up in this file.
    #[must_use]
    pub fn has_file(&self, file: &Path) -> bool {
        self.0.iter().any(|server| server.files().any(|known| known == file))
    }
}

/// What ssh says about itself: a line for each setting, its name in lower case in front.
fn ask<'a>(arguments: impl Iterator<Item = &'a OsStr>) -> io::Result<Option<HashMap<String, String>>> {
    let mut ssh = Command::new("ssh");
    let (code, said) = output_of(ssh.arg("-G").args(arguments))?;
    let settings = said.lines().filter_map(|line| line.split_once(' '));
    Ok((code == 0).then(|| settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()))
}

/// The exit code of a program and what it writes. That it did not run to its end must not be taken for an answer.
fn output_of(command: &mut Command) -> io::Result<(i32, String)> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
    let code = output.status.code().ok_or_else(|| io::Error::other("a program that it needs was killed"))?;
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

impl Server {
    fn read(settings: &HashMap<String, String>) -> Self {
        let setting = |name| settings.get(name).map_or("", String::as_str);
        let files = |name| {
            setting(name).split(' ').filter(|file| !["", "none"].contains(file)).map(PathBuf::from).collect()
        };
        // sshconnect.c, get_hostfile_hostname_ipaddr().
        let name = match (setting("hostkeyalias"), setting("hostname").to_lowercase(), setting("port")) {
            ("", host, "22") => host,
            ("", host, port) => format!("[{host}]:{port}"),
            (alias, ..) => alias.to_owned(),
        };
        Self {
            name,
            checking: match setting("stricthostkeychecking") {
                "accept-new" => Checking::KnownOrNew,
                "false" | "no" | "off" => Checking::None,
                _ => Checking::Known,
            },
            user_files: files("userknownhostsfile"),
            global_files: files("globalknownhostsfile"),
            vouched_for: OnceCell::new(),
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.user_files.iter().chain(&self.global_files)
    }

    fn check(&self) -> Result<(), Unusable> {
        for file in self.files() {
            open(file).map(drop).or_else(if_there).map_err(unusable(file, Use::Read))?;
        }
        match self.user_files.first() {
            // A disk that is read-only must not end the mounts of servers that are known.
            Some(file) if self.checking == Checking::KnownOrNew => is_writable(file).or_else(|unusable| {
                if self.is_in(&self.user_files).unwrap_or(false) { Ok(()) } else { Err(unusable) }
            }),
            _ => Ok(()),
        }
    }

    /// Whether a file of the administrator has a key for the server, or for whom it may be certified by. That a key is
    /// revoked there says nothing about others. Looked up once: ssh goes on as it was started.
    fn is_vouched_for(&self) -> io::Result<bool> {
        if let Some(known) = self.vouched_for.get() {
            return Ok(*known);
        }
        let found = self.is_in(&self.global_files)?;
        Ok(*self.vouched_for.get_or_init(|| found))
    }

    fn is_in(&self, files: &[PathBuf]) -> io::Result<bool> {
        for file in files.iter().filter(|file| file.is_file()) {
            let found = self.find_in(file, "-F")?;
            let is_key = |line: &str| line.starts_with("# Host ") && !line.ends_with("REVOKED");
            if found.lines().any(is_key) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What ssh-keygen(1) finds of the server in a file; with `-lF` fingerprints in the place of keys.
    fn find_in(&self, file: &Path, option: &str) -> io::Result<String> {
        let mut keygen = Command::new("ssh-keygen");
        Ok(output_of(keygen.args([option, &self.name, "-f"]).arg(file))?.1)
    }

    fn keys(&self) -> Vec<String> {
        if self.checking == Checking::None {
            return Vec::new();
        }
        // Where the administrator vouches for the server, only his files count ([`Way::options`]).
        let vouched_for = self.is_vouched_for().unwrap_or(false);
        let files: Vec<_> =
            if vouched_for { self.global_files.iter().collect() } else { self.files().collect() };
        let found =
            files.into_iter().filter(|file| file.is_file()).flat_map(|file| self.find_in(file, "-lF"));
        let mut keys: Vec<_> = found.flat_map(|found| fingerprints(&found)).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

/// The keys in the output of `ssh-keygen -lF`: a line such as `storage ED25519 SHA256:…` for each, after one that begins with
/// `# Host ` and ends in what the key is, where it is none of the server.
fn fingerprints(found: &str) -> Vec<String> {
    let (mut keys, mut about) = (Vec::new(), "");
    for line in found.lines() {
        if line.starts_with('#') {
            about = line;
        } else if let [_, kind, digest, ..] = line.split_whitespace().collect::<Vec<_>>()[..] {
            let authority = if about.ends_with(" CA") { " certificate authority" } else { "" };
            let key = fingerprint(digest).filter(|_| !about.ends_with("REVOKED"));
            keys.extend(key.map(|key| format!("{key} ({kind}{authority})")));
        }
    }
    keys
}

/// Opens a file of host keys as ssh could, but waits for nobody.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

/// A line of a file of host keys, from 1.
#[must_use]
pub fn line(path: &Path, number: usize) -> Option<String> {
    let file = open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).lines().nth(number.checked_sub(1)?)?.to_owned())
}

/// Whether the first key of a server could be stored: it would be the first one each time.
fn is_writable(file: &Path) -> Result<(), Unusable> {
    match OpenOptions::new().append(true).custom_flags(nix::libc::O_NONBLOCK).open(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let directory = file.parent().unwrap_or(Path::new("/"));
            access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
                .map_err(io::Error::from)
                .map_err(unusable(directory, Use::Add))
        }
        opened => opened.map(drop).map_err(unusable(file, Use::Add)),
    }
}

/// A file that is not there has no keys.
fn if_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn unusable(path: &Path, needed: Use) -> impl FnOnce(io::Error) -> Unusable {
    let path = path.to_owned();
    move |source| Unusable { path, needed, source }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, needed, source } = self;
        let uid = Uid::effective();
        let user = User::from_uid(uid).ok().flatten().map_or(uid.to_string(), |user| user.name);
        let reason = nix::errno::Errno::from_raw(source.raw_os_error().unwrap_or_default());
        let reason =
            if source.raw_os_error().is_some() { reason.desc().to_owned() } else { source.to_string() };
        let path = path.display();
        match needed {
            Use::Read => {
                write!(f, "the known host keys in {path} cannot be read by the user {user} ({reason})")
            }
            Use::Add => write!(
                f,
                "the host key of the server is not known, and {path} cannot be written by the user {user} ({reason}) to \
                 store it"
            ),
        }?;
        let learnt = self.path.ends_with("home/known_hosts") || self.path.ends_with("home");
        match (source.kind(), needed) {
            (io::ErrorKind::PermissionDenied, _) if learnt => {
                write!(f, "; run: chown {user}: '{path}' && chmod u+rwX '{path}'")
            }
            (io::ErrorKind::PermissionDenied, Use::Read) => {
                write!(f, "; run: chmod a+r '{path}' (and chmod a+x for the directories above it)")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(lines: &[(&str, &str)]) -> Server {
        Server::read(&lines.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_server_has_the_name_that_ssh_writes_into_the_file() {
        for (hostname, port, alias, name) in [
            ("Storage", "22", "", "storage"),
            ("storage", "2222", "", "[storage]:2222"),
            ("::1", "2222", "", "[::1]:2222"),
            ("storage", "2222", "other", "other"),
        ] {
            let settings = [("hostname", hostname), ("port", port), ("hostkeyalias", alias)];
            assert_eq!(server(&settings).name, name);
        }
    }

    #[test]
    fn the_files_are_those_that_ssh_would_use() {
        let server = server(&[
            ("stricthostkeychecking", "accept-new"),
            ("userknownhostsfile", "/a /b"),
            ("globalknownhostsfile", "none"),
        ]);
        assert_eq!(server.checking, Checking::KnownOrNew);
        let way = Way(vec![server]);
        assert!(way.has_file(Path::new("/b")) && !way.has_file(Path::new("none")));
    }

    #[test]
    fn the_keys_of_a_server_are_read_but_not_those_revoked() {
        let digest = "J01WKzjDKAUR/TjzE7Hpwl0m4FFSrvTL1tywSCtvzIc";
        let found = format!(
            "# Host [::1]:22 found: line 1 REVOKED\n[::1]:22 RSA SHA256:{digest}\n\
             # Host [::1]:22 found: line 2 \n[::1]:22 ED25519 SHA256:{digest}\nnonsense\n\
             # Host [::1]:22 found: line 3 CA\n[::1]:22 RSA SHA256:{digest}\n"
        );
        assert_eq!(
            fingerprints(&found),
            ["ED25519", "RSA certificate authority"].map(|kind| format!("SHA256:{digest} ({kind})"))
        );
    }

    #[test]
    fn a_line_is_read_of_a_file_and_of_nothing_that_has_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("known_hosts");
        std::fs::write(&file, "one\ntwo\n").unwrap();
        assert_eq!(line(&file, 2).as_deref(), Some("two"));
        assert_eq!((line(&file, 0), line(&file, 3)), (None, None));
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for endless in [&pipe, Path::new("/dev/zero"), directory.path()] {
            assert_eq!(line(endless, 1), None, "{}", endless.display());
        }
    }
}
