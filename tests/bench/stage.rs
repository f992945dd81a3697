//! Where everything is measured: a world of the loopback tier whose definitions are on a real disk, and lines of different
//! length to its server.
//!
//! The server's files are in memory: what is measured is the way to them.

use crate::{
    delay::{self, Link},
    host::REMOTE_UID,
    settings::Settings,
    sshd::Sshd,
    target,
    world::World,
};
use anyhow::{Context, Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// What directories on the disk are called, which a killed run leaves.
const ON_DISK: &str = "bench-state-";

pub struct Stage {
    pub world: World,
    pub settings: Settings,
    /// Command line of the driver's sshfs, see `contestant.rs`.
    pub our_command: OnceCell<Vec<String>>,
    lines: RefCell<BTreeMap<Link, u16>>,
    _disk: TempDir,
}

impl Stage {
    pub fn new(settings: &Settings) -> Self {
        let mut world = World::new();
        // sshd drops connections at random where more than ten log in at once.
        world.sshd = Sshd::start_with(&world.path("sshd"), "MaxStartups 1000");
        world.daemon.end(Signal::SIGTERM);
        // What the loopback tier has its daemon log takes time. And nobody is here who would start a daemon again that nobody
        // has called while the others had their turns.
        fs::write(world.path("etc/config.toml"), "[daemon]\nidle_exit = 0\n").expect("a file");
        // In /run a flush costs nothing.
        let disk = tempfile::Builder::new().prefix(ON_DISK).tempdir_in(target()).expect("a directory");
        mount(Some(disk.path()), &world.path("lib"), None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .expect("a bind mount");
        world.daemon.start_again();
        let (our_command, lines) = (OnceCell::new(), RefCell::default());
        Self { world, settings: settings.clone(), our_command, lines, _disk: disk }
    }

    /// Removes what a killed run left on the disk.
    pub fn sweep() {
        for entry in fs::read_dir(target()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(ON_DISK) {
                _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// The port of the server at the end of such a line. The shortest has nothing in between.
    pub fn port(&self, link: impl Into<Link>) -> u16 {
        let (server, link) = (self.world.sshd.port, link.into());
        if link == Duration::ZERO.into() {
            return server;
        }
        *self.lines.borrow_mut().entry(link).or_insert_with(|| delay::start(server, link))
    }

    /// The key that the server accepts.
    pub fn key(&self) -> PathBuf {
        self.world.path("id")
    }

    /// A directory on the server, which is made if it is not there.
    pub fn on_server(&self, name: &str) -> PathBuf {
        let directory = self.world.remote().join(name);
        Sshd::make_directory(&directory);
        directory
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Or it could not be removed with the rest of the world.
        _ = umount2(&self.world.path("lib"), MntFlags::MNT_DETACH);
    }
}

/// A file on the server whose content cannot be compressed.
pub fn serve_file(path: &Path, size: u64) -> Result<()> {
    serve_copies(path, size, &random_bytes()?)
}

/// A file on the server that has this again and again.
pub fn serve_copies(path: &Path, size: u64, mebibyte: &[u8]) -> Result<()> {
    let mut file = File::create(path)?;
    let mut missing = usize::try_from(size)?;
    while missing > 0 {
        let length = missing.min(mebibyte.len());
        file.write_all(&mebibyte[..length])?;
        missing -= length;
    }
    chown(path, Some(REMOTE_UID), Some(REMOTE_UID))?;
    Ok(())
}

/// Small files on the server, so many to a directory; returns their names.
pub fn serve_small_files(tree: &Path, count: usize, to_a_directory: usize) -> Result<Vec<PathBuf>> {
    let name = |i: usize| PathBuf::from(format!("d{}/f{i}", i / to_a_directory));
    let names: Vec<_> = (0..count).map(name).collect();
    for path in names.iter().map(|name| tree.join(name)) {
        path.parent().into_iter().for_each(Sshd::make_directory);
        serve_file(&path, 4096)?;
    }
    Ok(names)
}

/// A mebibyte of noise.
pub fn random_bytes() -> Result<Vec<u8>> {
    let mut bytes = vec![0; 1024 * 1024];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A mebibyte of text as logs have it, of which compression leaves less than a fifth.
pub fn log_lines() -> Vec<u8> {
    let (mut text, mut random) = (Vec::new(), 0x9e37_79b9_u32);
    while text.len() < 1024 * 1024 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let line = format!(
            "10.0.{}.{} - - \"GET /item/{} HTTP/1.1\" 200 {}\n",
            random >> 24,
            random >> 16 & 255,
            random >> 8 & 0xffff,
            random % 90_000
        );
        text.extend_from_slice(line.as_bytes());
    }
    text.truncate(1024 * 1024);
    text
}

/// Runs a program and takes what it says as the reason if it fails.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {}: {}", command.get_program(), output.status, said.trim());
    Ok(output.stdout)
}

/// A link as the table has it.
pub fn milliseconds(link: impl Into<Link>) -> String {
    let Link { round_trip, megabits_per_second } = link.into();
    let speed = megabits_per_second.map_or_else(String::new, |speed| format!(", {speed} Mbit/s"));
    format!("{} ms{speed}", round_trip.as_millis())
}
