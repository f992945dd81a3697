//! What keeps the user from logging in.

use super::{Cause, Fault};
use crate::{sshd::make_key, world::ABSENT};
use std::fs;

pub const CAUSES: &[Cause] = &[
    ("key-refused", || with_key("id_ed25519", "", false)),
    ("key-refused/user-denied", || Fault::new().on_server("DenyUsers alice")),
    ("password-refused", || {
        Fault::new().with("identity_file", ABSENT).with_file("password_file", "password", "wrong")
    }),
    ("login-refused", || with_key("id_ed25519", "", false).with("password", "wrong")),
    ("login-missing", || Fault::new().with("identity_file", ABSENT)),
    ("key-not-asked-for", || Fault::new().on_server("PubkeyAuthentication no")),
    ("too-many-attempts", || with_key("id_ed25519", "", false).on_server("MaxAuthTries 1")),
    ("no-file", || Fault::new().with("identity_file", "/root/no-such-key")),
    ("no-file-at-mount", || Fault::new().later(|world| fs::remove_file(world.path("id")).unwrap())),
    ("not-a-file", || Fault::new().with("identity_file", "/root")),
    ("no-credential", || Fault::new().with("identity_file", "storage-key")),
    ("key-is-no-key", || Fault::new().with_file("identity_file", "text", "not a key\n")),
    ("key-empty", || Fault::new().with_file("identity_file", "empty", "")),
    ("key-cut-off", || {
        let fault = Fault::new();
        let key = fs::read(fault.world.path("id")).unwrap();
        fault.with_file("identity_file", "half", &key[..key.len() / 2])
    }),
    ("key-is-the-public-half", || {
        let fault = Fault::new();
        let key = fs::read(fault.world.path("id.pub")).unwrap();
        fault.with_file("identity_file", "id.pub", key)
    }),
    ("key-of-putty", || {
        Fault::new().with_file("identity_file", "id.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\n")
    }),
    ("key-refused/user-locked", || Fault::new().on_server("AllowUsers bob")),
    ("password-not-taken", || {
        let fault = Fault::new().on_server("AuthenticationMethods publickey");
        fault.with("identity_file", ABSENT).with("password", "wrong")
    }),
    ("passphrase-wrong", || {
        with_key("locked", "tr0ub4dor & 3", true).with_file("password_file", "passphrase", "wrong")
    }),
    ("passphrase-missing", || with_key("locked", "tr0ub4dor & 3", true)),
    ("agent-needs-systemd", || {
        let fault = Fault::new();
        let socket = fault.path("agent");
        let agent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fault.with("IdentityAgent", socket).keeping(agent)
    }),
    ("no-agent", || Fault::new().with("IdentityAgent", "/run/user/1000/agent")),
    ("not-a-socket", || Fault::new().with("IdentityAgent", "/etc/passwd")),
];

/// The volume has a key of its own, which the server may know.
fn with_key(name: &str, passphrase: &str, known: bool) -> Fault {
    let fault = Fault::new();
    let key = fault.world.path("keys").join(name);
    make_key(&key, passphrase);
    if known {
        fault.world.sshd.authorize(&key);
    }
    fault.with("identity_file", key.display())
}
