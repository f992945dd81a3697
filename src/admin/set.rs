//! `sshfs-docker set`: other options for a volume that exists. Docker silently ignores those of a second
//! `docker volume create`.
//!
//! The daemon does it; here is only what is written on the command line, and what is shown of the answer.

use super::{
    client::Client,
    output::{self, BAD, FAINT, GOOD, painted},
    users,
};
use crate::{cli, mount::holders::Holder};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{Read, stdin},
    path::Path,
};
use zeroize::Zeroizing;

/// Longer than any password that the daemon takes.
const MOST_PASSWORD: u64 = 64 * 1024;

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
    let mut options = given(&arguments.options)?;
    if arguments.password_stdin {
        options.insert("password".to_owned(), password(stdin().lock())?);
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
        show(&report);
    }
    Ok(true)
}

fn users_of(client: &Client, name: &str) -> Result<Vec<Holder>> {
    let volume = client.call("VolumeDriver.Get", &json!({"Name": name}))?;
    Ok(users::of(Path::new(volume["Volume"]["Mountpoint"].as_str().unwrap_or_default()))?)
}

/// Reads `name=value`, as docker does: without `=` the value is empty.
fn given(options: &[String]) -> Result<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        if name.eq_ignore_ascii_case("password") {
            bail!(
                "a password on the command line can be seen by every user of this host: give it on standard input with \
                 --password-stdin"
            );
        }
        ensure!(!name.is_empty(), "-o needs NAME=VALUE");
        if given.insert(name.to_owned(), value.to_owned()).is_some_and(|before| before != value) {
            bail!("option '{name}' is given twice with different values");
        }
    }
    Ok(given)
}

/// Reads a password; the line break that ends a line of a file or of a terminal is none of it.
fn password(input: impl Read) -> Result<String> {
    let mut text = Zeroizing::new(String::new());
    input
        .take(MOST_PASSWORD)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

fn show(report: &Report) {
    let Report { volume, changed, mounted, restart, users } = report;
    if changed.is_empty() {
        anstream::println!("volume {volume} has these options already");
        return;
    }
    anstream::println!("volume {volume}:");
    for Difference { option, before, after } in changed {
        for (style, sign, value) in [(BAD, '-', before), (GOOD, '+', after)] {
            if let Some(value) = value {
                let text = if value.is_empty() { option.clone() } else { format!("{option}={value}") };
                anstream::println!("  {}", painted(style, &format!("{sign} {text}")));
            }
        }
    }
    match restart {
        Some(command) if *mounted => {
            anstream::println!(
                "It is mounted with its former options; for a mount with the new ones run: {command}"
            );
            for user in users.iter().flatten() {
                anstream::println!("  {}", painted(FAINT, &format!("in use by {user}")));
            }
            if users.is_none() {
                anstream::println!("  {}", painted(FAINT, "who uses it was not found out"));
            }
        }
        _ => anstream::println!("effective at the next mount"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn options_are_written_as_for_docker() {
        let options = given(&strings(&["uid=1000", "ro", "sshcmd=h:/a=b", "uid=1000"])).unwrap();
        let pairs: Vec<_> = options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("ro", ""), ("sshcmd", "h:/a=b"), ("uid", "1000")]);
        for bad in [&["=x"][..], &["uid=1", "uid=2"]] {
            assert!(given(&strings(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        for word in ["password=hunter2", "Password=hunter2", "password"] {
            let refusal = given(&strings(&[word])).unwrap_err().to_string();
            assert!(refusal.contains("--password-stdin") && !refusal.contains("hunter2"), "{refusal}");
        }
    }

    #[test]
    fn a_password_is_what_is_in_the_line() {
        for (text, expected) in
            [("hunter2\n", "hunter2"), ("hunter2", "hunter2"), ("a b \r\n", "a b "), ("\n", "")]
        {
            assert_eq!(password(text.as_bytes()).unwrap(), expected);
        }
    }
}
