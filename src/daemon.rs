//! `sshfs-docker serve`: puts the parts together, tells systemd, and stops cleanly.
//!
//! Stopping ends no mount where systemd is PID 1: each is a unit of its own, and the next daemon finds it in mountinfo.
//! So a daemon that nobody calls stops by itself; systemd has the socket and starts the next one.

use crate::{
    activation,
    cli::Serve,
    config::LiveConfig,
    directories,
    driver::Driver,
    events,
    heal::record::HealingBook,
    history::HistoryBook,
    launcher::{Launcher, child::ChildLauncher, systemd::SystemdLauncher},
    locks::VolumeLocks,
    logging,
    mount::Mounter,
    paths::Paths,
    protocol::{activity::Activity, server},
    references::ReferenceBook,
    sealing::Sealer,
    store::Store,
};
use anyhow::{Context, Result};
use libsystemd::daemon::{self as systemd, NotifyState};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::File,
    io,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

/// How often unused mounts are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How long the lock of a daemon that has just ended may outlive it.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Runs the daemon until SIGTERM.
#[must_use]
pub fn run(options: &Serve) -> ExitCode {
    match try_run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The log may not be there yet.
            eprintln!("sshfs-docker: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_run(options: &Serve) -> Result<()> {
    let listener = activation::listener(options.socket.as_deref())?;
    let paths = options.layout.paths();
    let file = paths.config_file();
    let config = LiveConfig::open(file);
    let latest = config.latest();
    let at_start = latest.clone().unwrap_or_default();
    logging::start(&at_start.log);
    logging::log_panics();
    if let Err(mistake) = latest {
        tracing::error!(
            message_id = events::MISCONFIGURED,
            "{mistake}; no volume is created or mounted until this is mended"
        );
    }
    let _lock = lock(&paths)?;
    // A listener of our own would be gone with this process.
    let idle_exit = at_start.idle_exit.filter(|_| options.socket.is_none());
    let driver = Arc::new(open(options, &paths, config)?);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(serve(listener, driver, idle_exit));
    // Not waiting for threads that may hang in a system call on a dead mount.
    runtime.shutdown_background();
    result
}

/// Keeps a second daemon away from the same state. A killed daemon may have left a child between fork and exec, which
/// holds a copy of the lock for a moment.
fn lock(paths: &Paths) -> Result<Flock<File>> {
    directories::ensure(&paths.runtime, 0o711)?;
    let mut file =
        File::create(paths.lock()).with_context(|| format!("cannot open {}", paths.lock().display()))?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((same, Errno::EWOULDBLOCK)) if Instant::now() < deadline => file = same,
            Err((_, e)) => {
                return Err(e).with_context(|| {
                    format!("another sshfs-docker is running: {} is locked", paths.lock().display())
                });
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn open(options: &Serve, paths: &Paths, config: LiveConfig) -> Result<Driver> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let state =
        real_directory(&paths.state).with_context(|| format!("cannot make {}", paths.state.display()))?;
    let paths = &Paths { state, ..paths.clone() };
    let launcher: Box<dyn Launcher> = if systemd::booted() {
        Box::new(SystemdLauncher::new(options.layout.user.clone()))
    } else {
        tracing::warn!(
            "systemd is not PID 1: sshfs runs as a child process, and the mounts end with this daemon"
        );
        Box::new(ChildLauncher::new(&options.layout.user, paths)?)
    };
    let store =
        Store::open(paths, Sealer::of_this_host()).context("cannot open the definitions of volumes")?;
    let book = ReferenceBook::open(paths).context("cannot open the references")?;
    store.tidy();
    book.tidy();
    let healing = HealingBook::open(paths).context("cannot open the records of healing")?;
    let history = HistoryBook::open(paths).context("cannot open the histories of volumes")?;
    healing.tidy();
    history.tidy();
    let locks = VolumeLocks::open(paths).context("cannot prepare the locks of volumes")?;
    let mounter = Mounter::open(paths.clone(), launcher, program).context("cannot prepare to mount")?;
    mounter.tidy();
    mounter.make_view().context("cannot prepare the mountpoints")?;
    Driver::open(store, book, healing, history, locks, mounter, config)
        .context("cannot read the definitions of volumes")
}

/// Makes a directory and resolves links on the way to it: mountinfo has no links, and mounts are found by their path.
fn real_directory(path: &Path) -> io::Result<PathBuf> {
    directories::ensure(path, 0o711)?;
    path.canonicalize()
}

async fn serve(listener: UnixListener, driver: Arc<Driver>, idle_exit: Option<Duration>) -> Result<()> {
    let listener = tokio::net::UnixListener::from_std(listener)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let activity = Activity::default();
    let idle = idle(activity.clone(), Arc::clone(&driver), idle_exit);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = idle => {}
        }
        tell(&[NotifyState::Stopping]);
    };
    tell(&[NotifyState::Ready, status(&driver)]);
    let (volumes, mounted) = driver.count();
    tracing::debug!("serving {volumes} volumes, {mounted} of them mounted");
    let housekeeping =
        [tokio::spawn(keep_alive(Arc::clone(&driver))), tokio::spawn(sweep(Arc::clone(&driver)))];
    server::serve(listener, driver, activity, stop).await;
    for task in housekeeping {
        task.abort();
    }
    tracing::debug!("stopped");
    Ok(())
}

/// Done when nobody has called for `quiet` and nothing is left to do; never if that is not wanted.
async fn idle(activity: Activity, driver: Arc<Driver>, quiet: Option<Duration>) {
    let Some(quiet) = quiet else { return std::future::pending().await };
    activity.quiet_for(quiet).await;
    while !driver.is_dispensable() {
        // What is left to do takes the sweep, or a call.
        sleep(SWEEP.min(quiet)).await;
        activity.quiet_for(quiet).await;
    }
    tracing::debug!("nobody has called for {quiet:?}, stopping until the next call");
}

/// Tells systemd that the loop which answers calls is running: it is this one, there is only one thread.
async fn keep_alive(driver: Arc<Driver>) {
    let Some(deadline) = systemd::watchdog_enabled(false) else { return };
    let mut ticks = interval(deadline / 2);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog, status(&driver)]);
    }
}

async fn sweep(driver: Arc<Driver>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        driver.sweep().await;
    }
}

fn status(driver: &Driver) -> NotifyState {
    let (volumes, mounted) = driver.count();
    NotifyState::Status(format!("{volumes} volumes, {mounted} mounted"))
}

/// Outside a unit this does nothing.
fn tell(states: &[NotifyState]) {
    if let Err(e) = systemd::notify(false, states) {
        tracing::warn!("cannot notify systemd, ignoring: {e}");
    }
}
