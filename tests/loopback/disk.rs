//! Disks that are full or read-only, and files that are not what they should be: a clear error for what is concerned,
//! everything else works, and nothing that may be all that is left is overwritten.

use crate::{cases, sshd::wait_for, world::World};
use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::Signal,
};
use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

cases![
    a_full_disk_stops_create_alone,
    a_full_disk_stops_set_and_leaves_what_there_was,
    a_disk_that_turns_read_only_stops_what_writes_alone,
    a_daemon_starts_on_a_read_only_disk,
    a_disk_mounted_over_the_state_hides_a_mount_and_is_used,
    a_create_that_cannot_be_saved_fails_and_leaves_nothing,
    a_broken_definition_concerns_its_volume_alone,
    a_broken_reference_file_is_told_and_counts_as_none,
    a_reference_that_cannot_be_noted_fails_the_mount,
];

/// A world whose state is on a small disk of its own, with the volumes `data`, which was mounted, and `other`.
fn world_on_small_disk() -> World {
    let mut world = World::new();
    world.daemon.end(Signal::SIGTERM);
    umount(&world.path("lib/mnt")).unwrap();
    small_disk(&world.path("lib"));
    world.daemon.start_again();
    for name in ["data", "other"] {
        world.create(name);
    }
    world.mount("data", "before");
    world.client().unmount("data", "before").ok();
    world
}

fn small_disk(path: &Path) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=711")).unwrap();
}

/// Makes the disk read-only or writable again, as the kernel does after an error.
fn remount(disk: &Path, flags: MsFlags) {
    mount(None::<&str>, disk, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
}

/// Takes all the space there is.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let error = loop {
        if let Err(e) = file.write_all(&[0; 4096]) {
            break e;
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    path
}

/// What is known, and what it says.
fn definitions(world: &World) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(world.path("lib/volumes")).unwrap();
    let mut all: Vec<_> =
        entries.map(|e| e.unwrap().path()).map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    all.sort();
    all
}

/// What must work whatever the disk does.
fn mounts_and_answers(world: &World, name: &str) {
    assert!(world.client().list().contains(&name.to_owned()));
    let path = world.mount(name, "x");
    fs::write(path.join("file"), "x").unwrap();
    assert_eq!(world.client().path(name).ok()["Mountpoint"], path.to_string_lossy().as_ref());
    world.client().unmount(name, "x").ok();
    assert_eq!(world.client().get(name).ok()["Volume"]["Status"]["references"], 0);
    assert!(!world.is_mounted(name));
}

fn a_full_disk_stops_create_alone() {
    let mut world = world_on_small_disk();
    let before = definitions(&world);
    let filler = fill(&world.path("lib"));
    for options in [&[] as &[_], &[("password", "hunter2")]] {
        let reply = world.create_with("new", options);
        assert!(reply.err().contains("cannot save its definition: No space left on device"), "{reply:?}");
    }
    assert!(world.client().get("new").err().contains("not found"));
    assert_eq!(definitions(&world), before);
    assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 0);
    // Also one that was never mounted: an empty directory takes no space here.
    for name in ["data", "other"] {
        mounts_and_answers(&world, name);
    }
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert_eq!(world.client().list(), ["data", "other"]);
    mounts_and_answers(&world, "data");
    world.client().remove("other").ok();
    fs::remove_file(filler).unwrap();
    world.create("new");
    mounts_and_answers(&world, "new");
}

fn a_full_disk_stops_set_and_leaves_what_there_was() {
    let world = world_on_small_disk();
    let before = definitions(&world);
    let filler = fill(&world.path("lib"));
    let set =
        |opts: &str| world.client().call("/SshfsDocker.Set", &format!(r#"{{"Name":"data","Opts":{opts}}}"#));
    for opts in [r#"{"uid":"1"}"#, r#"{"uid":"1","password":"hunter2"}"#] {
        let reply = set(opts);
        assert!(reply.err().contains("cannot save its definition: No space left on device"), "{reply:?}");
    }
    assert_eq!(definitions(&world), before);
    assert_eq!(fs::read_dir(world.path("lib/secrets")).unwrap().count(), 0);
    mounts_and_answers(&world, "data");
    fs::remove_file(filler).unwrap();
    set(r#"{"uid":"1"}"#).ok();
    assert_ne!(definitions(&world), before);
    mounts_and_answers(&world, "data");
}

fn a_disk_that_turns_read_only_stops_what_writes_alone() {
    let world = world_on_small_disk();
    let before = definitions(&world);
    remount(&world.path("lib"), MsFlags::MS_RDONLY);
    stops_what_writes_alone(&world);
    assert_eq!(definitions(&world), before);
    remount(&world.path("lib"), MsFlags::empty());
    world.client().remove("other").ok();
    world.create("new");
    mounts_and_answers(&world, "new");
}

fn a_daemon_starts_on_a_read_only_disk() {
    let mut world = world_on_small_disk();
    let before = definitions(&world);
    world.daemon.end(Signal::SIGTERM);
    remount(&world.path("lib"), MsFlags::MS_RDONLY);
    world.daemon.start_again();
    assert_eq!(world.client().list(), ["data", "other"]);
    stops_what_writes_alone(&world);
    assert_eq!(definitions(&world), before);
}

/// With a read-only state directory, the volumes `data` (with a mountpoint) and `other` (without one).
fn stops_what_writes_alone(world: &World) {
    for (reply, reason) in [
        (world.create_with("new", &[]), "cannot save its definition: Read-only file system"),
        (world.client().mount("other", "x"), "making the mountpoint: Read-only file system"),
    ] {
        assert!(reply.err().contains(reason), "{reply:?}");
    }
    world.mount("data", "lost");
    let reply = world.client().remove("data");
    assert!(reply.err().contains("cannot remove its definition: Read-only file system"), "{reply:?}");
    // It was unmounted for that; who held it does so no more.
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 0);
    mounts_and_answers(world, "data");
}

fn a_disk_mounted_over_the_state_hides_a_mount_and_is_used() {
    let mut world = World::new();
    world.create("data");
    let path = world.mount("data", "before");
    world.daemon.end(Signal::SIGTERM);
    small_disk(&world.path("lib"));
    world.daemon.start_again();
    world.create("data");
    assert_eq!(world.mount("data", "after"), path);
    fs::write(path.join("file"), "x").unwrap();
    assert!(world.remote().join("file").exists(), "success was said for a directory of this host");
    world.client().unmount("data", "after").ok();
    world.client().unmount("data", "before").ok();
    umount(&world.path("lib/mnt")).unwrap();
    umount(&world.path("lib")).unwrap();
}

fn a_create_that_cannot_be_saved_fails_and_leaves_nothing() {
    let world = World::new();
    // Root writes whatever the mode says; a file in the place of the directory stops even root.
    fs::rename(world.path("lib/volumes"), world.path("lib/aside")).unwrap();
    fs::write(world.path("lib/volumes"), "").unwrap();
    assert!(world.create_with("data", &[]).err().contains("cannot save its definition"));
    assert!(world.client().get("data").err().contains("not found"));
    fs::remove_file(world.path("lib/volumes")).unwrap();
    fs::rename(world.path("lib/aside"), world.path("lib/volumes")).unwrap();
    fs::set_permissions(world.path("lib/volumes"), Permissions::from_mode(0o700)).unwrap();
    world.create("data");
}

/// What can be wrong with a file of ours, and the words for it.
const BROKEN: [(&str, &[u8], &str); 6] = [
    ("empty", b"", "EOF while parsing"),
    ("truncated", b"{\"schema\": 1, \"opt", "EOF while parsing"),
    ("corrupt", b"\0\0\0\0\xff\xfe{}", "expected value"),
    ("newer", br#"{"schema":2,"created_at":"2026-01-01T00:00:00Z","options":{},"held":{}}"#, "schema 2"),
    ("without-schema", b"{}", "missing field `schema`"),
    ("other-json", b"[1, 2]", "expected a "),
];

fn a_broken_definition_concerns_its_volume_alone() {
    let mut world = World::new();
    let directory = world.path("lib/volumes");
    let file = |name: &str| directory.join(format!("{name}.json"));
    let names = BROKEN.map(|(name, ..)| name).into_iter().chain(["directory", "dangling"]);
    for name in names.clone().chain(["good"]) {
        world.create(name);
    }
    let healthy = fs::read(file("good")).unwrap();
    world.daemon.end(Signal::SIGTERM);
    for (name, content, _) in BROKEN {
        fs::write(file(name), content).unwrap();
    }
    for name in ["directory", "dangling"] {
        fs::remove_file(file(name)).unwrap();
    }
    fs::create_dir(file("directory")).unwrap();
    symlink("/nonexistent", file("dangling")).unwrap();
    world.daemon.start_again();

    let mut listed: Vec<_> = names.chain(["good"]).collect();
    listed.sort_unstable();
    assert_eq!(world.client().list(), listed, "or Docker would forget them too");
    let reasons = BROKEN.map(|(name, _, reason)| (name, reason));
    for (name, reason) in
        reasons.into_iter().chain([("directory", "Is a directory"), ("dangling", "No such file")])
    {
        let status = world.client().get(name).ok()["Volume"]["Status"].clone();
        assert_eq!(status["state"], "unusable");
        assert!(status["error"].as_str().unwrap().contains(reason), "{status}");
        for reply in
            [world.client().mount(name, "x"), world.create_with(name, &[]), world.client().remove(name)]
        {
            let says = |words: &str| reply.err().contains(words);
            assert!(says(&format!("{name}.json cannot be read")) && says(reason), "{reply:?}");
        }
        world.client().unmount(name, "x").ok();
    }
    for (name, content, _) in BROKEN {
        assert_eq!(fs::read(file(name)).unwrap(), content, "{name}");
    }
    assert!(file("directory").is_dir() && file("dangling").is_symlink());
    mounts_and_answers(&world, "good");

    // Mended by hand, it is a volume again.
    fs::write(file("truncated"), healthy).unwrap();
    world.daemon.end(Signal::SIGTERM);
    world.daemon.start_again();
    mounts_and_answers(&world, "truncated");
}

fn a_broken_reference_file_is_told_and_counts_as_none() {
    let mut world = World::new();
    let directory = world.path("run/references");
    let file = |name: &str| directory.join(format!("{name}.json"));
    for (name, ..) in BROKEN {
        world.create(name);
        world.mount(name, "x");
    }
    world.create("good");
    world.mount("good", "x");
    world.daemon.end(Signal::SIGTERM);
    for (name, content, _) in BROKEN {
        fs::write(file(name), content).unwrap();
    }
    world.daemon.start_again();
    let references = |name: &str| world.client().get(name).ok()["Volume"]["Status"]["references"].clone();
    assert_eq!(references("good"), 1);
    for (name, content, reason) in BROKEN {
        assert_eq!(references(name), 0);
        let log = world.daemon.log();
        let told = |line: &str| line.contains(&*file(name).to_string_lossy()) && line.contains(reason);
        assert!(log.lines().any(told), "{name}");
        assert_eq!(fs::read(file(name)).unwrap(), content, "reading is no reason to write");
        // The kernel shows no holder.
        wait_for(|| !world.is_mounted(name), "the sweep unmounts it");
        mounts_and_answers(&world, name);
        assert!(!file(name).exists());
    }
}

fn a_reference_that_cannot_be_noted_fails_the_mount() {
    let mut world = World::new();
    for name in ["data", "other"] {
        world.create(name);
    }
    let fails = |world: &World, reason: &str| {
        let reply = world.client().mount("data", "x");
        assert!(
            reply.err().contains("cannot note the reference") && reply.err().contains(reason),
            "{reply:?}"
        );
        assert!(!world.is_mounted("data"), "nobody would know who holds it");
        assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 0);
    };
    let file = world.path("run/references/data.json");
    fs::create_dir(&file).unwrap();
    fails(&world, "Is a directory");
    mounts_and_answers(&world, "other");
    assert!(file.is_dir());
    fs::remove_dir(&file).unwrap();
    mounts_and_answers(&world, "data");

    world.daemon.end(Signal::SIGTERM);
    let disk = world.path("run/references");
    small_disk(&disk);
    let filler = fill(&disk);
    world.daemon.start_again();
    fails(&world, "No space left on device");
    fs::remove_file(filler).unwrap();
    mounts_and_answers(&world, "data");
}
