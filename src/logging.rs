//! The log: the journal with structured fields (`VOLUME=`, `UNIT=`), or standard error where there is none.

use libsystemd::logging::connected_to_journal;
use std::io;
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
            // Without a prefix a field is called VOLUME=, as the documentation says. The levels are those of syslog(3).
            let priorities = PriorityMappings { info: Priority::Informational, ..PriorityMappings::new() };
            return journal.with_field_prefix(None).with_priority_mappings(priorities).boxed();
        }
    }
    tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed()
}

/// A panic is logged like any other error; its call fails alone.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::event!(Level::ERROR, "bug: {panic}");
    }));
}
