//! Docker on the Docker host. No registry is reachable, so the one image is made of a static busybox.

use std::time::Duration;

use anyhow::Result;

use super::{Lab, Output, poll};

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
        self.host.put("/etc/docker/daemon.json", json.as_bytes())?;
        // Some settings go with another data directory, without the image.
        let done = self.restart_docker().and_then(|()| self.import_image()).and_then(|()| work());
        self.host.sh("rm /etc/docker/daemon.json")?;
        self.restart_docker()?;
        done
    }

    fn restart_docker(&self) -> Result<()> {
        self.host.sh("systemctl reset-failed docker.service; systemctl restart docker.service")?;
        self.wait_for_docker()
    }

    pub(super) fn import_image(&self) -> Result<()> {
        self.wait_for_docker()?;
        self.host.sh(IMPORT).map(drop)
    }
}

/// One word for the shell, whatever it contains.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
