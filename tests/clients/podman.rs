//! podman on the Docker host: its settings, and its volumes and containers for the length of a case.

pub mod beside_docker;
pub mod containers;
pub mod images;
pub mod limits;
pub mod quadlet;
pub mod reboot;
pub mod recent;
pub mod scenarios;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::docker::{IMAGE, quote};
use crate::lab::ssh_server::ALICE;
use crate::lab::volume::{self, IDLE};
use crate::lab::{Lab, Output, Volume as DriverVolume};

/// Where the administrator puts what the package ships as an example.
const SETTINGS: &str = "/etc/containers/containers.conf.d/sshfs.conf";
const EXAMPLE: &str = include_str!("../../etc/containers.conf");

/// The example without its limit.
const NO_LIMIT: &str = "[engine.volume_plugins]\nsshfs = \"/run/sshfs-docker.sock\"\n";

/// The guests have no cgroup controllers to spare, and runc fails where it is to set a limit that does not exist.
const OF_THE_LAB: &str = "[containers]\npids_limit = 0\n";

/// podman, with certain settings.
#[derive(Debug)]
pub struct Podman<'a> {
    lab: &'a Lab,
}

/// A volume that podman has made. Dropped, it takes its containers along; the files stay.
#[derive(Debug)]
pub struct Volume<'a> {
    podman: &'a Podman<'a>,
    /// The same volume as Docker and the driver have it.
    pub driver: DriverVolume<'a>,
}

/// A container that runs in the background until it is dropped.
#[derive(Debug)]
pub struct Container<'a> {
    podman: &'a Podman<'a>,
    name: String,
}

impl<'a> Podman<'a> {
    /// With the settings that the package ships as an example.
    pub fn of(lab: &'a Lab) -> Result<Self> {
        Self::with(lab, EXAMPLE)
    }

    /// With podman's own limit for a call, 5 s.
    pub fn without_limit(lab: &'a Lab) -> Result<Self> {
        Self::with(lab, NO_LIMIT)
    }

    fn with(lab: &'a Lab, settings: &str) -> Result<Self> {
        lab.host.sh(&format!(
            "mkdir -p /etc/containers/containers.conf.d
             podman image exists {IMAGE} || docker save {IMAGE} | podman load --quiet"
        ))?;
        lab.host.put("/etc/containers/containers.conf.d/lab.conf", OF_THE_LAB.as_bytes())?;
        lab.host.put(SETTINGS, settings.as_bytes())?;
        Ok(Self { lab })
    }

    /// Runs `podman ARGUMENTS`, which must work.
    pub fn podman(&self, arguments: &str) -> Result<String> {
        self.try_podman(arguments)?.success()
    }

    /// The same, whatever comes of it.
    pub fn try_podman(&self, arguments: &str) -> Result<Output> {
        self.lab.host.try_sh(&format!("podman {arguments}"))
    }

    /// Names of the volumes that podman knows.
    pub fn volumes(&self) -> Result<Vec<String>> {
        Ok(self.podman("volume ls --quiet")?.lines().map(str::to_owned).collect())
    }

    /// A volume on a directory of its own, which belongs to alice.
    pub fn volume(&self, name: &str) -> Result<Volume<'_>> {
        self.volume_with(name, "")
    }

    /// The same with options beside the address and the key.
    pub fn volume_with(&self, name: &str, options: &str) -> Result<Volume<'_>> {
        let directory = self.lab.server.export(name, ALICE)?;
        let volume = Volume { podman: self, driver: self.lab.volume_of_a_client(name, &directory) };
        let options = format!("{} {options}", volume::options(&directory));
        let said = self.podman(&format!("volume create --driver sshfs {options} {name}"))?;
        ensure!(said == name, "podman volume create says {said:?}");
        Ok(volume)
    }

    /// Runs a shell script in a container of an image, with more flags for `podman run`, and removes the container.
    pub fn try_run(&self, flags: &str, image: &str, script: &str) -> Result<Output> {
        self.try_podman(&format!("run --rm --network none {flags} {image} sh -euc {}", quote(script)))
    }
}

impl<'a> Volume<'a> {
    /// Runs a shell script in a container with the volume at /d, and removes the container.
    pub fn try_run(&self, script: &str) -> Result<Output> {
        self.podman.try_run(&format!("-v {}:/d", self.driver.name), IMAGE, script)
    }

    /// The same for a script that must work; the answer is its standard output.
    pub fn run(&self, script: &str) -> Result<String> {
        self.try_run(script)?.success()
    }

    /// Starts a container with the volume at /d in the background.
    pub fn start(&self, container: &str, script: &str) -> Result<Container<'a>> {
        // Before the run: a container that was made but did not start needs removing, too.
        let started = Container { podman: self.podman, name: container.to_owned() };
        self.podman.podman(&format!(
            "run --detach --name {container} --network none -v {}:/d {IMAGE} sh -euc {}",
            self.driver.name,
            quote(script)
        ))?;
        Ok(started)
    }

    /// Starts a container that only keeps the volume in use.
    pub fn hold(&self, container: &str) -> Result<Container<'a>> {
        self.start(container, IDLE)
    }

    /// `podman volume SUBCOMMAND NAME`
    pub fn podman(&self, subcommand: &str) -> Result<Output> {
        self.podman.try_podman(&format!("volume {subcommand} {}", self.driver.name))
    }

    /// What `podman volume inspect` shows.
    pub fn inspect(&self) -> Result<Value> {
        let shown = self.podman("inspect")?.success()?;
        let [volume] = serde_json::from_str(&shown).with_context(|| format!("podman shows {shown}"))?;
        Ok(volume)
    }

    /// What the server has in a file of it.
    pub fn served(&self, file: &str) -> Result<String> {
        self.podman.lab.server.sh(&format!("cat {}/{file}", self.driver.directory))
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        let name = &self.driver.name;
        // Containers first: podman 4.3 waits for itself where it is to remove a mounted volume with its containers.
        let script = format!(
            "containers=$(podman ps --all --quiet --filter volume={name})
             [ -z \"$containers\" ] || podman rm --force --time 0 $containers
             podman volume rm {name}"
        );
        // Quiet: the case may have removed it.
        let _ = self.podman.lab.host.try_sh(&script);
    }
}

impl Container<'_> {
    /// Runs a shell script in it.
    pub fn exec(&self, script: &str) -> Result<String> {
        self.podman.podman(&format!("exec {} sh -euc {}", self.name, quote(script)))
    }

    /// `podman SUBCOMMAND NAME`
    pub fn podman(&self, subcommand: &str) -> Result<String> {
        self.podman.podman(&format!("{subcommand} {}", self.name))
    }

    /// Its id as the driver shows it.
    pub fn short_id(&self) -> Result<String> {
        let id = self.podman("inspect --format '{{.ID}}'")?;
        Ok(id.chars().take(12).collect())
    }

    /// Stops and removes it.
    pub fn remove(self) -> Result<()> {
        self.podman("rm --force --time 0").map(drop)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Quiet: the case may have removed it.
        let _ = self.podman.try_podman(&format!("rm --force --time 0 {}", self.name));
    }
}
