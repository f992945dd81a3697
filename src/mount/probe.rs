//! Does a mount answer? Asked by a child process, because the question may never be answered.
//!
//! A process that waits for a FUSE server cannot be killed (fs/fuse/dev.c, `request_wait_answer`), and neither can
//! the process one of whose threads waits. As a child it hangs where it hurts nobody: the daemon goes on, can be
//! restarted (`KillMode=process`), and the child ends with the mount.

use nix::{errno::Errno, sys::statvfs::statvfs};
use std::{
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{process::Command, time::timeout};

/// What became of the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server answered and the root is a directory.
    Alive,
    /// The kernel or the server answered with an error.
    Failed(Errno),
    /// No answer in time.
    TimedOut,
}

/// Asks with `program`, which is this program.
#[derive(Debug)]
pub struct Prober {
    program: PathBuf,
    hanging: AtomicUsize,
}

/// More probes than this do not hang at once: each is a process.
const MOST_HANGING: usize = 64;

impl Prober {
    /// A prober that starts `program probe PATH`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program, hanging: AtomicUsize::new(0) }
    }

    /// Asks the server behind `mountpoint` and waits at most `patience`.
    pub async fn ask(self: &std::sync::Arc<Self>, mountpoint: &Path, patience: Duration) -> Answer {
        if self.hanging.load(Ordering::Relaxed) >= MOST_HANGING {
            tracing::warn!("{MOST_HANGING} probes of dead servers hang already, not starting another");
            return Answer::TimedOut;
        }
        let mut command = Command::new(&self.program);
        command.arg("probe").arg(mountpoint).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) => {
                tracing::error!("cannot start {}: {e}", self.program.display());
                return Answer::Failed(e.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw));
            }
        };
        if let Ok(status) = timeout(patience, child.wait()).await {
            return match status.ok().and_then(|status| status.code()) {
                Some(0) => Answer::Alive,
                Some(code) => Answer::Failed(Errno::from_raw(code)),
                None => Answer::Failed(Errno::EINTR),
            };
        }
        // Takes effect when the kernel lets go of it, which the end of the mount brings about.
        _ = child.start_kill();
        let prober = std::sync::Arc::clone(self);
        prober.hanging.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            _ = child.wait().await;
            prober.hanging.fetch_sub(1, Ordering::Relaxed);
        });
        Answer::TimedOut
    }
}

/// The child's part: the exit code is 0 or the error number, all of which fit (`ENOTCONN` is 107).
///
/// statvfs(3) comes first because nobody caches it: the kernel passes it to sshfs, and sshfs to the server. Attributes
/// alone may come from the kernel (attr_timeout) or from sshfs (dcache_timeout), long after the server is gone.
#[must_use]
pub fn answer(mountpoint: &Path) -> ExitCode {
    if let Err(errno) = statvfs(mountpoint) {
        return code(errno);
    }
    match std::fs::metadata(mountpoint) {
        Ok(metadata) if metadata.is_dir() => ExitCode::SUCCESS,
        Ok(_) => code(Errno::ENOTDIR),
        Err(e) => code(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
    }
}

fn code(errno: Errno) -> ExitCode {
    ExitCode::from(u8::try_from(errno as i32).unwrap_or(u8::MAX))
}
