//! The guests' root file systems: made once with debootstrap, kept under `target/lab/roots`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::fcntl::{Flock, FlockArg};

use super::dirs;
use super::release::Release;

/// Part of the cache key: raise it when the steps below change.
const RECIPE: u32 = 1;

/// Names of unfinished roots begin with this.
const UNFINISHED: &str = ".building-";

/// How often a build that goes on says so.
const PROGRESS: Duration = Duration::from_secs(5);

/// Where the root of `release` is, or will be.
pub fn path(release: Release) -> PathBuf {
    let recipe = format!("{RECIPE} {}", release.packages().join(" "));
    dirs::roots().join(format!("{release}-{:08x}", fnv1a(recipe.as_bytes())))
}

/// A hash that stays the same from one Rust release to the next, unlike the standard library's.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Builds the roots that are missing, both at once. Needs the network, so it runs outside the namespace.
pub fn prepare() -> Result<()> {
    fs::create_dir_all(dirs::roots())?;
    let lock = File::create(dirs::roots().join(".lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    remove_unfinished()?;
    let builds = Release::ALL.map(|release| thread::spawn(move || build(release)));
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

fn build(release: Release) -> Result<()> {
    let finished = path(release);
    if finished.exists() {
        return Ok(());
    }
    let unfinished = dirs::roots().join(format!("{UNFINISHED}{release}"));
    let started = Instant::now();
    eprintln!("[{release}] building a root file system (once, about a minute)");
    debootstrap(release, &unfinished)?;
    finish(&unfinished)?;
    fs::rename(&unfinished, &finished)?;
    eprintln!("[{release}] ready after {} s", started.elapsed().as_secs());
    Ok(())
}

/// Runs debootstrap with its own mount and PID namespaces: it mounts /proc in the new root, and a killed
/// build must not leave that mounted under a directory that the next sweep deletes.
fn debootstrap(release: Release, root: &Path) -> Result<()> {
    let log_path = dirs::roots().join(format!("{release}.log"));
    let mut log = File::create(&log_path)?;
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .args(["debootstrap", "--variant=minbase"])
        .arg(format!("--include={}", release.packages().join(",")))
        .arg(release.codename())
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?)
        .spawn()?;
    let output = child.stdout.take().context("debootstrap has no standard output")?;
    let mut progress = Progress::new(release);
    for line in BufReader::new(output).lines() {
        let line = line?;
        writeln!(log, "{line}")?;
        progress.note(&line);
    }
    let status = child.wait()?;
    ensure!(status.success(), "debootstrap of {release} failed ({status}); see {}", log_path.display());
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
    release: Release,
    started: Instant,
    spoke: Instant,
    stage: String,
    count: usize,
}

impl Progress {
    fn new(release: Release) -> Self {
        let now = Instant::now();
        Self { release, started: now, spoke: now, stage: String::new(), count: 0 }
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
            eprintln!(
                "[{}] {seconds:3} s  {} (step {})",
                self.release,
                self.stage.to_lowercase(),
                self.count
            );
            self.spoke = Instant::now();
        }
    }
}
