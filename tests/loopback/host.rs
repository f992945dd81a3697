//! What the cases need of their host: users, in this mount namespace only (the machine's own /etc/passwd stays as it
//! is), and mounts that spread.

use nix::mount::{MsFlags, mount};
use std::{fs, path::Path, process::Command};

/// Logs in on the sshd of the cases with [`PASSWORD`] or a key.
pub const REMOTE_USER: &str = "alice";
/// Her user id, which files on the "server" get.
pub const REMOTE_UID: u32 = 61_001;
/// Her password.
pub const PASSWORD: &str = "correct horse, battery %h \"staple\"";

/// Lets mounts spread to later mount namespaces, as systemd does on a host. Otherwise a "container" of one case would
/// hold the volumes of all others, of which it has copies.
pub fn share_mounts() {
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SHARED, None::<&str>)
        .expect("a shared root");
}

/// Adds `alice` and, as the package does, `sshfs-docker`.
pub fn add_users() {
    let hash = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().expect("openssl runs");
    let hash = String::from_utf8(hash.stdout).expect("a hash is text");
    append(
        "/etc/passwd",
        &format!(
            "{REMOTE_USER}:x:{REMOTE_UID}:{REMOTE_UID}::/run:/bin/sh\nsshfs-docker:x:61002:61002::/run/sshfs-docker-home:/usr/sbin/nologin\n"
        ),
    );
    append("/etc/group", &format!("{REMOTE_USER}:x:{REMOTE_UID}:\nsshfs-docker:x:61002:\n"));
    append("/etc/shadow", &format!("{REMOTE_USER}:{}:20000:0:99999:7:::\n", hash.trim()));
    fs::create_dir_all("/run/sshd").expect("sshd's own directory");
}

/// Shows `path` with `lines` added, by mounting a changed copy over it.
fn append(path: &str, lines: &str) {
    let copy = Path::new("/run").join(path.trim_start_matches('/').replace('/', "-"));
    let own = ["alice:", "sshfs-docker:"];
    let content = fs::read_to_string(path).expect("a readable user database");
    let others: String = content
        .lines()
        .filter(|line| !own.iter().any(|user| line.starts_with(user)))
        .map(|l| l.to_owned() + "\n")
        .collect();
    fs::write(&copy, others + lines).expect("/run is writable");
    mount(Some(&copy), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
}
