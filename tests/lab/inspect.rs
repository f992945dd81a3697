//! What `docker volume inspect` shows of a volume in use.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lab::{Lab, poll};

crate::cases![inspect_names_containers_process_and_host_key];

fn status(lab: &Lab, name: &str) -> Result<Value> {
    let shown = lab.docker(&format!("volume inspect --format '{{{{json .Status}}}}' {name}"))?;
    serde_json::from_str(&shown).context(shown)
}

fn inspect_names_containers_process_and_host_key(lab: &Lab) -> Result<()> {
    let volume = lab.volume("inspected")?;
    let (_one, other) = (volume.hold("inspected-one")?, volume.hold("inspected-other")?);
    let ids = lab.docker("inspect --format '{{printf \"%.12s\" .Id}}' inspected-one inspected-other")?;
    let mut ids: Vec<_> = ids.lines().collect();
    ids.sort_unstable();
    let containers = |ids: &[&str]| {
        poll::until_true("the containers to be known", Duration::from_secs(10), || {
            Ok(status(lab, "inspected")?["containers"] == Value::from(ids))
        })
    };
    containers(&ids)?;
    let known = status(lab, "inspected")?;
    ensure!(known["state"] == "mounted" && known["references"] == 2, "{known}");
    let pid = known["pid"].as_u64().context("no pid")?;
    ensure!(lab.host.sh(&format!("cat /proc/{pid}/comm"))? == "sshfs", "{known}");
    let key = lab.server.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key | cut -d ' ' -f 2")?;
    let keys = known["host_keys"].as_array().context("no host keys")?;
    ensure!(keys.iter().any(|known| known == &format!("{key} (ED25519)")), "{known}");
    let gone = lab.docker("inspect --format '{{printf \"%.12s\" .Id}}' inspected-other")?;
    drop(other);
    let left: Vec<_> = ids.iter().copied().filter(|id| *id != gone).collect();
    containers(&left)
}
