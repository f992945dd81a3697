//! What systemd says of units.

use super::Finding;
use crate::admin::command;
use std::{collections::BTreeMap, time::Duration};

/// systemd answers at once, or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// The properties of one unit.
pub type Properties = BTreeMap<String, String>;

/// `systemctl ARGUMENTS`: what it prints.
pub fn ask(arguments: &[&str]) -> Result<String, Finding> {
    if !libsystemd::daemon::booted() {
        // Another check tells that this is a problem.
        return Err(Finding::ok("not looked at, because systemd is not PID 1"));
    }
    let unknown = |why: String| Finding::warning(why, "see 'systemctl status'");
    let output = command::run(command::of("systemctl", arguments), PATIENCE);
    let output = output.map_err(|e| unknown(e.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(unknown(format!("systemctl failed: {}", said.lines().next().unwrap_or_default())))
}

/// The properties of a unit, or of all that are loaded and match.
pub fn show(unit: &str, properties: &str) -> Result<Vec<Properties>, Finding> {
    ask(&["show", "--no-pager", "--property", properties, unit]).map(|text| parse(&text))
}

/// Units are separated by an empty line.
pub fn parse(text: &str) -> Vec<Properties> {
    let unit = |block: &str| -> Properties {
        let pairs = block.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    text.split("\n\n").map(unit).filter(|properties| !properties.is_empty()).collect()
}

/// A property; empty where it is not told.
pub fn get<'a>(properties: &'a Properties, name: &str) -> &'a str {
    properties.get(name).map(String::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_units_are_told_apart() {
        let units = parse("Id=a.service\nActiveState=active\nExecStart={ argv[]=x ; y=z }\n\nId=b.service\n");
        assert_eq!(units.len(), 2);
        assert_eq!(get(&units[0], "ExecStart"), "{ argv[]=x ; y=z }");
        assert_eq!((get(&units[1], "Id"), get(&units[1], "ActiveState")), ("b.service", ""));
    }
}
