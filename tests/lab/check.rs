//! `sshfs-docker check` makes the mount of a volume before there is one, in the sandbox, and leaves nothing behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::docker::{IMAGE, quote};
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::{ALICE, BOB};
use crate::lab::volume::KEY_OPTION;
use crate::lab::{Lab, Output, poll};

crate::cases![
    each_way_to_log_in_works_in_the_sandbox,
    the_unit_has_the_sandbox_of_a_mount_and_goes_with_an_interrupt,
    the_command_that_is_printed_creates_the_volume,
    a_failing_step_has_the_sentence_of_docker_run,
    no_host_key_is_learnt_and_a_changed_one_is_told,
    a_killed_check_leaves_no_file_on_the_server_and_the_next_one_clears_the_rest,
];

const LEARNT: &str = "/var/lib/sshfs-docker/home/known_hosts";

fn check(lab: &Lab, arguments: &str) -> Result<Output> {
    lab.host.try_sh(&format!("sshfs-docker check {arguments}"))
}

/// What a good one prints.
fn good(lab: &Lab, arguments: &str) -> Result<String> {
    let said = check(lab, arguments)?.success()?;
    ensure!(said.contains("in the sandbox of unit sshfs-docker-mount-:check-"), "no sandbox: {said}");
    ensure_nothing_left(lab)?;
    Ok(said)
}

fn ensure_nothing_left(lab: &Lab) -> Result<()> {
    let left = lab.host.sh("systemctl list-units --all --plain --no-legend '*:check-*'
         grep /run/sshfs-docker/checks /proc/self/mountinfo || :
         find /run/sshfs-docker/checks 2>/dev/null || :
         pgrep --list-full 'sshfs$' | grep check- || :")?;
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

fn files(lab: &Lab, directory: &str) -> Result<String> {
    lab.server.sh(&format!("ls -A {directory}"))
}

fn each_way_to_log_in_works_in_the_sandbox(lab: &Lab) -> Result<()> {
    let alice = format!("{ALICE}@{SSH_SERVER}:{}", lab.server.export("checked", ALICE)?);
    let bob = format!("{BOB}@{SSH_SERVER}:{}", lab.server.export("checked-by-bob", BOB)?);
    let said = good(lab, &format!("{alice} {KEY_OPTION}"))?;
    println!("\n{said}");
    for words in ["key ED25519 SHA256:", "round trip", "MB/s", "docker volume create -d sshfs"] {
        ensure!(said.contains(words), "no {words:?} in: {said}");
    }
    let password = lab.server.password();
    lab.host.put("/root/check.password", password.as_bytes())?;
    let from_file = good(lab, &format!("{bob} -o password_file=/root/check.password"))?;
    let script = format!("sshfs-docker check {bob} --password-stdin </root/check.password");
    let from_stdin = lab.host.sh(&script)?;
    for said in [from_file, from_stdin] {
        ensure!(said.contains("password") && !said.contains(password), "not the login of bob: {said}");
    }
    lab.host.sh("install -D -m 600 /root/.ssh/id_ed25519 /etc/credstore/check-key")?;
    good(lab, &format!("{alice} -o identity_file=check-key --no-write"))?;
    lab.host.sh("install -d -m 700 /root/check; ssh-agent -a /root/check/agent >/root/check/started
         SSH_AUTH_SOCK=/root/check/agent ssh-add -q /root/.ssh/id_ed25519")?;
    let said = good(lab, &format!("{alice} -o IdentityAgent=/root/check/agent --no-write"));
    lab.host.sh(
        ". /root/check/started >/dev/null; kill $SSH_AGENT_PID; rm -r /root/check /root/check.password \
         /etc/credstore/check-key",
    )?;
    let said = said?;
    ensure!(said.contains("key of the agent ED25519 SHA256:"), "not a key of the agent: {said}");
    ensure!(files(lab, "/srv/checked")?.is_empty() && files(lab, "/srv/checked-by-bob")?.is_empty());
    Ok(())
}

fn the_unit_has_the_sandbox_of_a_mount_and_goes_with_an_interrupt(lab: &Lab) -> Result<()> {
    let remote = format!("{ALICE}@{SSH_SERVER}:{}", lab.server.export("interrupted", ALICE)?);
    let dark = lab.server.go_dark()?;
    for signal in ["INT", "TERM"] {
        lab.host.sh(&format!(
            "sshfs-docker check {remote} {KEY_OPTION} >/tmp/check.out 2>&1 & echo $! >/tmp/check.pid"
        ))?;
        let unit = poll::until("the unit of the check", Duration::from_secs(10), || {
            let unit =
                lab.host.sh("systemctl list-units --plain --no-legend '*:check-*' | cut -d ' ' -f 1")?;
            Ok(unit.starts_with("sshfs-docker-mount-:check-").then_some(unit))
        })?;
        for (property, value) in
            [("User", "sshfs-docker"), ("ProtectSystem", "strict"), ("CapabilityBoundingSet", "")]
        {
            let actual = lab.property(&unit, property)?;
            ensure!(actual == value, "{property}={actual}, not {value}");
        }
        let drop_ins = lab.property(&unit, "DropInPaths")?;
        ensure!(drop_ins.contains("50-sandbox.conf"), "{unit} has only {drop_ins}");
        lab.host.sh(&format!("kill -{signal} $(cat /tmp/check.pid)"))?;
        poll::until_true("the end of the check", Duration::from_secs(20), || {
            Ok(!lab.host.try_sh("kill -0 $(cat /tmp/check.pid)")?.ok())
        })?;
        let said = lab.host.sh("cat /tmp/check.out; rm /tmp/check.out /tmp/check.pid")?;
        ensure!(said.contains("nothing was left behind"), "{said}");
        ensure_nothing_left(lab)?;
    }
    drop(dark);
    Ok(())
}

fn the_command_that_is_printed_creates_the_volume(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("pasted-data", ALICE)?;
    let odd = format!("{directory}/it's $HOME");
    lab.server.sh(&format!("install -d -o alice -g alice {}", quote(&odd)))?;
    let remote = quote(&format!("{ALICE}@{SSH_SERVER}:{odd}"));
    let said = good(lab, &format!("{remote} {KEY_OPTION} -o umask=022 --name pasted"))?;
    let line = said.lines().last().context("it printed nothing")?;
    ensure!(line.trim_start().starts_with("docker volume create"), "no command: {said}");
    lab.host.sh(line)?;
    lab.docker(&format!("run --rm --network none -v pasted:/d {IMAGE} sh -euc 'echo hello > /d/file'"))?;
    lab.docker("volume rm pasted")?;
    ensure!(lab.server.sh(&format!("cat {}/file", quote(&odd)))? == "hello");
    Ok(())
}

fn a_failing_step_has_the_sentence_of_docker_run(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("not-checked", ALICE)?;
    for (name, options, step) in [
        ("check-name", format!("{ALICE}@no-such-host.invalid:{directory} {KEY_OPTION}"), "name"),
        ("check-port", format!("{ALICE}@{SSH_SERVER}:{directory} {KEY_OPTION} -o port=2"), "connection"),
        ("check-key", format!("{BOB}@{SSH_SERVER}:{directory} {KEY_OPTION}"), "login"),
        ("check-dir", format!("{ALICE}@{SSH_SERVER}:/srv/nowhere {KEY_OPTION}"), "directory"),
    ] {
        let output = check(lab, &options)?;
        ensure_nothing_left(lab)?;
        ensure!(output.status == 1, "it did not fail: {output}");
        let failed = output.stdout.lines().last().context("it said nothing")?;
        ensure!(failed.starts_with("FAILED") && failed.contains(step), "another step: {output}");
        let volume = lab.volume_with(name, &format!("-o sshcmd={options}"))?;
        let sentence = volume.try_run("true")?.failure()?;
        let (_, said) = failed.split_once(" ms  ").context("no sentence")?;
        ensure!(sentence.contains(said), "the sentence of a mount is: {sentence}\nand not: {said}");
    }
    Ok(())
}

fn no_host_key_is_learnt_and_a_changed_one_is_told(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("key-checked", ALICE)?;
    let remote = format!("{ALICE}@{SSH_SERVER}:{directory} {KEY_OPTION}");
    lab.host.sh(&format!("rm -f {LEARNT}"))?;
    for _ in 0..2 {
        let said = good(lab, &remote)?;
        ensure!(said.contains("NEW") && said.contains("ssh-keygen -lf"), "not told to be new: {said}");
        ensure!(!lab.host.try_sh(&format!("ls {LEARNT}"))?.ok(), "it was learnt");
    }
    lab.volume_on("key-checked", &directory, "")?.run("true")?;
    let said = good(lab, &remote)?;
    ensure!(said.contains(&format!("known ({LEARNT}:")), "not told to be known: {said}");
    lab.server.replace_host_keys()?;
    let output = check(lab, &remote);
    lab.server.restore_host_keys()?;
    let output = output?;
    let told = output.stdout.contains("sshfs-docker forget-host-key") && output.stdout.contains(LEARNT);
    ensure!(output.status == 1 && told, "not told to be changed: {output}");
    ensure_nothing_left(lab)
}

fn a_killed_check_leaves_no_file_on_the_server_and_the_next_one_clears_the_rest(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("killed-check", ALICE)?;
    let remote = format!("{ALICE}@{SSH_SERVER}:{directory} {KEY_OPTION}");
    lab.host.sh(&format!("sshfs-docker check {remote} >/dev/null 2>&1 & echo $! >/tmp/check.pid"))?;
    poll::until_true("its file", Duration::from_secs(20), || Ok(!files(lab, &directory)?.is_empty()))?;
    lab.host.sh("kill -KILL $(cat /tmp/check.pid); rm /tmp/check.pid")?;
    poll::until_true("the end of its file", Duration::from_secs(20), || {
        Ok(files(lab, &directory)?.is_empty())
    })?;
    good(lab, &remote).map(drop)
}
