//! The SSH server: its accounts, directories and host keys.

use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::docker::quote;
use super::guest::Guest;

/// Logs in with the key of root on the Docker host.
pub const ALICE: &str = "alice";

/// Logs in with a password.
pub const BOB: &str = "bob";

/// A guest that serves files over SSH. Everything a [`Guest`] can do, it can do.
#[derive(Debug)]
pub struct SshServer {
    guest: Guest,
    password: String,
}

impl Deref for SshServer {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl SshServer {
    pub(super) fn new(guest: Guest) -> Self {
        // Made anew for each run; nothing to guess at, and nothing worth guessing.
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self { guest, password: format!("lab {time:x} $'\"") }
    }

    /// Makes accounts.
    pub(super) fn set_up(&self) -> Result<()> {
        self.put("/etc/ssh/sshd_config.d/lab.conf", self.release().sshd_config().as_bytes())?;
        self.sh("systemctl restart ssh.service")?;
        for user in [ALICE, BOB] {
            self.sh(&format!("useradd --create-home --shell /bin/sh {user}"))?;
        }
        self.sh("install -d -o alice -g alice -m 700 ~alice/.ssh
             install -o alice -g alice -m 600 /dev/null ~alice/.ssh/authorized_keys")?;
        self.sh(&format!("printf '%s\\n' {} | chpasswd", quote(&format!("{BOB}:{}", self.password))))
            .map(drop)
    }

    /// Lets the owner of a key log in as alice.
    pub(super) fn admit(&self, key: &str) -> Result<()> {
        self.sh(&format!("echo {} >> ~alice/.ssh/authorized_keys", quote(key))).map(drop)
    }

    /// Bob's password, with characters that a careless program would trip over.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Makes `/srv/NAME`, owned by `user`, and returns its path.
    pub fn export(&self, name: &str, user: &str) -> Result<String> {
        let path = format!("/srv/{name}");
        self.sh(&format!("install -d -o {user} -g {user} {path}"))?;
        Ok(path)
    }

    /// `sha256sum` of every file in the tree, relative to it, sorted by name.
    pub fn checksums(&self, directory: &str) -> Result<String> {
        self.sh(&format!("cd {directory} && find . -type f -exec sha256sum {{}} + | sort -k 2"))
    }

    /// Has the server answer nobody, as if it were off: packets are dropped, not refused. Until the answer is dropped.
    pub fn go_dark(&self) -> Result<Dark<'_>> {
        self.sh(&format!("iptables -I {}", Dark::RULE)).map(|_| Dark(self))
    }

    /// Gives the server other host keys, as a reinstalled or an impersonated server would have.
    pub fn replace_host_keys(&self) -> Result<()> {
        self.sh("mkdir /etc/ssh/genuine && mv /etc/ssh/ssh_host_* /etc/ssh/genuine/
             ssh-keygen -A && systemctl restart ssh.service")
            .map(drop)
    }

    /// Gives it the genuine ones back.
    pub fn restore_host_keys(&self) -> Result<()> {
        self.sh("mv /etc/ssh/genuine/* /etc/ssh/ && rmdir /etc/ssh/genuine && systemctl restart ssh.service")
            .map(drop)
    }
}

/// The server is dark as long as this exists.
#[derive(Debug)]
pub struct Dark<'a>(&'a SshServer);

impl Dark<'_> {
    const RULE: &'static str = "INPUT -p tcp --dport 22 -j DROP";
}

impl Drop for Dark<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.sh(&format!("iptables -D {}", Self::RULE)) {
            eprintln!("the server stays dark: {error:#}");
        }
    }
}
