//! The log: the journal with structured fields (`VOLUME=`, `UNIT=`), or standard error where there is none.
//!
//! A journal that hangs must not hang the only thread of the daemon. Its queue is the whole host's and full soon; then a
//! line is lost instead.

use crate::sys;
use libsystemd::logging::connected_to_journal;
use std::{
    collections::BTreeSet,
    fs, io,
    os::{fd::RawFd, unix::fs::FileTypeExt},
};
use tracing::{Level, Subscriber};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Starts logging. `RUST_LOG` overrides `filter`, which is in its syntax; parts of either that are not understood are
/// left out.
pub fn start(filter: &str) {
    Registry::default().with(output()).with(filter_of(filter)).init();
}

/// The target of events of which the terminal is told in other words.
pub const JOURNAL: &str = "journal";

/// Starts logging for a command that does what the daemon does: all of it goes to the journal, where it is looked for, and
/// warnings to the `terminal`, too.
pub fn start_beside<W, T>(terminal: T)
where
    W: io::Write + 'static,
    T: Fn() -> W + Send + Sync + 'static,
{
    // What is written there is in the journal already.
    let shown = (!connected_to_journal()).then(|| {
        let shown =
            tracing_subscriber::fmt::layer().with_writer(terminal).with_ansi(false).with_target(false);
        shown.with_filter(filter_of(&format!("warn,{JOURNAL}=off")))
    });
    let journal = journal().map(|journal| journal.with_filter(LevelFilter::INFO));
    Registry::default().with(shown).with(journal).init();
}

fn filter_of(filter: &str) -> EnvFilter {
    match std::env::var("RUST_LOG") {
        Ok(from_environment) => EnvFilter::new(from_environment),
        Err(_) => EnvFilter::new(filter),
    }
}

fn output<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    match connected_to_journal().then(journal).flatten() {
        Some(journal) => journal.boxed(),
        None => tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .with_target(false)
            .boxed(),
    }
}

fn journal() -> Option<tracing_journald::Layer> {
    let before = open_files();
    let journal = tracing_journald::layer().ok()?;
    if let Err(e) = never_wait(&before) {
        eprintln!("cannot make the journal's socket non-blocking, ignoring: {e}");
    }
    // Without a prefix a field is called VOLUME=, as the documentation says. The levels are those of syslog(3).
    let priorities = PriorityMappings { info: Priority::Informational, ..PriorityMappings::new() };
    Some(journal.with_field_prefix(None).with_priority_mappings(priorities))
}

/// Makes what was opened since `before` non-blocking. tracing-journald has no setting for it and does not show its socket.
/// There is no other thread yet that opens files, so nothing else was opened.
fn never_wait(before: &BTreeSet<RawFd>) -> io::Result<()> {
    let opened: Vec<_> = open_files().difference(before).copied().filter(|fd| is_socket(*fd)).collect();
    opened.into_iter().try_for_each(sys::set_nonblocking)
}

fn open_files() -> BTreeSet<RawFd> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut numbers: BTreeSet<RawFd> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The listing itself had one of them, which the next file gets.
    numbers.retain(|fd| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok());
    numbers
}

fn is_socket(fd: RawFd) -> bool {
    fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// A panic is logged like any other error; its call fails alone.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::event!(Level::ERROR, "bug: {panic}");
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::{fd::AsRawFd, unix::net::UnixDatagram};

    #[test]
    fn what_is_open_is_found_and_the_listing_is_not_part_of_it() {
        let socket = UnixDatagram::unbound().unwrap();
        assert!(open_files().contains(&socket.as_raw_fd()) && is_socket(socket.as_raw_fd()));
        let number = socket.as_raw_fd();
        drop(socket);
        assert!(!is_socket(number));
    }
}
