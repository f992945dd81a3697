//! The driver itself: its user, its units, whether it answers, and the sandbox of its mounts.

use super::{
    Finding, Host,
    systemctl::{self, Properties, get},
};
use crate::admin::client::Client;
use nix::unistd::User;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const SOCKET: &str = "sshfs-docker.socket";
const SERVICE: &str = "sshfs-docker.service";
const SANDBOX: &str = "50-sandbox.conf";

/// Docker itself would wait longer; the start of the daemon takes less than one.
const ANSWER: Duration = Duration::from_secs(10);

/// Where systemd looks for units, the first one wins (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

pub fn user(host: &Host) -> Vec<Finding> {
    vec![match User::from_name(&host.user) {
        Ok(Some(user)) => Finding::ok(format!("{} ({}) runs sshfs", user.name, user.uid)),
        Ok(None) => Finding::problem(
            format!("the user '{}' does not exist: nothing can be mounted", host.user),
            "run 'systemd-sysusers' or reinstall the package",
        ),
        Err(e) => {
            Finding::warning(format!("cannot ask for the user '{}': {e}", host.user), "see nsswitch.conf(5)")
        }
    }]
}

pub fn socket(host: &Host) -> Vec<Finding> {
    let properties = systemctl::show(SOCKET, "LoadState,ActiveState,UnitFileState,Listen");
    vec![match properties {
        Ok(units) => judge_socket(&units.into_iter().next().unwrap_or_default(), &host.socket),
        Err(finding) => finding,
    }]
}

fn judge_socket(unit: &Properties, path: &Path) -> Finding {
    if let Some(finding) = not_loaded(unit, SOCKET) {
        return finding;
    }
    let enable = format!("systemctl enable --now {SOCKET}");
    match (get(unit, "ActiveState"), get(unit, "UnitFileState")) {
        ("active", _) if !get(unit, "Listen").contains(&*path.to_string_lossy()) => Finding::problem(
            format!("{SOCKET} listens elsewhere than at {}: {}", path.display(), get(unit, "Listen")),
            format!("systemctl cat {SOCKET}"),
        ),
        ("active", "enabled") => Finding::ok(format!("{SOCKET} is active and enabled")),
        ("active", state) => {
            Finding::warning(format!("{SOCKET} is active, but {state}: after a reboot it is not"), enable)
        }
        (state, _) => Finding::problem(format!("{SOCKET} is {state}: Docker reaches nobody"), enable),
    }
}

/// What keeps a unit from being there at all.
fn not_loaded(unit: &Properties, name: &str) -> Option<Finding> {
    match get(unit, "LoadState") {
        "loaded" => None,
        "masked" => Some(Finding::problem(format!("{name} is masked"), format!("systemctl unmask {name}"))),
        "not-found" => Some(Finding::problem(format!("{name} is not installed"), "reinstall the package")),
        state => Some(Finding::problem(
            format!("{name} cannot be loaded ({state})"),
            format!("systemctl status {name}"),
        )),
    }
}

pub fn service(_host: &Host) -> Vec<Finding> {
    match systemctl::show(SERVICE, "LoadState,ActiveState,Result,NRestarts,NeedDaemonReload") {
        Ok(units) => judge_service(&units.into_iter().next().unwrap_or_default()),
        Err(finding) => vec![finding],
    }
}

fn judge_service(unit: &Properties) -> Vec<Finding> {
    if let Some(finding) = not_loaded(unit, SERVICE) {
        return vec![finding];
    }
    let journal = format!("journalctl -u {SERVICE}");
    let result = get(unit, "Result");
    let mut findings = vec![match get(unit, "ActiveState") {
        "failed" => Finding::problem(format!("{SERVICE} has failed ({result})"), journal.clone()),
        "inactive" => Finding::ok(format!("{SERVICE} sleeps until the next call")),
        state => Finding::ok(format!("{SERVICE} is {state}")),
    }];
    let restarts: u32 = get(unit, "NRestarts").parse().unwrap_or_default();
    if restarts > 0 {
        let why =
            if result == "success" { String::new() } else { format!(", the last time because of {result}") };
        let what =
            format!("systemd has restarted it {restarts} times after it failed{why}; no mount was touched");
        findings.push(Finding::warning(what, journal));
    }
    if get(unit, "NeedDaemonReload") == "yes" {
        findings.push(Finding::warning(
            "its files have changed since systemd read them",
            "systemctl daemon-reload",
        ));
    }
    findings
}

pub fn answer(host: &Host) -> Vec<Finding> {
    let started = Instant::now();
    let client = Client::new(&host.socket).with_patience(ANSWER);
    vec![match client.call("Plugin.Activate", &json!({})) {
        Ok(_) => Finding::ok(format!("the driver answers after {} ms", started.elapsed().as_millis())),
        Err(e) => Finding::problem(e.to_string(), format!("systemctl status {SOCKET} {SERVICE}")),
    }]
}

pub fn sandbox(_host: &Host) -> Vec<Finding> {
    let directory = "sshfs-docker-mount-.service.d";
    let in_force = UNITS.map(|units| Path::new(units).join(directory).join(SANDBOX));
    let in_force = in_force.into_iter().find(|file| file.symlink_metadata().is_ok());
    let mut findings =
        vec![judge_sandbox(in_force.as_deref(), |file| fs::read_to_string(file).unwrap_or_default())];
    match systemctl::show("sshfs-docker-mount-*.service", "Id,DropInPaths,NeedDaemonReload") {
        Ok(units) => findings.extend(units.iter().filter_map(without_sandbox)),
        Err(finding) => findings.push(finding),
    }
    findings
}

/// Judges the file that counts; one without content is how a drop-in is switched off.
fn judge_sandbox(file: Option<&Path>, read: impl Fn(&Path) -> String) -> Finding {
    match file {
        None => Finding::problem(
            format!("{SANDBOX} is missing: sshfs and ssh of new mounts run without it"),
            "reinstall the package",
        ),
        Some(file) if !read(file).contains("[Service]") => Finding::problem(
            format!("{} switches it off: sshfs and ssh of new mounts run without it", file.display()),
            "remove that file, then: systemctl daemon-reload",
        ),
        Some(file) => Finding::ok(format!("{} is in force", file.display())),
    }
}

/// A mount whose unit does not have it.
fn without_sandbox(unit: &Properties) -> Option<Finding> {
    let id = get(unit, "Id");
    if !get(unit, "DropInPaths").contains(SANDBOX) {
        let remedy = "systemctl daemon-reload; then stop the containers of the volume and start them again";
        return Some(Finding::problem(format!("{id} runs without it"), remedy));
    }
    let reload = get(unit, "NeedDaemonReload") == "yes";
    reload.then(|| {
        Finding::warning(
            format!("files of {id} have changed since systemd read them"),
            "systemctl daemon-reload",
        )
    })
}

/// Settings of the administrator are no mistake, but the first thing to look at.
pub fn overrides(_host: &Host) -> Vec<Finding> {
    let mut files = Vec::new();
    for units in &UNITS[..2] {
        for entry in fs::read_dir(units).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("sshfs-docker") {
                files.extend(settings_in(&entry.path()));
            }
        }
    }
    files.sort();
    let shown: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    vec![Finding::ok(if shown.is_empty() { "none".to_owned() } else { shown.join(", ") })]
}

/// A unit file of one's own, or the drop-ins in a directory. A link is what 'systemctl enable' makes; transient units are
/// systemd's own.
fn settings_in(path: &Path) -> Vec<PathBuf> {
    let is_settings =
        |path: &Path| path.extension().is_some_and(|e| ["conf", "service", "socket"].iter().any(|s| e == *s));
    if path.is_dir() {
        let files = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        return files.filter(|file| is_settings(file)).collect();
    }
    let own = path.is_symlink() || !is_settings(path);
    if own { Vec::new() } else { vec![path.to_owned()] }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn unit(text: &str) -> Properties {
        systemctl::parse(text).into_iter().next().unwrap_or_default()
    }

    #[test]
    fn a_socket_must_be_there_active_enabled_and_the_one_that_docker_calls() {
        let path = Path::new("/run/sshfs-docker.sock");
        let listen = "Listen=/run/sshfs-docker.sock (Stream)";
        for (text, state, said) in [
            (
                format!("LoadState=loaded\nActiveState=active\nUnitFileState=enabled\n{listen}"),
                State::Ok,
                "active",
            ),
            (
                format!("LoadState=loaded\nActiveState=active\nUnitFileState=disabled\n{listen}"),
                State::Warning,
                "disabled",
            ),
            (
                format!("LoadState=loaded\nActiveState=inactive\nUnitFileState=enabled\n{listen}"),
                State::Problem,
                "inactive",
            ),
            (
                "LoadState=loaded\nActiveState=active\nListen=/x (Stream)".to_owned(),
                State::Problem,
                "elsewhere",
            ),
            ("LoadState=masked\nActiveState=inactive".to_owned(), State::Problem, "masked"),
            ("LoadState=not-found\nActiveState=inactive".to_owned(), State::Problem, "not installed"),
        ] {
            let finding = judge_socket(&unit(&text), path);
            assert!(finding.state == state && finding.what.contains(said), "{text}: {finding:?}");
        }
    }

    #[test]
    fn a_service_may_sleep_and_must_not_fail() {
        for (text, states) in [
            ("LoadState=loaded\nActiveState=inactive\nResult=success\nNRestarts=0", &[State::Ok][..]),
            (
                "LoadState=loaded\nActiveState=active\nResult=success\nNRestarts=2",
                &[State::Ok, State::Warning],
            ),
            ("LoadState=loaded\nActiveState=failed\nResult=watchdog\nNRestarts=0", &[State::Problem]),
            ("LoadState=masked\nActiveState=inactive", &[State::Problem]),
        ] {
            let found: Vec<_> = judge_service(&unit(text)).iter().map(|finding| finding.state).collect();
            assert_eq!(found, states, "{text}");
        }
    }

    #[test]
    fn a_sandbox_that_is_missing_or_switched_off_is_a_problem() {
        let file = Path::new("/etc/systemd/system/sshfs-docker-mount-.service.d/50-sandbox.conf");
        for (file, content, state) in [
            (Some(file), "[Service]\nUser=x", State::Ok),
            (Some(file), "", State::Problem),
            (None, "", State::Problem),
        ] {
            assert_eq!(judge_sandbox(file, |_| content.to_owned()).state, state);
        }
        assert!(
            without_sandbox(&unit("Id=a\nDropInPaths=/x/50-sandbox.conf /x/60.conf\nNeedDaemonReload=no"))
                .is_none()
        );
        assert!(without_sandbox(&unit("Id=a\nDropInPaths=\nNeedDaemonReload=no")).is_some());
    }
}
