//! Running a command in a booted guest, with a deadline.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What a command may take that has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `timeout` answers for a command it had to end.
const TIMED_OUT: i32 = 124;

/// The PID, as this program sees it, of a guest's PID 1: the handle for its namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Init(pub i32);

/// How a command ended.
#[derive(Debug)]
pub struct Output {
    script: String,
    /// Exit status; 124 after a timeout.
    pub status: i32,
    /// Standard output without the line break at the end.
    pub stdout: String,
    /// Standard error without the line break at the end.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Whether it ended with status 0.
    pub const fn ok(&self) -> bool {
        self.status == 0
    }

    /// Standard output of a command that worked; an error that tells all for one that did not.
    pub fn success(self) -> Result<String> {
        ensure!(self.ok(), "this should have worked: {self}");
        Ok(self.stdout)
    }

    /// Standard error of a command that failed on its own account.
    pub fn failure(self) -> Result<String> {
        ensure!(!self.ok(), "this should have failed: {self}");
        ensure!(self.status != TIMED_OUT, "this should have failed, not hung: {self}");
        Ok(self.stderr)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { script, status, stdout, stderr, took } = self;
        write!(f, "{script}\n  status {status} after {:.1} s\n  {stdout}\n  {stderr}", took.as_secs_f64())
    }
}

impl Init {
    /// Runs a shell script, `input` being its standard input.
    pub fn shell(self, script: &str, input: &[u8], limit: Duration) -> Result<Output> {
        let started = Instant::now();
        let mut child = Command::new("nsenter")
            .args(["-t", &self.0.to_string(), "-m", "-u", "-i", "-p", "-C", "-n", "--"])
            // Inside, because a signal to nsenter would not reach what it started.
            .args(["timeout", "--kill-after=5", &limit.as_secs_f64().to_string(), "sh", "-euc", script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs([
                ("HOME", "/root"),
                ("LANG", "C.UTF-8"),
                ("TERM", "dumb"),
                ("DEBIAN_FRONTEND", "noninteractive"),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("nsenter")?;
        // A script need not read its input: only the write of one that does can matter, and it shows there.
        let _ = child.stdin.take().context("no standard input")?.write_all(input);
        let output = child.wait_with_output()?;
        Ok(Output {
            script: script.to_owned(),
            status: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            took: started.elapsed(),
        })
    }

    /// Runs a script with the usual patience, whatever comes of it.
    pub fn try_sh(self, script: &str) -> Result<Output> {
        self.shell(script, &[], PATIENCE)
    }

    /// Runs a script that must work.
    pub fn sh(self, script: &str) -> Result<String> {
        self.try_sh(script)?.success()
    }

    /// Writes a file, readable by root alone.
    pub fn put(self, path: &str, content: &[u8]) -> Result<()> {
        self.shell(&format!("umask 077; cat > '{path}'"), content, PATIENCE)?.success().map(drop)
    }

    /// Copies a file of the machine into the guest.
    pub fn copy_in(self, from: &Path, to: &str) -> Result<()> {
        let content = fs::read(from).with_context(|| from.display().to_string())?;
        self.put(to, &content)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}
