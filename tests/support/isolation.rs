//! Runs a test program inside namespaces of its own, so that whatever it starts ends with it.
//!
//! Processes, mounts, bridges and `/run` live in a mount, network and PID namespace. The namespace
//! disappears with the test program, also when that panics or is killed: there is no teardown code
//! that a bug could skip. What namespaces cannot hold (cgroups, files) is the `sweep` closure's job.
//!
//! Two processes share the work: the *outer* one is what cargo started; it keeps the network (to build
//! what the tests need), waits, forwards the exit code and sweeps. The *inner* one is the same program
//! again, as PID 1 of the new namespace.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{SigSet, Signal};

/// Set in the environment of the inner process, to the PID of the outer one.
const INSIDE: &str = "SSHFS_DOCKER_TEST_ISOLATED";

/// What every tier needs to build its namespaces.
const OWN_TOOLS: [&str; 3] = ["setpriv", "unshare", "ip"];

/// A test program that needs real privilege, and what it cannot do without.
#[derive(Debug)]
pub struct Tier {
    /// The name `make test` and the complaints use.
    pub name: &'static str,
    /// Programs that must be in `PATH`, each with the Debian package that has it.
    pub tools: &'static [(&'static str, &'static str)],
}

impl Tier {
    /// Why this tier cannot run here, as one sentence.
    fn obstacle(&self) -> Option<String> {
        let name = self.name;
        if !nix::unistd::Uid::effective().is_root() {
            return Some(format!("the {name} tests cannot run: they need root (try sudo)"));
        }
        if !Path::new("/dev/fuse").exists() {
            return Some(format!("the {name} tests cannot run: there is no /dev/fuse on this machine"));
        }
        if let Some((tool, package)) = self.tools.iter().find(|(tool, _)| !in_path(tool)) {
            return Some(format!(
                "the {name} tests cannot run: `{tool}` is missing (apt-get install {package})"
            ));
        }
        let tool = OWN_TOOLS.into_iter().find(|tool| !in_path(tool))?;
        Some(format!(
            "the {name} tests cannot run: `{tool}` is missing (apt-get install util-linux iproute2)"
        ))
    }

    /// Runs `inside` in namespaces of its own and returns its exit code.
    ///
    /// `prepare` runs before that, with the machine's network; `sweep` runs in the outer process before
    /// and after, when nothing of the inner one is alive any more, and is told nothing: it removes
    /// whatever an earlier run left, this one's remains included.
    pub fn run(
        &self,
        prepare: impl FnOnce() -> Result<(), String>,
        sweep: impl Fn(),
        inside: impl FnOnce() -> ExitCode,
    ) -> ExitCode {
        if env::var_os(INSIDE).is_some() {
            return match settle() {
                Ok(()) => inside(),
                Err(error) => {
                    complain(&format!("cannot set up the {} tests' namespaces: {error}", self.name))
                }
            };
        }
        if let Some(obstacle) = self.obstacle() {
            return complain(&obstacle);
        }
        sweep();
        if let Err(error) = prepare() {
            return complain(&format!("the {} tests cannot run: {error}", self.name));
        }
        let code = match supervise() {
            Ok(status) => code_of(status),
            Err(error) => complain(&format!("cannot start the {} tests in a namespace: {error}", self.name)),
        };
        sweep();
        code
    }
}

/// Whether the program was only asked what it contains, which needs neither privilege nor isolation.
#[allow(dead_code, reason = "the demo has nothing to list")]
#[must_use]
pub fn only_listing() -> bool {
    env::args().skip(1).any(|argument| matches!(argument.as_str(), "--list" | "--help" | "-h"))
}

/// Starts this program again inside, and waits. A termination signal ends the namespace first and this
/// process afterwards, so that the sweep still happens.
fn supervise() -> io::Result<ExitStatus> {
    let signals = supervised_signals();
    // Blocked before the child exists, or its SIGCHLD could be missed. The inner process unblocks them.
    signals.thread_block()?;
    let mut child = spawn_inside()?;
    loop {
        if signals.wait()? != Signal::SIGCHLD {
            // `unshare --kill-child` takes PID 1 of the namespace with it, and that takes all others.
            child.kill()?;
        }
        if let Some(status) = child.try_wait()? {
            signals.thread_unblock()?;
            return Ok(status);
        }
    }
}

fn supervised_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect()
}

fn spawn_inside() -> io::Result<Child> {
    // The death of this process, however violent, reaches `unshare` through setpriv's signal.
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, std::process::id().to_string())
        .spawn()
}

/// The PID of the outer process, for the names of what no namespace holds: what an owner made that has ended is swept.
#[allow(dead_code, reason = "most tiers make nothing of that kind")]
pub fn owner() -> u32 {
    env::var(INSIDE).ok().and_then(|pid| pid.parse().ok()).unwrap_or_else(std::process::id)
}

/// First steps in the namespace: signals as usual, an empty `/run`, and a loopback interface.
fn settle() -> io::Result<()> {
    supervised_signals().thread_unblock()?;
    // Services of the machine are out of reach, and nothing written here outlives the namespace.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))?;
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("ip link set lo up: {status}"))) }
}

fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn complain(sentence: &str) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::from(2)
}

fn in_path(tool: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}
