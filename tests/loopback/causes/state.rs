//! What is wrong with the volume itself, its files, or the mount that it has already.

use super::{Cause, Fault};
use crate::{client::Reply, sshd::make_key, world::World};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount, umount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
};

pub const CAUSES: &[Cause] = &[
    ("no-such-volume", || Fault::new().met_by(|world| world.client().mount("data", "x"))),
    ("bad-name", || Fault::new().met_by(|world| world.create_with("my data", &[]))),
    ("bad-options", || Fault::new().with("IdentityFiles", "/root/.ssh/id_ed25519")),
    ("exists", || {
        Fault::new().met_by(|world| {
            world.create("data");
            world.create_with("data", &[("port", "2222")])
        })
    }),
    ("bad-id", || {
        Fault::new().met_by(|world| {
            world.create("data");
            world.client().mount("data", &"x".repeat(2000))
        })
    }),
    ("bad-config", || {
        Fault::new().later(|world| fs::write(world.path("etc/config.toml"), "[mount]\ntimeot = 5\n").unwrap())
    }),
    ("unusable", || {
        Fault::new().later(|world| {
            fs::write(world.path("etc/config.toml"), "[policy]\nallow_hosts = ['*.example.net']\n").unwrap();
        })
    }),
    ("busy", || {
        Fault::impatient().met_by(|world| {
            world.create("data");
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(world.path("run/locks/data"))
                .unwrap();
            let _lock = Flock::lock(file, FlockArg::LockExclusive).unwrap();
            world.client().mount("data", "x")
        })
    }),
    ("in-use", || {
        Fault::new().met_by(|world| {
            world.create("data");
            let path = world.mount("data", "x");
            let _open = File::create(path.join("file")).unwrap();
            world.client().remove("data")
        })
    }),
    ("definition-not-kept", || {
        Fault::new().met_by(|world| read_only(world, "lib/volumes", |w| w.create_with("data", &[])))
    }),
    ("definition-not-kept-on-a-full-disk", || {
        Fault::new().met_by(|world| full(world, "lib/volumes", |w| w.create_with("data", &[])))
    }),
    ("local-file", || {
        Fault::new().met_by(|world| {
            world.create("data");
            read_only(world, "lib/mountpoints", |world| world.client().mount("data", "x"))
        })
    }),
    ("reference-not-kept", || {
        Fault::new().met_by(|world| {
            world.create("data");
            read_only(world, "run/references", |world| world.client().mount("data", "x"))
        })
    }),
    ("foreign-mount", || {
        Fault::new().met_by(|world| {
            world.create("data");
            world.mount("data", "x");
            world.client().unmount("data", "x").ok();
            let place = world.daemon.mountpoint("data");
            mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
            let reply = world.client().mount("data", "x");
            umount(&place).unwrap();
            reply
        })
    }),
    ("mount-hanging", || {
        Fault::impatient().met_by(|world| {
            world.create("data");
            world.mount("data", "x");
            signal_sshfs(world, Signal::SIGSTOP);
            let reply = world.client().mount("data", "y");
            signal_sshfs(world, Signal::SIGCONT);
            reply
        })
    }),
    ("file-hangs", || {
        Fault::new().met_by(|world| {
            world.create("keys");
            let path = world.mount("keys", "x");
            make_key(&world.path("remote/id"), "");
            signal_sshfs(world, Signal::SIGSTOP);
            let reply = world.create_with("data", &[("identity_file", &path.join("id").to_string_lossy())]);
            signal_sshfs(world, Signal::SIGCONT);
            reply
        })
    }),
    ("not-started", || Fault::new().with("identity_file", "/proc/self/mem")),
];

/// Stopped, the sshfs of a mount answers nobody.
fn signal_sshfs(world: &World, signal: Signal) {
    for pid in world.processes("sshfs alice") {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }
}

/// The answer to a call while a directory of ours is read-only.
fn read_only(world: &World, directory: &str, call: fn(&World) -> Reply) -> Reply {
    let directory = world.path(directory);
    mount(Some(&directory), &directory, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, &directory, None::<&str>, flags, None::<&str>).unwrap();
    let reply = call(world);
    umount(&directory).unwrap();
    reply
}

/// The same while its disk is full.
fn full(world: &World, directory: &str, call: fn(&World) -> Reply) -> Reply {
    let directory = world.path(directory);
    mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), Some("size=4k")).unwrap();
    fill(&directory.join("filler"));
    let reply = call(world);
    umount(&directory).unwrap();
    reply
}

fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}
