//! How fast a mount is. It is used by a child process (`sshfs-docker measure`), because whoever waits for a server that
//! does not answer cannot be ended; the child says what it found line by line, and stops when its standard input is closed.
//!
//! No cache may answer in the place of the server: what is looked up are names that do not exist, each once; what is read
//! is dropped from the kernel's memory before (`POSIX_FADV_DONTNEED`) and opened anew, which is where sshfs keeps its own
//! read-ahead. The server itself may read from memory.

use crate::regular_file;
use nix::{
    errno::Errno,
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// An odd number, for a median.
const LOOKUPS: usize = 7;

/// So much is written, in rounds of which each is twice as large as the one before, or for so long.
const FIRST_ROUND: usize = 64 * 1024;
const LARGEST: usize = 64 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(3);

const BLOCK: usize = 1024 * 1024;

/// How long the child may take to remove its file when it is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What the child says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The median of some questions, in microseconds.
    RoundTrip(u64),
    /// The server's error to such a question.
    NoRoundTrip(String),
    /// It is about to make the file of this name.
    Creates(String),
    /// It could not, or not write, for this reason.
    CannotWrite(String),
    /// The speed of writing.
    Written(Speed),
    /// The speed of reading.
    Read(Speed),
    /// Reading failed.
    CannotRead(String),
    /// The file is not there, or not any more.
    Gone,
}

/// So many bytes in so many microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speed {
    bytes: u64,
    microseconds: u64,
}

impl Speed {
    fn new(bytes: usize, time: Duration) -> Self {
        Self { bytes: bytes as u64, microseconds: microseconds(time).max(1) }
    }

    /// Bytes in a second.
    #[must_use]
    pub fn bytes_per_second(self) -> u64 {
        self.bytes.saturating_mul(1_000_000) / self.microseconds.max(1)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The child's part.
#[must_use]
pub fn run(mountpoint: &Path, writes: bool) -> ExitCode {
    match try_run(mountpoint, writes) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn try_run(mountpoint: &Path, writes: bool) -> io::Result<()> {
    match round_trip(mountpoint) {
        Ok(median) => say(&Finding::RoundTrip(microseconds(median)))?,
        Err(e) => say(&Finding::NoRoundTrip(reason(&e)))?,
    }
    if !writes || told_to_stop() {
        return Ok(());
    }
    let name = format!(".sshfs-docker-check-{}", random()?);
    let path = mountpoint.join(&name);
    say(&Finding::Creates(name))?;
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match created {
        Ok(file) => file,
        Err(e) => return say(&Finding::CannotWrite(reason(&e))).and_then(|()| say(&Finding::Gone)),
    };
    let measured = write_and_read(&mut file, &path);
    drop(file);
    // The file that was just created, and nothing else: no other has its name.
    let removed = std::fs::remove_file(&path);
    measured?;
    removed?;
    say(&Finding::Gone)
}

/// The error is that of who listens.
fn write_and_read(file: &mut File, path: &Path) -> io::Result<()> {
    match write(file) {
        Ok(speed) => say(&Finding::Written(speed))?,
        Err(e) => return say(&Finding::CannotWrite(reason(&e))),
    }
    if told_to_stop() {
        return Ok(());
    }
    _ = posix_fadvise(&*file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    match file.metadata().and_then(|metadata| read(path, metadata.dev())) {
        Ok(speed) => say(&Finding::Read(speed)),
        Err(e) => say(&Finding::CannotRead(reason(&e))),
    }
}

fn say(finding: &Finding) -> io::Result<()> {
    let mut parent = io::stdout().lock();
    writeln!(parent, "{}", serde_json::to_string(finding)?)?;
    parent.flush()
}

/// The parent has closed the pipe, or is gone.
fn told_to_stop() -> bool {
    let stdin = io::stdin();
    poll(&mut [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) != Ok(0)
}

fn reason(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EROFS) => "it is mounted read-only".to_owned(),
        Some(Errno::EACCES | Errno::EPERM) => "the remote user may not write to the directory".to_owned(),
        Some(errno) => errno.desc().to_lowercase(),
        None => error.to_string(),
    }
}

fn random() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn round_trip(mountpoint: &Path) -> io::Result<Duration> {
    let name = random()?;
    let mut times = Vec::new();
    for lookup in 0..LOOKUPS {
        let path = mountpoint.join(format!(".sshfs-docker-check-{name}-{lookup}"));
        let asked = Instant::now();
        match path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => times.push(asked.elapsed()),
            Err(e) => return Err(e),
            Ok(_) => {}
        }
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The speed of the last round, which is the largest: each one waits until the server has it all, and in a small one
/// that is most of the time.
fn write(file: &mut File) -> io::Result<Speed> {
    let block = incompressible();
    let (started, mut size, mut total) = (Instant::now(), FIRST_ROUND, 0);
    loop {
        let round = Instant::now();
        let mut left = size;
        while left > 0 {
            if told_to_stop() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = left.min(block.len());
            file.write_all(&block[..length])?;
            left -= length;
        }
        file.sync_all()?;
        let took = round.elapsed();
        total += size;
        if total + 2 * size > LARGEST || started.elapsed() + 2 * took > LONGEST {
            return Ok(Speed::new(size, took));
        }
        size *= 2;
    }
}

/// What ssh compresses would go faster than what a user has.
fn incompressible() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).take(BLOCK / 8).flatten().collect()
}

/// The server decides what is at the path by now: it must be a file of the same mount.
fn read(path: &Path, device: u64) -> io::Result<Speed> {
    let (mut file, metadata) = regular_file::open(path, LARGEST as u64)?;
    if metadata.dev() != device {
        return Err(io::Error::other("it is not in the mount any more"));
    }
    let mut buffer = vec![0; BLOCK];
    let (started, mut total) = (Instant::now(), 0);
    while started.elapsed() < LONGEST && !told_to_stop() {
        match file.read(&mut buffer)? {
            0 => break,
            length => total += length,
        }
    }
    Ok(Speed::new(total, started.elapsed()))
}

/// The parent's part: a child that measures.
#[derive(Debug)]
pub struct Measuring {
    child: Child,
    findings: Lines<BufReader<ChildStdout>>,
    /// The file that may be on the server.
    file: Option<String>,
}

impl Measuring {
    /// Starts `program measure`.
    pub fn start(program: &Path, mountpoint: &Path, writes: bool) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("measure").args((!writes).then_some("--no-write")).arg(mountpoint).env_clear();
        // Ctrl-C is for the parent, who tells the child to stop.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, findings: BufReader::new(stdout).lines(), file: None })
    }

    /// What it finds next; None when it has ended.
    pub async fn next(&mut self) -> Option<Finding> {
        let line = self.findings.next_line().await.ok()??;
        let finding = serde_json::from_str(&line).ok()?;
        match &finding {
            Finding::Creates(name) => self.file = Some(name.clone()),
            Finding::Gone => self.file = None,
            _ => {}
        }
        Some(finding)
    }

    /// Has it stop and remove its file.
    pub async fn stop(&mut self) {
        drop(self.child.stdin.take());
        let drain = async { while self.next().await.is_some() {} };
        _ = timeout(STOP_PATIENCE, drain).await;
        _ = timeout(STOP_PATIENCE, self.child.wait()).await;
    }

    /// The end of one whose mount is gone.
    pub async fn end(mut self) -> Option<PathBuf> {
        _ = self.child.start_kill();
        _ = timeout(STOP_PATIENCE, self.child.wait()).await;
        self.file.map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_cannot_be_compressed() {
        let block = incompressible();
        assert_eq!(block.len(), BLOCK);
        let mut counts = [0_usize; 256];
        for byte in block {
            counts[usize::from(byte)] += 1;
        }
        assert!(counts.iter().all(|count| (3500..4700).contains(count)), "{counts:?}");
    }

    #[test]
    fn only_a_file_of_the_mount_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| directory.path().join(name));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let device = file.metadata().unwrap().dev();
        assert!(
            read(&link, device).is_err() && read(&pipe, device).is_err() && read(&file, device + 1).is_err()
        );
    }

    #[test]
    fn findings_come_back_as_they_were_said() {
        for finding in
            [Finding::RoundTrip(7), Finding::Written(Speed::new(9, Duration::from_secs(1))), Finding::Gone]
        {
            let line = serde_json::to_string(&finding).unwrap();
            assert_eq!(serde_json::from_str::<Finding>(&line).unwrap(), finding);
        }
    }
}
