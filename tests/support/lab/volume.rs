//! A volume of the driver for the length of one test case, and containers that use it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::docker::{IMAGE, quote};
use super::driver::{SOON, mount_unit};
use super::network::SSH_SERVER;
use super::ssh_server::ALICE;
use super::{Lab, Output, poll};

/// What a container runs that only keeps a volume in use: it stops at once.
pub const IDLE: &str = "trap exit TERM; while :; do sleep 0.1; done";

/// The daemon looks for lost references every 30 s, and doubts one for 20 s before it forgets it.
const SWEPT: Duration = Duration::from_secs(90);

/// A volume on a directory of the SSH server. Dropped, it takes its containers along; the files stay.
#[derive(Debug)]
pub struct Volume<'a> {
    lab: &'a Lab,
    /// Docker's name of it.
    pub name: String,
    /// The directory on the server.
    pub directory: String,
}

/// A container that runs in the background until it is dropped.
#[derive(Debug)]
pub struct Container<'a> {
    lab: &'a Lab,
    name: String,
}

/// The key of root on a Docker host, which alice's account accepts.
pub const KEY: &str = "/root/.ssh/id_ed25519";

/// The option that names it.
pub const KEY_OPTION: &str = "-o identity_file=/root/.ssh/id_ed25519";

/// A directory of the SSH server, as alice mounts it.
pub fn remote(directory: &str) -> String {
    format!("{ALICE}@{SSH_SERVER}:{directory}")
}

/// The options of a volume on it, for `volume create` of Docker and podman.
pub fn options(directory: &str) -> String {
    format!("-o sshcmd={} {KEY_OPTION}", remote(directory))
}

/// The flag for `docker run` with which Docker makes such a volume by itself, at /d. Without `src=NAME` it is anonymous.
pub fn long_syntax(source: &str, directory: &str) -> String {
    let comma = if source.is_empty() { "" } else { "," };
    format!(
        "--mount type=volume,{source}{comma}dst=/d,volume-driver=sshfs,volume-opt=sshcmd={},volume-opt=identity_file={KEY}",
        remote(directory)
    )
}

impl Lab {
    /// A volume on a directory of its own, which belongs to alice.
    pub fn volume(&self, name: &str) -> Result<Volume<'_>> {
        let directory = self.server.export(name, ALICE)?;
        self.volume_on(name, &directory, "")
    }

    /// A volume on a given directory, with options beside the address and the key.
    pub fn volume_on(&self, name: &str, directory: &str, options: &str) -> Result<Volume<'_>> {
        let mut volume = self.volume_with(name, &format!("{} {options}", self::options(directory)))?;
        directory.clone_into(&mut volume.directory);
        Ok(volume)
    }

    /// A volume with these options and no others.
    pub fn volume_with(&self, name: &str, options: &str) -> Result<Volume<'_>> {
        let volume = Volume { lab: self, name: name.to_owned(), directory: String::new() };
        self.docker(&format!("volume create --driver sshfs {options} {name}"))?;
        Ok(volume)
    }

    /// The volume of that name that a client makes by itself on a directory, sooner or later.
    pub fn volume_of_a_client(&self, name: &str, directory: &str) -> Volume<'_> {
        Volume { lab: self, name: name.to_owned(), directory: directory.to_owned() }
    }

    /// Starts a container in the background, with more flags for `docker run`.
    pub fn container(&self, name: &str, flags: &str, script: &str) -> Result<Container<'_>> {
        // Before the run: a container that was made but did not start needs removing, too.
        let started = Container { lab: self, name: name.to_owned() };
        self.docker(&format!(
            "run --detach --name {name} --network none {flags} {IMAGE} sh -euc {}",
            quote(script)
        ))?;
        Ok(started)
    }
}

impl<'a> Volume<'a> {
    /// Runs a shell script in a container with the volume at /d, and removes the container.
    pub fn try_run(&self, script: &str) -> Result<Output> {
        self.try_run_with(&format!("-v {}:/d", self.name), script)
    }

    /// [`Volume::try_run`] for a script that must work; the answer is its standard output.
    pub fn run(&self, script: &str) -> Result<String> {
        self.try_run(script)?.success()
    }

    /// The same with flags for `docker run` in the place of `-v NAME:/d`.
    pub fn try_run_with(&self, flags: &str, script: &str) -> Result<Output> {
        self.lab.try_docker(&format!("run --rm --network none {flags} {IMAGE} sh -euc {}", quote(script)))
    }

    /// Starts a container with the volume at /d in the background, with more flags for `docker run`.
    pub fn start(&self, container: &str, flags: &str, script: &str) -> Result<Container<'a>> {
        self.lab.container(container, &format!("-v {}:/d {flags}", self.name), script)
    }

    /// Starts a container that only keeps the volume in use.
    pub fn hold(&self, container: &str) -> Result<Container<'a>> {
        self.start(container, "", IDLE)
    }

    /// Removes the volume.
    pub fn remove(&self) -> Result<Output> {
        self.lab.try_docker(&format!("volume rm {}", self.name))
    }

    /// Leaves it to itself: where the driver is gone, Docker would only wait for it.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// The unit that serves its mount.
    pub fn unit(&self) -> String {
        mount_unit(&self.name)
    }

    /// Where it is mounted on the host.
    pub fn mountpoint(&self) -> String {
        format!("/var/lib/sshfs-docker/mnt/{}", self.name)
    }

    /// Waits until the mount is gone and its unit with it.
    pub fn wait_until_unmounted(&self) -> Result<()> {
        self.wait_until_unmounted_within(SOON)
    }

    /// The same for what only the daemon's sweep finds.
    pub fn wait_until_swept(&self) -> Result<()> {
        self.wait_until_unmounted_within(SWEPT)
    }

    /// How many references the driver counts.
    pub fn references(&self) -> Result<usize> {
        let count = self
            .lab
            .docker(&format!("volume inspect --format '{{{{.Status.references}}}}' {}", self.name))?;
        count.parse().with_context(|| format!("references of {}: {count:?}", self.name))
    }

    /// How many mount namespaces beside the host's have it mounted, which is how many containers the kernel counts.
    pub fn containers(&self) -> Result<usize> {
        let Some(mount) = self.lab.mountinfo(&self.mountpoint())? else { return Ok(0) };
        let device = mount.split(' ').nth(2).context("a mount without a device")?;
        // Sandboxed services see a copy of the host's mount, at the host's path. A process may end meanwhile.
        let namespaces = self.lab.host.sh(&format!(
            "for process in /proc/[0-9]*; do
                 awk -v device={device} '
                     $3 == device && $5 !~ \"^/var/lib/sshfs-docker/\" {{ found = 1 }} END {{ exit !found }}
                 ' $process/mountinfo 2>/dev/null && readlink $process/ns/mnt || :
             done | sort -u"
        ))?;
        Ok(namespaces.lines().count())
    }

    /// Waits until the driver's references and the kernel's mounts are those of `containers` containers.
    pub fn wait_until_used_by(&self, containers: usize) -> Result<()> {
        if containers == 0 {
            self.wait_until_unmounted()?;
        }
        poll::until_true(&format!("{containers} users of {}", self.name), SOON, || {
            let counted = (self.references()?, self.containers()?);
            ensure!(counted == (containers, containers), "references and containers: {counted:?}");
            Ok(true)
        })
    }

    fn wait_until_unmounted_within(&self, limit: Duration) -> Result<()> {
        self.lab.wait_until_gone(&self.unit(), limit)?;
        let left = self.lab.mountinfo(&self.mountpoint())?;
        ensure!(left.is_none(), "still mounted: {left:?}");
        Ok(())
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let script = format!(
            "containers=$(docker ps --all --quiet --filter volume={name})
             [ -z \"$containers\" ] || docker rm --force $containers
             docker volume rm --force {name}"
        );
        // After a failed case the guest may be in any state; the case has reported what matters.
        let _ = self.lab.host.try_sh(&script);
    }
}

impl Container<'_> {
    /// Runs a shell script in it.
    pub fn exec(&self, script: &str) -> Result<String> {
        self.lab.docker(&format!("exec {} sh -euc {}", self.name, quote(script)))
    }

    /// The same, whatever comes of it.
    pub fn try_exec(&self, script: &str) -> Result<Output> {
        self.lab.try_docker(&format!("exec {} sh -euc {}", self.name, quote(script)))
    }

    /// [`Container::exec`] for what may take longer than usual.
    pub fn exec_within(&self, script: &str, limit: Duration) -> Result<String> {
        self.lab.host.sh_within(&format!("docker exec {} sh -euc {}", self.name, quote(script)), limit)
    }

    /// `docker SUBCOMMAND NAME`
    pub fn docker(&self, subcommand: &str) -> Result<String> {
        self.lab.docker(&format!("{subcommand} {}", self.name))
    }

    /// Whether it runs now.
    pub fn is_running(&self) -> Result<bool> {
        Ok(self.docker("inspect --format '{{.State.Running}}'")? == "true")
    }

    /// Waits until it runs, for one that comes back by itself.
    pub fn wait_until_running(&self) -> Result<()> {
        poll::until_true("the container to come back", Duration::from_secs(60), || self.is_running())
    }

    /// How long it has been running.
    pub fn age(&self) -> Result<Duration> {
        let started = self.docker("inspect --format '{{.State.StartedAt}}'")?;
        let age = self.lab.host.sh(&format!("echo $(($(date +%s) - $(date --date {started} +%s)))"))?;
        Ok(Duration::from_secs(age.parse().with_context(|| format!("age: {age:?}"))?))
    }

    /// Starts it again.
    pub fn start(&self) -> Result<()> {
        self.docker("start").map(drop)
    }

    /// Kills what runs in it, as the kernel does when memory is short.
    pub fn crash(&self) -> Result<()> {
        let pid = self.docker("inspect --format '{{.State.Pid}}'")?;
        self.lab.host.sh(&format!("kill -KILL {pid}")).map(drop)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops and removes it.
    pub fn remove(self) -> Result<()> {
        self.docker("rm --force").map(drop)
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // Quiet: it may have been removed by the case.
        let _ = self.lab.try_docker(&format!("rm --force {}", self.name));
    }
}
