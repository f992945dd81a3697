//! A real sshd on a port of the loopback interface.

use crate::host::{REMOTE_UID, REMOTE_USER};
use std::{
    cell::OnceCell,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The server and its files.
#[derive(Debug)]
pub struct Sshd {
    process: Child,
    directory: PathBuf,
    /// Where it listens.
    pub port: u16,
}

impl Sshd {
    /// Starts a server whose users have their keys in `directory/authorized_keys`.
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, "")
    }

    /// The same with further lines of sshd_config(5).
    pub fn start_with(directory: &Path, lines: &str) -> Self {
        fs::create_dir_all(directory).expect("a directory for sshd");
        Self::start_on(free_port(), directory, lines)
    }

    fn start_on(port: u16, directory: &Path, lines: &str) -> Self {
        if !directory.join("host_key").exists() {
            make_key(&directory.join("host_key"), "");
        }
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication yes\nPidFile none\n{lines}\n{1}\n",
            directory.display(),
            if lines.contains("Subsystem") { "" } else { "Subsystem sftp internal-sftp" },
        )
        .replace("Subsystem none\n", "");
        fs::write(directory.join("config"), config).expect("a configuration");
        let log = File::create(directory.join("log")).expect("a log");
        let process = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(directory.join("config"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sshd starts");
        wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok(), "sshd listens");
        Self { process, directory: directory.to_owned(), port }
    }

    /// Lets the holder of `key` in.
    pub fn authorize(&self, key: &Path) {
        fs::copy(key.with_extension("pub"), self.directory.join("authorized_keys")).expect("a public key");
    }

    /// Another server takes over the address, as after a reinstallation or in an attack.
    pub fn be_replaced_by_another(&mut self, kind: &str) {
        self.end();
        let key = self.directory.join("host_key");
        fs::remove_file(&key).expect("a host key");
        make_key_of(kind, &key, "");
        *self = Self::start_on(self.port, &self.directory, "");
    }

    /// The SHA256 of its host key.
    pub fn fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.directory.join("host_key")).output();
        let output = String::from_utf8(output.expect("ssh-keygen runs").stdout).expect("text");
        output.split(' ').nth(1).expect("a fingerprint").to_owned()
    }

    /// Starts it anew after [`Self::end`].
    pub fn start_again(&mut self) {
        *self = Self::start_on(self.port, &self.directory, "");
    }

    /// Ends the server; who is logged in stays.
    pub fn end(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }

    /// The public half of its host key, as `host_key` wants it.
    pub fn host_key(&self) -> String {
        public_key(&self.directory.join("host_key"))
    }

    /// A directory of the remote user.
    pub fn make_directory(path: &Path) {
        fs::create_dir_all(path).expect("a remote directory");
        chown(path, Some(REMOTE_UID), Some(REMOTE_UID)).expect("chown");
    }

    /// `alice@127.0.0.1:PATH`
    pub fn sshcmd(path: &Path) -> String {
        format!("{REMOTE_USER}@127.0.0.1:{}", path.display())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.end();
    }
}

/// A server that accepts and never answers.
#[derive(Debug)]
pub struct Tarpit {
    listener: TcpListener,
    /// Where it listens.
    pub port: String,
}

impl Tarpit {
    pub fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let port = listener.local_addr().expect("an address").port().to_string();
        Self { listener, port }
    }

    /// Waits for a victim. It hangs as long as the result lives.
    pub fn catch(&self) -> TcpStream {
        let caught = OnceCell::new();
        wait_for(
            || self.listener.accept().is_ok_and(|(stream, _)| caught.set(stream).is_ok()),
            "somebody connects to the tarpit",
        );
        caught.into_inner().expect("it was caught")
    }
}

/// Makes a key pair at `path` and `path.pub`.
pub fn make_key(path: &Path, passphrase: &str) {
    make_key_of("ed25519", path, passphrase);
}

fn make_key_of(kind: &str, path: &Path, passphrase: &str) {
    _ = fs::remove_file(path.with_extension("pub"));
    let status =
        Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-f"]).arg(path).status();
    assert!(status.expect("ssh-keygen runs").success());
}

/// The public half of a key pair.
pub fn public_key(path: &Path) -> String {
    fs::read_to_string(path.with_extension("pub")).expect("a public key").trim_end().to_owned()
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Polls a condition; the deadline is no promise of the product, only the end of a broken test.
pub fn wait_for(mut condition: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 20 s for: {what}");
        sleep(Duration::from_millis(10));
    }
}
