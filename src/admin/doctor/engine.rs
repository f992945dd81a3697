//! What Docker and podman make of the driver: how they find it, and what gets in the way.

use super::{Finding, Host};
use crate::admin::command::{self, Unanswered};
use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

/// The name that volumes are created with.
const NAME: &str = "sshfs";

/// Docker's directories (moby pkg/plugins/discovery_unix.go); sockets first.
const SOCKETS: &str = "/run/docker/plugins";
const SPECS: [&str; 2] = ["/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// Makes the link among them while it listens.
const SOCKET: &str = "sshfs-docker.socket";

/// Docker tries a driver that is gone for 15 s; this leaves time to say so.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn spec(host: &Host) -> Vec<Finding> {
    let used = searched().into_iter().find(|path| exists(path));
    let content = used.as_deref().map(|path| fs::read_to_string(path).unwrap_or_default());
    let Some(used) = used else { return vec![judge_missing(&ours())] };
    vec![judge_spec(&used, &content.unwrap_or_default(), &host.socket)]
}

/// Where Docker looks for the driver, in its order.
fn searched() -> Vec<PathBuf> {
    let sockets = Path::new(SOCKETS);
    let mut all = vec![sockets.join(format!("{NAME}.sock")), sockets.join(NAME).join(format!("{NAME}.sock"))];
    for directory in SPECS.map(Path::new) {
        for extension in ["spec", "json"] {
            let file = format!("{NAME}.{extension}");
            all.extend([directory.join(&file), directory.join(NAME).join(&file)]);
        }
    }
    all
}

/// A file that is no socket is passed over where Docker wants one.
fn exists(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !path.starts_with(SOCKETS) || metadata.file_type().is_socket())
}

/// Where the package tells Docker of the driver.
fn ours() -> PathBuf {
    Path::new(SPECS[0]).join(format!("{NAME}.spec"))
}

/// `ours` is a link, which Docker does not see where it leads nowhere.
fn judge_missing(ours: &Path) -> Finding {
    let restart = format!("systemctl restart {SOCKET}");
    let (lack, remedy) = if ours.is_symlink() {
        ("is a link that leads nowhere", format!("rm {}; {restart}", ours.display()))
    } else {
        ("is missing", restart)
    };
    Finding::problem(format!("{} {lack}: Docker does not find the driver", ours.display()), remedy)
}

fn judge_spec(used: &Path, content: &str, socket: &Path) -> Finding {
    let ours = ours();
    // The rest after the scheme is a path, however many slashes begin it.
    let path = content.trim().strip_prefix("unix:").map(|rest| rest.trim_start_matches('/'));
    let is_ours = path.is_some_and(|path| Path::new("/").join(path) == socket);
    match used.extension().and_then(|extension| extension.to_str()) {
        Some("spec") if is_ours => Finding::ok(format!("Docker finds the driver through {}", used.display())),
        Some("spec") if used == ours => Finding::problem(
            format!("{} does not point to unix://{}", ours.display(), socket.display()),
            format!("rm {}; systemctl restart {SOCKET}", ours.display()),
        ),
        _ => Finding::problem(
            format!("{} is another driver named '{NAME}', which Docker finds first", used.display()),
            format!(
                "remove it (rm {}), or use the other driver under another name; then: systemctl restart docker",
                used.display()
            ),
        ),
    }
}

/// Sockets that nobody serves slow Docker down, whoever they belong to.
pub fn sockets(_host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut alive, all) = (0, announced());
    for (announcement, socket) in all {
        match UnixStream::connect(&socket).map_err(|e| e.kind()) {
            Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => findings.push(Finding::warning(
                format!(
                    "nobody serves {}: Docker waits 15 s for it at 'docker volume ls' and when it meets a new name",
                    socket.display()
                ),
                format!("start the driver that it belongs to, or: rm {}", announcement.display()),
            )),
            _ => alive += 1,
        }
    }
    if findings.is_empty() {
        findings.push(judge_announced(alive));
    }
    findings
}

fn judge_announced(alive: usize) -> Finding {
    match alive {
        0 => Finding::ok("no driver is announced"),
        1 => Finding::ok("one driver is announced, and it is there"),
        alive => Finding::ok(format!("{alive} drivers are announced, and each is there")),
    }
}

/// Sockets that Docker would ask, each with the file that announces it.
fn announced() -> Vec<(PathBuf, PathBuf)> {
    let mut all = Vec::new();
    for path in entries(SOCKETS) {
        let inside = path.file_name().map(|name| path.join(name).with_extension("sock"));
        for path in [Some(path), inside].into_iter().flatten() {
            if path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
                all.push((path.clone(), path));
            }
        }
    }
    for path in SPECS.iter().flat_map(|directory| entries(directory)) {
        let is_spec = path.extension().is_some_and(|extension| extension == "spec");
        let content = if is_spec { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        if let Some(socket) = content.trim().strip_prefix("unix://") {
            all.push((path, socket.into()));
        }
    }
    all
}

fn entries(directory: &str) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

pub fn docker(_host: &Host) -> Vec<Finding> {
    let version = match ask("docker", &["version", "--format", "{{.Server.Version}}"]) {
        Ok(version) => version,
        Err(Silence::Missing) => return vec![Finding::ok("Docker is not installed")],
        Err(Silence::Other(why)) => {
            return vec![Finding::warning(
                format!("Docker does not answer: {why}"),
                "systemctl status docker",
            )];
        }
    };
    let mut findings = vec![Finding::ok(format!("Docker {version} answers"))];
    if let Ok(plugins) = ask("docker", &["plugin", "ls", "--format", "{{.Name}} {{.Enabled}}"]) {
        findings.extend(managed(&plugins));
    }
    // Docker learns of drivers when it looks for volumes.
    let known = ask("docker", &["volume", "ls", "--quiet", "--filter", "driver=sshfs"])
        .and_then(|_| ask("docker", &["info", "--format", "{{json .Plugins.Volume}}"]));
    findings.push(match known {
        Ok(drivers) => judge_known(&drivers),
        Err(Silence::Missing) => judge_known(""),
        Err(Silence::Other(why)) => Finding::problem(
            format!("Docker does not list its volumes: {why}"),
            "look for drivers that do not answer, above; then: systemctl restart docker",
        ),
    });
    findings
}

/// Managed plugins come before all others. One that is disabled, too: Docker then refuses the name.
fn managed(plugins: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in plugins.lines().filter_map(|line| line.split(' ').next()) {
        if name == NAME || name == format!("{NAME}:latest") {
            findings.push(Finding::problem(
                format!("the managed plugin {name} has the name of this driver, and Docker takes it first"),
                format!("docker plugin disable {name}; docker plugin rm {name}"),
            ));
        } else if name.contains("/sshfs") {
            findings.push(Finding::ok(format!(
                "the managed plugin {name} is there, too; its volumes are its own"
            )));
        }
    }
    findings
}

fn judge_known(drivers: &str) -> Finding {
    let names: Vec<String> = serde_json::from_str(drivers).unwrap_or_default();
    if names.iter().any(|name| name == NAME) {
        return Finding::ok("it knows the driver");
    }
    Finding::problem(
        format!("Docker does not know the driver '{NAME}' (it knows: {})", names.join(", ")),
        "mend what is said above of the socket and the spec file; then: systemctl restart docker",
    )
}

pub fn podman(_host: &Host) -> Vec<Finding> {
    vec![match ask("podman", &["--version"]) {
        Ok(version) => Finding::ok(version),
        Err(Silence::Missing) => Finding::ok("podman is not installed"),
        Err(Silence::Other(why)) => Finding::warning(format!("podman does not answer: {why}"), "podman info"),
    }]
}

enum Silence {
    Missing,
    Other(String),
}

/// The first line that a program prints.
fn ask(program: &str, arguments: &[&str]) -> Result<String, Silence> {
    match command::run(command::of(program, arguments), PATIENCE) {
        Ok(Output { status, stdout, .. }) if status.success() => {
            Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
        }
        Ok(Output { stderr, .. }) => {
            let said = String::from_utf8_lossy(&stderr);
            Err(Silence::Other(said.lines().next().unwrap_or_default().to_owned()))
        }
        Err(Unanswered::Missing(_)) => Err(Silence::Missing),
        Err(e) => Err(Silence::Other(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn docker_must_find_this_driver_and_no_other() {
        let socket = Path::new("/run/sshfs-docker.sock");
        let ours = "unix:///run/sshfs-docker.sock\n";
        for (used, content, state, said) in [
            ("/etc/docker/plugins/sshfs.spec", ours, State::Ok, "finds"),
            ("/usr/lib/docker/plugins/sshfs.spec", ours, State::Ok, "finds"),
            ("/etc/docker/plugins/sshfs.spec", "unix:///run/other.sock", State::Problem, "does not point"),
            ("/etc/docker/plugins/sshfs.spec", "", State::Problem, "does not point"),
            ("/run/docker/plugins/sshfs.sock", "", State::Problem, "another driver"),
            ("/etc/docker/plugins/sshfs.json", "{}", State::Problem, "another driver"),
            ("/etc/docker/plugins/sshfs/sshfs.spec", "tcp://x", State::Problem, "another driver"),
        ] {
            let finding = judge_spec(Path::new(used), content, socket);
            assert!(finding.state == state && finding.what.contains(said), "{used:?} {content}: {finding:?}");
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_told_from_none() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("sshfs.spec");
        assert!(judge_missing(&ours).what.contains("is missing"));
        std::os::unix::fs::symlink("/nowhere", &ours).unwrap();
        assert!(judge_missing(&ours).what.contains("leads nowhere"));
    }

    #[test]
    fn announced_drivers_are_counted_in_words_that_fit() {
        assert_eq!(judge_announced(0).what, "no driver is announced");
        assert!(judge_announced(2).what.starts_with("2 drivers"));
    }

    #[test]
    fn sockets_come_first_as_in_docker() {
        let searched: Vec<_> = searched().iter().map(|path| path.display().to_string()).collect();
        assert_eq!(
            searched[..4],
            [
                "/run/docker/plugins/sshfs.sock",
                "/run/docker/plugins/sshfs/sshfs.sock",
                "/etc/docker/plugins/sshfs.spec",
                "/etc/docker/plugins/sshfs/sshfs.spec"
            ]
        );
        assert_eq!(searched.len(), 10);
    }

    #[test]
    fn a_managed_plugin_with_our_name_is_a_problem_and_its_own_name_is_none() {
        let states = |plugins| managed(plugins).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states("sshfs:latest true\n"), [State::Problem]);
        assert_eq!(states("vieux/sshfs:latest false\nother:latest true"), [State::Ok]);
        assert_eq!(states(""), []);
    }

    #[test]
    fn drivers_that_docker_knows() {
        assert_eq!(judge_known(r#"["local","sshfs"]"#).state, State::Ok);
        for drivers in [r#"["local"]"#, "", "null"] {
            assert_eq!(judge_known(drivers).state, State::Problem, "{drivers}");
        }
    }
}
