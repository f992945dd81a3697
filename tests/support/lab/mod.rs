//! The lab: whole Debian hosts on one machine, one or two for Docker and the driver, one an SSH server.
//!
//! Each job has its module; this one puts them together. See `isolation` for why nothing here needs to
//! clean up mounts, bridges or processes.

// Several test programs share the lab, and each uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod cgroup;
#[path = "../client.rs"]
pub mod client;
pub mod command;
pub mod diary;
pub mod dirs;
pub mod docker;
pub mod driver;
pub mod guest;
pub mod image;
#[path = "../model.rs"]
pub mod model;
pub mod network;
pub mod planted;
pub mod poll;
pub mod release;
pub mod roots;
pub mod ssh_server;
pub mod stage;
pub mod volume;
pub mod writer;

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::mount::{MsFlags, mount};

pub use client::Client;
pub use command::Output;
pub use diary::Diary;
pub use image::Image;
pub use release::{Kind, Release};
pub use volume::{Container, Volume};
pub use writer::Writer;

use guest::{Guest, Identity};
use roots::Root;
use ssh_server::SshServer;

/// Programs of the machine that the lab runs, and the Debian packages they are in.
pub const TOOLS: &[(&str, &str)] = &[
    ("systemd-nspawn", "systemd-container"),
    ("debootstrap", "debootstrap"),
    ("nsenter", "util-linux"),
    ("chroot", "coreutils"),
];

/// Which release plays which part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// The one with Docker and the driver; the SSH server runs another.
    pub docker_host: Release,
    /// What is installed there before a test does anything.
    pub kind: Kind,
}

impl Pairing {
    /// Docker is there, the driver is not.
    pub const fn full(docker_host: Release) -> Self {
        Self { docker_host, kind: Kind::Full }
    }

    /// Neither is there.
    pub const fn bare(docker_host: Release) -> Self {
        Self { docker_host, kind: Kind::Bare }
    }

    /// What the hosts boot from.
    const fn roots(self) -> [Root; 2] {
        let Self { docker_host, kind } = self;
        [Root { release: docker_host, kind }, Root { release: docker_host.other(), kind: Kind::Full }]
    }
}

impl fmt::Display for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker_on_{}", self.docker_host)
    }
}

/// Two booted hosts that trust each other: root on the Docker host has a key that alice's account on the
/// SSH server accepts.
#[derive(Debug)]
pub struct Lab {
    /// The host with Docker.
    pub host: Guest,
    /// The host with the files. Another Docker host may use it, too.
    pub server: Arc<SshServer>,
}

/// What must be done with the machine's network, before the namespaces: the root file systems.
pub fn prepare(pairings: &[Pairing]) -> Result<(), String> {
    let mut roots = Vec::new();
    for root in pairings.iter().flat_map(|pairing| pairing.roots()) {
        if !roots.contains(&root) {
            roots.push(root);
        }
    }
    roots::prepare(&roots).map_err(|error| format!("{error:#}"))
}

/// Removes what a killed run left outside the namespaces.
pub fn sweep() {
    cgroup::sweep();
}

impl Lab {
    /// Boots both hosts, wires them up, and loads the image into Docker, if that is there. The driver is not installed
    /// yet.
    pub fn start(pairing: Pairing) -> Result<Self> {
        network::set_up()?;
        set_up_run_directory()?;
        let [host, server] = pairing.roots();
        let host = docker_host("dockerhost", network::DOCKER_HOST, host);
        let server = Identity {
            name: "storage",
            address: network::SSH_SERVER,
            root: server,
            masked: &["docker.service", "docker.socket", "containerd.service"],
        };
        let (host, server) = thread::scope(|scope| {
            let server = scope.spawn(|| Guest::start(server));
            let host = Guest::start(host);
            (host, server.join())
        });
        let server = server.map_err(|_| anyhow!("the boot of the SSH server panicked"))??;
        let lab = Self { host: host?, server: Arc::new(SshServer::new(server)) };
        lab.server.set_up().context("setting up the SSH server")?;
        lab.wire_up(pairing.kind)
    }

    /// Boots another Docker host that uses the same SSH server.
    pub fn second_host(&self, release: Release) -> Result<Self> {
        let root = Root { release, kind: Kind::Full };
        let host = Guest::start(docker_host("worker", network::WORKER, root))?;
        Self { host, server: Arc::clone(&self.server) }.wire_up(Kind::Full)
    }

    fn wire_up(self, kind: Kind) -> Result<Self> {
        let keygen = "install -d -m 700 ~/.ssh
             ssh-keygen -q -t ed25519 -N '' -C root@$(hostname) -f ~/.ssh/id_ed25519";
        self.host.sh(keygen).context("making a key")?;
        self.server.admit(&self.host.sh("cat ~/.ssh/id_ed25519.pub")?)?;
        if kind == Kind::Full {
            self.import_image()?;
        }
        Ok(self)
    }
}

/// A host for Docker and the driver, without an SSH server.
const fn docker_host(name: &'static str, address: &'static str, root: Root) -> Identity {
    Identity { name, address, root, masked: &["ssh.service", "ssh.socket"] }
}

/// A fresh tmpfs, so that nothing of a run reaches the disk or outlives the namespace. An earlier lab of
/// this program has its own beneath, with nobody left who uses it.
fn set_up_run_directory() -> Result<()> {
    let directory = dirs::run();
    fs::create_dir_all(&directory)?;
    mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some("mode=755,size=80%"))
        .with_context(|| format!("a tmpfs on {}", directory.display()))
}
