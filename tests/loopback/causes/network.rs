//! What keeps ssh from the server.

use super::{Cause, Fault};
use crate::sshd::{Tarpit, free_port, make_key, wait_for};
use std::{
    cell::OnceCell,
    fs,
    io::Read,
    net::TcpStream,
    process::{Command, Stdio},
};

pub const CAUSES: &[Cause] = &[
    ("unknown-host", || Fault::new().with("sshcmd", "alice@no-such-host.invalid:/srv/data")),
    ("refused", || Fault::new().with("port", free_port())),
    ("unreachable-network", || Fault::new().with("sshcmd", "alice@192.0.2.1:/srv/data")),
    ("timed-out", tarpit),
    ("timed-out-connecting", || tarpit().with("ConnectTimeout", 1)),
    ("unreachable-host", || on_route("unreachable", "198.51.100.1")),
    ("unreachable-by-a-firewall", || on_route("prohibit", "203.0.113.1")),
    ("connection-closed", || {
        let fault = Fault::new().on_server("MaxStartups 1");
        let login = begin_to_log_in(fault.port());
        fault.keeping(login)
    }),
    ("no-common-cipher", || Fault::new().with("Ciphers", "aes128-cbc")),
    ("no-common-key-exchange", || Fault::new().with("KexAlgorithms", "diffie-hellman-group1-sha1")),
    ("no-common-host-key", || Fault::new().with("HostKeyAlgorithms", "ssh-rsa")),
    ("no-common-mac", || Fault::new().with("MACs", "hmac-md5").with("Ciphers", "aes128-ctr")),
    ("jump-host", || behind(&format!("Port {}", free_port()))),
    ("jump-host-login", || behind_own("keys/stranger")),
    ("behind-jump-host", || behind_own("id").with("port", free_port())),
];

/// Begins, and holds the place for as long as the result lives.
fn begin_to_log_in(port: u16) -> TcpStream {
    let begun = OnceCell::new();
    wait_for(
        || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // Where it has no place, it says that instead of what it is.
            let mut said = [0; 4];
            stream.read_exact(&mut said).is_ok() && &said == b"SSH-" && begun.set(stream).is_ok()
        },
        "a place among the logins",
    );
    begun.into_inner().unwrap()
}

/// The kernel says so itself, as a router or a firewall would.
fn on_route(kind: &str, address: &str) -> Fault {
    // Another case may have made it.
    _ = Command::new("ip").args(["route", "add", kind, address]).stderr(Stdio::null()).status();
    Fault::new().with("sshcmd", format!("alice@{address}:/srv/data"))
}

fn tarpit() -> Fault {
    let tarpit = Tarpit::open();
    let port = tarpit.port.clone();
    Fault::impatient().with("port", port).keeping(tarpit)
}

/// The way to the server leads over a host with these settings.
fn behind(settings: &str) -> Fault {
    Fault::new()
        .with_ssh_config(&format!("Host gate\nHostName 127.0.0.1\nUser alice\n{settings}\n"))
        .with("ProxyJump", "gate")
}

/// The same over the server itself, with a key of the world.
fn behind_own(key: &str) -> Fault {
    let fault = behind("");
    make_key(&fault.world.path("keys/stranger"), "");
    let copy = fault.world.path("gate-key");
    fs::copy(fault.world.path(key), &copy).unwrap();
    std::os::unix::fs::chown(&copy, Some(61_002), None).unwrap();
    let port = fault.world.sshd.port;
    let lines =
        format!("Host gate\nHostName 127.0.0.1\nUser alice\nPort {port}\nIdentityFile {}\n", copy.display());
    fault.with_ssh_config(&lines)
}
