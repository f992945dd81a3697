//! What the daemon tells of a volume, and what that means. A key that is missing is not known: the daemon may be of another
//! version for a moment.

use crate::admin::output::{BAD, FAINT, GOOD, WARNING};
use anstyle::Style;
use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    fs,
    time::{Duration, SystemTime},
};

/// One volume of Get or List.
#[derive(Clone, Debug, Deserialize)]
pub struct Facts {
    /// Of the volume.
    #[serde(rename = "Name")]
    pub name: String,
    /// Empty while it is not mounted.
    #[serde(rename = "Mountpoint", default)]
    pub mountpoint: String,
    /// RFC 3339.
    #[serde(rename = "CreatedAt", default)]
    pub created_at: Option<String>,
    /// As `docker volume inspect` shows it.
    #[serde(rename = "Status", default)]
    pub status: Map<String, Value>,
}

impl Facts {
    /// Reads a volume of an answer.
    pub fn read(volume: &Value) -> Result<Self> {
        Ok(Self::deserialize(volume)?)
    }

    /// A text that is told, and not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.status.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// A list of texts; empty where it is not told.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        let list = self.status.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// A number that is told.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.status.get(key)?.as_u64()
    }

    /// `mounted`, `dead`, …
    pub fn state(&self) -> &str {
        self.text("state").unwrap_or("unknown")
    }

    /// How good that is.
    pub fn style(&self) -> Style {
        match self.state() {
            "mounted" if !self.is_in_order() => WARNING,
            "mounted" => GOOD,
            "unmounted" => FAINT,
            "mounting" => Style::new(),
            "failing" => WARNING,
            _ => BAD,
        }
    }

    /// Whether nobody has to do anything about it.
    pub fn is_in_order(&self) -> bool {
        let works = matches!(self.state(), "mounted" | "unmounted" | "mounting");
        works && self.text("trouble").is_none() && self.texts("unhealed").is_empty()
    }

    /// The time that has passed since a moment that is told.
    pub fn since(&self, key: &str, now: SystemTime) -> Option<Duration> {
        let then = humantime::parse_rfc3339_weak(self.text(key)?).ok()?;
        now.duration_since(then).ok()
    }

    /// How long the mount has been there: as long as its sshfs.
    pub fn up(&self, now: SystemTime) -> Option<Duration> {
        let by_process = self.number("pid").and_then(age);
        let by_state = || self.since("since", now).filter(|_| self.state() == "mounted");
        by_process.or_else(by_state)
    }

    /// What went wrong last, the worst first; with its age where that is told.
    pub fn error(&self, now: SystemTime) -> Option<String> {
        if let Some(error) = self.text("error").or_else(|| self.text("trouble")) {
            return Some(error.to_owned());
        }
        if let Some(first) = self.texts("unhealed").first() {
            return Some(format!("not healed: {first}"));
        }
        let error = self.text("last_error")?;
        Some(match self.since("last_error_at", now) {
            Some(age) => format!("{error} ({} ago)", short(age)),
            None => error.to_owned(),
        })
    }
}

/// How long a process has been running (proc_pid_stat(5), field 22).
fn age(pid: u64) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let begun = begun(&stat)? / u64::try_from(ticks).ok()?.max(1);
    let up = uptime.split('.').next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs(up.saturating_sub(begun)))
}

/// When it began, in ticks since boot. The name in front may contain blanks and parentheses.
fn begun(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// A time in its two largest units: `3d 4h`, `5m 2s`.
pub fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let units =
        [("d", seconds / 86400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0);
    let words: Vec<_> = shown.map(|(unit, count)| format!("{count}{unit}")).collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(status: &Value) -> Facts {
        Facts::read(&json!({"Name": "data", "Mountpoint": "", "Status": status})).unwrap()
    }

    #[test]
    fn a_time_has_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3725, "1h 2m"),
            (3605, "1h"),
            (90_000, "1d 1h"),
            (864_000, "10d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn what_nobody_can_use_is_not_in_order() {
        for (status, in_order) in [
            (json!({"state": "mounted"}), true),
            (json!({"state": "unmounted", "last_error": "refused"}), true),
            (json!({"state": "mounting"}), true),
            (json!({"state": "failing"}), false),
            (json!({"state": "dead"}), false),
            (json!({"state": "unusable", "error": "denied"}), false),
            (json!({"state": "mounted", "trouble": "sshfs died"}), false),
            (json!({"state": "mounted", "unhealed": ["container x at /d"]}), false),
            (json!({}), false),
        ] {
            assert_eq!(facts(&status).is_in_order(), in_order, "{status}");
        }
    }

    #[test]
    fn the_worst_error_is_told_with_its_age() {
        let now = humantime::parse_rfc3339("2026-11-21T12:10:00Z").unwrap();
        let last = json!({"last_error": "refused", "last_error_at": "2026-11-21T12:08:00Z"});
        assert_eq!(facts(&last).error(now).as_deref(), Some("refused (2m ago)"));
        let all = json!({"error": "denied", "trouble": "died", "last_error": "refused"});
        assert_eq!(facts(&all).error(now).as_deref(), Some("denied"));
        assert_eq!(facts(&json!({"state": "mounted"})).error(now), None);
    }

    #[test]
    fn a_process_begins_whatever_its_name_is() {
        let stat = "4711 (a) b) S 1 4711 4711 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 11 0 81234 1 2 3";
        assert_eq!(begun(stat), Some(81234));
        assert!(age(std::process::id().into()).is_some());
    }
}
