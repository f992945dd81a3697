//! The host's journal has what ssh says, and what happens to a volume as events under its name; while it stands still, calls
//! are answered, and some lines are lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sshfs_docker::events;

use crate::lab::{Lab, poll};

crate::cases![
    what_ssh_says_is_in_the_journal_of_its_mount,
    what_happens_to_a_volume_is_told_under_its_name,
    each_event_is_explained,
    a_mount_and_an_unmount_are_one_line_each,
    a_failed_mount_is_an_event_with_its_cause,
    debug_shows_each_step_of_ssh,
    a_hung_journal_holds_up_no_call,
];

/// More lines than the journal's socket takes (net.unix.max_dgram_qlen, 512 with systemd).
const CALLS: usize = 1500;

/// No call waits for the journal.
const AT_ONCE: Duration = Duration::from_secs(1);

fn what_ssh_says_is_in_the_journal_of_its_mount(lab: &Lab) -> Result<()> {
    let volume =
        lab.volume_on("talkative", &lab.server.export("talkative", "alice")?, "-o LogLevel=DEBUG")?;
    let container = volume.hold("talkative-user")?;
    let said = || lab.host.sh(&format!("journalctl --sync; journalctl -o cat --unit {}", volume.unit()));
    let before = said()?;
    ensure!(before.matches("Authenticated to").count() == 1, "not what ssh said, or twice: {before}");
    // Nobody but the journal listens by then.
    lab.host.sh("pkill -KILL -x ssh")?;
    container.exec("until touch /d/file; do sleep 0.1; done")?;
    let after = said()?;
    ensure!(after.matches("Authenticated to").count() == 2, "not what the second ssh said: {after}");
    Ok(())
}

/// What `journalctl` has for these arguments, entry by entry.
fn entries(lab: &Lab, arguments: &str) -> Result<Vec<Value>> {
    let script = format!("journalctl --sync; journalctl --quiet --no-pager --output json {arguments}");
    lab.host.sh(&script)?.lines().map(|line| serde_json::from_str(line).context("an entry")).collect()
}

/// The command that the documentation gives for one volume.
fn of_volume(lab: &Lab, name: &str) -> Result<Vec<Value>> {
    entries(lab, &format!("-u 'sshfs-docker*' VOLUME={name}"))
}

fn event<'a>(entries: &'a [Value], id: &str) -> Result<&'a Value> {
    let found = entries.iter().rfind(|entry| entry["MESSAGE_ID"] == id);
    found.with_context(|| format!("no event {id} among {} entries", entries.len()))
}

fn wait_until_told(lab: &Lab, id: &str) -> Result<()> {
    poll::until_true(&format!("event {id}"), Duration::from_secs(10), || {
        Ok(event(&of_volume(lab, "told")?, id).is_ok())
    })
}

fn what_happens_to_a_volume_is_told_under_its_name(lab: &Lab) -> Result<()> {
    let volume = lab.volume("told")?;
    let container = volume.hold("told-user")?;
    let id = lab.docker("inspect --format '{{.Id}}' told-user")?;
    lab.host.sh("pkill -KILL -x ssh")?;
    container.exec("until touch /d/file; do sleep 0.1; done")?;
    // The access that makes the connection anew may be answered before that is told.
    wait_until_told(lab, events::CONNECTION_BACK)?;
    lab.host.sh(&format!("systemctl kill --signal KILL {}", volume.unit()))?;
    container.exec("until touch /d/file; do sleep 0.1; done")?;
    wait_until_told(lab, events::HEALED)?;
    drop(container);
    volume.wait_until_unmounted()?;
    let all = of_volume(lab, "told")?;
    for id in [
        events::MOUNTED,
        events::CONNECTION_LOST,
        events::CONNECTION_BACK,
        events::SSHFS_DIED,
        events::HEALED,
        events::UNMOUNTED,
    ] {
        ensure!(event(&all, id)?["VOLUME"] == "told", "{id}");
    }
    for id in [events::MOUNTED, events::CONNECTION_LOST] {
        let remote = event(&all, id)?["REMOTE"].as_str().context("no REMOTE=")?;
        ensure!(remote.ends_with(&format!(":{}", volume.directory)), "{remote}");
    }
    ensure!(event(&all, events::MOUNTED)?["UNIT"] == volume.unit().as_str(), "no UNIT=");
    ensure!(event(&all, events::HEALED)?["CONTAINER"] == id[..12], "no CONTAINER=");
    let of_ssh =
        |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("list of known hosts"));
    let told_before = entries(lab, "--grep 'list of known hosts'")?;
    ensure!(told_before.iter().any(of_ssh), "ssh has stored no key: the comparison means nothing");
    ensure!(told_before.iter().filter(|entry| of_ssh(entry)).all(|entry| entry["VOLUME"].is_string()));
    Ok(())
}

fn each_event_is_explained(lab: &Lab) -> Result<()> {
    let volume = lab.volume("explained")?;
    volume.run("true")?;
    volume.wait_until_unmounted()?;
    let script = format!(
        "journalctl --sync; journalctl -x --no-pager VOLUME=explained MESSAGE_ID={}",
        events::MOUNTED
    );
    let shown = lab.host.sh(&script)?;
    ensure!(shown.contains("Volume explained was mounted"), "{shown}");
    let listed = lab.host.sh("journalctl --list-catalog | grep -c sshfs-docker")?;
    ensure!(listed.trim() == "11", "{listed} events are in the catalog");
    Ok(())
}

fn a_mount_and_an_unmount_are_one_line_each(lab: &Lab) -> Result<()> {
    let begin = lab.now();
    let volume = lab.volume("quiet")?;
    volume.run("true")?;
    volume.wait_until_unmounted()?;
    lab.docker("volume rm quiet")?;
    let said = entries(lab, &format!("--since @{begin} -p info _SYSTEMD_UNIT=sshfs-docker.service"))?;
    let said: Vec<_> = said.iter().filter_map(|entry| entry["MESSAGE"].as_str()).collect();
    let begins =
        ["created for", "mounted from", "unmounted", "removed"].map(|text| format!("volume quiet: {text}"));
    ensure!(
        said.len() == begins.len() && said.iter().zip(&begins).all(|(said, begin)| said.starts_with(begin)),
        "{said:#?}"
    );
    Ok(())
}

fn a_failed_mount_is_an_event_with_its_cause(lab: &Lab) -> Result<()> {
    let volume = lab.volume_on("unborn", &lab.server.export("unborn", "alice")?, "-o port=2")?;
    let said = volume.try_run("true")?.failure()?;
    let all = of_volume(lab, "unborn")?;
    let failed = event(&all, events::MOUNT_FAILED)?;
    ensure!(failed["CAUSE"] == "refused" && failed["PRIORITY"] == "3", "{failed}");
    let message = failed["MESSAGE"].as_str().context("no message")?;
    ensure!(said.contains(message), "{message:?} is not what docker said: {said}");
    Ok(())
}

fn debug_shows_each_step_of_ssh(lab: &Lab) -> Result<()> {
    let config = "/etc/sshfs-docker/config.toml";
    lab.host
        .sh(&format!("cp {config} /root/config.toml; sed -i 's/^#debug = false/debug = true/' {config}"))?;
    let volume = lab.volume("debugged")?;
    let run = volume.run("true");
    lab.host.sh(&format!("mv /root/config.toml {config}"))?;
    run?;
    let all = of_volume(lab, "debugged")?;
    let steps = all.iter().filter_map(|entry| entry["MESSAGE"].as_str());
    ensure!(steps.filter(|line| line.starts_with("debug1: ")).count() > 20, "ssh says nothing of its steps");
    Ok(())
}

fn a_hung_journal_holds_up_no_call(lab: &Lab) -> Result<()> {
    let client = lab.client()?;
    let journal = lab.main_pid("systemd-journald.service")?;
    lab.host.sh(&format!("kill -STOP {journal}"))?;
    // Each is refused, with a line in the log. After one that waited the others would, too.
    let at_once = |took: &Duration| *took < AT_ONCE;
    let mut replies = Vec::new();
    while replies.len() < CALLS && replies.last().is_none_or(|(_, took)| at_once(took)) {
        let reply = client.create("unheard", &[("sshcmd", "-x:/")]);
        replies.push((reply.status, reply.took));
    }
    lab.host.sh(&format!("kill -CONT {journal}"))?;
    ensure!(replies.iter().all(|(status, _)| *status == Some(500)), "{:?}", replies.last());
    let longest = replies.iter().map(|(_, took)| *took).max().unwrap_or_default();
    println!("fault-count: fault=hung-journal call_beside_a_hung_journal_ms={}", longest.as_millis());
    ensure!(longest < AT_ONCE, "a call waited {longest:?} for the journal");
    Ok(())
}
