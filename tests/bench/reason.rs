//! Why something has no value, as a report may have it: without the directories of this run and of this machine, which are
//! others in the next.

use crate::target;
use anyhow::Error;

/// How the root of a world begins, see `tests/loopback/world.rs`.
const WORLD: &str = "/run/world-";

/// The error and its causes in one line.
pub fn of(error: &Error) -> String {
    let text = format!("{error:#}").replace(&*target().to_string_lossy(), "TARGET");
    let mut parts = text.split(WORLD);
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        told += "WORLD";
        told += part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    }
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}
