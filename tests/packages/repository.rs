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
    a_repository_signed_with_another_key_is_refused,
];

/// Where the guest serves it, for itself.
const ADDRESS: &str = "127.0.0.1:8087";

/// Where it is in the guest.
const DIRECTORY: &str = "/var/tmp/repo/ours";

/// The same packages, signed with another key.
const FOREIGN: &str = "/var/tmp/repo/foreign";

fn archive() -> PathBuf {
    dirs::packages().join("repo-under-test.tar")
}

/// Makes two keys, and repositories with each. gpg's agent ends with the namespace.
pub fn build() -> Result<()> {
    let script = format!(
        "export GNUPGHOME=$(mktemp -d); made=$(mktemp -d); trap 'rm -rf $GNUPGHOME $made' EXIT
         for name in ours foreign; do
             gpg --quiet --batch --passphrase '' --quick-generate-key $name@packages.invalid rsa3072 sign never
             packaging/repo $name@packages.invalid http://{ADDRESS} $made/$name
         done
         tar -C $made -cf '{}' .",
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
         rm -rf /var/tmp/repo; mkdir /var/tmp/repo; tar -C /var/tmp/repo -xf /var/tmp/repo.tar
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
    ensure_refused(site, ["Hash Sum mismatch", "checksum"])
}

fn a_repository_signed_with_another_key_is_refused(site: &Site) -> Result<()> {
    serve(site)?;
    site.host.sh(&format!(
        "rm -rf {DIRECTORY}/apt {DIRECTORY}/dnf; mv {FOREIGN}/apt {FOREIGN}/dnf {DIRECTORY}
         rm -rf /var/cache/dnf /var/lib/apt/lists/*"
    ))?;
    ensure_refused(site, ["is not signed", "GPG"])
}

/// Fails unless apt, or dnf, refuses to install, in these words.
fn ensure_refused(site: &Site, [apt, dnf]: [&str; 2]) -> Result<()> {
    let (script, words) = match site.family {
        Family::Deb => (INSTALL_WITH_APT, apt),
        Family::Rpm => (INSTALL_WITH_DNF, dnf),
    };
    let refused = site.host.try_sh(&format!("exec 2>&1; {script}"))?;
    ensure!(!refused.ok() && site.installed_version()?.is_empty(), "it was installed: {refused}");
    ensure!(refused.stdout.contains(words), "not refused for its signature or checksum: {refused}");
    Ok(())
}
