//! All that is known of one volume: what the daemon tells, its options, who uses it, and what its journal says.

use super::facts::{Facts, short};
use crate::{
    admin::{
        command,
        output::{self, FAINT, HEADING, WARNING, painted},
        users,
    },
    cli,
    mount::healer,
    store,
    volume::{Generation, VolumeName, options::Options},
};
use anyhow::Result;
use serde_json::json;
use std::{
    fmt::Write,
    path::Path,
    time::{Duration, SystemTime},
};

/// The journal may be large, and its disk slow.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);

/// Shows the page.
pub fn show(facts: &Facts, name: &VolumeName, arguments: &cli::Status) -> Result<()> {
    let options = options(name, arguments);
    let users = users::of(Path::new(&facts.mountpoint))?;
    let journal = journal(name, facts.text("unit"), arguments.lines);
    if arguments.admin.json {
        let mut object = facts.json();
        object["options"] = json!(options);
        object["users"] = json!(users);
        object["journal"] = json!(journal.unwrap_or_default());
        return Ok(output::json(&object)?);
    }
    let mut page = Page::default();
    let now = SystemTime::now();
    page.line("volume", &painted(HEADING, &facts.name));
    let state = painted(facts.style(), facts.state());
    let since = facts.since("since", now).map(|age| format!(" (for {})", short(age)));
    page.line("state", &format!("{state}{}", since.unwrap_or_default()));
    for (key, label) in [("error", "error"), ("trouble", "trouble"), ("warning", "warning")] {
        page.line(label, &painted(WARNING, facts.text(key).unwrap_or_default()));
    }
    page.line("remote", facts.text("remote").unwrap_or_default());
    page.line("created", facts.created_at.as_deref().unwrap_or_default());
    page.line("mountpoint", &facts.mountpoint);
    page.line("unit", facts.text("unit").unwrap_or_default());
    page.line("sshfs", &facts.number("pid").map(|pid| format!("pid {pid}")).unwrap_or_default());
    page.line("up", &facts.up(now).map(short).unwrap_or_default());
    page.line("reconnects", &facts.number("reconnects").map(|n| n.to_string()).unwrap_or_default());
    page.lines("host keys", &facts.texts("host_keys"));
    let last = facts.since("last_error_at", now).map(|age| format!("{} ago: ", short(age)));
    if let Some(error) = facts.text("last_error") {
        page.line("last error", &format!("{}{error}", last.unwrap_or_default()));
    }
    page.line("references", &facts.number("references").unwrap_or_default().to_string());
    let told = if users.is_empty() { facts.texts("containers") } else { Vec::new() };
    let seen: Vec<_> = users.iter().map(ToString::to_string).collect();
    page.lines("used by", &seen.iter().map(String::as_str).chain(told).collect::<Vec<_>>());
    page.lines("not healed", &facts.texts("unhealed"));
    let written: Vec<_> = options.iter().map(|(name, value)| as_given(name, value)).collect();
    page.lines("options", &written.iter().map(String::as_str).collect::<Vec<_>>());
    output::text(&page.0)?;
    if arguments.lines > 0 {
        output::line(format_args!("\n{}", painted(HEADING, "journal")))?;
        match journal {
            Ok(lines) if lines.is_empty() => output::line(painted(FAINT, "(nothing)"))?,
            Ok(lines) => lines.iter().try_for_each(output::line)?,
            Err(e) => output::line(painted(WARNING, &e.to_string()))?,
        }
    }
    Ok(())
}

/// Labels and values; what is not known is left out.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, label: &str, value: &str) {
        if !anstream::adapter::strip_str(value).to_string().is_empty() {
            _ = writeln!(self.0, "{}{value}", painted(FAINT, &format!("{label:12}")));
        }
    }

    fn lines(&mut self, label: &str, values: &[&str]) {
        for (index, value) in values.iter().enumerate() {
            self.line(if index == 0 { label } else { "" }, value);
        }
    }
}

fn as_given(name: &str, value: &str) -> String {
    if value.is_empty() { name.to_owned() } else { format!("{name}={value}") }
}

/// The options that count; none where the definition cannot be read, of which the daemon has told. The password is not
/// among them, only that there is one.
fn options(name: &VolumeName, arguments: &cli::Status) -> Options {
    let stored = store::look(&arguments.admin.layout.paths(), name);
    let definition = stored.and_then(|stored| stored.definition.ok());
    definition.map(|definition| definition.options).unwrap_or_default()
}

/// The last lines of all that concerns the volume: what the daemon says of it, and its units.
fn journal(name: &VolumeName, unit: Option<&str>, lines: u32) -> Result<Vec<String>, command::Unanswered> {
    if lines == 0 {
        return Ok(Vec::new());
    }
    let count = lines.to_string();
    let mut journalctl =
        command::of("journalctl", &["--quiet", "--no-pager", "--output=short-iso", "--lines", &count]);
    journalctl.arg(format!("VOLUME={name}"));
    let first = Generation::first(name).unit();
    let units = [first.clone(), healer(name), format!("sshfs-docker-agent@{name}.service")];
    // After a restart it is another one.
    for unit in units.into_iter().chain(unit.filter(|unit| *unit != first).map(str::to_owned)) {
        // What a unit writes, and what systemd says of it.
        for field in ["_SYSTEMD_UNIT", "UNIT"] {
            journalctl.args(["+", &format!("{field}={unit}")]);
        }
    }
    let output = command::run(journalctl, JOURNAL_PATIENCE)?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
