//! Which containers have volumes mounted, as the kernel sees it.

use super::{holders::Everywhere, mountinfo::Device};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

/// The short ids of the containers that have file systems mounted, for those of `devices` that some have. Reads all of
/// /proc.
pub fn of(devices: &BTreeSet<Device>) -> io::Result<BTreeMap<Device, BTreeSet<String>>> {
    let everywhere = Everywhere::read()?;
    let mut containers: BTreeMap<Device, BTreeSet<String>> = BTreeMap::new();
    for mount in everywhere.iter().filter(|mount| devices.contains(&mount.device)) {
        if let Some(id) = of_process(everywhere.seen_by(mount)) {
            containers.entry(mount.device).or_default().insert(id);
        }
    }
    Ok(containers)
}

/// The short id of the container that a process belongs to.
#[must_use]
pub fn of_process(pid: u32) -> Option<String> {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    short_id(&cgroup).map(str::to_owned)
}

/// The first twelve digits of the container's id, as `docker ps` shows it. Engines put the whole id into the name of the
/// cgroup: `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`.
fn short_id(cgroup: &str) -> Option<&str> {
    let words = cgroup.split(|c: char| !c.is_ascii_hexdigit());
    words.into_iter().find(|word| word.len() == 64).map(|id| &id[..12])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_cgroup() {
        let id = "3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9f8a7b6c5d4e3f2a";
        for cgroup in [
            format!("0::/system.slice/docker-{id}.scope\n"),
            format!("12:pids:/docker/{id}\n11:cpu:/docker/{id}\n"),
            format!("0::/machine.slice/libpod-{id}.scope/container\n"),
        ] {
            assert_eq!(short_id(&cgroup), Some("3f2a1b0c9d8e"), "{cgroup}");
        }
        assert_eq!(short_id("0::/system.slice/ssh.service\n"), None);
    }
}
