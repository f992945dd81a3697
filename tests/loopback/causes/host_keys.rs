//! What is wrong with the key of the server.

use super::{Cause, Fault};
use crate::sshd::make_key;
use std::{fs, path::Path};

pub const CAUSES: &[Cause] = &[
    ("host-key-unknown", || Fault::new().with("StrictHostKeyChecking", "yes")),
    ("host-key-changed", || known(|_, stranger| stranger.to_owned(), "lib/home/known_hosts")),
    ("host-key-changed-for-the-administrator", || {
        known(|_, stranger| stranger.to_owned(), "etc/known_hosts")
    }),
    ("host-key-not-the-pinned-one", || {
        let fault = Fault::new();
        let key = stranger(&fault);
        fault.with("host_key", key)
    }),
    ("host-key-revoked", || known(|own, _| own.to_owned(), "etc/known_hosts")),
    ("known-hosts-unusable", || {
        let fault = Fault::new();
        let file = fault.world.path("lib/home/known_hosts");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fault
    }),
];

fn stranger(fault: &Fault) -> String {
    let key = fault.world.path("keys/stranger");
    make_key(&key, "");
    crate::sshd::public_key(&key)
}

/// The server is known by a key: of its own or of a stranger. Its own is revoked.
fn known(choose: fn(&str, &str) -> String, file: &str) -> Fault {
    let fault = Fault::new();
    let own = fault.world.sshd.host_key();
    let key = choose(&own, &stranger(&fault));
    let revoked = if key == own { "@revoked " } else { "" };
    let line = format!("{revoked}[127.0.0.1]:{} {key}\n", fault.world.sshd.port);
    write_readable(&fault.world.path(file), &line);
    fault
}

fn write_readable(file: &Path, line: &str) {
    fs::write(file, line).unwrap();
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::os::unix::fs::chown(file, Some(61_002), None).unwrap();
}
