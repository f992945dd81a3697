//! Where everything is. This page is the layout's only definition; the schema of each file is where it is
//! written (`store.rs`, `references.rs`, `history.rs`, `health.rs`, `heal/record.rs`).
//!
//! ```text
//! /etc/sshfs-docker/             written by the administrator only
//!   config.toml                  settings; see config/mod.rs
//!   ssh_config                   aliases and per-host settings, read by every ssh of ours through ssh-config/NAME
//!   known_hosts                  host keys that the administrator vouches for
//! /var/lib/sshfs-docker/         0711 root
//!   volumes/NAME.json            definition of a volume, 0600; schema 1
//!   secrets/NAME                 the value of the `password` option, 0600, where the host has no systemd-creds;
//!   secrets.encrypted/NAME       where it has: encrypted for the credential `_password` of the mount unit;
//!                                in both, .next-NAME is a new one on its way there
//!   mountpoints/NAME/            empty directories, 0000
//!   mnt/                         a read-only bind mount of mountpoints/
//!   mnt/NAME                     what Docker gets: sshfs is mounted here. While it is not, the path lies on the
//!                                read-only mount, where not even root in a container can write
//!   home/                        home of the user sshfs-docker
//!     known_hosts                host keys learnt at the first mount (accept-new)
//! /run/sshfs-docker/             0711 root, gone after a reboot, kept while the daemon is away
//!   references/NAME.json         who holds the volume, 0600; schema 1
//!   locks/NAME                   held while the volume is changed, by the daemon or by its healing
//!   healing/NAME.json            what became of the containers when sshfs died, 0600; schema 1
//!   history/NAME.json            what happened to the volume since boot, 0600; schema 1
//!   host-keys/NAME               known_hosts of one volume that pins its key, 0644
//!   ssh-config/NAME              ssh_config of one volume: what holds on jump hosts, too, then the administrator's, 0644
//!   host-keys/NAME:2, …          the same for a second sshfs of the volume, after a restart
//!   mounts/NAME/, NAME@2/, …     of the unit of that mount, 0755, goes with it
//!     health.json                what the unit knows of its connection; schema 1
//!   agents/NAME/socket           where systemd listens for the ssh of a volume with IdentityAgent; agents/ is 0700, and
//!                                agents/NAME/ is bound to agent/ in the unit of that volume's mount alone
//!   agent/                       empty outside of those units
//!   credentials/NAME/            copies of keys, only where systemd is not PID 1
//!   checks/PID/                  lib/ and run/ of the mount that 'sshfs-docker check' makes, as long as it runs
//!   lock                         one daemon at a time
//! ```

use crate::volume::{Generation, VolumeName};
use std::{ffi::OsStr, path::PathBuf};

/// The name of a volume's file in every directory that has one JSON file per volume.
#[must_use]
pub fn file_name(name: &VolumeName) -> String {
    format!("{name}.json")
}

/// The volume whose file this is, if it can be one's.
#[must_use]
pub fn volume_of(file: &OsStr) -> Option<VolumeName> {
    VolumeName::new(file.to_str()?.strip_suffix(".json")?).ok()
}

/// The three roots of the layout.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `/etc/sshfs-docker`
    pub configuration: PathBuf,
    /// `/var/lib/sshfs-docker`
    pub state: PathBuf,
    /// `/run/sshfs-docker`
    pub runtime: PathBuf,
}

impl Paths {
    /// Settings of the administrator.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.configuration.join("config.toml")
    }

    /// Settings of the administrator for ssh.
    #[must_use]
    pub fn ssh_config(&self) -> PathBuf {
        self.configuration.join("ssh_config")
    }

    /// Host keys of the administrator.
    #[must_use]
    pub fn admin_known_hosts(&self) -> PathBuf {
        self.configuration.join("known_hosts")
    }

    /// Definitions.
    #[must_use]
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// Values of the `password` option.
    #[must_use]
    pub fn secrets(&self) -> PathBuf {
        self.state.join("secrets")
    }

    /// The password of one volume.
    #[must_use]
    pub fn secret(&self, name: &VolumeName) -> PathBuf {
        self.secrets().join(name.as_str())
    }

    /// Encrypted values of the `password` option.
    #[must_use]
    pub fn encrypted_secrets(&self) -> PathBuf {
        self.state.join("secrets.encrypted")
    }

    /// The encrypted password of one volume.
    #[must_use]
    pub fn encrypted_secret(&self, name: &VolumeName) -> PathBuf {
        self.encrypted_secrets().join(name.as_str())
    }

    /// The real directories below the mountpoints.
    #[must_use]
    pub fn mountpoint_directories(&self) -> PathBuf {
        self.state.join("mountpoints")
    }

    /// The read-only view in which mounts are made.
    #[must_use]
    pub fn mountpoints(&self) -> PathBuf {
        self.state.join("mnt")
    }

    /// The path that Docker gets for a volume.
    #[must_use]
    pub fn mountpoint(&self, name: &VolumeName) -> PathBuf {
        self.mountpoints().join(name.as_str())
    }

    /// Home of the user that runs sshfs.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.state.join("home")
    }

    /// Host keys learnt by `accept-new`.
    #[must_use]
    pub fn learnt_known_hosts(&self) -> PathBuf {
        self.home().join("known_hosts")
    }

    /// Who holds which volume.
    #[must_use]
    pub fn references(&self) -> PathBuf {
        self.runtime.join("references")
    }

    /// One lock file per volume.
    #[must_use]
    pub fn locks(&self) -> PathBuf {
        self.runtime.join("locks")
    }

    /// What the healing of volumes did.
    #[must_use]
    pub fn healing(&self) -> PathBuf {
        self.runtime.join("healing")
    }

    /// What happened to volumes.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.runtime.join("history")
    }

    /// The `known_hosts` files of volumes that pin a key.
    #[must_use]
    pub fn pinned_host_keys(&self) -> PathBuf {
        self.runtime.join("host-keys")
    }

    /// The one of this sshfs.
    #[must_use]
    pub fn pinned_host_key(&self, generation: &Generation) -> PathBuf {
        self.pinned_host_keys().join(generation.to_string())
    }

    /// The `-F` files of ssh.
    #[must_use]
    pub fn ssh_configs(&self) -> PathBuf {
        self.runtime.join("ssh-config")
    }

    /// The one of this sshfs.
    #[must_use]
    pub fn ssh_config_of(&self, generation: &Generation) -> PathBuf {
        self.ssh_configs().join(generation.to_string())
    }

    /// The directories of the units of mounts.
    #[must_use]
    pub fn mount_directories(&self) -> PathBuf {
        self.runtime.join("mounts")
    }

    /// The one of this sshfs. systemd reads a colon in `RuntimeDirectory=` as a separator.
    #[must_use]
    pub fn mount_directory(&self, generation: &Generation) -> PathBuf {
        self.mount_directories().join(generation.to_string().replace(':', "@"))
    }

    /// The directories in which relays to agents listen.
    #[must_use]
    pub fn agents(&self) -> PathBuf {
        self.runtime.join("agents")
    }

    /// The one of this volume.
    #[must_use]
    pub fn agent_directory(&self, name: &VolumeName) -> PathBuf {
        self.agents().join(name.as_str())
    }

    /// What the unit of a mount sees that directory as.
    #[must_use]
    pub fn agent_in_unit(&self) -> PathBuf {
        self.runtime.join("agent")
    }

    /// Key copies for sshfs as a child process.
    #[must_use]
    pub fn credentials(&self) -> PathBuf {
        self.runtime.join("credentials")
    }

    /// A place for each mount that is only tried.
    #[must_use]
    pub fn checks(&self) -> PathBuf {
        self.runtime.join("checks")
    }

    /// The lock file.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("lock")
    }
}
