//! Does a mount answer? Asked by a child process, because the question may never be answered.
//!
//! A process that waits for a FUSE server cannot be killed (fs/fuse/dev.c, `request_wait_answer`), and neither can
//! the process one of whose threads waits. As a child it hangs where it hurts nobody: the daemon goes on, can be
//! restarted (`KillMode=process`), and the child ends with the mount.

use super::mountinfo::{Device, Mount};
use crate::sys;
use nix::{errno::Errno, sys::statvfs::statvfs};
use std::{
    collections::HashSet,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::AsyncReadExt,
    process::{ChildStdout, Command},
    time::timeout,
};

/// The error number that says: what answers at the path is another file system.
pub const HIDDEN: Errno = Errno::ESTALE;

/// More digits than a time can have that somebody has waited for.
const LONGEST_TIME: u64 = 20;

/// What became of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server answered and the root is a directory. With how long the last answer took, which is about one round
    /// trip where it came from the server: a cache answers sooner.
    Alive(Option<Duration>),
    /// The kernel or the server answered with an error.
    Failed(Errno),
    /// No answer in time.
    TimedOut,
    /// The question could not be asked; nothing is known.
    NotAsked,
}

impl Answer {
    /// Whether the process that served the mount has ended.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self, Self::Failed(Errno::ENOTCONN | Errno::ECONNABORTED | Errno::ENODEV))
    }
}

/// Asks with `program`, which is this program.
#[derive(Debug)]
pub struct Prober {
    program: PathBuf,
    /// Mounts that have not answered yet: one question each is enough.
    hanging: Mutex<HashSet<Device>>,
}

impl Prober {
    /// A prober that starts `program probe DEVICE PATH`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program, hanging: Mutex::default() }
    }

    /// Asks the server behind `mount` and waits at most `patience`.
    pub async fn ask(self: &Arc<Self>, mount: &Mount, patience: Duration) -> Answer {
        if self.hanging().contains(&mount.device) {
            return Answer::TimedOut;
        }
        let mut command = Command::new(&self.program);
        command.arg("probe").arg(mount.device.to_string()).arg(&mount.mountpoint).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Nobody is told the answer any more, and until it is there the mount cannot be unmounted.
        sys::die_with_parent(command.as_std_mut());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                tracing::error!("cannot start {}: {e}", self.program.display());
                return Answer::NotAsked;
            }
        };
        if let Ok(status) = timeout(patience, child.wait()).await {
            return match status.ok().and_then(|status| status.code()) {
                Some(0) => Answer::Alive(said_time(child.stdout.take()).await),
                Some(code) => Answer::Failed(Errno::from_raw(code)),
                None => Answer::NotAsked,
            };
        }
        // Takes effect when the kernel lets go of it, which the end of the mount brings about.
        _ = child.start_kill();
        let (prober, device) = (Arc::clone(self), mount.device);
        prober.hanging().insert(device);
        tokio::spawn(async move {
            _ = child.wait().await;
            prober.hanging().remove(&device);
        });
        Answer::TimedOut
    }

    /// Forgets questions about an earlier file system whose number a new one has been given.
    pub fn is_new(&self, device: Device) {
        self.hanging().remove(&device);
    }

    fn hanging(&self) -> MutexGuard<'_, HashSet<Device>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a child that has ended wrote: a number of microseconds.
async fn said_time(output: Option<ChildStdout>) -> Option<Duration> {
    let mut text = String::new();
    // The end of the pipe is there: nobody else has it.
    output?.take(LONGEST_TIME).read_to_string(&mut text).await.ok()?;
    text.trim_end().parse().ok().map(Duration::from_micros)
}

/// The child's part: the exit code is 0 or the error number, all of which fit (`ENOTCONN` is 107). Where it is 0, the output
/// is how many microseconds the last answer took.
///
/// statvfs(3) comes first because nobody caches it: the kernel passes it to sshfs, and sshfs to the server if that has
/// the extension statvfs@openssh.com. Attributes alone may come from the kernel (attr_timeout) or from sshfs
/// (dcache_timeout), long after the server is gone. A server that answers statvfs with an error has answered.
///
/// What answers must be the file system on `device`: something that was mounted later over a directory above hides the
/// mount, and the answer comes from there.
#[must_use]
pub fn answer(device: Device, mountpoint: &Path) -> ExitCode {
    if let Err(
        errno @ (Errno::ENOTCONN | Errno::ECONNABORTED | Errno::ENODEV | Errno::EIO | Errno::ETIMEDOUT),
    ) = statvfs(mountpoint)
    {
        return code(errno);
    }
    // By now ssh has logged in, and of a new mount nobody has the attributes in a cache.
    let asked = Instant::now();
    match std::fs::metadata(mountpoint) {
        Ok(metadata) if Device::of(metadata.dev()) != device => code(HIDDEN),
        Ok(metadata) if metadata.is_dir() => {
            // Nobody may be reading, of an earlier version for example: the answer is the exit code.
            _ = writeln!(io::stdout(), "{}", asked.elapsed().as_micros());
            ExitCode::SUCCESS
        }
        Ok(_) => code(Errno::ENOTDIR),
        Err(e) => code(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

fn code(errno: Errno) -> ExitCode {
    ExitCode::from(u8::try_from(errno as i32).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hanging_mount_is_asked_once_and_a_new_one_with_its_number_anew() {
        let mount = super::super::mountinfo::at(Path::new("/proc")).unwrap().unwrap();
        let prober = Arc::new(Prober::new("/bin/true".into()));
        prober.hanging().insert(mount.device);
        assert_eq!(prober.ask(&mount, Duration::from_secs(60)).await, Answer::TimedOut);
        prober.is_new(mount.device);
        assert_eq!(prober.ask(&mount, Duration::from_secs(60)).await, Answer::Alive(None));
    }
}
