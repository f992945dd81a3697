//! Installing on a host with and without Docker, before and after it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::family::{Family, Site, Version};
use crate::lab::driver::{SERVICE, SOCKET};

crate::cases![
    what_it_needs_must_be_there,
    without_docker_it_is_enabled_as_the_family_does_it,
    all_units_are_valid_and_the_program_finds_nothing_wrong,
    the_manual_is_where_man_looks_and_well_formed,
    a_disabled_socket_stays_disabled_over_an_upgrade_and_leaves_docker_nothing_to_wait_for,
    a_preset_of_the_administrator_counts,
    a_docker_that_comes_later_finds_the_driver,
    a_docker_that_runs_already_finds_the_driver_without_a_restart,
];

fn what_it_needs_must_be_there(site: &Site) -> Result<()> {
    if site.family == Family::Deb {
        let depends =
            site.host.sh(&format!("dpkg-deb --field {} Depends", site.package(Version::Current)))?;
        for package in ["sshfs (>= 3.7)", "openssh-client (>= 1:8.4)", "systemd (>= 247)", "fuse3", "dbus"] {
            ensure!(depends.contains(package), "it does not depend on {package}: {depends}");
        }
        return Ok(());
    }
    let refused =
        site.host.try_sh(&format!("rpm --upgrade {}", site.package(Version::Current)))?.failure()?;
    for needed in ["fuse-sshfs >= 3.7", "openssh-clients >= 8.4", "systemd >= 247"] {
        ensure!(refused.contains(needed), "{needed} is not asked for: {refused}");
    }
    site.tell_rpm_what_is_there()
}

/// Debian enables and starts what it installs. Where presets decide, ours enables the socket, and nothing is started.
fn without_docker_it_is_enabled_as_the_family_does_it(site: &Site) -> Result<()> {
    site.install(Version::Current)?;
    let socket = site.socket()?;
    let expected = match site.family {
        Family::Deb => ("enabled", "active"),
        Family::Rpm => ("enabled", "inactive"),
    };
    ensure!((socket.0.as_str(), socket.1.as_str()) == expected, "the socket is {socket:?}");
    ensure!(
        site.has_spec()? == (socket.1 == "active"),
        "the spec and the socket are not there together: {socket:?}"
    );
    ensure!(site.state(SERVICE)? == "inactive", "the daemon was started without need");
    let timer = site.host.sh("systemctl is-enabled sshfs-docker-metrics.timer || :")?;
    ensure!(timer == "disabled", "the timer of the metrics is {timer}");
    site.enable_driver()?;
    let spec = site.host.sh("cat /etc/docker/plugins/sshfs.spec")?;
    ensure!(spec == "unix:///run/sshfs-docker.sock", "spec: {spec:?}");
    let access = site.host.sh("stat -c '%F %U %a' /run/sshfs-docker.sock")?;
    ensure!(access == "socket root 600", "the socket is open to others: {access}");
    Ok(())
}

fn all_units_are_valid_and_the_program_finds_nothing_wrong(site: &Site) -> Result<()> {
    // Templates are verified as instances.
    let verified = site.host.try_sh(
        "cd /usr/lib/systemd/system; ls -d sshfs-docker*.socket sshfs-docker*.service sshfs-docker*.timer |
             sed 's/@/@x/' | xargs systemd-analyze verify --man=no 2>&1 | grep sshfs-docker || :",
    )?;
    ensure!(verified.stdout.is_empty(), "systemd-analyze verify: {verified}");
    let version = site.host.sh("sshfs-docker --version")?;
    ensure!(version == format!("sshfs-docker {}", env!("CARGO_PKG_VERSION")), "{version}");
    ensure!(site.installed_version()? == env!("CARGO_PKG_VERSION"), "{}", site.installed_version()?);
    let doctor = site.host.sh("sshfs-docker doctor")?;
    ensure!(doctor.contains("Docker is not installed"), "{doctor}");
    Ok(())
}

fn the_manual_is_where_man_looks_and_well_formed(site: &Site) -> Result<()> {
    for (section, name) in [("5", "sshfs-docker.toml"), ("7", "docker-volume-sshfs"), ("8", "sshfs-docker")] {
        let page = format!("/usr/share/man/man{section}/{name}.{section}.gz");
        site.host.sh(&format!("zcat {page} | mandoc | grep -q 'SSHFS-DOCKER\\|DOCKER-VOLUME-SSHFS'"))?;
        // The pages that these refer to are not in the index of the guest.
        let lint = site.host.sh(&format!(
            "zcat {page} | mandoc -T lint 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db' || :"
        ))?;
        ensure!(lint.is_empty(), "{lint}");
    }
    Ok(())
}

fn a_disabled_socket_stays_disabled_over_an_upgrade_and_leaves_docker_nothing_to_wait_for(
    site: &Site,
) -> Result<()> {
    site.install(Version::Older)?;
    site.host.sh(&format!("systemctl disable --now {SOCKET}"))?;
    site.install(Version::Current)?;
    let socket = site.socket()?;
    ensure!(socket == ("disabled".into(), "inactive".into()), "the socket is {socket:?}");
    ensure!(!site.has_spec()?, "Docker would wait for a driver that does not listen");
    site.purge()
}

fn a_preset_of_the_administrator_counts(site: &Site) -> Result<()> {
    let preset = "/etc/systemd/system-preset/00-site.preset";
    site.host.sh(&format!("mkdir -p /etc/systemd/system-preset; echo 'disable *' > {preset}"))?;
    let installed = site.install(Version::Current).and_then(|_| site.socket());
    site.host.sh(&format!("rm {preset}"))?;
    let (enabled, active) = installed?;
    ensure!(
        (enabled.as_str(), active.as_str()) == ("disabled", "inactive"),
        "the socket is {enabled}, {active}"
    );
    ensure!(!site.has_spec()?, "Docker would wait for a driver that does not listen");
    Ok(())
}

fn a_docker_that_comes_later_finds_the_driver(site: &Site) -> Result<()> {
    site.enable_driver()?;
    site.install_docker()?;
    let volume = site.volume("first")?;
    volume.run("echo first > /d/file")?;
    ensure!(site.server.sh("cat /srv/first/file")? == "first", "the server does not have it");
    volume.wait_until_unmounted()
}

fn a_docker_that_runs_already_finds_the_driver_without_a_restart(site: &Site) -> Result<()> {
    site.remove()?;
    site.restart_docker()?;
    let list = site.try_docker("volume ls")?;
    ensure!(
        list.ok() && list.took < Duration::from_secs(10),
        "Docker waits for a driver that is not there: {list}"
    );
    site.install_and_enable()?;
    let volume = site.volume("second")?;
    volume.run("echo second > /d/file")?;
    ensure!(site.server.sh("cat /srv/second/file")? == "second", "the server does not have it");
    volume.wait_until_unmounted()
}
