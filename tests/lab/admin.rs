//! The administrator's commands on a real host: volumes in use, and a host in which one thing after another is wrong.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::driver::SOON;
use crate::lab::{Lab, poll};

crate::cases![
    status_shows_who_uses_a_volume_and_what_its_journal_says,
    set_counts_for_the_next_container_and_leaves_the_running_one,
    doctor_finds_no_problem_on_a_healthy_host,
    doctor_finds_each_fault_and_nothing_once_it_is_mended,
    doctor_finds_what_became_of_mounts,
];

fn status_shows_who_uses_a_volume_and_what_its_journal_says(lab: &Lab) -> Result<()> {
    let volume = lab.volume("seen")?;
    let container = volume.hold("seen-user")?;
    let id = container.docker("inspect --format '{{.Id}}'")?[..12].to_owned();
    // The daemon looks for containers a moment after they are started.
    poll::until_true("the container in the table", Duration::from_secs(45), || {
        let table = lab.host.sh("sshfs-docker status")?;
        Ok(table
            .lines()
            .any(|line| line.starts_with("seen ") && line.contains(" mounted") && line.contains(&id)))
    })?;
    lab.host.sh("journalctl --sync")?;
    let page = lab.host.sh("sshfs-docker status seen --lines 50")?;
    for part in
        [&format!("container {id} (sh, pid "), ") at /d", "SHA256:", "volume seen: mounted from", "Started"]
    {
        ensure!(page.contains(part), "no {part:?} in {page}");
    }
    let one: Value = serde_json::from_str(&lab.host.sh("sshfs-docker status seen --json")?)?;
    ensure!(one["users"][0]["container"] == id.as_str() && one["users"][0]["path"] == "/d", "{one:#}");
    container.remove()?;
    let nobody = lab.host.try_sh("setpriv --reuid=65534 --clear-groups sshfs-docker status")?.failure()?;
    ensure!(nobody.contains("only root may: use sudo"), "{nobody}");
    Ok(())
}

fn set_counts_for_the_next_container_and_leaves_the_running_one(lab: &Lab) -> Result<()> {
    let volume = lab.volume("changed")?;
    volume.run("touch /d/file")?;
    let container = volume.hold("changed-user")?;
    let owner = "stat -c %u /d/file";
    let before = container.exec(owner)?;
    let told = lab.host.sh("sshfs-docker set changed -o uid=4242")?;
    ensure!(
        told.contains("run: sshfs-docker restart changed") && told.contains("in use by container"),
        "{told}"
    );
    ensure!(container.exec(owner)? == before, "the running container sees the change");
    // With a file open in the former mount, both are in order.
    let reader = volume.start("changed-reader", "", "exec sleep 1000 < /d/file")?;
    lab.host.sh("sshfs-docker restart changed")?;
    ensure!(container.exec(owner)? == "4242", "the running container does not see it after the restart");
    let report = Report::of(lab)?;
    ensure!(report.is_fine(), "{:#}", report.json);
    reader.remove()?;
    container.remove()?;
    volume.wait_until_unmounted()?;
    lab.host.sh("sshfs-docker set changed -o uid=4343")?;
    ensure!(volume.run(owner)? == "4343", "the next one does not see what was set");
    volume.remove()?.success().map(drop)
}

/// What doctor found.
struct Report {
    json: Value,
    /// Its exit code.
    status: i32,
}

impl Report {
    fn of(lab: &Lab) -> Result<Self> {
        let output = lab.host.try_sh("sshfs-docker doctor --json")?;
        let json = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
        Ok(Self { json, status: output.status })
    }

    /// Whether a check has found something that is so bad and says so.
    fn has(&self, check: &str, state: &str, words: &str) -> bool {
        let findings = self.json["findings"].as_array().into_iter().flatten();
        let mut findings = findings.filter(|finding| finding["check"] == check && finding["state"] == state);
        findings.any(|finding| finding["what"].as_str().is_some_and(|what| what.contains(words)))
    }

    fn is_fine(&self) -> bool {
        self.status == 0 && self.json["problems"] == 0
    }
}

fn doctor_finds_no_problem_on_a_healthy_host(lab: &Lab) -> Result<()> {
    let volume = lab.volume("healthy")?;
    let container = volume.hold("healthy-user")?;
    let report = Report::of(lab)?;
    ensure!(report.is_fine(), "{:#}", report.json);
    for (check, words) in [
        ("systemd", "systemd"),
        ("sshfs", "3.7"),
        ("ssh", "OpenSSH"),
        ("socket", "active and enabled"),
        ("answer", "answers"),
        ("sandbox", "in force"),
        ("spec", "/etc/docker/plugins/sshfs.spec"),
        ("docker", "knows the driver"),
        ("mounts", "are in order"),
        ("containers", "none"),
        ("units", "none"),
    ] {
        ensure!(report.has(check, "ok", words), "{check} {words}: {:#}", report.json);
    }
    let shown = lab.host.sh("sshfs-docker doctor")?;
    ensure!(shown.contains("no problem") || shown.contains("all is in order"), "{shown}");
    container.remove()
}

/// Something wrong on the host, which is mended also where a case fails before it comes to that.
struct Wrong<'a> {
    lab: &'a Lab,
    mend: Option<&'static str>,
}

impl<'a> Wrong<'a> {
    /// Runs `make`. What that has done before it failed is mended, too.
    fn make(lab: &'a Lab, make: &str, mend: &'static str) -> Result<Self> {
        let wrong = Self { lab, mend: Some(mend) };
        lab.host.sh(make).map(|_| wrong)
    }

    fn mend(mut self) -> Result<()> {
        let mend = self.mend.take().unwrap_or_default();
        self.lab.host.sh(mend).map(drop).with_context(|| format!("mending with: {mend}"))
    }
}

impl Drop for Wrong<'_> {
    fn drop(&mut self) {
        let Some(mend) = self.mend else { return };
        if let Err(e) = self.lab.host.sh(mend) {
            eprintln!("cannot mend with {mend}: {e:#}");
        }
    }
}

/// A fault: how it is made, what finds it, and how it is mended.
struct Fault {
    make: &'static str,
    found: (&'static str, &'static str, &'static str),
    mend: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        make: "systemctl stop sshfs-docker.socket sshfs-docker.service",
        found: ("socket", "problem", "is inactive"),
        mend: "systemctl start sshfs-docker.socket",
    },
    Fault {
        make: "systemctl stop sshfs-docker.socket sshfs-docker.service",
        found: ("answer", "problem", "cannot reach the driver"),
        mend: "systemctl start sshfs-docker.socket",
    },
    Fault {
        make: "systemctl disable --quiet sshfs-docker.socket 2>&1",
        found: ("socket", "warning", "after a reboot"),
        mend: "systemctl enable --quiet --now sshfs-docker.socket 2>&1",
    },
    Fault {
        make: "systemctl mask --quiet --runtime sshfs-docker.service; systemctl stop sshfs-docker.service 2>&1",
        found: ("service", "problem", "is masked"),
        mend: "systemctl unmask --quiet --runtime sshfs-docker.service; systemctl restart sshfs-docker.socket",
    },
    Fault {
        make: "docker volume ls; systemctl kill --signal=KILL sshfs-docker.service; sleep 2",
        found: ("service", "warning", "has restarted it"),
        mend: "systemctl reset-failed sshfs-docker.service 2>&1 || :; systemctl restart sshfs-docker.service",
    },
    Fault {
        make: "docker volume ls; systemctl kill --kill-who=main --signal=STOP sshfs-docker.service",
        found: ("answer", "problem", "did not answer"),
        mend: "systemctl kill --kill-who=main --signal=CONT sshfs-docker.service; docker volume ls",
    },
    Fault {
        make: "mv /etc/docker/plugins/sshfs.spec /root/",
        found: ("spec", "problem", "is missing"),
        mend: "mv /root/sshfs.spec /etc/docker/plugins/",
    },
    Fault {
        make: "mv /etc/docker/plugins/sshfs.spec /root/; ln -s /nowhere /etc/docker/plugins/sshfs.spec",
        found: ("spec", "problem", "leads nowhere"),
        mend: "mv /root/sshfs.spec /etc/docker/plugins/",
    },
    Fault {
        make: "mv /etc/docker/plugins/sshfs.spec /root/; echo unix:///run/other.sock > /etc/docker/plugins/sshfs.spec",
        found: ("spec", "problem", "does not point to"),
        mend: "mv /root/sshfs.spec /etc/docker/plugins/",
    },
    Fault {
        make: "mv /etc/docker/plugins/sshfs.spec /root/; echo '{}' > /etc/docker/plugins/sshfs.json",
        found: ("spec", "problem", "another driver"),
        mend: "mv /root/sshfs.spec /etc/docker/plugins/; rm /etc/docker/plugins/sshfs.json",
    },
    Fault {
        make: "echo '[polcy]' > /etc/sshfs-docker/config.toml",
        found: ("config.toml", "problem", "polcy"),
        mend: "cp /root/etc/config.toml /etc/sshfs-docker/",
    },
    Fault {
        make: "echo 'Nonsense yes' >> /etc/sshfs-docker/ssh_config",
        found: ("ssh_config", "problem", "onsense"),
        mend: "cp /root/etc/ssh_config /etc/sshfs-docker/",
    },
    Fault {
        make: "touch /etc/sshfs-docker/known_hosts; chmod 600 /etc/sshfs-docker/known_hosts",
        found: ("known_hosts", "problem", "cannot read"),
        mend: "rm /etc/sshfs-docker/known_hosts",
    },
    Fault {
        make: "chown root /var/lib/sshfs-docker/home/known_hosts",
        found: ("known_hosts", "problem", "does not belong"),
        mend: "chown sshfs-docker /var/lib/sshfs-docker/home/known_hosts",
    },
    Fault {
        make: "chmod 666 /var/lib/sshfs-docker/home/known_hosts",
        found: ("known_hosts", "problem", "mode 0666"),
        mend: "chmod 600 /var/lib/sshfs-docker/home/known_hosts",
    },
    Fault {
        make: "mkdir -p /etc/systemd/system/sshfs-docker-mount-.service.d
               ln -s /dev/null /etc/systemd/system/sshfs-docker-mount-.service.d/50-sandbox.conf",
        found: ("sandbox", "problem", "switches it off"),
        mend: "rm -r /etc/systemd/system/sshfs-docker-mount-.service.d; systemctl daemon-reload",
    },
    Fault {
        make: "mkdir -p /etc/systemd/system/sshfs-docker-mount-x.service.d
               echo > /etc/systemd/system/sshfs-docker-mount-x.service.d/60-local.conf",
        found: ("overrides", "ok", "sshfs-docker-mount-x.service.d/60-local.conf"),
        mend: "rm -r /etc/systemd/system/sshfs-docker-mount-x.service.d; systemctl daemon-reload",
    },
    Fault {
        make: "mv /usr/bin/sshfs /usr/bin/sshfs.away",
        found: ("sshfs", "problem", "is not installed"),
        mend: "mv /usr/bin/sshfs.away /usr/bin/sshfs",
    },
    Fault {
        make: "umount /sys/fs/fuse/connections",
        found: ("fuse", "warning", "control files"),
        mend: "mount -t fusectl fusectl /sys/fs/fuse/connections",
    },
    Fault {
        make: "mkdir /var/lib/sshfs-docker/mountpoints/left; touch /var/lib/sshfs-docker/mountpoints/left/file",
        found: ("mountpoints", "warning", "left"),
        mend: "rm /var/lib/sshfs-docker/mountpoints/left/file; rmdir /var/lib/sshfs-docker/mountpoints/left",
    },
    Fault {
        make: "mkdir /var/lib/sshfs-docker/mountpoints/orphan; mount -t tmpfs none /var/lib/sshfs-docker/mnt/orphan",
        found: ("mounts", "problem", "which is not ours"),
        mend: "umount /var/lib/sshfs-docker/mnt/orphan; rmdir /var/lib/sshfs-docker/mountpoints/orphan",
    },
    Fault {
        make: "echo '{' > /var/lib/sshfs-docker/volumes/broken.json",
        found: ("definitions", "problem", "volume broken cannot be used"),
        mend: "rm /var/lib/sshfs-docker/volumes/broken.json",
    },
    Fault {
        make: "echo '{' > /var/lib/sshfs-docker/volumes/broken.json; systemctl start sshfs-docker-heal@broken.service
               sleep 1",
        found: ("units", "problem", "sshfs-docker-heal@broken.service has failed"),
        mend: "rm /var/lib/sshfs-docker/volumes/broken.json; systemctl reset-failed sshfs-docker-heal@broken.service",
    },
    Fault {
        make: "mv /root/.ssh/id_ed25519 /root/.ssh/away",
        found: ("definitions", "problem", "volume examined: identity_file: the file"),
        mend: "mv /root/.ssh/away /root/.ssh/id_ed25519",
    },
];

fn doctor_finds_each_fault_and_nothing_once_it_is_mended(lab: &Lab) -> Result<()> {
    let volume = lab.volume("examined")?;
    volume.run("true")?;
    let copy = Wrong::make(lab, "mkdir /root/etc; cp /etc/sshfs-docker/* /root/etc/", "rm -r /root/etc")?;
    for Fault { make, found: (check, state, words), mend } in FAULTS {
        let wrong = Wrong::make(lab, make, mend)?;
        let report = Report::of(lab)?;
        wrong.mend()?;
        ensure!(
            report.has(check, state, words),
            "{make}: no {state} of {check} with {words:?}: {:#}",
            report.json
        );
        ensure!(
            report.is_fine() == (*state != "problem"),
            "{make}: status {}: {:#}",
            report.status,
            report.json
        );
    }
    // A socket that nobody serves is what a driver leaves that was killed.
    let path = lab.host.path("/run/docker/plugins")?.join("dead.sock");
    lab.host.sh("mkdir -p /run/docker/plugins")?;
    drop(UnixListener::bind(&path)?);
    let report = Report::of(lab);
    std::fs::remove_file(&path)?;
    let report = report?;
    ensure!(report.has("plugins", "warning", "dead.sock"), "{:#}", report.json);
    copy.mend()?;
    let healthy = Report::of(lab)?;
    ensure!(healthy.is_fine(), "something is left: {:#}", healthy.json);
    println!("fault-count: case=doctor findings_provoked={}", FAULTS.len() + 1);
    volume.remove()?.success().map(drop)
}

const MASK_HEALING: &str = "systemctl mask --quiet --runtime sshfs-docker-heal@.service";
const UNMASK_HEALING: &str = "systemctl unmask --quiet --runtime sshfs-docker-heal@.service";

fn doctor_finds_what_became_of_mounts(lab: &Lab) -> Result<()> {
    let volume = lab.volume("ill")?;
    let container = volume.hold("ill-user")?;
    let finds = |check: &str, words: &str| -> Result<()> {
        let report = Report::of(lab)?;
        ensure!(
            report.has(check, "problem", words) && !report.is_fine(),
            "{check} {words}: {:#}",
            report.json
        );
        Ok(())
    };
    // A mount without a volume.
    let undefined = Wrong::make(
        lab,
        "mv /var/lib/sshfs-docker/volumes/ill.json /root/",
        "mv /root/ill.json /var/lib/sshfs-docker/volumes/",
    )?;
    finds("mounts", "there is no volume ill")?;
    undefined.mend()?;
    // A dead mount that nobody heals, on the host and in the container.
    let unhealed = Wrong::make(lab, MASK_HEALING, UNMASK_HEALING)?;
    lab.host.sh("pkill -KILL -x sshfs")?;
    poll::until_true("the mount to die", Duration::from_secs(10), || Ok(!container.try_exec("ls /d")?.ok()))?;
    finds("mounts", "is dead")?;
    unhealed.mend()?;
    lab.host.sh("systemctl start sshfs-docker-heal@ill.service")?;
    poll::until_true("the container to be healed", Duration::from_secs(30), || {
        Ok(container.try_exec("ls /d")?.ok())
    })?;
    // One of which the host has a fresh mount, and the container the dead one.
    let unhealed = Wrong::make(lab, MASK_HEALING, UNMASK_HEALING)?;
    lab.host.sh("pkill -KILL -x sshfs")?;
    poll::until_true("the mount to die", Duration::from_secs(10), || Ok(!container.try_exec("ls /d")?.ok()))?;
    volume.run("true")?;
    finds("containers", "has a dead mount")?;
    unhealed.mend()?;
    lab.host.sh("systemctl start sshfs-docker-heal@ill.service")?;
    poll::until_true("the container to be healed", Duration::from_secs(30), || {
        Ok(container.try_exec("ls /d")?.ok())
    })?;
    // A unit that serves a mount which only the container has any more.
    lab.host.sh(&format!("umount --lazy {}", volume.mountpoint()))?;
    finds("units", "runs without a mount")?;
    // With its last mount sshfs ends, and the unit with it.
    container.remove()?;
    lab.wait_until_gone(&volume.unit(), SOON)?;
    poll::until_true("the host to be healthy", Duration::from_secs(20), || Ok(Report::of(lab)?.is_fine()))?;
    println!("fault-count: case=doctor_of_mounts findings_provoked=4");
    volume.remove()?.success().map(drop)
}
