//! The volumes: their disk, their definitions and credentials, their mounts and units, and what was left behind.

use super::{Finding, Host, State, systemctl};
use crate::{
    config::Config,
    heal::stale::{self, Stale},
    health::{Connection, Health},
    launcher,
    mount::{
        fuse,
        holders::Everywhere,
        mountinfo::{self, Mount},
        probe::{Answer, HIDDEN, Prober},
    },
    paths::file_name,
    store::{self, Definition, Unreadable},
    volume::{Spec, VolumeName, options, options::PasswordSource},
};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    sync::Arc,
    thread::sleep,
    time::Duration,
};
use tokio::task::JoinSet;

/// A definition takes a few KiB, with its temporary file.
const LEAST_SPACE: u64 = 1024 * 1024;

/// How long a mount may take to answer.
const ANSWER: Duration = Duration::from_secs(8);

/// What looks wrong may be a mount that is just being made or taken away.
const SECOND_LOOK: Duration = Duration::from_secs(2);

pub fn disk(host: &Host) -> Vec<Finding> {
    let directories = [&host.paths.state, &host.paths.runtime];
    directories.into_iter().map(|directory| space(directory)).collect()
}

fn space(directory: &Path) -> Finding {
    let shown = directory.display();
    match statvfs(directory) {
        Ok(disk) => {
            let free = disk.blocks_available() * disk.fragment_size();
            let inodes = disk.files() == 0 || disk.files_available() > 0;
            judge_space(directory, disk.flags().contains(FsFlags::ST_RDONLY), free, inodes)
        }
        Err(nix::errno::Errno::ENOENT) => {
            Finding::ok(format!("{shown} is made when the driver is first called"))
        }
        Err(e) => Finding::problem(format!("{shown}: {e}"), "see what is wrong with the disk"),
    }
}

fn judge_space(directory: &Path, read_only: bool, free: u64, inodes: bool) -> Finding {
    let shown = directory.display();
    if read_only {
        let what =
            format!("{shown} is on a file system that is read-only: no volume can be created or removed");
        return Finding::problem(what, "see 'journalctl -k' for errors of the disk");
    }
    if free < LEAST_SPACE || !inodes {
        let lack = if inodes { format!("{} KiB of space", free / 1024) } else { "no inode".to_owned() };
        return Finding::problem(
            format!("{shown} has {lack} left"),
            format!("make room: df -h {shown}; df -i {shown}"),
        );
    }
    Finding::ok(format!("{shown} has room"))
}

/// What is defined, or why it cannot be read. Nothing where there is no store yet.
fn defined(host: &Host) -> BTreeMap<VolumeName, Result<Definition, Unreadable>> {
    let names = store::names(&host.paths).unwrap_or_default();
    let stored = names.iter().filter_map(|name| store::look(&host.paths, name));
    stored.map(|stored| (stored.name, stored.definition)).collect()
}

pub fn definitions(host: &Host) -> Vec<Finding> {
    // A mistake in it is told by another check.
    let config = Config::read(&host.paths.config_file()).unwrap_or_default();
    let (mut findings, mut fine) = (Vec::new(), 0);
    for (name, definition) in defined(host) {
        match definition {
            Err(e) => findings.push(Finding::problem(
                format!("volume {name} cannot be used: {e}"),
                format!(
                    "put {} back from a backup, or move it away, which deletes nothing on the server",
                    host.paths.volumes().join(file_name(&name)).display()
                ),
            )),
            Ok(definition) => match Spec::parse(&definition.options, definition.has_password, &config.policy)
            {
                Err(e) => findings.push(Finding::problem(
                    format!("volume {name} cannot be used: {e}"),
                    format!("sshfs-docker set {name} -o NAME=VALUE, or --unset NAME"),
                )),
                Ok(spec) => {
                    let missing = missing_credentials(&name, &spec);
                    fine += usize::from(missing.is_empty());
                    findings.extend(missing);
                }
            },
        }
    }
    findings.insert(0, Finding::ok(format!("{fine} volumes can be used")));
    findings
}

/// Files that a mount of the volume needs, and that are not there; the socket of an agent is one.
fn missing_credentials(name: &VolumeName, spec: &Spec) -> Vec<Finding> {
    let password = match &spec.password {
        Some(PasswordSource::Credential(source)) => Some(source),
        Some(PasswordSource::Stored) | None => None,
    };
    let given = [("identity_file", spec.identity.as_ref()), ("password_file", password)];
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let missing = |option: &str, error: launcher::LaunchError, remedy: &str| {
        Finding::problem(
            format!("volume {name}: {option}: {error}"),
            format!("{remedy}, or: sshfs-docker set {name} -o {option}=PATH"),
        )
    };
    let files = given.into_iter().filter_map(|(option, source)| {
        let error = runtime.block_on(launcher::check_source(source?)).err()?;
        Some(missing(option, error, "put it there"))
    });
    let mut findings: Vec<_> = files.collect();
    if let Some(Err(error)) = spec.agent.as_ref().map(|agent| runtime.block_on(launcher::check_agent(agent)))
    {
        findings.push(missing("IdentityAgent", error, "start the agent"));
    }
    runtime.shutdown_background();
    findings
}

pub fn mounts(host: &Host) -> Vec<Finding> {
    let mut findings = look_at_mounts(host);
    if findings.iter().any(|finding| finding.state != State::Ok) {
        sleep(SECOND_LOOK);
        findings = look_at_mounts(host);
    }
    findings
}

fn look_at_mounts(host: &Host) -> Vec<Finding> {
    let view = host.paths.mountpoints();
    let all = match mountinfo::own() {
        Ok(all) => all,
        Err(e) => return vec![Finding::problem(format!("cannot read mountinfo: {e}"), "is /proc mounted?")],
    };
    let mounts: Vec<_> =
        all.iter().filter(|mount| mount.mountpoint.parent() == Some(&view)).cloned().collect();
    let defined = defined(host);
    let units = active_units().ok();
    let answers = ask(&mounts);
    let mut findings: Vec<_> = mounts
        .iter()
        .zip(&answers)
        .filter_map(|(mount, answer)| {
            let name = mount.mountpoint.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let volume = VolumeName::new(name).ok();
            let is_defined = volume.as_ref().is_some_and(|volume| defined.contains_key(volume));
            let serves = volume.map(|volume| fuse::generation(mount, &volume).to_string());
            let has_unit = units.as_ref().zip(serves).is_none_or(|(units, serves)| units.contains(&serves));
            judge_mount(mount, name, is_defined, has_unit, *answer)
        })
        .collect();
    if let Some(finding) = judge_view(&all, &view, host.paths.mountpoint_directories().is_dir()) {
        findings.push(finding);
    }
    let fine = mounts.len() - findings.len().min(mounts.len());
    findings.insert(0, Finding::ok(format!("{fine} of {} mounts are in order", mounts.len())));
    findings
}

fn judge_mount(
    mount: &Mount,
    name: &str,
    is_defined: bool,
    has_unit: bool,
    answer: Answer,
) -> Option<Finding> {
    let path = mount.mountpoint.display();
    // Its source begins with that.
    let serves = mount.source.split('=').next().unwrap_or(name);
    let heal =
        format!("systemctl start sshfs-docker-heal@{name}.service; journalctl -u sshfs-docker-heal@{name}");
    if mount.filesystem != fuse::FILESYSTEM {
        return Some(Finding::problem(
            format!("{path} is a mount of type {}, which is not ours", mount.filesystem),
            format!("umount {path}"),
        ));
    }
    if !is_defined {
        return Some(Finding::problem(
            format!("{path} is mounted, and there is no volume {name}"),
            format!("systemctl stop sshfs-docker-mount-{serves}.service; umount --lazy {path}"),
        ));
    }
    match answer {
        Answer::Failed(HIDDEN) => Some(Finding::problem(
            format!("{path} is hidden by another mount over a directory above"),
            "unmount that, or stop the containers of the volume and start them again",
        )),
        answer if answer.is_dead() || !has_unit => {
            Some(Finding::problem(format!("the mount at {path} is dead: its sshfs has ended"), heal))
        }
        Answer::TimedOut => Some(Finding::warning(
            format!("the mount at {path} did not answer for {}s", ANSWER.as_secs()),
            format!("check the server and the network: journalctl -u sshfs-docker-mount-{name}"),
        )),
        Answer::Failed(errno) => Some(Finding::warning(
            format!("the mount at {path} answers with an error: {errno}"),
            format!("journalctl -u sshfs-docker-mount-{name}"),
        )),
        Answer::Alive(_) | Answer::NotAsked => None,
    }
}

/// The read-only mount below all mountpoints: without it a path that is not mounted takes what containers write.
fn judge_view(all: &[Mount], view: &Path, was_made: bool) -> Option<Finding> {
    let writable = |mount: &&Mount| !mount.options.split(',').any(|option| option == "ro");
    let is_wrong = match all.iter().rfind(|mount| mount.mountpoint == view) {
        Some(mount) => writable(&mount),
        None => was_made,
    };
    is_wrong.then(|| {
        Finding::problem(
            format!(
                "{} is no read-only mount: what is written to a path that is not mounted stays on this host",
                view.display()
            ),
            "systemctl restart sshfs-docker.service (touches no mount)",
        )
    })
}

/// Asks all at once: one that hangs holds up no other.
fn ask(mounts: &[Mount]) -> Vec<Answer> {
    let mut answers = vec![Answer::NotAsked; mounts.len()];
    let Ok(program) = env::current_exe() else { return answers };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return answers;
    };
    let prober = Arc::new(Prober::new(program));
    runtime.block_on(async {
        let mut questions = JoinSet::new();
        for (index, mount) in mounts.iter().cloned().enumerate() {
            let prober = Arc::clone(&prober);
            questions.spawn(async move { (index, prober.ask(&mount, ANSWER).await) });
        }
        while let Some(Ok((index, answer))) = questions.join_next().await {
            answers[index] = answer;
        }
    });
    runtime.shutdown_background();
    answers
}

/// Containers that still have the mount of an sshfs that has ended.
pub fn containers(host: &Host) -> Vec<Finding> {
    let Ok(everywhere) = Everywhere::read() else {
        return vec![Finding::warning("cannot read /proc", "see hidepid= in proc(5)")];
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (name, definition) in defined(host) {
        let remote = definition.ok().and_then(|definition| options::remote(&definition.options));
        let mounted = mountinfo::at(&host.paths.mountpoint(&name)).ok().flatten();
        let remotes = fuse::remotes(&name, remote.as_ref(), mounted.as_ref());
        let serving = mounted.as_ref().map(|mount| fuse::generation(mount, &name));
        let live = mounted.map(|mount| mount.device);
        let is_stale = |mount: &&Mount| fuse::is_of(mount, &name, &remotes) && Some(mount.device) != live;
        if everywhere.iter().find(is_stale).is_none() {
            continue;
        }
        let is_dead = |stale: &Stale| {
            // What a restart could not replace is served by the sshfs before it. Where the host's own mount has its name,
            // that one has ended.
            let generation = fuse::generation(&stale.mount, &name);
            let health = Health::read(&host.paths, &generation);
            serving.as_ref() == Some(&generation)
                || health.is_none_or(|health| health.state == Connection::Ended)
        };
        let stale = runtime.block_on(stale::find(&name, &remotes, live)).unwrap_or_default();
        for stale in stale.into_iter().filter(is_dead) {
            let why = stale.obstacle.map(|obstacle| format!(" ({obstacle})")).unwrap_or_default();
            findings.push(Finding::problem(
                format!("volume {name}: {stale} has a dead mount{why}"),
                format!("systemctl start sshfs-docker-heal@{name}.service, or restart the container"),
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("none has a dead mount"));
    }
    findings
}

/// Which sshfs have an active unit: volumes, and after a restart their further generations (`data:2`).
fn active_units() -> Result<BTreeSet<String>, Finding> {
    let list = ["list-units", "--plain", "--no-legend", "--state=active", "sshfs-docker-mount-*.service"];
    Ok(units_in(&systemctl::ask(&list)?).into_iter().filter_map(|unit| served_by(&unit)).collect())
}

/// The first word of each line.
fn units_in(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn served_by(unit: &str) -> Option<String> {
    let name = unit.strip_prefix("sshfs-docker-mount-")?.strip_suffix(".service")?;
    Some(name.to_owned())
}

pub fn units(host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let failed = ["list-units", "--plain", "--no-legend", "--state=failed", "sshfs-docker*"];
    match systemctl::ask(&failed) {
        Ok(list) => findings.extend(units_in(&list).iter().filter_map(|unit| failed_unit(unit))),
        Err(finding) => return vec![finding],
    }
    findings.extend(units_without_mount(host));
    if !findings.is_empty() {
        return findings;
    }
    vec![Finding::ok("none has failed, and none is without a mount")]
}

fn failed_unit(unit: &str) -> Option<Finding> {
    // Another check tells of these.
    if ["sshfs-docker.service", "sshfs-docker.socket"].contains(&unit) {
        return None;
    }
    let remedy = match unit.strip_prefix("sshfs-docker-heal@") {
        Some(_) => format!("journalctl -u {unit}; then: systemctl start {unit}"),
        None => format!("journalctl -u {unit}; then: systemctl reset-failed {unit}"),
    };
    Some(Finding::problem(format!("{unit} has failed"), remedy))
}

fn units_without_mount(host: &Host) -> Vec<Finding> {
    let look = || -> BTreeSet<String> {
        // An earlier generation ends with the last file that is open in it.
        let is_mounted = |name: &String| {
            let mountpoint = host.paths.mountpoints().join(name.split(':').next().unwrap_or_default());
            mountinfo::at(&mountpoint).is_ok_and(|mount| mount.is_some())
        };
        active_units().unwrap_or_default().into_iter().filter(|name| !is_mounted(name)).collect()
    };
    let mut found = look();
    if !found.is_empty() {
        sleep(SECOND_LOOK);
        found = found.intersection(&look()).cloned().collect();
    }
    let told = found.iter().map(|name| {
        let unit = format!("sshfs-docker-mount-{name}.service");
        Finding::problem(format!("{unit} runs without a mount"), format!("systemctl stop {unit}"))
    });
    told.collect()
}

/// What lies below a mountpoint was written by somebody who believed it to be the server.
pub fn mountpoints(host: &Host) -> Vec<Finding> {
    let directory = host.paths.mountpoint_directories();
    let mounted: BTreeSet<_> =
        mountinfo::own().unwrap_or_default().into_iter().map(|mount| mount.mountpoint).collect();
    let mut findings = Vec::new();
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // What is mounted there is not looked at: its server may hang.
        if mounted.contains(&path) || !path.is_dir() {
            continue;
        }
        if fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            findings.push(Finding::warning(
                format!(
                    "{} is not empty: these files are on this host and not on the server",
                    path.display()
                ),
                "move them away; the driver deletes nothing there",
            ));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("nothing lies below them on this host"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    fn mount(filesystem: &str) -> Mount {
        let line = format!("11 10 0:50 / /lib/mnt/data rw shared:7 - {filesystem} data=h:/x rw\n");
        mountinfo::parse(line.as_bytes()).remove(0)
    }

    #[test]
    fn a_mount_is_ours_defined_served_and_answers() {
        let alive = Answer::Alive(None);
        for (filesystem, defined, unit, answer, state) in [
            ("fuse.sshfs", true, true, alive, None),
            ("tmpfs", true, true, alive, Some(State::Problem)),
            ("fuse.sshfs", false, true, alive, Some(State::Problem)),
            ("fuse.sshfs", true, false, alive, Some(State::Problem)),
            ("fuse.sshfs", true, true, Answer::Failed(Errno::ENOTCONN), Some(State::Problem)),
            ("fuse.sshfs", true, true, Answer::Failed(HIDDEN), Some(State::Problem)),
            ("fuse.sshfs", true, true, Answer::TimedOut, Some(State::Warning)),
            ("fuse.sshfs", true, true, Answer::Failed(Errno::EACCES), Some(State::Warning)),
        ] {
            let finding = judge_mount(&mount(filesystem), "data", defined, unit, answer);
            assert_eq!(
                finding.map(|finding| finding.state),
                state,
                "{filesystem} {defined} {unit} {answer:?}"
            );
        }
    }

    #[test]
    fn what_lies_below_the_mountpoints_is_read_only() {
        let view = |options: &str| {
            mountinfo::parse(format!("10 1 8:1 /m /lib/mnt {options} - ext4 /dev/x rw\n").as_bytes())
        };
        let is_wrong = |all: &[Mount], was_made| judge_view(all, Path::new("/lib/mnt"), was_made).is_some();
        assert!(!is_wrong(&view("ro,relatime"), true));
        assert!(is_wrong(&view("rw,relatime"), true));
        assert!(is_wrong(&[], true));
        assert!(!is_wrong(&[], false), "the driver has never run");
    }

    #[test]
    fn a_disk_must_take_a_definition() {
        let state = |read_only, free, inodes| judge_space(Path::new("/x"), read_only, free, inodes).state;
        assert_eq!(state(false, LEAST_SPACE, true), State::Ok);
        for (read_only, free, inodes) in
            [(true, LEAST_SPACE, true), (false, 4096, true), (false, LEAST_SPACE, false)]
        {
            assert_eq!(state(read_only, free, inodes), State::Problem);
        }
    }

    #[test]
    fn units_as_systemctl_lists_them() {
        let list = "sshfs-docker-mount-data.service loaded active running sshfs volume data\n\
                    sshfs-docker-heal@a.b.service   loaded failed failed  Fresh mount\n";
        assert_eq!(units_in(list), ["sshfs-docker-mount-data.service", "sshfs-docker-heal@a.b.service"]);
        assert_eq!(served_by("sshfs-docker-mount-a-b.service").as_deref(), Some("a-b"));
        assert_eq!(served_by("sshfs-docker-mount-data:2.service").as_deref(), Some("data:2"));
        assert!(failed_unit("sshfs-docker.service").is_none());
        assert!(failed_unit("sshfs-docker-heal@x.service").is_some());
    }
}
