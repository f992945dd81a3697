//! The daemon under socket activation.

use crate::{client::Client, sshd::wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A daemon with directories of its own below `root`.
#[derive(Debug)]
pub struct Daemon {
    process: Option<Child>,
    root: PathBuf,
}

impl Daemon {
    /// Starts it as systemd would: with the first connection.
    pub fn start(root: &Path) -> Self {
        let configuration = root.join("etc");
        fs::create_dir_all(&configuration).expect("a configuration directory");
        if !configuration.join("config.toml").exists() {
            fs::write(configuration.join("config.toml"), "[log]\nfilter = 'debug'\n")
                .expect("a configuration");
        }
        let mut daemon = Self { process: None, root: root.to_owned() };
        daemon.start_again();
        daemon
    }

    /// Starts another process on the same directories.
    pub fn start_again(&mut self) {
        _ = fs::remove_file(self.socket());
        let log = File::options().append(true).create(true).open(self.log_file()).expect("a log");
        let process = Command::new("systemd-socket-activate")
            .arg("--listen")
            .arg(self.socket())
            .args(["--fdname=plugin", env!("CARGO_BIN_EXE_sshfs-docker"), "serve"])
            .args([
                "--configuration",
                &self.path("etc"),
                "--state",
                &self.path("lib"),
                "--runtime",
                &self.path("run"),
            ])
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("systemd-socket-activate starts");
        self.process = Some(process);
        // Between bind(2) and listen(2) the socket is there and refuses.
        wait_for(|| UnixStream::connect(self.socket()).is_ok(), "the socket listens");
        self.client().call("/Plugin.Activate", "").ok();
    }

    /// A client of its socket.
    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("plugin.sock")
    }

    /// Where Docker finds a volume's files.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.root.join("lib/mnt").join(name)
    }

    /// All that it and the processes of its mounts said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).expect("a log")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running daemon").id()
    }

    /// Sends a signal and waits for the end.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.process.take().expect("a running daemon").wait().expect("a child can be waited for")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the daemon runs");
    }

    fn log_file(&self) -> PathBuf {
        self.root.join("daemon.log")
    }

    fn path(&self, name: &str) -> String {
        self.root.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            _ = process.kill();
            _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the daemon ---\n{}", self.log());
        }
    }
}
