//! Docker on the Docker host. No registry is reachable, so the one image is made of a static busybox.

use std::time::Duration;

use anyhow::{Context, Result};

use super::driver::ANNOUNCE;
use super::{Lab, Output, poll};

/// The unit of the engine.
pub const DOCKER: &str = "docker.service";

/// The engine's configuration, which is not there by default.
const CONFIGURATION: &str = "/etc/docker/daemon.json";

/// The image every container runs.
pub const IMAGE: &str = "busybox";

const IMPORT: &str = "
root=$(mktemp -d)
mkdir -p $root/bin $root/tmp $root/etc
cp /bin/busybox $root/bin/
chroot $root /bin/busybox --install -s /bin
printf 'root:x:0:0::/:/bin/sh\\nuser:x:1000:1000::/:/bin/sh\\n' > $root/etc/passwd
tar -C $root -c . | docker import --change 'ENV PATH=/bin' - busybox
rm -r $root
";

impl Lab {
    /// Runs `docker ARGUMENTS`, which must work.
    pub fn docker(&self, arguments: &str) -> Result<String> {
        self.host.sh(&format!("docker {arguments}"))
    }

    /// Runs `docker ARGUMENTS`, whatever comes of it.
    pub fn try_docker(&self, arguments: &str) -> Result<Output> {
        self.host.try_sh(&format!("docker {arguments}"))
    }

    /// Waits until the engine answers, after a boot or a restart.
    pub fn wait_for_docker(&self) -> Result<()> {
        poll::until_true("Docker to answer", Duration::from_secs(30), || Ok(self.try_docker("info")?.ok()))
    }

    /// Does something while Docker runs with other settings (daemon.json) than usual.
    pub fn with_docker_settings<T>(&self, json: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.host.put(CONFIGURATION, json.as_bytes())?;
        // Some settings go with another data directory, without the image.
        let done = self.restart_docker().and_then(|()| self.import_image()).and_then(|()| work());
        self.host.sh(&format!("rm {CONFIGURATION}"))?;
        self.restart_docker()?;
        done
    }

    /// Restarts the engine as an upgrade of it would. A refusal because of many starts in a row is not its fault.
    pub fn restart_docker(&self) -> Result<()> {
        self.host.sh(&format!("systemctl reset-failed {DOCKER}; systemctl restart {DOCKER}"))?;
        self.wait_for_docker()?;
        // It is on its way; who counts calls waits for its own. Not there where the package is not.
        self.host.try_sh(&format!("systemctl start {ANNOUNCE}")).map(drop)
    }

    /// Kills the engine and waits until systemd has started another.
    pub fn kill_docker(&self) -> Result<()> {
        let old = self.main_pid(DOCKER)?;
        self.host.sh(&format!("systemctl reset-failed {DOCKER}; kill -KILL {old}"))?;
        poll::until_true("another dockerd", Duration::from_secs(30), || {
            Ok(![0, old].contains(&self.main_pid(DOCKER)?))
        })?;
        self.wait_for_docker()
    }

    /// How long the engine's last start took, from its process to its word that it is ready.
    pub fn docker_start(&self) -> Result<Duration> {
        let time = |property: &str| -> Result<u64> {
            self.property(DOCKER, property)?.parse().with_context(|| format!("{property} of {DOCKER}"))
        };
        let (begun, ready) =
            (time("InactiveExitTimestampMonotonic")?, time("ActiveEnterTimestampMonotonic")?);
        ready.checked_sub(begun).map(Duration::from_micros).context("ready before it began: it is starting")
    }

    /// Has the engine leave containers alone when it goes, until the answer is dropped.
    pub fn live_restore(&self) -> Result<LiveRestore<'_>> {
        let live_restore = LiveRestore(self);
        live_restore.set(true)?;
        Ok(live_restore)
    }

    /// Installs the engine from the packages that lie beside ([`super::Kind::Bare`]).
    pub fn install_docker(&self) -> Result<()> {
        let packages = self.host.release().docker().join(" ");
        let install = format!("apt-get install --yes --no-download --no-install-recommends {packages}");
        self.host.sh_within(&install, Duration::from_secs(180))?;
        self.wait_for_docker()?;
        self.import_image()
    }

    pub(super) fn import_image(&self) -> Result<()> {
        self.wait_for_docker()?;
        self.host.sh(IMPORT).map(drop)
    }
}

/// The engine's `live-restore` is on as long as this exists.
#[derive(Debug)]
pub struct LiveRestore<'a>(&'a Lab);

impl LiveRestore<'_> {
    /// Without a restart, which would be a disturbance of its own.
    fn set(&self, on: bool) -> Result<()> {
        let Self(lab) = self;
        lab.host.put(CONFIGURATION, format!("{{\"live-restore\": {on}}}\n").as_bytes())?;
        lab.host.sh(&format!("systemctl reload {DOCKER}"))?;
        poll::until_true("Docker to read its configuration", Duration::from_secs(30), || {
            Ok(lab.docker("info --format '{{.LiveRestoreEnabled}}'")? == on.to_string())
        })
    }
}

impl Drop for LiveRestore<'_> {
    fn drop(&mut self) {
        // The file says what is the default anyway before it goes: a reload without it changes nothing.
        if let Err(error) = self.set(false) {
            eprintln!("live-restore stays on: {error:#}");
        }
        let _ = self.0.host.try_sh(&format!("rm -f {CONFIGURATION}"));
    }
}

/// One word for the shell, whatever it contains.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
