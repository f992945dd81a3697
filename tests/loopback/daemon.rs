//! The daemon under socket activation: this program holds the listening socket, as systemd does on a host, and passes
//! it to one daemon after another. Whoever connects in between waits for the next one.

use crate::{client::Client, sshd::wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

/// A daemon with directories of its own below `root`.
#[derive(Debug)]
pub struct Daemon {
    process: Option<Child>,
    listener: UnixListener,
    root: PathBuf,
    /// What a shell does before the daemon begins, in a mount namespace of its own.
    changes: Option<String>,
}

impl Daemon {
    /// Starts it as systemd would: with a socket that is there already. A shell may change something for it before, for
    /// example what is at a path.
    pub fn start(root: &Path, changes: Option<String>) -> Self {
        let configuration = root.join("etc");
        fs::create_dir_all(&configuration).expect("a configuration directory");
        if !configuration.join("config.toml").exists() {
            fs::write(configuration.join("config.toml"), "[log]\nfilter = 'debug'\n")
                .expect("a configuration");
        }
        let listener = UnixListener::bind(socket_of(root)).expect("a socket");
        let mut daemon = Self { process: None, listener, root: root.to_owned(), changes };
        daemon.start_again();
        daemon
    }

    /// Starts another process on the same socket and directories, and waits until it answers.
    pub fn start_again(&mut self) {
        self.try_start_again().unwrap_or_else(|status| panic!("the daemon ended at once: {status}"));
    }

    /// The same for one that may refuse to start.
    pub fn try_start_again(&mut self) -> Result<(), ExitStatus> {
        let mut process = self.spawn();
        // The socket accepts whether or not somebody serves it.
        let client = self.client();
        let activation = thread::spawn(move || client.call("/Plugin.Activate", ""));
        let mut ended = None;
        wait_for(
            || {
                ended = process.try_wait().expect("a child can be waited for");
                ended.is_some() || activation.is_finished()
            },
            "the daemon answers",
        );
        if let Some(status) = ended {
            return Err(status);
        }
        self.process = Some(process);
        activation.join().expect("a call").ok();
        Ok(())
    }

    /// Starts a process and leaves it to the caller.
    pub fn spawn(&self) -> Child {
        let log = File::options().append(true).create(true).open(self.log_file()).expect("a log");
        let listener = self.listener.try_clone().expect("a copy of the socket");
        // sd_listen_fds(3): sockets begin at descriptor 3, and the process must find its own id in LISTEN_PID.
        let mut command = match &self.changes {
            Some(changes) => in_a_changed_mount_namespace(changes),
            None => Command::new("env"),
        };
        command
            .args(["sh", "-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(crate::program())
            .args([
                "serve",
                "--configuration",
                &self.path("etc"),
                "--state",
                &self.path("lib"),
                "--runtime",
                &self.path("run"),
            ])
            .envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "plugin")])
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stderr(log)
            .spawn()
            .expect("the daemon starts")
    }

    /// A client of its socket.
    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    pub fn socket(&self) -> PathBuf {
        socket_of(&self.root)
    }

    /// What it is passed, and who must be asked whether somebody calls.
    pub const fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// What a shell has changed for it.
    pub fn changes(&self) -> Option<&str> {
        self.changes.as_deref()
    }

    /// Where Docker finds a volume's files.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.root.join("lib/mnt").join(name)
    }

    /// All that it and the processes of its mounts said.
    pub fn log(&self) -> String {
        // A server may say what is no text.
        String::from_utf8_lossy(&fs::read(self.log_file()).expect("a log")).into_owned()
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

/// A command whose arguments are a program, which runs where these lines of a shell have changed what is mounted.
pub fn in_a_changed_mount_namespace(changes: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc"]);
    command.args([&format!("{changes}\nexec \"$@\""), "sh"]);
    command
}

fn socket_of(root: &Path) -> PathBuf {
    root.join("plugin.sock")
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
