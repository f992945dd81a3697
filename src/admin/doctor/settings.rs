//! The administrator's files, and that of learnt host keys: read as the driver and its mounts read them.

use super::{Finding, Host};
use crate::{
    admin::command::{self, Unanswered},
    config::Config,
};
use nix::unistd::User;
use std::{
    io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Output,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);

pub fn config(host: &Host) -> Vec<Finding> {
    let file = host.paths.config_file();
    if matches!(file.try_exists(), Ok(false)) {
        return vec![Finding::ok(format!("{} does not exist: the defaults hold", file.display()))];
    }
    vec![match Config::read(&file) {
        Ok(_) => Finding::ok(format!("{} is valid", file.display())),
        Err(e) => Finding::problem(
            format!("{}: {e}", file.display()),
            "mend it: until then no volume is created or mounted",
        ),
    }]
}

pub fn ssh_config(host: &Host) -> Vec<Finding> {
    let file = host.paths.ssh_config();
    if matches!(file.try_exists(), Ok(false)) {
        return vec![Finding::ok(format!("{} does not exist, which is fine", file.display()))];
    }
    let path = file.to_string_lossy();
    // It prints what it would do for a host, and connects to nobody.
    vec![match as_user(host, "ssh", &["-G", "-F", &path, "localhost"]) {
        Ok(output) if output.status.success() => Finding::ok(format!("{path} is valid")),
        Ok(output) => Finding::problem(
            format!("{path}: {}", first_line(&output.stderr)),
            "mend it: until then nothing can be mounted",
        ),
        Err(e) => Finding::warning(
            format!("{path} was not read: {e}"),
            "install OpenSSH, and the user of the driver",
        ),
    }]
}

pub fn known_hosts(host: &Host) -> Vec<Finding> {
    let mut findings = vec![learnt(host)];
    let file = host.paths.admin_known_hosts();
    let path = file.to_string_lossy();
    if matches!(file.try_exists(), Ok(false)) {
        findings.push(Finding::ok(format!("{path} does not exist, which is fine")));
        return findings;
    }
    findings.push(match as_user(host, "head", &["--bytes=1", &path]) {
        Ok(output) if output.status.success() => Finding::ok(format!("{path} can be read by mounts")),
        Ok(output) => Finding::problem(
            format!("mounts cannot read {path}: {}", first_line(&output.stderr)),
            format!("chmod 755 {}; chmod 644 {path}", host.paths.configuration.display()),
        ),
        Err(e) => Finding::warning(format!("{path} was not read: {e}"), "create the user of the driver"),
    });
    findings
}

/// The file that ssh itself writes.
fn learnt(host: &Host) -> Finding {
    let file = host.paths.learnt_known_hosts();
    // Not of what a link leads to: whoever has taken over an ssh may have made one, and the remedy would be done to that.
    match (file.symlink_metadata(), User::from_name(&host.user)) {
        (Ok(metadata), _) if !metadata.is_file() => Finding::problem(
            format!("{} is not a regular file: something in a mount has replaced it", file.display()),
            format!("find out what; then: rm '{}'", file.display()),
        ),
        (Ok(metadata), Ok(Some(user))) => {
            judge_learnt(&file, metadata.uid(), metadata.mode() & 0o7777, (&user.name, user.uid.as_raw()))
        }
        (Ok(_), _) => {
            Finding::warning(format!("whose {} is was not found out", file.display()), "create the user")
        }
        (Err(e), _) if e.kind() == io::ErrorKind::NotFound => {
            Finding::ok("no host keys have been learnt yet")
        }
        (Err(e), _) => {
            Finding::problem(format!("{}: {e}", file.display()), "see what is wrong with the disk")
        }
    }
}

fn judge_learnt(file: &Path, uid: u32, mode: u32, (name, of_user): (&str, u32)) -> Finding {
    let path = file.display();
    if uid != of_user {
        return Finding::problem(
            format!("{path} does not belong to {name}: mounts can neither read it nor add to it"),
            format!("chown {name}: '{path}'"),
        );
    }
    match mode {
        _ if mode & 0o600 != 0o600 => Finding::problem(
            format!("{path} has mode {mode:04o}: mounts cannot read or write it"),
            format!("chmod 600 '{path}'"),
        ),
        _ if mode & 0o022 != 0 => Finding::problem(
            format!("{path} has mode {mode:04o}: others can have a foreign server accepted"),
            format!("chmod 600 '{path}'"),
        ),
        _ => Finding::ok(format!("{path} belongs to {name}")),
    }
}

/// Runs a program as the user of mounts: what he cannot read, they cannot.
fn as_user(host: &Host, program: &str, arguments: &[&str]) -> Result<Output, Unanswered> {
    let missing = || Unanswered::Missing(format!("the user '{}'", host.user));
    let user = User::from_name(&host.user).ok().flatten().ok_or_else(missing)?;
    let mut command = command::of(program, arguments);
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
    command::run(command, PATIENCE)
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn learnt_keys_belong_to_the_user_of_mounts_and_to_nobody_else() {
        for (uid, mode, state) in [
            (990, 0o600, State::Ok),
            (990, 0o644, State::Ok),
            (990, 0o666, State::Problem),
            (990, 0o400, State::Problem),
            (0, 0o600, State::Problem),
        ] {
            let finding = judge_learnt(Path::new("/k"), uid, mode, ("sshfs-docker", 990));
            assert_eq!(finding.state, state, "{uid} {mode:o}");
        }
    }
}
