//! `rclone serve docker`, which speaks to Docker as the driver does. Each mount has one of its own, so that nothing is there
//! already and so that all of it counts for that mount: it has no other process.

use crate::{client::Client, client::Reply, host::REMOTE_USER, stage::Stage};
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MntFlags, umount2};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// The end of a broken run, and no promise.
const PATIENCE: Duration = Duration::from_secs(20);

/// A plugin with directories of its own.
pub struct Plugin {
    process: Child,
    client: Client,
    directory: PathBuf,
}

impl Plugin {
    /// Starts one and waits until it answers.
    pub fn start(stage: &Stage, name: &str) -> Result<Self> {
        let directory = stage.world.path(&format!("rclone-{name}"));
        fs::create_dir_all(directory.join("mounts"))?;
        let socket = directory.join("plugin.sock");
        let mut command = Command::new("rclone");
        command.args(["serve", "docker", "--no-spec", "--config", ""]);
        command.arg("--socket-addr").arg(&socket).arg("--base-dir").arg(directory.join("mounts"));
        // Where it keeps its volumes and its files.
        command.arg("--cache-dir").arg(directory.join("cache"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("rclone (apt install rclone)")?;
        let mut plugin = Self { process, client: Client::new(&socket), directory };
        let begun = Instant::now();
        while plugin.client.call("/Plugin.Activate", "").status.is_none() {
            if let Some(status) = plugin.process.try_wait()? {
                bail!("rclone serve docker: {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "rclone serve docker does not answer");
            sleep(Duration::from_millis(2));
        }
        Ok(plugin)
    }

    /// Creates a volume and tells how long that took: here, and not when it mounts, rclone logs in.
    pub fn create(
        &self,
        stage: &Stage,
        name: &str,
        on_server: &Path,
        port: &str,
        cache: bool,
    ) -> Result<Duration> {
        let (path, key) = (on_server.to_string_lossy(), stage.key());
        let key = key.to_string_lossy();
        let mut options = vec![
            ("type", "sftp"),
            ("path", &*path),
            ("sftp-host", "127.0.0.1"),
            ("sftp-port", port),
            ("sftp-user", REMOTE_USER),
            ("sftp-key-file", &*key),
            // Containers have other users than root.
            ("allow-other", "true"),
        ];
        if cache {
            // It would wait for 5 s before it begins to write.
            options.extend([("vfs-cache-mode", "full"), ("vfs-write-back", "0s")]);
        }
        took(&self.client.create(name, &options))
    }

    pub fn mount(&self, name: &str) -> Result<Duration> {
        took(&self.client.mount(name, "bench"))
    }

    pub fn unmount(&self, name: &str) -> Result<Duration> {
        let took = took(&self.client.unmount(name, "bench"));
        self.client.remove(name);
        took
    }

    /// Where a volume's files are.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.directory.join("mounts").join(name)
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        // What it could not unmount would be in the way of the removal.
        for entry in fs::read_dir(self.directory.join("mounts")).into_iter().flatten().flatten() {
            _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
        }
        _ = fs::remove_dir_all(&self.directory);
    }
}

fn took(reply: &Reply) -> Result<Duration> {
    ensure!(reply.status == Some(200), "rclone: {}", reply.body["Err"]);
    Ok(reply.took)
}
