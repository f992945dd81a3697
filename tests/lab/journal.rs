//! The host's journal has what ssh says; while it stands still, calls are answered, and some lines are lost.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Lab;

crate::cases![what_ssh_says_is_in_the_journal_of_its_mount, a_hung_journal_holds_up_no_call];

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
