//! Waiting for a condition, with a deadline: the only way the lab waits.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Short enough not to be felt, long enough not to take a core from the guests.
const INTERVAL: Duration = Duration::from_millis(100);

/// Asks `probe` until it has an answer. A probe that fails is asked again; its last error explains a timeout.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answer = probe();
        if let Ok(Some(value)) = answer {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            let waited = format!("waited {} s for: {what}", limit.as_secs());
            return match answer {
                Err(error) => Err(error).context(waited),
                Ok(_) => bail!(waited),
            };
        }
        thread::sleep(INTERVAL);
    }
}

/// [`until`] for a condition that is either true or not.
pub fn until_true(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(probe()?.then_some(())))
}
