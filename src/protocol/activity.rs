//! Whether anybody needs the daemon: calls that run, and when the last one ended.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Shared by the connections of a socket.
#[derive(Clone, Debug)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    busy: usize,
    last: Instant,
}

/// Somebody waits for an answer, as long as this lives.
#[derive(Debug)]
pub struct Busy(Activity);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State { busy: 0, last: Instant::now() })))
    }
}

impl Activity {
    /// Notes that somebody waits for an answer.
    #[must_use]
    pub fn begin(&self) -> Busy {
        self.state().busy += 1;
        Busy(self.clone())
    }

    /// Waits until nobody has waited for an answer for `time`. A connection that is merely open waits for none.
    pub async fn quiet_for(&self, time: Duration) {
        while let Some(left) = self.left_of(time) {
            sleep(left).await;
        }
    }

    /// What is left of a quiet time; None where it is over.
    fn left_of(&self, time: Duration) -> Option<Duration> {
        let state = self.state();
        if state.busy > 0 {
            return Some(time);
        }
        time.checked_sub(state.last.elapsed()).filter(|left| !left.is_zero())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        state.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_call_and_a_recent_one_are_no_quiet_time() {
        let activity = Activity::default();
        let long = Duration::from_secs(3600);
        assert!(activity.left_of(long).is_some_and(|left| left <= long));
        assert_eq!(activity.left_of(Duration::ZERO), None);
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert_eq!(activity.left_of(long), Some(long), "one still runs");
        drop(second);
        assert!(activity.left_of(long).is_some_and(|left| left < long));
    }
}
