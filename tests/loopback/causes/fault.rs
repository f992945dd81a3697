//! One thing that is wrong, as long as it exists: a world in which it is, and the options of a volume that meets it.

use crate::{
    client::Reply,
    error_page,
    host::REMOTE_USER,
    sshd::Sshd,
    world::{ABSENT, World},
};
use std::{any::Any, fmt::Display, fs, path::Path};

/// See above.
pub struct Fault {
    pub world: World,
    /// Those of a volume that works, and then these.
    options: Vec<(String, String)>,
    /// What keeps it wrong: a server, a file.
    kept: Vec<Box<dyn Any + Send>>,
    /// Whether it comes about between Create and Mount.
    breaks_later: Option<fn(&World)>,
    /// What is called in the place of Create and Mount.
    call: Option<fn(&World) -> Reply>,
    has_ssh_config: bool,
}

impl Fault {
    /// Nothing is wrong yet.
    pub fn new() -> Self {
        Self::in_world(World::with_config("[mount]\ntimeout = 10"))
    }

    /// The same where a mount soon gives up.
    pub fn impatient() -> Self {
        Self::in_world(World::with_config("[mount]\ntimeout = 3"))
    }

    pub fn in_world(world: World) -> Self {
        fs::create_dir(world.path("keys")).expect("a directory");
        Self {
            world,
            options: Vec::new(),
            kept: Vec::new(),
            breaks_later: None,
            call: None,
            has_ssh_config: false,
        }
    }

    /// The volume has this option.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        self.options.push((name.to_owned(), value.to_string()));
        self
    }

    /// The volume is on another path of the server.
    pub fn at(self, path: &str) -> Self {
        let sshcmd = Sshd::sshcmd(&self.world.path(path));
        self.with("sshcmd", sshcmd)
    }

    /// The volume has a key or password file with this content.
    pub fn with_file(self, option: &str, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path(name);
        fs::write(&path, content).expect("a file");
        self.with(option, path)
    }

    /// Its server is another one, with these lines in its configuration, which accepts the key of the world.
    pub fn on_server(mut self, lines: &str) -> Self {
        let sshd = Sshd::start_with(&self.world.path("server"), lines);
        sshd.authorize(&self.world.path("id"));
        let port = sshd.port;
        self.kept.push(Box::new(sshd));
        self.with("port", port)
    }

    /// Something that must live as long.
    pub fn keeping(mut self, what: impl Any + Send) -> Self {
        self.kept.push(Box::new(what));
        self
    }

    /// The administrator's file has these lines.
    pub fn with_ssh_config(mut self, lines: &str) -> Self {
        fs::write(self.world.path("etc/ssh_config"), lines).expect("a file");
        self.has_ssh_config = true;
        self
    }

    /// The volume is fine when it is created.
    pub fn later(mut self, breaks: fn(&World)) -> Self {
        self.breaks_later = Some(breaks);
        self
    }

    /// It is met by this call.
    pub fn met_by(mut self, call: fn(&World) -> Reply) -> Self {
        self.call = Some(call);
        self
    }

    /// Where a key file of the volume goes.
    pub fn path(&self, name: &str) -> String {
        self.world.path("keys").join(name).display().to_string()
    }

    /// Where its server listens.
    pub fn port(&self) -> u16 {
        let options = self.options();
        let port = options.iter().find(|(name, _)| name == "port").expect("a port");
        port.1.parse().expect("a number")
    }

    /// The options of the volume, all of them.
    pub fn options(&self) -> Vec<(String, String)> {
        let mut all = self.world.options();
        all.retain(|(name, _)| !self.options.iter().any(|(other, _)| other == name));
        all.extend(self.options.iter().filter(|(_, value)| value != ABSENT).cloned());
        all
    }

    /// The administrator's file for ssh, where it has something to do with it.
    pub fn ssh_config(&self) -> Option<String> {
        self.has_ssh_config.then(|| self.world.path("etc/ssh_config").display().to_string())
    }

    /// Whether it has nothing to do with volumes and their files.
    pub fn is_met_by_any_sshfs(&self) -> bool {
        self.call.is_none() && self.breaks_later.is_none()
    }

    /// What whoever creates and mounts the volume reads, in the words of docs/errors.md.
    pub fn told(&self) -> String {
        if let Some(call) = self.call {
            return self.in_general(call(&self.world).err());
        }
        let options: Vec<_> =
            self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let created = self.world.create_with("data", &options);
        if created.status != Some(200) {
            return self.in_general(created.err());
        }
        if let Some(breaks) = self.breaks_later {
            breaks(&self.world);
        }
        self.in_general(self.world.client().mount("data", "x").err())
    }

    /// Asserts what the daemon's log calls it.
    pub fn assert_kind(&self, kind: &str) {
        let log = self.world.daemon.log();
        assert!(log.contains(&format!("kind=\"{kind}\"")), "not {kind}");
    }

    /// A text as docs/errors.md would have it.
    pub fn in_general(&self, text: &str) -> String {
        let root = self.world.path("").display().to_string();
        let root = Path::new(&root).display().to_string();
        let root = root.trim_end_matches('/');
        let mut text = text.to_owned();
        for (ours, theirs) in [
            ("/etc", "/etc/sshfs-docker"),
            ("/lib", "/var/lib/sshfs-docker"),
            ("/run", "/run/sshfs-docker"),
            ("/remote", "/srv/data"),
            ("/id", "/root/.ssh/id_ed25519"),
            ("/keys", "/root/.ssh"),
            ("", "/srv"),
        ] {
            text = text.replace(&format!("{root}{ours}"), theirs);
        }
        error_page::in_general(&text.replace("127.0.0.1", "storage").replace(REMOTE_USER, "alice"))
    }
}
