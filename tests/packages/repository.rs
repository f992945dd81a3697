//! Repositories that `make repo` makes: apt and dnf install from them, and what somebody has changed on the way is refused.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::family::{Family, Site};
use crate::lab::dirs;

crate::cases![
    the_package_comes_from_a_signed_repository_with_one_command,
    a_package_that_was_changed_on_the_way_is_refused,
];

/// Where the guest serves it, for itself.
const ADDRESS: &str = "127.0.0.1:8087";

/// What serves it in the guest.
const DIRECTORY: &str = "/var/tmp/repo";

fn archive() -> PathBuf {
    dirs::packages().join("repo-under-test.tar")
}

/// Makes a key, and with it the repositories. gpg's agent ends with the namespace.
pub fn build() -> Result<()> {
    let script = format!(
        "export GNUPGHOME=$(mktemp -d); trap 'rm -rf $GNUPGHOME $made' EXIT; made=$(mktemp -d)
         gpg --quiet --batch --passphrase '' --quick-generate-key test@packages.invalid rsa3072 sign never
         packaging/repo test@packages.invalid http://{ADDRESS} $made/repo
         tar -C $made/repo -cf '{}' .",
        archive().display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "sh", "-euc", &script])
        .current_dir(dirs::repository())
        .output()
        .context("unshare")?;
    ensure!(output.status.success(), "packaging/repo: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Puts the repositories on the host and serves them there. What the release itself offers is out of reach.
fn serve(site: &Site) -> Result<()> {
    let archive = fs::read(archive())?;
    site.host.put("/var/tmp/repo.tar", &archive)?;
    site.host.sh(&format!(
        "systemctl stop repo 2>/dev/null || :
         rm -rf {DIRECTORY}; mkdir {DIRECTORY}; tar -C {DIRECTORY} -xf /var/tmp/repo.tar
         rm -f /etc/apt/sources.list
         systemd-run --quiet --unit repo busybox httpd -f -p {ADDRESS} -h {DIRECTORY}
         until curl -fs http://{ADDRESS}/sshfs-docker.asc > /dev/null; do sleep 0.1; done"
    ))?;
    Ok(())
}

/// What `make repo` says that users run, as far as it is the same for all of them.
const INSTALL_WITH_APT: &str = "install -d -m 755 /etc/apt/keyrings
    curl -fsSLo /etc/apt/keyrings/sshfs-docker.asc http://127.0.0.1:8087/sshfs-docker.asc
    curl -fsSLo /etc/apt/sources.list.d/sshfs-docker.sources http://127.0.0.1:8087/sshfs-docker.sources
    apt-get update && apt-get install --yes sshfs-docker";

/// There is no release of a distribution that dnf could ask for.
const INSTALL_WITH_DNF: &str = "mkdir -p /etc/yum.repos.d
    curl -fsSLo /etc/yum.repos.d/sshfs-docker.repo http://127.0.0.1:8087/sshfs-docker.repo
    dnf --releasever=1 --refresh install --assumeyes sshfs-docker";

fn the_package_comes_from_a_signed_repository_with_one_command(site: &Site) -> Result<()> {
    serve(site)?;
    site.host.sh(match site.family {
        Family::Deb => INSTALL_WITH_APT,
        Family::Rpm => INSTALL_WITH_DNF,
    })?;
    ensure!(site.installed_version()? == env!("CARGO_PKG_VERSION"), "{}", site.installed_version()?);
    site.enable_driver()?;
    let volume = site.volume("from-repository")?;
    ensure!(volume.run("echo 1 > /d/file; cat /d/file")? == "1", "it does not work");
    volume.wait_until_unmounted()?;
    drop(volume);
    site.purge()
}

fn a_package_that_was_changed_on_the_way_is_refused(site: &Site) -> Result<()> {
    serve(site)?;
    site.host.sh(&format!(
        "for file in {DIRECTORY}/apt/pool/main/*.deb {DIRECTORY}/dnf/*.rpm; do
             printf x | dd of=$file bs=1 seek=100000 conv=notrunc status=none
         done
         rm -f /var/cache/apt/archives/sshfs-docker*; rm -rf /var/cache/dnf"
    ))?;
    let refused = site.host.try_sh(match site.family {
        Family::Deb => INSTALL_WITH_APT,
        Family::Rpm => INSTALL_WITH_DNF,
    })?;
    ensure!(!refused.ok() && site.installed_version()?.is_empty(), "it was installed: {refused}");
    Ok(())
}
