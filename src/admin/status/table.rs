//! All volumes in a table.

use super::facts::{Facts, short};
use crate::admin::output::{self, Cell, FAINT, Table, WARNING};
use std::{io, time::SystemTime};

/// What a host without volumes shows.
const NONE: &str = "\
no volumes on this host; one is made by
  docker volume create -d sshfs -o sshcmd=alice@storage:/srv/data -o identity_file=/root/.ssh/id_ed25519 data";

pub fn show(volumes: &[Facts]) -> io::Result<()> {
    if volumes.is_empty() {
        return output::line(NONE);
    }
    table(volumes, SystemTime::now()).print()
}

fn table(volumes: &[Facts], now: SystemTime) -> Table {
    let mut table = Table::new(&["VOLUME", "STATE", "REMOTE", "CONTAINERS", "UP", "LAST ERROR"]);
    for facts in volumes {
        let nothing = || Cell::new(FAINT, "-");
        let state = match facts.since("since", now) {
            Some(since) => format!("{} ({})", facts.state(), short(since)),
            None => facts.state().to_owned(),
        };
        let containers = match (facts.texts("containers").join(", "), facts.number("references")) {
            (ids, _) if !ids.is_empty() => ids.into(),
            // Held by what is no container, or by one that is just being started.
            (_, Some(count @ 1..)) => Cell::new(FAINT, format!("({count} references)")),
            _ => nothing(),
        };
        table.add(vec![
            facts.name.as_str().into(),
            Cell::new(facts.style(), state),
            facts.text("remote").map_or_else(nothing, Cell::from),
            containers,
            facts.up(now).map_or_else(nothing, |up| short(up).into()),
            facts.error(now).map_or_else(nothing, |error| Cell::new(WARNING, error)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rendered(width: Option<usize>) -> String {
        let now = humantime::parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let volume = |name: &str, status| Facts::read(&json!({"Name": name, "Status": status})).unwrap();
        let volumes = [
            volume(
                "data",
                json!({"state": "mounted", "since": "2026-11-21T10:00:00Z", "remote": "alice@storage:/srv/data",
                    "references": 1, "containers": ["3f2a1b0c9d8e"]}),
            ),
            volume(
                "idle",
                json!({"state": "unmounted", "remote": "alice@storage:/srv/idle", "references": 0}),
            ),
            volume("broken", json!({"state": "unusable", "error": "x".repeat(200)})),
        ];
        anstream::adapter::strip_str(&table(&volumes, now).render(width)).to_string()
    }

    #[test]
    fn it_fits_into_80_and_120_columns() {
        for width in [80, 120] {
            let text = rendered(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(
                text.contains("mounted (2h)") && text.contains("3f2a1b0c9d8e") && text.contains('…'),
                "{text}"
            );
        }
        assert!(rendered(None).contains(&"x".repeat(200)), "nothing is cut where there is no terminal");
    }
}
