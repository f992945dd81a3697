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

    /// The same moment by the wall clock as it goes now, to the second, for people.
    #[must_use]
    pub fn by_wall_clock(self) -> SystemTime {
        // With all its digits: of two that are cut off, the difference is now one second more and now less.
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
        let since_then = now.saturating_sub(Duration::from_secs(self.0));
        // A clock that nobody has set yet may say 1970, and what was before that has no date.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(date(now, since_then))
    }
}

/// The second in which something was, from the time now and the time since the beginning of its second of uptime. It was up
/// to a second later than that beginning, whose date may be one too early: a volume would be mounted before it was created.
fn date(now: Duration, since_then: Duration) -> u64 {
    let earliest = now.saturating_sub(since_then);
    (earliest.as_secs() + u64::from(earliest.subsec_nanos() > 0)).min(now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_date_is_never_before_what_it_dates(
            boot in 0..5_000_u64,
            then in 0..5_000_u64,
            later in 0..5_000_u64,
        ) {
            let moment = |millis: u64| Duration::from_millis(boot + millis);
            let since_then = Duration::from_millis(then + later - then / 1_000 * 1_000);
            let date = date(moment(then + later), since_then);
            prop_assert!(date >= moment(then).as_secs());
            prop_assert!(date <= moment(then + later).as_secs());
            prop_assert!(date <= moment(then).as_secs() + 1);
        }
    }
}
