//! Times of what happened since boot. Not the wall clock: on a machine without a battery it jumps by years while it boots.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// Seconds since boot, time asleep included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(u64);

impl Uptime {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec());
        Self(u64::try_from(time).unwrap_or(0))
    }

    /// The time from `earlier` to this moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// So many seconds after boot.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    /// The same moment by the wall clock as it goes now, for people.
    #[must_use]
    pub fn by_wall_clock(self) -> SystemTime {
        // With all its digits: of two that are cut off, the difference is now one second more and now less.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let since_then = now.saturating_sub(Duration::from_secs(self.0));
        // A clock that nobody has set yet may say 1970, and what was before that has no date.
        SystemTime::now()
            .checked_sub(since_then)
            .map_or(SystemTime::UNIX_EPOCH, |at| at.max(SystemTime::UNIX_EPOCH))
    }
}
