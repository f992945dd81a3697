//! What is wrong on this host.

use super::{Cause, Fault};
use crate::{sshd::free_port, world::World};

pub const CAUSES: &[Cause] = &[
    ("bad-ssh-config", || Fault::new().with_ssh_config("Port many\n")),
    ("ssh-config-unknown-option", || Fault::new().with_ssh_config("Prot 22\n")),
    ("ssh-config-unreadable", || {
        let fault = Fault::new().with_ssh_config("");
        let file = fault.world.path("etc/ssh_config");
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fault
    }),
    ("ssh-config-writable", || {
        let fault = Fault::new().with_ssh_config("");
        let file = fault.world.path("etc/ssh_config");
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        fault
    }),
    ("bad-option-value", || Fault::new().with("Ciphers", "rot13")),
    ("sshfs-missing", || on_host(&without("sshfs"))),
    ("ssh-missing", || on_host(&without("ssh"))),
    ("ssh-too-old", || {
        on_host(&instead_of(
            "ssh",
            "[ \"$1\" = -V ] && echo OpenSSH_8.2p1 >&2 || { echo 'alice@storage: Permission denied (publickey).' >&2; exit 255; }",
        ))
    }),
    ("sshfs-too-old", || {
        on_host(&instead_of(
            "sshfs",
            "[ \"$1\" = -V ] && echo 'SSHFS version 2.10' || { echo 'fuse: bad mount point `/dev/fd/0'; exit 1; }",
        ))
    }),
    ("systemd-too-old", || {
        on_host(&instead_of("systemctl", "echo 'systemd 245 (245.4-4ubuntu3)'")).with("port", free_port())
    }),
    ("other", || on_host(&instead_of("ssh", "[ \"$1\" = -V ] || { echo 'Bus error' >&2; exit 255; }"))),
    ("no-fuse", || on_host(&dev("", ""))),
    ("no-fuse-module", || on_host(&dev("", "mknod /dev/fuse c 10 253"))),
    ("no-fuse-allowed", || on_host(&dev("-o nodev", "mknod /dev/fuse c 10 229"))),
    ("kernel-refused", || Fault::new().with("context", "system_u:object_r:x:s0")),
];

/// A host that a shell has changed for the daemon.
fn on_host(changes: &str) -> Fault {
    Fault::in_world(World::on_changed_host("[mount]\ntimeout = 10", Some(changes)))
}

/// Shows other programs in /usr/bin.
fn overlay(change: &str) -> String {
    format!(
        "over=$(mktemp -d $WORLD/over-XXXXXX); chmod 755 $over; mkdir $over/upper $over/work; cd $over/upper\n{change}\n\
         cd /; mount -t overlay -o lowerdir=/usr/bin,upperdir=$over/upper,workdir=$over/work overlay /usr/bin"
    )
}

/// A program is not installed: overlayfs takes a device 0:0 for a file that was removed.
fn without(program: &str) -> String {
    overlay(&format!("mknod {program} c 0 0"))
}

/// A program is another one.
fn instead_of(program: &str, script: &str) -> String {
    overlay(&format!("cat >{program} <<'END'\n#!/bin/sh\n{script}\nEND\nchmod 755 {program}"))
}

/// /dev has little in it.
fn dev(options: &str, change: &str) -> String {
    format!(
        "dev=$(mktemp -d $WORLD/dev-XXXXXX); mount -t tmpfs {options} tmpfs $dev; chmod 755 $dev
         for device in null urandom; do touch $dev/$device; mount --bind /dev/$device $dev/$device; done
         mount --rbind $dev /dev; {change}"
    )
}
