//! Who is measured, and how each mounts.

use crate::{
    delay::Link,
    processes,
    rclone::Plugin,
    sshd::{Sshd, wait_for},
    stage::{Stage, run},
    variant::Variant,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
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
    /// `rclone serve docker` with its defaults, which have no cache for files.
    Rclone,
    /// The same with a cache, without which it cannot do much; what is written arrives some time later.
    RcloneCache,
    /// What the link, the server or the disk gives.
    Limit,
    /// The driver with another value of a setting.
    Variant(&'static Variant),
}

/// What mounts, as a user would choose.
pub const MOUNTING: [Contestant; 4] =
    [Contestant::Ours, Contestant::Sshfs, Contestant::Rclone, Contestant::RcloneCache];

impl Contestant {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "sshfs-docker",
            Self::OurOptions => "sshfs, same options",
            Self::Sshfs => "sshfs",
            Self::Rclone => "rclone",
            Self::RcloneCache => "rclone, cache full",
            Self::Limit => "limit",
            Self::Variant(variant) => variant.name,
        }
    }

    /// The options that a volume of the driver has for it; None for who is not the driver.
    pub const fn options(self) -> Option<&'static [(&'static str, &'static str)]> {
        match self {
            Self::Ours => Some(&[]),
            Self::Variant(variant) => Some(variant.options),
            _ => None,
        }
    }
}

/// A mount, which goes when this is dropped. A fresh one for each measurement has nothing cached.
pub struct Mounted<'a> {
    stage: &'a Stage,
    contestant: Contestant,
    name: String,
    plugin: Option<Plugin>,
    is_there: bool,
    pub path: PathBuf,
    /// How long the creation of the volume took, where there is one.
    pub creation: Duration,
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
        link: impl Into<Link>,
    ) -> Result<Self> {
        let link = link.into();
        let mut mounted = Self::prepare(stage, contestant, name, directory, link)?;
        mounted.mount(directory, link)?;
        Ok(mounted)
    }

    /// What comes before: a volume, or an empty directory.
    pub fn prepare(
        stage: &'a Stage,
        contestant: Contestant,
        name: &str,
        directory: &Path,
        link: impl Into<Link>,
    ) -> Result<Self> {
        let port = stage.port(link).to_string();
        let (mut plugin, mut creation) = (None, Duration::ZERO);
        let path = match contestant {
            Contestant::Ours | Contestant::Variant(_) => {
                let mut options = vec![("sshcmd", Sshd::sshcmd(directory)), ("port", port)];
                let own = contestant.options().unwrap_or_default().iter();
                options.extend(own.map(|(option, value)| (*option, (*value).to_owned())));
                let options: Vec<_> =
                    options.iter().map(|(option, value)| (*option, value.as_str())).collect();
                let reply = stage.world.create_with(name, &options);
                ensure!(reply.status == Some(200), "{}", reply.body["Err"]);
                creation = reply.took;
                stage.world.daemon.mountpoint(name)
            }
            Contestant::Rclone | Contestant::RcloneCache => {
                let plugin = plugin.insert(Plugin::start(stage, name)?);
                let cache = contestant == Contestant::RcloneCache;
                creation = plugin.create(stage, name, directory, &port, cache)?;
                plugin.mountpoint(name)
            }
            Contestant::OurOptions => {
                our_command(stage, directory)?;
                directory_for(stage, name)?
            }
            Contestant::Sshfs | Contestant::Limit => directory_for(stage, name)?,
        };
        let (name, took) = (name.to_owned(), Duration::ZERO);
        Ok(Self { stage, contestant, name, plugin, is_there: false, path, creation, took })
    }

    /// Mounts what is prepared.
    pub fn mount(&mut self, directory: &Path, link: impl Into<Link>) -> Result<()> {
        let (stage, path, link) = (self.stage, self.path.clone(), link.into());
        let port = stage.port(link).to_string();
        let mut command = match self.contestant {
            Contestant::Ours | Contestant::Variant(_) => {
                let reply = stage.world.client().mount(&self.name, "bench");
                ensure!(reply.status == Some(200), "{}", reply.body["Err"]);
                (self.is_there, self.took) = (true, reply.took);
                return Ok(());
            }
            Contestant::OurOptions => self.by_hand(directory, link)?,
            Contestant::Sshfs => {
                let mut command = Command::new("sshfs");
                command.arg("-oStrictHostKeyChecking=no").arg(Sshd::sshcmd(directory)).arg(&path);
                command.args(["-p", &port, "-o", &format!("IdentityFile={}", stage.key().display())]);
                command.args(["-o", "UserKnownHostsFile=/dev/null"]);
                command
            }
            Contestant::Rclone | Contestant::RcloneCache => {
                let plugin = self.plugin.as_ref().context("no rclone")?;
                (self.took, self.is_there) = (plugin.mount(&self.name)?, true);
                let begun = Instant::now();
                fs::metadata(&path)?;
                self.took += begun.elapsed();
                return Ok(());
            }
            Contestant::Limit => bail!("mounts nothing"),
        };
        let begun = Instant::now();
        run_sshfs(&mut command, &path)?;
        (self.is_there, self.took) = (true, begun.elapsed());
        Ok(())
    }

    /// sshfs with the driver's options.
    fn by_hand(&self, directory: &Path, link: Link) -> Result<Command> {
        let mut command = Command::new("sshfs");
        command.arg(Sshd::sshcmd(directory)).arg(&self.path).args(our_command(self.stage, directory)?);
        command.arg("-o").arg(format!("port={}", self.stage.port(link)));
        Ok(command)
    }

    /// What mounts what is prepared, for the driver and for sshfs with its options, to be called from any thread. Whatever
    /// comes of it, this mount is then taken to be there.
    pub fn mounting(
        &mut self,
        directory: &Path,
        link: impl Into<Link>,
    ) -> Result<Box<dyn FnOnce() -> Result<()> + Send>> {
        self.is_there = true;
        if self.contestant == Contestant::OurOptions {
            let (mut command, path) = (self.by_hand(directory, link.into())?, self.path.clone());
            return Ok(Box::new(move || run_sshfs(&mut command, &path)));
        }
        let (client, name) = (self.stage.world.client(), self.name.clone());
        Ok(Box::new(move || {
            let reply = client.mount(&name, "bench");
            ensure!(reply.status == Some(200), "{name}: {}", reply.body["Err"]);
            Ok(())
        }))
    }

    /// Unmounts, and tells how long that took.
    pub fn unmount(mut self) -> Result<Duration> {
        self.end()
    }

    fn end(&mut self) -> Result<Duration> {
        let was_there = std::mem::take(&mut self.is_there);
        if self.contestant.options().is_some() {
            let client = self.stage.world.client();
            let reply = client.unmount(&self.name, "bench");
            client.remove(&self.name);
            ensure!(reply.status == Some(200), "{}", reply.body["Err"]);
            return Ok(reply.took);
        }
        if let Some(plugin) = self.plugin.take() {
            return if was_there { plugin.unmount(&self.name) } else { Ok(Duration::ZERO) };
        }
        let begun = Instant::now();
        if was_there {
            run(Command::new("umount").arg(&self.path))?;
        }
        let took = begun.elapsed();
        let text = self.path.to_string_lossy().into_owned();
        wait_for(|| self.stage.world.processes(&text).is_empty(), "sshfs has ended");
        Ok(took)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if self.is_there || self.plugin.is_some() || self.contestant.options().is_some() {
            _ = self.end();
        }
    }
}

fn run_sshfs(command: &mut Command, path: &Path) -> Result<()> {
    // Where the daemon of sshfs keeps its standard error open, nobody must wait for its end.
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "sshfs: {status}");
    fs::metadata(path)?;
    Ok(())
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
