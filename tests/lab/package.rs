//! What the package has installed works: the first call, and completions. Its life is a tier of its own (tests/packages).

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::driver::SERVICE;

crate::cases![the_first_call_starts_the_daemon, bash_completes_commands_options_and_volumes,];

fn the_first_call_starts_the_daemon(lab: &Lab) -> Result<()> {
    lab.host.sh(&format!("systemctl stop {SERVICE}"))?;
    let _volume = lab.volume("first-call")?;
    ensure!(lab.state(SERVICE)? == "active", "the daemon answered and is not active");
    Ok(())
}

/// What stands on a terminal after each key.
fn bash_completes_commands_options_and_volumes(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("completed")?;
    for (typed, completed) in [
        ("sshfs-docker forg\t", "sshfs-docker forget-host-key"),
        ("sshfs-docker heal comp\t", "sshfs-docker heal completed"),
        ("sshfs-docker serve --soc\t", "sshfs-docker serve --socket"),
        ("sshfs-docker run-\t", "sshfs-docker run-"),
    ] {
        // The '#' makes the line a comment, so that nothing is run.
        let terminal = lab.host.sh(&format!(
            "printf '. /usr/share/bash-completion/bash_completion\\n{}\\001#\\nexit\\n' |
                 script --quiet --command 'bash --norc --noprofile -i' /dev/null",
            typed.replace('\t', "\\t")
        ))?;
        let shows = |line: &str| line.contains(completed) && !line.contains(&format!("{completed}sshfs"));
        ensure!(terminal.lines().any(shows), "{typed:?} shows: {terminal}");
    }
    Ok(())
}
