//! The log: the journal with structured fields (`VOLUME=`, `UNIT=`), or standard error where there is none.
//!
//! A journal that hangs must not hang the only thread of the daemon. Its queue is the whole host's and full soon; then a
//! line is lost instead.

use crate::sys;
use libsystemd::logging::connected_to_journal;
use nix::sys::socket::{UnixAddr, getpeername};
use std::{fs, io, os::fd::RawFd, path::Path};
use tracing::{Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// Starts logging. `RUST_LOG` overrides `filter`, which is in its syntax; parts of either that are not understood are
/// left out.
pub fn start(filter: &str) {
    let filter = match std::env::var("RUST_LOG") {
        Ok(from_environment) => EnvFilter::new(from_environment),
        Err(_) => EnvFilter::new(filter),
    };
    Registry::default().with(output()).with(filter).init();
}

fn output<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    if connected_to_journal() {
        if let Ok(journal) = tracing_journald::layer() {
            if let Err(e) = never_wait_for_the_journal() {
                eprintln!("cannot make the journal's socket non-blocking, ignoring: {e}");
            }
            // Without a prefix a field is called VOLUME=, as the documentation says. The levels are those of syslog(3).
            let priorities = PriorityMappings { info: Priority::Informational, ..PriorityMappings::new() };
            return journal.with_field_prefix(None).with_priority_mappings(priorities).boxed();
        }
    }
    tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed()
}

/// The journal's socket, sd_journal_sendv(3).
const JOURNAL: &str = "/run/systemd/journal/socket";

/// tracing-journald has no setting for it and does not show its socket, but the kernel does.
fn never_wait_for_the_journal() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let Some(fd) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) else {
            continue;
        };
        if getpeername::<UnixAddr>(fd).is_ok_and(|peer| peer.path() == Some(Path::new(JOURNAL))) {
            sys::set_nonblocking(fd)?;
        }
    }
    Ok(())
}

/// A panic is logged like any other error; its call fails alone.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::event!(Level::ERROR, "bug: {panic}");
    }));
}
