//! The clock: Docker drops volumes whose date it cannot use, and certificates of ssh have one.

use super::{Finding, Host};
use crate::admin::command;
use std::{
    env, fs,
    time::{Duration, SystemTime},
};

/// timedated is started for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn clock(_host: &Host) -> Vec<Finding> {
    // The package keeps the date of its build.
    let built = env::current_exe().and_then(fs::metadata).and_then(|program| program.modified());
    if let Some(finding) = before(SystemTime::now(), built.ok()) {
        return vec![finding];
    }
    let timedatectl = command::of("timedatectl", &["show", "--property=NTPSynchronized", "--value"]);
    let said = command::run(timedatectl, PATIENCE).map(|output| output.stdout).unwrap_or_default();
    vec![judge(String::from_utf8_lossy(&said).trim())]
}

/// The problem of a host that believes to live before this program was built.
fn before(now: SystemTime, built: Option<SystemTime>) -> Option<Finding> {
    let built = built.filter(|built| now < *built)?;
    let [now, built] = [now, built].map(humantime::format_rfc3339_seconds);
    Some(Finding::problem(
        format!("it says {now}, and this program is of {built}"),
        "set the clock: systemctl enable --now systemd-timesyncd, or 'date --set'",
    ))
}

fn judge(synchronized: &str) -> Finding {
    match synchronized {
        "yes" => Finding::ok("it is synchronised"),
        "no" => Finding::warning(
            "it is not synchronised: certificates of ssh may count as expired or not yet valid",
            "systemctl enable --now systemd-timesyncd, or another NTP client",
        ),
        _ => Finding::ok("whether it is synchronised is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_clock_in_the_past_is_a_problem_and_one_that_nobody_sets_a_warning() {
        let built = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let hour = Duration::from_secs(3600);
        assert_eq!(before(built - hour, Some(built)).map(|finding| finding.state), Some(State::Problem));
        assert_eq!(before(built + hour, Some(built)), None);
        assert_eq!(before(built, None), None);
        let states = ["yes", "no", ""].map(|said| judge(said).state);
        assert_eq!(states, [State::Ok, State::Warning, State::Ok]);
    }
}
