//! `sshfs-docker forget-host-key`: the administrator's answer to a host key that has changed for a good reason.
//!
//! ssh-keygen does the work, as the user that the file belongs to: run by root it would leave a file of root's, which ssh
//! in a mount unit could neither read nor add to.

use super::output;
use crate::cli::{Admin, Layout};
use anyhow::{Context, Result, bail};
use nix::unistd::User;
use serde::Serialize;
use std::{
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Command, Output},
};

/// With `--json`: `{"host": "[storage]:2222", "forgotten": ["[storage]:2222 ED25519 SHA256:…"]}`.
#[derive(Debug, Serialize)]
struct Forgotten {
    /// As the file has it.
    host: String,
    /// Name, kind and fingerprint of each key.
    forgotten: Vec<String>,
}

/// Forgets the learnt keys of `host`, which is a name or address, with `:port` or in ssh's `[name]:port`.
pub fn run(admin: &Admin, host: &str) -> Result<bool> {
    let host = known_name(host);
    let forgotten = forget(&admin.layout, &host)?;
    if admin.json {
        output::json(&Forgotten { host, forgotten })?;
        return Ok(true);
    }
    for key in forgotten {
        output::line(format_args!("forgotten: {key}"))?;
    }
    output::line(
        "the next mount stores the key that the server shows then (not with host_keys = \"yes\" or a pinned key: those \
         want the new key first)",
    )?;
    Ok(true)
}

/// The keys that were forgotten: name, kind and fingerprint of each.
fn forget(layout: &Layout, host: &str) -> Result<Vec<String>> {
    let file = layout.paths().learnt_known_hosts();
    let user = User::from_name(&layout.user)?
        .with_context(|| format!("the user '{}' does not exist", layout.user))?;
    let keygen = |arguments: [&str; 2]| -> Result<Output> {
        let mut command = Command::new("ssh-keygen");
        command.args(arguments).arg("-f").arg(&file).env("LC_ALL", "C");
        // It writes a second file beside the first: not where this was called.
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
        command.output().context("cannot run ssh-keygen as the owner of the learnt host keys (are you root?)")
    };
    let succeeded = |output: &Output| -> Result<()> {
        // Without a word, it has only found nothing.
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || said.trim().is_empty() {
            return Ok(());
        }
        let foreign = file
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.uid() != user.uid.as_raw());
        let remedy = if foreign {
            format!(
                "; it does not belong to the user that mounts run as: chown {}: '{}'",
                user.name,
                file.display()
            )
        } else {
            String::new()
        };
        bail!("ssh-keygen cannot use {}: {}{remedy}", file.display(), said.trim())
    };
    if !file.try_exists().context("cannot look for the learnt host keys")? {
        bail!("no key of {host} has been learnt ({} does not exist)", file.display());
    }
    let found = keygen(["-lF", host])?;
    succeeded(&found)?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let keys: Vec<_> = found.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    if keys.is_empty() {
        bail!("no key of {host} has been learnt ({})", file.display());
    }
    let removed = keygen(["-R", host])?;
    succeeded(&removed)?;
    Ok(keys)
}

/// The name that ssh writes into the file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): the port only where it is not 22.
fn known_name(text: &str) -> String {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            // Several colons are an IPv6 address.
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let host = host.to_ascii_lowercase();
    match port {
        None | Some("22") => host,
        Some(port) => format!("[{host}]:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_server_means_the_name_in_the_file() {
        for (text, name) in [
            ("storage", "storage"),
            ("Storage:22", "storage"),
            ("storage:2222", "[storage]:2222"),
            ("[storage]:2222", "[storage]:2222"),
            ("[10.0.0.1]:22", "10.0.0.1"),
            ("fe80::1", "fe80::1"),
            ("[fe80::1]:2222", "[fe80::1]:2222"),
        ] {
            assert_eq!(known_name(text), name, "{text}");
        }
    }
}
