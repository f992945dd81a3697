//! Upgrades, downgrades and reinstallations, under containers that work: not one of their system calls fails, and no call
//! of Docker either.

use anyhow::{Result, ensure};

use crate::family::{Family, Site, Version};
use crate::lab::driver::{SERVICE, SOCKET};
use crate::lab::{Volume, Writer};
use crate::older;

crate::cases![
    what_is_edited_stays_and_what_is_not_is_replaced,
    a_downgrade_and_an_upgrade_fail_no_system_call_of_a_container_and_no_call_of_docker,
    a_reinstallation_under_a_writing_container_keeps_mount_and_socket,
];

fn what_is_edited_stays_and_what_is_not_is_replaced(site: &Site) -> Result<()> {
    let has_older_line =
        |file: &str| Ok::<_, anyhow::Error>(site.host.sh(&format!("cat {file}"))?.contains(older::LINE));
    let (config, ssh_config) = ("/etc/sshfs-docker/config.toml", "/etc/sshfs-docker/ssh_config");
    site.install(Version::Older)?;
    ensure!(has_older_line(config)?, "the older package has the same config.toml");
    site.install(Version::Current)?;
    ensure!(!has_older_line(config)?, "what nobody has edited was not replaced");
    let left = site.host.sh(&format!("ls {} 2>/dev/null || :", older::FILE))?;
    ensure!(left.is_empty(), "a file of the older package was left: {left}");
    ensure!(site.has_spec()?, "the link that the older package owned took Docker's way to the driver along");
    let reload = site.property(SERVICE, "NeedDaemonReload")?;
    ensure!(
        reload == "no" && !has_older_line("$(systemctl show --value -p FragmentPath sshfs-docker.service)")?,
        "the unit is the older one"
    );

    site.host.sh(&format!("echo '# edited' >> {config}; echo '# edited' >> {ssh_config}"))?;
    for version in [Version::Older, Version::Current, Version::Current] {
        site.install(version)?;
        let edited = site.host.sh(&format!("tail -q -n 1 {config} {ssh_config}"))?;
        ensure!(edited == "# edited\n# edited", "after {version:?}: {edited}");
    }
    let beside = match site.family {
        Family::Deb => "dpkg-dist",
        Family::Rpm => "rpmnew",
    };
    site.host.sh(&format!(
        "rm -f {config}.{beside} {ssh_config}.{beside}; sed -i '/^# edited/d' {config} {ssh_config}"
    ))?;
    Ok(())
}

/// Installs a package while Docker calls the driver without a pause: it asks for a volume, mounts and unmounts it.
fn install_under_calls(site: &Site, version: Version, called: &Volume) -> Result<()> {
    let name = &called.name;
    site.host.sh(&format!(
        "cd /var/tmp; rm -f installed calls
         nohup sh -ec '
             until [ -e installed ]; do
                 docker volume inspect {name} > /dev/null
                 docker run --rm --network none -v {name}:/d busybox sh -ec \"echo call >> /d/calls\"
                 echo call >> calls
             done
             touch done' > calling.log 2>&1 &
         until [ -e calls ]; do sleep 0.1; done"
    ))?;
    let installed = site.install(version);
    site.host.sh("cd /var/tmp; touch installed
         for i in $(seq 300); do [ ! -e done ] || break; sleep 0.1; done
         [ -e done ] || { cat calling.log >&2; exit 1; }; rm done")?;
    installed?;
    let (made, seen) =
        (site.host.sh("wc -l < /var/tmp/calls")?, called.run("wc -l < /d/calls; rm /d/calls")?);
    ensure!(made == seen, "{made} containers wrote, their volume has {seen} lines");
    Ok(())
}

fn a_downgrade_and_an_upgrade_fail_no_system_call_of_a_container_and_no_call_of_docker(
    site: &Site,
) -> Result<()> {
    let volume = site.volume("up-and-down")?;
    let called = site.volume("called-meanwhile")?;
    let writer = Writer::start(site, &volume)?;
    let unchanged = || -> Result<_> {
        Ok((site.main_pid(&volume.unit())?, site.property(SOCKET, "ActiveEnterTimestampMonotonic")?))
    };
    let before = unchanged()?;
    for (version, number) in [(Version::Older, older::VERSION), (Version::Current, env!("CARGO_PKG_VERSION"))]
    {
        let daemon = site.daemon()?;
        install_under_calls(site, version, &called)?;
        ensure!(site.installed_version()? == number, "{} is installed", site.installed_version()?);
        ensure!(site.daemon()? != daemon, "the daemon of the other version runs on");
        writer.wait_for_more()?;
    }
    let after = unchanged()?;
    ensure!(before == after, "mount process and start of the socket: {before:?} became {after:?}");
    writer.finish()?;
    volume.wait_until_used_by(0)
}

fn a_reinstallation_under_a_writing_container_keeps_mount_and_socket(site: &Site) -> Result<()> {
    let volume = site.volume("reinstalled")?;
    let writer = Writer::start(site, &volume)?;
    let before = (site.main_pid(&volume.unit())?, site.property(SOCKET, "ActiveEnterTimestampMonotonic")?);
    let daemon = site.daemon()?;
    site.install(Version::Current)?;
    let after = (site.main_pid(&volume.unit())?, site.property(SOCKET, "ActiveEnterTimestampMonotonic")?);
    ensure!(before == after, "mount process and start of the socket: {before:?} became {after:?}");
    ensure!(site.daemon()? != daemon, "the old daemon runs on");
    writer.wait_for_more()?;
    writer.finish()?;
    volume.wait_until_unmounted()
}
