//! `sshfs-docker import` on a host where Docker knows the volumes of the old plugin: they change hands by the steps that it
//! prints, with their data, and a password is sealed.

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::lab::docker::{IMAGE, quote};
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::{ALICE, BOB};

crate::cases![volumes_change_hands_by_the_steps_that_are_printed, a_password_is_sealed_and_logs_in];

const STATE: &str = "/var/lib/docker/plugins/sshfs-state.json";

/// A file as the plugin writes it.
fn write_state(lab: &Lab, volumes: &serde_json::Value) -> Result<()> {
    lab.host.sh("install -d /var/lib/docker/plugins")?;
    lab.host.put(STATE, volumes.to_string().as_bytes())?;
    lab.host.sh(&format!("chmod 644 {STATE}")).map(drop)
}

/// In the place of the plugin, which no registry is there for, another driver that has a volume of the name: to Docker it is the
/// same. What Docker does with names is what this is about.
fn volumes_change_hands_by_the_steps_that_are_printed(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("handed-over", ALICE)?;
    lab.server.sh(&format!("echo old data > {directory}/file; chmod 644 {directory}/file"))?;
    let sshcmd = format!("{ALICE}@{SSH_SERVER}:{directory}");
    lab.host.sh("install -d /run/docker/plugins
         systemd-run --quiet --unit vieux sshfs-docker serve --socket /run/docker/plugins/vieux.sock \
             --configuration /etc/vieux --state /var/lib/vieux --runtime /run/vieux
         until [ -S /run/docker/plugins/vieux.sock ]; do sleep 0.1; done")?;
    let old = lab.docker(&format!("volume create -d vieux -o sshcmd={sshcmd} handed-over"));
    let result = old.and_then(|_| hand_over(lab, &sshcmd));
    lab.host.sh(&format!(
        "systemctl stop vieux 2>/dev/null || :
         rm -rf /run/docker/plugins/vieux.sock /run/vieux {STATE}
         mountpoint -q /var/lib/vieux/mnt && umount /var/lib/vieux/mnt || :
         docker volume rm --force handed-over >/dev/null 2>&1 || :"
    ))?;
    result
}

fn hand_over(lab: &Lab, sshcmd: &str) -> Result<()> {
    write_state(
        lab,
        &serde_json::json!({"handed-over": {"Password": "", "Sshcmd": sshcmd, "Port": "",
            "Options": ["IdentityFile=/root/.ssh/id_ed25519", "big_writes"], "Mountpoint": "/mnt/volumes/e822988c"}}),
    )?;
    let shown = lab.host.sh("sshfs-docker import")?;
    println!("\n{shown}");
    ensure!(shown.contains("Nothing has been changed"), "{shown}");
    let said = lab.host.sh("sshfs-docker import --apply")?;
    ensure!(said.contains("created"), "{said}");
    let create = "docker volume create -d sshfs handed-over";
    ensure!(said.contains(create), "{said}");
    // As long as the old driver has it, Docker lets the name not go.
    ensure!(!lab.host.try_sh(create)?.ok(), "Docker lets two drivers have a name");
    // Step 2, and no more than that: Docker still does not.
    lab.host.sh("systemctl stop vieux; rm -f /run/docker/plugins/vieux.sock")?;
    lab.restart_docker()?;
    lab.host.sh(create)?;
    let read = lab.docker(&format!("run --rm --network none -v handed-over:/d {IMAGE} cat /d/file"))?;
    ensure!(read == "old data", "read {read:?}");
    let driver = lab.docker("volume inspect --format '{{.Driver}}' handed-over")?;
    ensure!(driver == "sshfs", "the driver is {driver}");
    let again = lab.host.sh("sshfs-docker import --apply")?;
    ensure!(again.contains("Nothing to do."), "{again}");
    lab.docker("volume rm handed-over")?;
    ensure!(lab.server.sh("cat /srv/handed-over/file")? == "old data");
    Ok(())
}

fn a_password_is_sealed_and_logs_in(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("sealed-import", BOB)?;
    let password = lab.server.password();
    write_state(
        lab,
        &serde_json::json!({"sealed-import": {"Name": "sealed-import", "MountPoint": "/mnt/volumes/sealed-import",
            "CreatedAt": "2024-05-01T10:00:00.1Z", "RefCount": 0, "Options": null,
            "SSHCmd": format!("{BOB}@{SSH_SERVER}:{directory}"), "IdentityFile": "", "Ephemeral": false,
            "Password": password, "Port": ""}}),
    )?;
    let said = lab.host.sh("sshfs-docker import --apply 2>&1")?;
    lab.host.sh(&format!("rm {STATE}"))?;
    ensure!(said.contains("has passwords in clear") && !said.contains(password), "{said}");
    lab.docker(&format!("run --rm --network none -v sealed-import:/d {IMAGE} sh -c 'echo hello > /d/file'"))?;
    let inspected = lab.docker("volume inspect sealed-import")?;
    let grep = format!(
        "grep -rlF -- {} /var/lib/sshfs-docker/volumes /var/lib/sshfs-docker/secrets* || :",
        quote(password)
    );
    let found = lab.host.sh(&grep)?;
    lab.docker("volume rm sealed-import")?;
    ensure!(found.is_empty() && !inspected.contains(password), "in clear: {found} {inspected}");
    ensure!(lab.server.sh(&format!("cat {directory}/file"))? == "hello");
    Ok(())
}
