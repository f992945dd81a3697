//! Who is measured, and how each mounts.

use crate::{
    host::REMOTE_USER,
    processes,
    sshd::{Sshd, wait_for},
    stage::{Stage, run},
    world::mounts_at,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// In the order of the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contestant {
    /// The driver.
    Ours,
    /// sshfs by hand with the options that the driver has.
    OurOptions,
    /// sshfs as the plugin vieux/sshfs calls it.
    Sshfs,
    /// rclone with the defaults of `rclone serve docker`, which has no cache for files.
    Rclone,
    /// The same with a cache, without which it cannot do much; what is written arrives some time later.
    RcloneCache,
    /// What the link, the server or the disk gives.
    Limit,
}

/// What mounts, as a user would choose.
pub const MOUNTING: [Contestant; 4] =
    [Contestant::Ours, Contestant::Sshfs, Contestant::Rclone, Contestant::RcloneCache];

/// The end of a broken run, and no promise.
const PATIENCE: Duration = Duration::from_secs(60);

impl Contestant {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "sshfs-docker",
            Self::OurOptions => "sshfs, same options",
            Self::Sshfs => "sshfs",
            Self::Rclone => "rclone",
            Self::RcloneCache => "rclone, cache full",
            Self::Limit => "limit",
        }
    }
}

/// A mount, which goes when this is dropped. A fresh one for each measurement has nothing cached.
pub struct Mounted<'a> {
    stage: &'a Stage,
    contestant: Contestant,
    name: String,
    process: Option<Child>,
    is_there: bool,
    pub path: PathBuf,
    /// How long the mounting took.
    pub took: Duration,
}

impl<'a> Mounted<'a> {
    /// Mounts a directory of the server.
    pub fn new(
        stage: &'a Stage,
        contestant: Contestant,
        name: &str,
        directory: &Path,
        round_trip: Duration,
    ) -> Result<Self> {
        let mut mounted = Self::prepare(stage, contestant, name, directory, round_trip)?;
        mounted.mount(directory, round_trip)?;
        Ok(mounted)
    }

    /// What comes before: a volume, or an empty directory.
    pub fn prepare(
        stage: &'a Stage,
        contestant: Contestant,
        name: &str,
        directory: &Path,
        round_trip: Duration,
    ) -> Result<Self> {
        let path = match contestant {
            Contestant::Ours => {
                let port = stage.port(round_trip).to_string();
                let options = [("sshcmd", &*Sshd::sshcmd(directory)), ("port", &*port)];
                stage.world.create_with(name, &options).ok();
                stage.world.daemon.mountpoint(name)
            }
            Contestant::OurOptions => {
                our_command(stage, directory)?;
                directory_for(stage, name)?
            }
            _ => directory_for(stage, name)?,
        };
        let (name, process, took) = (name.to_owned(), None, Duration::ZERO);
        Ok(Self { stage, contestant, name, process, is_there: false, path, took })
    }

    /// Mounts what is prepared.
    pub fn mount(&mut self, directory: &Path, round_trip: Duration) -> Result<()> {
        let (stage, path) = (self.stage, self.path.clone());
        let port = stage.port(round_trip).to_string();
        let mut command = match self.contestant {
            Contestant::Ours => {
                let reply = stage.world.client().mount(&self.name, "bench");
                ensure!(reply.status == Some(200), "{}", reply.body["Err"]);
                (self.is_there, self.took) = (true, reply.took);
                return Ok(());
            }
            Contestant::OurOptions => {
                let mut command = Command::new("sshfs");
                command.arg(Sshd::sshcmd(directory)).arg(&path).args(our_command(stage, directory)?);
                command.arg("-o").arg(format!("port={port}"));
                command
            }
            Contestant::Sshfs => {
                let mut command = Command::new("sshfs");
                command.arg("-oStrictHostKeyChecking=no").arg(Sshd::sshcmd(directory)).arg(&path);
                command.args(["-p", &port, "-o", &format!("IdentityFile={}", stage.key().display())]);
                command.args(["-o", "UserKnownHostsFile=/dev/null"]);
                command
            }
            Contestant::Rclone | Contestant::RcloneCache => return self.mount_with_rclone(directory, &port),
            Contestant::Limit => bail!("mounts nothing"),
        };
        let begun = Instant::now();
        // Where the daemon of sshfs keeps its standard error open, nobody must wait for its end.
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "sshfs: {status}");
        fs::metadata(&path)?;
        (self.is_there, self.took) = (true, begun.elapsed());
        Ok(())
    }

    fn mount_with_rclone(&mut self, directory: &Path, port: &str) -> Result<()> {
        let mut command = Command::new("rclone");
        command.arg("mount").arg(format!(":sftp:{}", directory.display())).arg(&self.path);
        command.args(["--config", "", "--allow-other", "--sftp-host", "127.0.0.1", "--sftp-port", port]);
        command.args(["--sftp-user", REMOTE_USER]).arg("--sftp-key-file").arg(self.stage.key());
        // Of its own for each mount: nothing may be there already.
        command.arg("--cache-dir").arg(self.path.with_extension("cache"));
        if self.contestant == Contestant::RcloneCache {
            // It would wait for 5 s before it begins to write.
            command.args(["--vfs-cache-mode", "full", "--vfs-write-back", "0s"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let begun = Instant::now();
        let process = self.process.insert(command.spawn().context("rclone (apt install rclone)")?);
        while mounts_at(&self.path) == 0 {
            if let Some(status) = process.try_wait()? {
                bail!("rclone: {status}");
            }
            ensure!(begun.elapsed() < PATIENCE, "rclone does not mount");
            sleep(Duration::from_millis(1));
        }
        self.is_there = true;
        fs::metadata(&self.path)?;
        self.took = begun.elapsed();
        Ok(())
    }

    /// Unmounts, and tells how long that took.
    pub fn unmount(mut self) -> Result<Duration> {
        self.end()
    }

    fn end(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        if self.contestant == Contestant::Ours {
            let client = self.stage.world.client();
            let reply = client.unmount(&self.name, "bench");
            self.is_there = false;
            client.remove(&self.name);
            ensure!(reply.status == Some(200), "{}", reply.body["Err"]);
            return Ok(reply.took);
        }
        if std::mem::take(&mut self.is_there) {
            run(Command::new("umount").arg(&self.path))?;
        }
        let took = begun.elapsed();
        if let Some(mut process) = self.process.take() {
            // One that never mounted does not end by itself.
            while process.try_wait()?.is_none() && begun.elapsed() < Duration::from_secs(5) {
                sleep(Duration::from_millis(5));
            }
            _ = process.kill();
            process.wait()?;
            _ = fs::remove_dir_all(self.path.with_extension("cache"));
        }
        let text = self.path.to_string_lossy().into_owned();
        wait_for(|| self.stage.world.processes(&text).is_empty(), "sshfs has ended");
        Ok(took)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if self.is_there || self.process.is_some() || self.contestant == Contestant::Ours {
            _ = self.end();
        }
    }
}

fn directory_for(stage: &Stage, name: &str) -> Result<PathBuf> {
    let path = stage.world.path(&format!("by-hand-{name}"));
    fs::create_dir_all(&path)?;
    Ok(path)
}

/// The options of the driver's sshfs, read from a mount of it, for a command line by hand: with plain ssh and the key
/// itself.
fn our_command<'a>(stage: &'a Stage, directory: &Path) -> Result<&'a [String]> {
    if stage.our_command.get().is_none() {
        let mounted = Mounted::new(stage, Contestant::Ours, "pattern", directory, Duration::ZERO)?;
        let pids = stage.world.processes("/dev/fd/0");
        let is_sshfs = |line: &Vec<String>| line.first().is_some_and(|program| program == "sshfs");
        let line = pids.into_iter().map(processes::command_line).find(is_sshfs).context("no sshfs")?;
        // Gone with the mount.
        let (settings, copy) =
            (line.iter().skip_while(|word| *word != "-F").nth(1), stage.world.path("ssh-of-bench"));
        fs::copy(settings.context("no -F")?, &copy)?;
        let mut options = vec!["-F".to_owned(), copy.to_string_lossy().into_owned()];
        for option in line
            .iter()
            .skip_while(|word| *word != "-F")
            .filter(|word| word.contains('=') || *word == "reconnect")
        {
            let option = match option.split_once('=') {
                Some(("ssh_command" | "port", _)) => continue,
                Some(("IdentityFile", _)) => format!("IdentityFile={}", stage.key().display()),
                _ => option.clone(),
            };
            options.extend(["-o".to_owned(), option]);
        }
        options.extend(["-o", "allow_other"].map(str::to_owned));
        mounted.unmount()?;
        _ = stage.our_command.set(options);
    }
    Ok(stage.our_command.get().map_or(&[], Vec::as_slice))
}
