//! The guests' root file systems: made once with debootstrap, kept under `target/lab/roots`.
//!
//! A release has up to two, one of each kind.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::dirs;
use super::release::{Kind, Release};

/// Part of the cache key: raise it when the steps below change.
const RECIPE: u32 = 2;

/// Names of unfinished roots begin with this.
const UNFINISHED: &str = ".building-";

/// How often a build that goes on says so.
const PROGRESS: Duration = Duration::from_secs(5);

/// One root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    /// What it runs.
    pub release: Release,
    /// What is installed.
    pub kind: Kind,
}

impl Root {
    /// Where it is, or will be.
    pub fn path(self) -> PathBuf {
        let Self { release, kind } = self;
        let packages = [&release.packages(kind), kind.clients(), self.beside()].map(|names| names.join(" "));
        let recipe = format!("{RECIPE} {}", packages.join(" "));
        dirs::roots().join(format!("{self}-{:08x}", fnv1a(recipe.as_bytes())))
    }

    /// Packages that are there without being installed: guests reach no mirror.
    fn beside(self) -> &'static [&'static str] {
        match self.kind {
            Kind::Full => &[],
            Kind::Bare => self.release.docker(),
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Full => self.release.fmt(f),
            Kind::Bare => write!(f, "{}-bare", self.release),
        }
    }
}

/// A hash that stays the same from one Rust release to the next, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Builds those roots that are missing, all at once. Needs the network, so it runs outside the namespace.
pub fn prepare(roots: &[Root]) -> Result<()> {
    fs::create_dir_all(dirs::roots())?;
    let lock = File::create(dirs::roots().join(".lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    remove_unfinished()?;
    let builds: Vec<_> = roots.iter().map(|&root| thread::spawn(move || build(root))).collect();
    for build in builds {
        build.join().map_err(|_| anyhow!("a build of a root file system panicked"))??;
    }
    Ok(())
}

/// Removes roots that a killed run did not finish. Nobody else builds: the caller holds the lock.
fn remove_unfinished() -> Result<()> {
    for entry in fs::read_dir(dirs::roots())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn build(root: Root) -> Result<()> {
    let finished = root.path();
    if finished.exists() {
        return Ok(());
    }
    let unfinished = dirs::roots().join(format!("{UNFINISHED}{root}"));
    let started = Instant::now();
    eprintln!("[{root}] building a root file system (once, about a minute)");
    debootstrap(root, &unfinished)?;
    apt(root, &unfinished, "--yes", root.kind.clients())?;
    finish(&unfinished)?;
    apt(root, &unfinished, "--download-only", root.beside())?;
    fs::rename(&unfinished, &finished)?;
    eprintln!("[{root}] ready after {} s", started.elapsed().as_secs());
    Ok(())
}

/// Runs debootstrap with its own mount and PID namespaces: it mounts /proc in the new root, and a killed
/// build must not leave that mounted under a directory that the next sweep deletes.
fn debootstrap(root: Root, directory: &Path) -> Result<()> {
    let log_path = dirs::roots().join(format!("{root}.log"));
    let mut log = File::create(&log_path)?;
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", root.release.packages(root.kind).join(",")))
        .arg(root.release.codename())
        .arg(directory)
        .env("DEBOOTSTRAP_DIR", scripts(root.release)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()?;
    let output = child.stdout.take().context("debootstrap has no standard output")?;
    let mut progress = Progress::new(root);
    for line in BufReader::new(output).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        progress.note(&line);
    }
    let status = child.wait()?;
    ensure!(status.success(), "debootstrap of {root} failed ({status}); see {}", log_path.display());
    Ok(())
}

/// debootstrap's directory. One that is older than the release has no script for it, and takes that of all others.
fn scripts(release: Release) -> Result<PathBuf> {
    let installed = Path::new("/usr/share/debootstrap");
    if installed.join("scripts").join(release.codename()).exists() {
        return Ok(installed.to_owned());
    }
    let copy = dirs::roots().join(format!("{UNFINISHED}scripts-{release}"));
    let copied = Command::new("cp").arg("-r").args([installed, &copy]).status()?;
    ensure!(copied.success(), "cannot copy {}: {copied}", installed.display());
    symlink("sid", copy.join("scripts").join(release.codename()))?;
    Ok(copy)
}

/// Installs packages, or with `--download-only` puts them where apt finds them without a mirror.
fn apt(root: Root, directory: &Path, how: &str, packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["chroot".as_ref(), directory.as_os_str()])
        .args(["apt-get", "install", "--yes", "--no-install-recommends", how])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "apt-get install {how} {} for {root}: {said}", packages.join(" "));
    Ok(())
}

/// Makes the root one that many guests can start from.
fn finish(root: &Path) -> Result<()> {
    // Empty, not absent: systemd then makes one for each boot and does not take it for a first boot.
    fs::write(root.join("etc/machine-id"), "")?;
    // Guests must not share host keys.
    remove_files(&root.join("etc/ssh"), |name| name.starts_with("ssh_host_"))?;
    remove_files(&root.join("var/cache/apt/archives"), |name| {
        Path::new(name).extension().is_some_and(|kind| kind == "deb")
    })
}

fn remove_files(directory: &Path, doomed: impl Fn(&str) -> bool) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if doomed(&entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Turns debootstrap's line per package into a line per stage, and one every few seconds in between.
struct Progress {
    root: Root,
    started: Instant,
    spoke: Instant,
    stage: String,
    count: usize,
}

impl Progress {
    fn new(root: Root) -> Self {
        let now = Instant::now();
        Self { root, started: now, spoke: now, stage: String::new(), count: 0 }
    }

    fn note(&mut self, line: &str) {
        // "I: Unpacking docker.io..."
        let stage = line.split_whitespace().nth(1).unwrap_or_default();
        if !["Retrieving", "Extracting", "Unpacking", "Configuring"].contains(&stage) {
            return;
        }
        self.count += 1;
        let changed = stage != self.stage;
        if changed {
            stage.clone_into(&mut self.stage);
        }
        if changed || self.spoke.elapsed() >= PROGRESS {
            let seconds = self.started.elapsed().as_secs();
            eprintln!("[{}] {seconds:3} s  {} (step {})", self.root, self.stage.to_lowercase(), self.count);
            self.spoke = Instant::now();
        }
    }
}
