//! What goes wrong with the remote is told to the user, each cause in its own words.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::lab::network::{NOBODY, SSH_SERVER};
use crate::lab::volume::KEY_OPTION;
use crate::lab::{Container, Lab, Volume, poll};

crate::cases![
    each_cause_gets_a_sentence_of_its_own,
    a_changed_host_key_is_refused,
    known_host_keys_that_mounts_cannot_read_end_them,
    a_pinned_host_key_is_accepted_and_any_other_refused,
    a_dark_address_fails_in_time_and_holds_nobody_up,
    a_frozen_mount_holds_nobody_up,
    a_failed_mount_leaves_nothing_behind,
];

/// What `docker run` says about a volume that cannot be mounted.
fn refusal(lab: &Lab, name: &str, options: &str) -> Result<String> {
    let volume = lab.volume_with(name, options)?;
    let sentence = volume.try_run("true")?.failure()?.to_lowercase();
    volume.wait_until_unmounted()?;
    ensure!(sentence.contains(name), "does not name the volume: {sentence}");
    ensure!(
        !sentence.contains("exit status"),
        "says what a program did instead of what is wrong: {sentence}"
    );
    Ok(sentence)
}

/// The sentence must contain one word of each group.
fn ensure_says(sentence: &str, groups: &[&[&str]]) -> Result<()> {
    for group in groups {
        ensure!(group.iter().any(|word| sentence.contains(word)), "none of {group:?} in: {sentence}");
    }
    Ok(())
}

fn each_cause_gets_a_sentence_of_its_own(lab: &Lab) -> Result<()> {
    lab.host.sh("rm -f /root/stranger*; ssh-keygen -q -t ed25519 -N '' -f /root/stranger")?;
    let directory = lab.server.export("causes", "alice")?;
    let key = refusal(
        lab,
        "wrong-key",
        &format!("-o sshcmd=alice@{SSH_SERVER}:{directory} -o identity_file=/root/stranger"),
    )?;
    ensure_says(&key, &[&["denied", "not accept", "refused", "rejected"], &["key"], &["alice"]])?;
    let host = refusal(
        lab,
        "wrong-host",
        &format!("-o sshcmd=alice@no-such-host.invalid:{directory} {KEY_OPTION}"),
    )?;
    ensure_says(&host, &[&["resolve"], &["no-such-host.invalid"]])?;
    let missing =
        refusal(lab, "wrong-dir", &format!("-o sshcmd=alice@{SSH_SERVER}:/srv/nowhere {KEY_OPTION}"))?;
    ensure_says(&missing, &[&["does not exist", "no such"], &["/srv/nowhere"]])?;
    let port = refusal(
        lab,
        "wrong-port",
        &format!("-o sshcmd=alice@{SSH_SERVER}:{directory} -o port=2 {KEY_OPTION}"),
    )?;
    ensure_says(&port, &[&["refused"]])?;
    let file = refusal(lab, "a-file", &format!("-o sshcmd=alice@{SSH_SERVER}:/etc/hostname {KEY_OPTION}"))?;
    ensure_says(&file, &[&["not a directory"]])?;
    ensure!(BTreeSet::from([&key, &host, &missing, &port, &file]).len() == 5, "two causes, one sentence");
    Ok(())
}

/// In the terminal of `docker run`, and in the journal where only a connection is made anew; and the command that it names
/// works.
fn a_changed_host_key_is_refused(lab: &Lab) -> Result<()> {
    let volume = lab.volume("impostor")?;
    volume.run("echo before > /d/file")?;
    let container = volume.hold("impostor-user")?;
    let fingerprint = || lab.server.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key | cut -d ' ' -f 2");
    let known = fingerprint()?;
    lab.server.replace_host_keys()?;
    let refused = refuse_a_changed_key(lab, &volume, &container, &[&known, &fingerprint()?]);
    lab.server.restore_host_keys()?;
    refused?;
    lab.host.sh(&format!("sshfs-docker forget-host-key {SSH_SERVER}"))?;
    ensure!(volume.run("cat /d/file")? == "before", "refused for good");
    Ok(())
}

fn refuse_a_changed_key(lab: &Lab, volume: &Volume, container: &Container, keys: &[&str]) -> Result<()> {
    lab.host.sh("pkill -KILL -x ssh")?;
    ensure!(!container.try_exec("cat /d/file")?.ok(), "the wrong server was read");
    let unit = volume.unit();
    let journal = lab.host.sh(&format!("journalctl --sync; journalctl --no-pager --unit {unit}"))?;
    container.docker("rm --force")?;
    volume.wait_until_unmounted()?;
    let sentence = volume.try_run("true")?.failure()?;
    println!("\n{sentence}");
    let command = format!("sshfs-docker forget-host-key '{SSH_SERVER}'");
    for told in [&journal, &sentence] {
        for part in keys.iter().chain(&["host key has changed", command.as_str()]) {
            ensure!(told.contains(*part), "no {part:?} in: {told}");
        }
    }
    lab.host.sh(&command)?;
    volume.run("true").map(drop)
}

/// As `ssh-keygen -R` leaves the file if root runs it, which ssh itself advises.
fn known_host_keys_that_mounts_cannot_read_end_them(lab: &Lab) -> Result<()> {
    let volume = lab.volume("unreadable")?;
    volume.run("echo before > /d/file")?;
    volume.wait_until_unmounted()?;
    let file = "/var/lib/sshfs-docker/home/known_hosts";
    lab.host.sh(&format!("chown root: {file}; chmod 600 {file}"))?;
    let refused = volume.try_run("true")?.failure();
    let command = format!("chown sshfs-docker: '{file}' && chmod u+rwX '{file}'");
    lab.host.sh(&command)?;
    let sentence = refused?;
    for part in [&format!("{file} cannot be read by the user sshfs-docker"), &command] {
        ensure!(sentence.contains(part), "no {part:?} in: {sentence}");
    }
    ensure!(volume.run("cat /d/file")? == "before", "refused for good");
    Ok(())
}

fn a_pinned_host_key_is_accepted_and_any_other_refused(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("pinned", "alice")?;
    let pin = lab.server.sh("cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ed25519_key.pub")?;
    let options =
        |pin: &str| format!("-o sshcmd=alice@{SSH_SERVER}:{directory} {KEY_OPTION} -o 'host_key={pin}'");
    lab.volume_with("pinned", &options(&pin))?.run("echo pinned > /d/file")?;
    let other = lab.host.sh("cut -d ' ' -f 1,2 /root/.ssh/id_ed25519.pub")?;
    let sentence = refusal(lab, "mispinned", &options(&other))?;
    ensure_says(&sentence, &[&["host key"], &["changed"]])
}

fn a_dark_address_fails_in_time_and_holds_nobody_up(lab: &Lab) -> Result<()> {
    let dark = lab.volume_with("dark", &format!("-o sshcmd=alice@{NOBODY}:/srv {KEY_OPTION}"))?;
    let bright = lab.volume("bright")?;
    let failed = thread::scope(|scope| {
        let run = scope.spawn(|| dark.try_run("true"));
        // Only while the mount is being tried does the comparison mean anything.
        poll::until_true("the attempt to mount", Duration::from_secs(10), || {
            Ok(!lab.processes(&dark.unit())?.is_empty() || run.is_finished())
        })?;
        let list = lab.try_docker("volume ls")?;
        ensure!(list.took < Duration::from_secs(2), "docker volume ls had to wait: {list}");
        let other = bright.try_run("echo hello > /d/file")?;
        ensure!(other.ok() && other.took < Duration::from_secs(8), "another volume had to wait: {other}");
        run.join().map_err(|_| anyhow!("docker run panicked"))?
    })?;
    ensure!(failed.took < Duration::from_secs(60), "it took too long: {failed}");
    let sentence = failed.failure()?.to_lowercase();
    ensure_says(
        &sentence,
        &[&["timed out", "did not answer", "unreachable", "no route"], &[NOBODY], &["dark"]],
    )
}

/// Every mount unit has a mount namespace, for which systemd walks over all mounts of the host, frozen ones too.
fn a_frozen_mount_holds_nobody_up(lab: &Lab) -> Result<()> {
    let (frozen, other) = (lab.volume("frozen")?, lab.volume("lively")?);
    let _container = frozen.hold("frozen-user")?;
    let signal = |signal: &str| lab.host.sh(&format!("systemctl kill --signal {signal} {}", frozen.unit()));
    signal("STOP")?;
    let run = other.try_run("echo hello > /d/file");
    let list = lab.try_docker("volume ls");
    signal("CONT")?;
    let (run, list) = (run?, list?);
    ensure!(run.ok() && run.took < Duration::from_secs(8), "another volume had to wait: {run}");
    ensure!(list.ok() && list.took < Duration::from_secs(2), "docker volume ls had to wait: {list}");
    Ok(())
}

fn a_failed_mount_leaves_nothing_behind(lab: &Lab) -> Result<()> {
    let directory = "/srv/later";
    let volume = lab.volume_on("later", directory, "")?;
    volume.try_run("true")?.failure()?;
    volume.wait_until_unmounted()?;
    lab.server.export("later", "alice")?;
    volume.run("echo now > /d/file")?;
    ensure!(lab.server.sh("cat /srv/later/file")? == "now");
    Ok(())
}
