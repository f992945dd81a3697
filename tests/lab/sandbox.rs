//! Who runs with which privilege: the daemon without network, sshfs and ssh without capabilities.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::driver::{SERVICE, SOCKET_PATH};
use crate::lab::network::SSH_SERVER;

crate::cases![
    the_mounts_processes_run_as_their_own_user_without_capability,
    the_mount_unit_is_sandboxed,
    a_mount_sees_no_other_volume_and_no_secret,
    only_root_connects_to_the_socket,
    the_daemon_has_no_network_socket,
    the_daemon_has_one_capability,
    no_secret_is_in_an_argument_an_environment_or_the_journal,
    a_jump_host_is_passed_from_inside_the_sandbox,
];

fn the_mounts_processes_run_as_their_own_user_without_capability(lab: &Lab) -> Result<()> {
    let volume = lab.volume("unprivileged")?;
    let _container = volume.hold("unprivileged-user")?;
    let processes = lab.processes(&volume.unit())?;
    let names: BTreeSet<_> = processes.iter().map(|process| process.name.as_str()).collect();
    ensure!(names.is_superset(&BTreeSet::from(["ssh", "sshfs"])), "not all there: {processes:?}");
    for process in &processes {
        ensure!(process.user == "sshfs-docker", "runs as another user: {process:?}");
        ensure!(process.capabilities.trim_start_matches('0').is_empty(), "has capabilities: {process:?}");
    }
    Ok(())
}

fn the_mount_unit_is_sandboxed(lab: &Lab) -> Result<()> {
    let volume = lab.volume("sandboxed")?;
    let _container = volume.hold("sandboxed-user")?;
    let expected = [
        ("User", "sshfs-docker"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
        ("AmbientCapabilities", ""),
    ];
    for (property, value) in expected {
        let actual = lab.property(&volume.unit(), property)?;
        ensure!(actual == value, "{property}={actual}, not {value}");
    }
    Ok(())
}

fn a_mount_sees_no_other_volume_and_no_secret(lab: &Lab) -> Result<()> {
    let (volume, other) = (lab.volume("curious")?, lab.volume("other")?);
    let _containers = (volume.hold("curious-user")?, other.hold("other-user")?);
    let pid = lab.main_pid(&volume.unit())?;
    let inside = |script: &str| {
        let user = "setpriv --reuid sshfs-docker --regid sshfs-docker --clear-groups";
        lab.host.try_sh(&format!("nsenter --target {pid} --mount -- {user} sh -c '{script}'"))
    };
    ensure!(inside("ls /etc/passwd")?.ok(), "the test does not get in");
    for forbidden in [
        "ls /var/lib/sshfs-docker/mnt/other",
        "ls /var/lib/sshfs-docker/mountpoints/other",
        "ls /run/credentials/sshfs-docker-mount-other.service",
        "ls /root/.ssh",
        "ls /var/lib/sshfs-docker/volumes",
        "touch /etc/x",
        "touch /var/lib/sshfs-docker/x",
    ] {
        ensure!(!inside(forbidden)?.ok(), "allowed: {forbidden}");
    }
    Ok(())
}

fn only_root_connects_to_the_socket(lab: &Lab) -> Result<()> {
    let mode = lab.host.sh(&format!("stat -c '%A %U' {SOCKET_PATH}"))?;
    ensure!(mode == "srw------- root", "others may connect: {mode}");
    let perl = format!("socket(S, 1, 1, 0); connect(S, sockaddr_un(\"{SOCKET_PATH}\")) or die $!");
    let connect =
        |user: &str| lab.host.try_sh(&format!("setpriv {user} --clear-groups perl -MSocket -e '{perl}'"));
    ensure!(connect("--reuid root")?.ok(), "the test does not work");
    // The second one is whom sshfs and ssh run as.
    for user in ["--reuid nobody --regid nogroup", "--reuid sshfs-docker --regid sshfs-docker"] {
        let refusal = connect(user)?.failure()?;
        ensure!(refusal.contains("Permission denied"), "{user}: {refusal}");
    }
    Ok(())
}

fn the_daemon_has_no_network_socket(lab: &Lab) -> Result<()> {
    let daemon = lab.daemon()?;
    let open = lab
        .host
        .sh(&format!("find /proc/{daemon}/fd -lname 'socket:*' -printf '%l\\n' | tr -dc '0-9\\n'"))?;
    ensure!(!open.is_empty(), "the daemon listens on a socket, so there is at least one");
    let tables = "tcp tcp6 udp udp6 udplite udplite6 raw raw6 icmp icmp6 packet";
    let network = lab
        .host
        .sh(&format!("cd /proc/{daemon}/net; for t in {tables}; do cat $t 2>/dev/null || :; done"))?;
    for inode in open.lines() {
        ensure!(!network.split_whitespace().any(|word| word == inode), "socket {inode} is a network socket");
    }
    let families = lab.property(SERVICE, "RestrictAddressFamilies")?;
    ensure!(families == "AF_UNIX", "it could open one: RestrictAddressFamilies={families}");
    Ok(())
}

fn the_daemon_has_one_capability(lab: &Lab) -> Result<()> {
    let daemon = lab.daemon()?;
    let capabilities = lab.host.sh(&format!("grep -E '^Cap(Eff|Bnd)' /proc/{daemon}/status"))?;
    // Bit 21 is CAP_SYS_ADMIN.
    let only_mount = capabilities.lines().all(|line| line.ends_with("0000000000200000"));
    ensure!(only_mount, "more or less than CAP_SYS_ADMIN:\n{capabilities}");
    Ok(())
}

fn no_secret_is_in_an_argument_an_environment_or_the_journal(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("discreet", "bob")?;
    lab.host.put("/root/discreet", lab.server.password().as_bytes())?;
    let options = format!("-o sshcmd=bob@10.78.0.3:{directory} -o password_file=/root/discreet");
    let volume = lab.volume_with("discreet", &options)?;
    let _container = volume.hold("discreet-user")?;
    let unit = volume.unit();
    let everything = lab.host.sh(&format!(
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' || :
         systemctl show {unit} {SERVICE}; docker volume inspect discreet
         journalctl --no-pager --unit 'sshfs-docker*'"
    ))?;
    ensure!(everything.contains("discreet"), "the test looks in the wrong place");
    ensure!(!everything.contains(lab.server.password()), "the password is where others can read it");
    Ok(())
}

/// With a key of its own for the gate, and a password for what is behind it.
fn a_jump_host_is_passed_from_inside_the_sandbox(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("behind", "bob")?;
    lab.host.put("/root/behind", lab.server.password().as_bytes())?;
    lab.host.sh(&format!(
        "cd /etc/sshfs-docker
         install -o sshfs-docker -m 400 /root/.ssh/id_ed25519 gate-key
         cp ssh_config ssh_config.kept
         {{ printf 'Host gate\n HostName {SSH_SERVER}\n User alice\n IdentityFile /etc/sshfs-docker/gate-key\n'
            cat ssh_config.kept; }} > ssh_config"
    ))?;
    let options =
        format!("-o sshcmd=bob@{SSH_SERVER}:{directory} -o password_file=/root/behind -o ProxyJump=gate");
    let volume = lab.volume_with("behind", &options)?;
    let written = volume.try_run("echo through > /d/file; cat /d/file");
    lab.host.sh("cd /etc/sshfs-docker; mv ssh_config.kept ssh_config; rm gate-key")?;
    ensure!(written?.success()? == "through");
    Ok(())
}
