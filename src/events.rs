//! Events that somebody may want to be woken for, each with an id that never changes (`journalctl MESSAGE_ID=…`). What an
//! administrator reads about each is in `systemd/sshfs-docker.catalog`, which `journalctl -x` shows.

/// A volume was mounted.
pub const MOUNTED: &str = "d7c4e2c628df49afa95f793760ef8bd7";
/// A volume was unmounted.
pub const UNMOUNTED: &str = "d9168fc1e51b4d4e893104e775bcaecb";
/// A volume could not be mounted.
pub const MOUNT_FAILED: &str = "d332e40f78c0426aa96cf98eaac52f95";
/// The connection of a mount has ended.
pub const CONNECTION_LOST: &str = "761d0626b9f74a0f8ba56e28c6e42409";
/// It could not be made anew.
pub const CONNECTION_FAILING: &str = "d5b3e18ad4e9452abe62d7491619d169";
/// It was made anew.
pub const CONNECTION_BACK: &str = "ede1f2fb3e864dc1baeb549c5d756d19";
/// sshfs has died while its mount was in use.
pub const SSHFS_DIED: &str = "c35c1b76272348e3a3670d377d15330e";
/// A container has a fresh mount.
pub const HEALED: &str = "101f2c484a1c4cb28538dc1ecb3f71c7";
/// A container is without the volume until it restarts.
pub const NOT_HEALED: &str = "ecc6dea0aba94bd8b25376e6817e13ea";
/// The definition of a volume cannot be used.
pub const UNUSABLE: &str = "8ed3bf56791b415998dba287e7a4e0f0";
/// config.toml has a mistake in it.
pub const MISCONFIGURED: &str = "e20aeb4aee694bb5afca5832a5937f95";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn each_event_is_explained_to_administrators_and_no_other() {
        let ids = |text: &'static str, before: &str, after: &str| -> BTreeSet<&'static str> {
            let between = |line: &'static str| line.trim().split_once(before)?.1.strip_suffix(after);
            text.lines().filter_map(between).filter(|id| id.len() == 32).collect()
        };
        let defined = ids(include_str!("events.rs"), ": &str = \"", "\";");
        let explained = ids(include_str!("../systemd/sshfs-docker.catalog"), "-- ", "");
        assert_eq!(defined, explained);
        assert!(defined.len() > 10);
    }
}
