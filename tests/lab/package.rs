//! Installing and upgrading the package, and its manual. Its removal is in `removal`.

use anyhow::{Result, ensure};

use crate::lab::driver::{SERVICE, SOCKET};
use crate::lab::{Lab, Writer};

crate::cases![
    installing_listens_and_starts_no_daemon,
    the_spec_points_docker_at_the_socket,
    the_first_call_starts_the_daemon,
    the_manual_is_where_man_looks_and_well_formed,
    bash_completes_commands_options_and_volumes,
    an_upgrade_under_a_writing_container_keeps_mount_and_socket,
];

/// Where the state right after the installation is kept, for the case that looks at it.
const STATE_AFTER_INSTALLATION: &str = "/run/lab-state-after-installation";

/// Installs and enables the package, as an admin would, and notes what the installation alone did.
pub fn install_for_the_first_time(lab: &Lab) -> Result<()> {
    lab.install_package()?;
    let states = lab.host.sh(&format!(
        "for unit in {SOCKET} {SERVICE}; do
             echo $unit $(systemctl is-enabled $unit || :) $(systemctl is-active $unit || :)
         done"
    ))?;
    lab.host.put(STATE_AFTER_INSTALLATION, states.as_bytes())?;
    lab.enable_driver()
}

fn installing_listens_and_starts_no_daemon(lab: &Lab) -> Result<()> {
    let states = lab.host.sh(&format!("cat {STATE_AFTER_INSTALLATION}"))?;
    ensure!(
        states.contains(&format!("{SOCKET} enabled active")),
        "Debian enables what it installs: {states}"
    );
    ensure!(states.contains(&format!("{SERVICE} indirect inactive")), "started without need: {states}");
    // `systemctl enable --now`, which a user may run all the same, ran after that.
    ensure!(lab.state(SOCKET)? == "active", "not started by `enable --now`");
    Ok(())
}

fn the_spec_points_docker_at_the_socket(lab: &Lab) -> Result<()> {
    let spec = lab.host.sh("cat /etc/docker/plugins/sshfs.spec")?;
    ensure!(spec == "unix:///run/sshfs-docker.sock", "spec: {spec:?}");
    let access = lab.host.sh("stat -c '%F %U %a' /run/sshfs-docker.sock")?;
    ensure!(access == "socket root 600", "the socket is open to others: {access}");
    Ok(())
}

fn the_first_call_starts_the_daemon(lab: &Lab) -> Result<()> {
    lab.host.sh(&format!("systemctl stop {SERVICE}"))?;
    let _volume = lab.volume("first-call")?;
    ensure!(lab.state(SERVICE)? == "active", "the daemon answered and is not active");
    Ok(())
}

fn the_manual_is_where_man_looks_and_well_formed(lab: &Lab) -> Result<()> {
    for (section, name) in [("5", "sshfs-docker.toml"), ("7", "docker-volume-sshfs"), ("8", "sshfs-docker")] {
        let page = format!("/usr/share/man/man{section}/{name}.{section}.gz");
        lab.host.sh(&format!("zcat {page} | mandoc | grep -q 'SSHFS-DOCKER\\|DOCKER-VOLUME-SSHFS'"))?;
        // The pages that these refer to are not in the index of the guest.
        let lint = lab.host.sh(&format!(
            "zcat {page} | mandoc -T lint 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db' || :"
        ))?;
        ensure!(lint.is_empty(), "{lint}");
    }
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

fn an_upgrade_under_a_writing_container_keeps_mount_and_socket(lab: &Lab) -> Result<()> {
    let volume = lab.volume("upgraded")?;
    let writer = Writer::start(lab, &volume)?;
    let before = (lab.main_pid(&volume.unit())?, lab.property(SOCKET, "ActiveEnterTimestampMonotonic")?);
    let daemon = lab.daemon()?;
    lab.reinstall_package()?;
    let after = (lab.main_pid(&volume.unit())?, lab.property(SOCKET, "ActiveEnterTimestampMonotonic")?);
    ensure!(before == after, "mount process and start of the socket: {before:?} became {after:?}");
    ensure!(lab.daemon()? != daemon, "the old daemon runs on");
    writer.wait_for_more()?;
    writer.finish()?;
    volume.wait_until_unmounted()
}
