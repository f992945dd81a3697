//! Upgrades and downgrades while containers work: not one of their system calls fails, and no call of Docker either.

use anyhow::{Result, ensure};

use crate::lab::driver::{PACKAGE, SOCKET};
use crate::lab::{Lab, Volume, Writer};

crate::cases![a_downgrade_and_an_upgrade_fail_no_system_call_of_a_container_and_no_call_of_docker];

/// The package once more, with a version below all others.
const OLDER: &str = "/var/tmp/sshfs-docker-older.deb";

/// The version of [`OLDER`].
const OLDER_VERSION: &str = "0.0.0~older";

fn make_older_package(lab: &Lab) -> Result<()> {
    lab.host.sh(&format!(
        "cd /var/tmp; rm -rf older; dpkg-deb --raw-extract {PACKAGE} older
         sed -i 's/^Version: .*/Version: {OLDER_VERSION}/' older/DEBIAN/control
         dpkg-deb -Znone --build older {OLDER}"
    ))?;
    Ok(())
}

fn installed_version(lab: &Lab) -> Result<String> {
    lab.host.sh("dpkg-query --show --showformat '${Version}' sshfs-docker")
}

/// Installs a package while Docker calls the driver without a pause: it asks for a volume, mounts and unmounts it.
fn install_under_calls(lab: &Lab, package: &str, called: &Volume) -> Result<()> {
    let name = &called.name;
    lab.host.sh(&format!(
        "cd /var/tmp; rm -f installed calls
         trap 'touch installed' EXIT
         (
             until [ -e installed ]; do
                 docker volume inspect {name} > /dev/null
                 docker run --rm --network none -v {name}:/d busybox sh -ec 'echo call >> /d/calls'
                 echo call >> calls
             done
         ) & calling=$!
         until [ -e calls ]; do sleep 0.1; done
         apt-get install --yes --allow-downgrades {package}
         touch installed
         wait $calling"
    ))?;
    let (made, seen) = (lab.host.sh("wc -l < /var/tmp/calls")?, called.run("wc -l < /d/calls; rm /d/calls")?);
    ensure!(made == seen, "{made} containers wrote, their volume has {seen} lines");
    Ok(())
}

fn a_downgrade_and_an_upgrade_fail_no_system_call_of_a_container_and_no_call_of_docker(
    lab: &Lab,
) -> Result<()> {
    let volume = lab.volume("up-and-down")?;
    let called = lab.volume("called-meanwhile")?;
    let version = installed_version(lab)?;
    make_older_package(lab)?;
    let writer = Writer::start(lab, &volume)?;
    let unchanged = || -> Result<_> {
        Ok((lab.main_pid(&volume.unit())?, lab.property(SOCKET, "ActiveEnterTimestampMonotonic")?))
    };
    let before = unchanged()?;
    let replaced = [(OLDER, OLDER_VERSION), (PACKAGE, version.as_str())].into_iter().try_for_each(
        |(package, version)| {
            let daemon = lab.daemon()?;
            install_under_calls(lab, package, &called)?;
            ensure!(installed_version(lab)? == version, "{} is installed", installed_version(lab)?);
            ensure!(lab.daemon()? != daemon, "the daemon of the other version runs on");
            writer.wait_for_more()
        },
    );
    // A case that failed half way must not leave the older one to the others.
    if installed_version(lab)? != version {
        lab.reinstall_package()?;
    }
    replaced?;
    let after = unchanged()?;
    ensure!(before == after, "mount process and start of the socket: {before:?} became {after:?}");
    writer.finish()?;
    volume.wait_until_used_by(0)
}
