//! All that a case needs: an SSH server, a key that it accepts, a directory on it, and the daemon.

use crate::{
    client::{Client, Reply},
    daemon::Daemon,
    model::{Site, Snapshot},
    sshd::{Sshd, Tarpit, make_key, wait_for},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
};
use tempfile::TempDir;

/// Parts that belong together. The order is that of their end.
#[derive(Debug)]
pub struct World {
    pub daemon: Daemon,
    pub sshd: Sshd,
    root: TempDir,
}

impl World {
    /// A world with default settings.
    pub fn new() -> Self {
        Self::with_config("")
    }

    /// A world whose config.toml has these lines.
    pub fn with_config(lines: &str) -> Self {
        Self::on_changed_host(lines, None)
    }

    /// The same where a shell has changed something for the daemon; `$WORLD` is its root.
    pub fn on_changed_host(lines: &str, changes: Option<&str>) -> Self {
        let root = tempfile::Builder::new().prefix("world-").tempdir_in("/run").expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(root.path(), open).expect("a directory that the remote user may enter");
        fs::create_dir(root.path().join("etc")).expect("a directory");
        fs::write(root.path().join("etc/config.toml"), format!("{lines}\n[log]\nfilter = 'debug'\n"))
            .expect("a file");
        fs::write(root.path().join("etc/ssh_config"), include_str!("../../etc/ssh_config")).expect("a file");
        let sshd = Sshd::start(&root.path().join("sshd"));
        make_key(&root.path().join("id"), "");
        sshd.authorize(&root.path().join("id"));
        let changes = changes.map(|changes| format!("WORLD={}\n{changes}", root.path().display()));
        let daemon = Daemon::start(root.path(), changes);
        let world = Self { daemon, sshd, root };
        Sshd::make_directory(&world.remote());
        world
    }

    pub fn client(&self) -> Client {
        self.daemon.client()
    }

    /// A path of this world.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The directory on the server.
    pub fn remote(&self) -> PathBuf {
        self.path("remote")
    }

    /// Options of a volume on [`Self::remote`] with the accepted key.
    pub fn options(&self) -> Vec<(String, String)> {
        let key = self.path("id").to_string_lossy().into_owned();
        let all = [
            ("sshcmd", Sshd::sshcmd(&self.remote())),
            ("port", self.sshd.port.to_string()),
            ("identity_file", key),
        ];
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Creates a volume with [`Self::options`].
    pub fn create(&self, name: &str) {
        self.create_with(name, &[]).ok();
    }

    /// The same with further options, which replace those.
    pub fn create_with(&self, name: &str, options: &[(&str, &str)]) -> Reply {
        let own = self.options();
        let mut all: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.retain(|(name, _)| !options.iter().any(|(other, _)| other == name));
        all.extend(options.iter().filter(|(_, value)| *value != ABSENT));
        self.client().create(name, &all)
    }

    /// Mounts and returns where.
    pub fn mount(&self, name: &str, id: &str) -> PathBuf {
        let reply = self.client().mount(name, id).ok();
        let path = PathBuf::from(reply["Mountpoint"].as_str().expect("a path"));
        assert_eq!(path, self.daemon.mountpoint(name));
        path
    }

    /// Creates a volume whose server accepts and never answers, and begins to mount it. It hangs as long as the
    /// connection lives, or until its deadline.
    pub fn mount_that_hangs(&self, name: &'static str) -> (JoinHandle<Reply>, TcpStream) {
        let tarpit = Tarpit::open();
        self.create_with(name, &[("port", &tarpit.port)]).ok();
        let client = self.client();
        let hanging = thread::spawn(move || client.mount(name, "x"));
        (hanging, tarpit.catch())
    }

    /// What there is, read without the daemon.
    pub fn site(&self) -> Site {
        Site {
            state: self.path("lib"),
            runtime: self.path("run"),
            mountinfo: "/proc/self/mountinfo".into(),
            view: self.path("lib/mnt").to_string_lossy().into_owned(),
        }
    }

    /// Asserts that of all volumes and mounts nothing is left, and no process of theirs.
    pub fn assert_empty(&self) {
        assert_eq!(self.site().snapshot(""), Snapshot::default());
        for directory in [
            "lib/volumes",
            "lib/secrets",
            "lib/mountpoints",
            "run/references",
            "run/credentials",
            "run/mounts",
            "run/host-keys",
            "run/ssh-config",
        ] {
            let left: Vec<_> = fs::read_dir(self.path(directory)).unwrap().flatten().collect();
            assert!(left.is_empty(), "{directory}: {left:?}");
        }
        wait_for(|| self.processes_of_mounts().is_empty(), "no sshfs, supervisor or probe is left");
    }

    /// sshfs, what supervises it, and what asks mounts whether they answer.
    pub fn processes_of_mounts(&self) -> Vec<u32> {
        [self.processes("/dev/fd/0"), self.processes("sshfs-docker probe ")].concat()
    }

    /// Ends every ssh, as a broken network does.
    pub fn cut_connections(&self) {
        for pid in self.processes("ssh -x -a") {
            _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
        }
        wait_for(|| self.processes("ssh -x -a").is_empty(), "ssh has ended");
    }

    /// Runs the program as an administrator does, in the directories of this world.
    pub fn admin(&self, arguments: &[&str]) -> Output {
        self.admin_with_input(arguments, "")
    }

    /// The same with something on its standard input.
    pub fn admin_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.start_admin(arguments);
        // One that fails before it reads has closed it.
        _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child.wait_with_output().expect("the program ends")
    }

    /// The same where nobody reads what it prints.
    pub fn admin_unread(&self, arguments: &[&str]) -> Output {
        let mut child = self.start_admin(arguments);
        drop(child.stdout.take());
        drop(child.stdin.take());
        child.wait_with_output().expect("the program ends")
    }

    fn start_admin(&self, arguments: &[&str]) -> Child {
        Command::new(crate::program())
            .args(arguments)
            .arg("--socket")
            .arg(self.daemon.socket())
            .arg("--configuration")
            .arg(self.path("etc"))
            .arg("--state")
            .arg(self.path("lib"))
            .arg("--runtime")
            .arg(self.path("run"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs")
    }

    /// Whether the kernel has the volume mounted.
    pub fn is_mounted(&self, name: &str) -> bool {
        mounts_at(&self.daemon.mountpoint(name)) > 0
    }

    /// Processes of this world with `text` in their command line.
    pub fn processes(&self, text: &str) -> Vec<u32> {
        let root = self.root.path().to_string_lossy().into_owned();
        processes()
            .into_iter()
            .filter(|(_, line)| line.contains(&root) && line.contains(text))
            .map(|(pid, _)| pid)
            .collect()
    }
}

/// The value that takes a default option away.
pub const ABSENT: &str = "\u{0}absent";

/// How often something is mounted there.
pub fn mounts_at(path: &Path) -> usize {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let path = path.to_string_lossy();
    mountinfo.lines().filter(|line| line.split(' ').nth(4) == Some(&path)).count()
}

/// All processes of this PID namespace with their command lines.
pub fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    })
    .collect()
}
