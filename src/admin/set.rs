//! `sshfs-docker set`: other options for a volume that exists. Docker silently ignores those of a second
//! `docker volume create`.
//!
//! The daemon does it; here is only what is written on the command line, and what is shown of the answer.

use super::{
    client::Client,
    given,
    output::{self, BAD, FAINT, GOOD, painted},
    users,
};
use crate::{cli, mount::holders::Holder, volume::options::Options};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{io, path::Path};

/// The answer of SshfsDocker.Set.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    differences: Vec<Difference>,
    mounted: bool,
}

/// One option. Of a password only that it was or is there.
#[derive(Debug, Serialize, Deserialize)]
struct Difference {
    #[serde(alias = "Option")]
    option: String,
    #[serde(alias = "Before")]
    before: Option<String>,
    #[serde(alias = "After")]
    after: Option<String>,
}

/// With `--json`.
#[derive(Debug, Serialize)]
struct Report {
    volume: String,
    /// `{"option": "uid", "before": null, "after": "1000"}`; empty where everything was so already.
    changed: Vec<Difference>,
    /// Whether it is mounted with its former options.
    mounted: bool,
    /// The command that makes a mount with the new ones; null where the next mount has them anyway.
    restart: Option<String>,
    /// Who has the former mount: container (or null), path, pid, command; null where that was not found out.
    users: Option<Vec<Holder>>,
}

/// Changes options.
pub fn run(arguments: &cli::Set) -> Result<bool> {
    let mut options = Options::new();
    given::add(&mut options, &arguments.options)?;
    if arguments.password_stdin {
        options.insert("password".to_owned(), given::password()?.expose().to_owned());
    }
    let client = Client::new(&arguments.admin.socket);
    let name = arguments.volume.as_str();
    let body = json!({"Name": name, "Opts": options, "Unset": arguments.unset});
    let answer: Answer = serde_json::from_value(client.call("SshfsDocker.Set", &body)?)
        .context("the driver's answer cannot be read")?;
    // From here on the volume is changed, whatever else fails.
    let users = if answer.mounted { users_of(&client, name).ok() } else { Some(Vec::new()) };
    let restart =
        (answer.mounted && !answer.differences.is_empty()).then(|| format!("sshfs-docker restart {name}"));
    let report = Report {
        volume: name.to_owned(),
        changed: answer.differences,
        mounted: answer.mounted,
        restart,
        users,
    };
    if arguments.admin.json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(true)
}

fn users_of(client: &Client, name: &str) -> Result<Vec<Holder>> {
    let volume = client.call("VolumeDriver.Get", &json!({"Name": name}))?;
    Ok(users::of(Path::new(volume["Volume"]["Mountpoint"].as_str().unwrap_or_default()))?)
}

fn show(report: &Report) -> io::Result<()> {
    let Report { volume, changed, mounted, restart, users } = report;
    if changed.is_empty() {
        return output::line(format_args!("volume {volume} has these options already"));
    }
    output::line(format_args!("volume {volume}:"))?;
    for Difference { option, before, after } in changed {
        for (style, sign, value) in [(BAD, '-', before), (GOOD, '+', after)] {
            if let Some(value) = value {
                let text = if value.is_empty() { option.clone() } else { format!("{option}={value}") };
                output::line(format_args!("  {}", painted(style, &format!("{sign} {text}"))))?;
            }
        }
    }
    match restart {
        Some(command) if *mounted => {
            output::line(format_args!(
                "It is mounted with its former options; for a mount with the new ones run: {command}"
            ))?;
            for user in users.iter().flatten() {
                output::line(format_args!("  {}", painted(FAINT, &format!("in use by {user}"))))?;
            }
            if users.is_none() {
                output::line(format_args!("  {}", painted(FAINT, "who uses it was not found out")))?;
            }
            Ok(())
        }
        _ => output::line("effective at the next mount"),
    }
}
