//! Where everything is measured: a world of the loopback tier whose definitions are on a real disk, and lines of different
//! length to its server.
//!
//! The server's files are in memory: what is measured is the way to them.

use crate::{delay, host::REMOTE_UID, settings::Settings, sshd::Sshd, target, world::World};
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
    lines: RefCell<BTreeMap<Duration, u16>>,
    _disk: TempDir,
}

impl Stage {
    pub fn new(settings: &Settings) -> Self {
        let mut world = World::new();
        // sshd drops connections at random where more than ten log in at once.
        world.sshd = Sshd::start_with(&world.path("sshd"), "MaxStartups 1000");
        world.daemon.end(Signal::SIGTERM);
        // What the loopback tier has its daemon log takes time.
        fs::write(world.path("etc/config.toml"), "").expect("a file");
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
    pub fn port(&self, round_trip: Duration) -> u16 {
        let server = self.world.sshd.port;
        if round_trip.is_zero() {
            return server;
        }
        *self.lines.borrow_mut().entry(round_trip).or_insert_with(|| delay::start(server, round_trip))
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
    let mut file = File::create(path)?;
    let mebibyte = random_bytes()?;
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

/// Runs a program and takes what it says as the reason if it fails.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("{:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {}: {}", command.get_program(), output.status, said.trim());
    Ok(output.stdout)
}

/// A round trip as the table has it.
pub fn milliseconds(round_trip: Duration) -> String {
    format!("{} ms", round_trip.as_millis())
}
