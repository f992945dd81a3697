//! From inside a mount's sandbox, as the driver made it, nothing gets out: not into the host, not into another mount.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::lab::driver::SERVICE;
use crate::lab::network::SSH_SERVER;
use crate::lab::{Lab, Volume};

crate::cases![nothing_gets_out_of_the_sandbox_of_a_mount];

/// Tries to.
const ESCAPE: &str = "/usr/local/bin/escape";

const CONFIG: &str = "/etc/sshfs-docker/config.toml";

/// A set-user-ID program, one with capabilities (cap_dac_override and cap_dac_read_search, effective), and somebody who
/// listens on an abstract socket.
const LAY_OUT: &str = r#"
install -m 4755 /usr/bin/id /usr/local/bin/escape-id
install -m 755 /bin/cat /usr/local/bin/escape-cat
perl -e 'my @attribute = ("/usr/local/bin/escape-cat", "security.capability", pack("V5", 0x02000001, 6, 0, 0, 0), 20, 0);
    syscall(188, @attribute) == 0 or die "setxattr: $!"'
systemd-run --quiet --unit escape-listener perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0);
    bind(S, pack_sockaddr_un("\0escape")) && listen(S, 9) or die "listen: $!"; sleep'
"#;

const CLEAR_AWAY: &str = "rm -f /usr/local/bin/escape*; systemctl stop escape-listener || :";

/// Since this version of Landlock (Linux 6.12), a mount's processes cannot signal another's; see docs/decisions.md.
const SCOPES: i32 = 6;

/// What came of each attempt, in the order of the script: `done` or the name of an error.
type Attempts = Vec<(String, String)>;

fn nothing_gets_out_of_the_sandbox_of_a_mount(lab: &Lab) -> Result<()> {
    let other = lab.volume("other-mount")?;
    let _container = other.hold("other-mount-user")?;
    let tried = try_escapes(lab, &other);
    lab.host.sh(CLEAR_AWAY)?;
    let (inside, outside) = tried?;
    let inside = attempts(&inside)?;
    let landlock: i32 = value_of(&outside, "landlock: ").parse()?;
    let outside: BTreeMap<_, _> = attempts(&outside)?.into_iter().collect();
    ensure!(inside.len() == outside.len() && inside.len() > 90, "{} attempts: {inside:?}", inside.len());
    let (mut tried, mut escaped, mut meaningless) = (0, Vec::new(), Vec::new());
    for (what, result) in inside {
        if landlock < SCOPES && (what.starts_with("signal ") || what.contains("abstract")) {
            println!("escape not stopped by this kernel: {what} ({result})");
            continue;
        }
        tried += 1;
        let by_root = outside.get(&what).with_context(|| format!("tried only inside: {what}"))?;
        if result == "done" {
            escaped.push(what);
        } else if *by_root == result {
            meaningless.push(format!("{what} ({result})"));
        } else {
            println!("escape refused: {what} ({result}; outside {by_root})");
        }
    }
    println!("fault-count: escapes_tried={tried} escapes_succeeded={}", escaped.len());
    ensure!(escaped.is_empty(), "possible from inside: {escaped:#?}");
    ensure!(meaningless.is_empty(), "no different outside, which proves nothing: {meaningless:#?}");
    Ok(())
}

/// What the script says inside the sandbox of a new mount, and what it says to root outside.
fn try_escapes(lab: &Lab, other: &Volume<'_>) -> Result<(String, String)> {
    lab.host.put(ESCAPE, include_bytes!("escape.pl"))?;
    lab.host.sh(&format!("chmod 755 {ESCAPE}; {LAY_OUT}"))?;
    let pid = ssh_of(lab, other)?;
    // The line of systemd's own hierarchy, or of the only one.
    let cgroup = lab
        .host
        .sh(&format!("sed -n 's/^\\(0:\\|[0-9]*:name=systemd\\):*//p' /proc/{pid}/cgroup | head -n 1"))?;
    let arguments = format!("{ESCAPE} {pid} {} {cgroup}", other.name);
    lab.host.sh(&format!(
        "cp {CONFIG} {CONFIG}.kept; printf '[policy]\\nallow_options = [\"ssh_command\"]\\n' > {CONFIG}
         systemctl restart {SERVICE}"
    ))?;
    let inside = try_inside(lab, &arguments);
    lab.host.sh(&format!("mv {CONFIG}.kept {CONFIG}; systemctl restart {SERVICE}"))?;
    let outside = lab.host.sh(&format!("{arguments} 2>&1"))?;
    ensure!(ssh_of(lab, other)? == pid, "the other mount did not live through it");
    Ok((inside?, outside))
}

fn try_inside(lab: &Lab, command: &str) -> Result<String> {
    let options = format!("-o sshcmd=alice@{SSH_SERVER}:/srv -o 'ssh_command={command}'");
    let volume = lab.volume_with("prisoner", &options)?;
    volume.try_run("true")?.failure()?;
    volume.wait_until_unmounted()?;
    lab.host.sh(&format!("journalctl --sync; journalctl --no-pager --output cat --unit {}", volume.unit()))
}

/// The process of a mount that has the key.
fn ssh_of(lab: &Lab, volume: &Volume<'_>) -> Result<u32> {
    let script = format!(
        "for cgroup in $(grep -ls '/{}$' /proc/[0-9]*/cgroup); do
             process=${{cgroup%/cgroup}}
             [ $(cat $process/comm) != ssh ] || echo ${{process#/proc/}}
         done",
        volume.unit()
    );
    lab.host.sh(&script)?.parse().context("one ssh")
}

fn attempts(said: &str) -> Result<Attempts> {
    let lines = said.lines().filter_map(|line| line.split_once("attempt: ").map(|(_, attempt)| attempt));
    lines
        .map(|line| {
            let (what, result) = line.rsplit_once(": ").with_context(|| format!("attempt: {line:?}"))?;
            Ok((what.to_owned(), result.to_owned()))
        })
        .collect()
}

fn value_of<'a>(said: &'a str, name: &str) -> &'a str {
    said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default()
}
