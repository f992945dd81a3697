//! The life of a mount.

use crate::{
    cases,
    client::request,
    delay,
    host::REMOTE_UID,
    sshd::{Sshd, wait_for},
    world::{World, mounts_at},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

cases![
    a_mount_is_live_and_files_go_both_ways,
    get_tells_the_mountpoint_only_while_mounted,
    a_failed_mount_leaves_nothing,
    a_caller_that_hangs_up_gets_its_mount_taken_back,
    a_dead_mount_is_replaced,
    an_unmounted_mountpoint_cannot_be_written_by_root,
    the_protection_of_mountpoints_is_renewed_at_start,
    something_else_at_the_mountpoint_is_refused_and_kept,
    a_link_on_the_way_to_the_state_directory_is_fine,
    another_user_reads_and_writes_what_the_server_permits,
    a_read_only_volume_is_read_only,
    volumes_on_one_directory_are_independent,
    a_hung_server_does_not_delay_other_volumes,
    unmount_of_a_hung_mount_meets_its_deadline,
    read_ahead_is_set,
    far_servers_are_read_further_ahead,
    paths_with_odd_characters_arrive_as_they_are,
    sshfs_runs_without_privilege,
    mounts_of_one_volume_at_once_share_one_sshfs,
];

fn a_mount_is_live_and_files_go_both_ways() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "x");
    assert!(path.is_absolute() && path.is_dir());
    assert_ne!(path.metadata().unwrap().dev(), path.parent().unwrap().metadata().unwrap().dev());
    fs::write(path.join("from-here"), "hello").unwrap();
    assert_eq!(fs::read_to_string(world.remote().join("from-here")).unwrap(), "hello");
    assert_eq!(world.remote().join("from-here").metadata().unwrap().uid(), REMOTE_UID);
    fs::write(world.remote().join("from-there"), vec![7; 3 << 20]).unwrap();
    assert_eq!(fs::read(path.join("from-there")).unwrap(), vec![7; 3 << 20]);
}

fn get_tells_the_mountpoint_only_while_mounted() {
    let world = World::new();
    world.create("data");
    let told = || world.client().get("data").ok()["Volume"]["Mountpoint"].as_str().unwrap().to_owned();
    let path_call = || world.client().path("data").ok()["Mountpoint"].clone();
    assert_eq!(told(), "");
    let path = world.mount("data", "x").to_string_lossy().into_owned();
    assert_eq!(told(), path);
    assert_eq!(path_call(), path);
    world.client().unmount("data", "x").ok();
    assert_eq!(told(), "");
    assert_eq!(path_call(), "");
}

fn a_failed_mount_leaves_nothing() {
    let world = World::new();
    world.create_with("data", &[("sshcmd", &Sshd::sshcmd(&world.path("nothing")))]).ok();
    world.client().mount("data", "x").err();
    assert!(!world.is_mounted("data"));
    assert_eq!(world.processes("sshfs alice@"), [0; 0]);
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 0);
    assert_eq!(fs::read_dir(world.path("run/credentials")).unwrap().count(), 0);
    Sshd::make_directory(&world.path("nothing"));
    world.mount("data", "x");
}

fn a_caller_that_hangs_up_gets_its_mount_taken_back() {
    let world = World::new();
    world.create("data");
    let mut stream = world.client().connect();
    stream.write_all(&request("/VolumeDriver.Mount", r#"{"Name":"data","ID":"x"}"#)).unwrap();
    wait_for(|| world.is_mounted("data"), "the mount begins");
    drop(stream);
    wait_for(|| !world.is_mounted("data"), "the mount is taken back");
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 0);
}

fn a_dead_mount_is_replaced() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "first");
    for pid in world.processes("sshfs alice@") {
        _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL);
    }
    wait_for(
        || fs::metadata(&path).is_err_and(|e| e.raw_os_error() == Some(107)),
        "the mount is dead: ENOTCONN",
    );
    assert!(fs::write(path.join("lost"), "x").is_err(), "a dead mount must not take data");
    world.mount("data", "second");
    assert_eq!(mounts_at(&path), 1);
    fs::write(path.join("kept"), "x").unwrap();
    assert!(world.remote().join("kept").exists());
    for id in ["first", "second"] {
        assert!(world.is_mounted("data"));
        world.client().unmount("data", id).ok();
    }
    assert!(!world.is_mounted("data"));
}

fn an_unmounted_mountpoint_cannot_be_written_by_root() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    assert!(path.is_dir(), "Docker may still have the path");
    let error = fs::write(path.join("file"), "x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0);
}

fn the_protection_of_mountpoints_is_renewed_at_start() {
    let mut world = World::new();
    world.create("data");
    let view = world.path("lib/mnt");
    // As a daemon leaves it that is killed between the bind mount and its remount.
    let status = Command::new("mount").args(["-o", "remount,bind,rw"]).arg(&view).status().unwrap();
    assert!(status.success() && fs::write(view.join("file"), "x").is_ok());
    fs::remove_file(view.join("file")).unwrap();
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert_eq!(fs::write(view.join("file"), "x").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    let path = world.mount("data", "x");
    assert_eq!((mounts_at(&path), mounts_at(&world.path("lib/mountpoints/data"))), (1, 0));
}

fn something_else_at_the_mountpoint_is_refused_and_kept() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "x");
    world.client().unmount("data", "x").ok();
    assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&path).status().unwrap().success());
    fs::write(path.join("file"), "x").unwrap();
    assert!(world.client().mount("data", "x").err().contains("type tmpfs, which is not ours"));
    assert!(world.client().remove("data").err().contains("not ours"));
    assert!(path.join("file").exists());
    assert!(Command::new("umount").arg(&path).status().unwrap().success());
    world.client().remove("data").ok();
}

fn a_link_on_the_way_to_the_state_directory_is_fine() {
    let mut world = World::new();
    world.daemon.end(Signal::SIGTERM);
    assert!(Command::new("umount").arg(world.path("lib/mnt")).status().unwrap().success());
    fs::rename(world.path("lib"), world.path("disk")).unwrap();
    std::os::unix::fs::symlink(world.path("disk"), world.path("lib")).unwrap();
    world.daemon.start_again();
    world.create("data");
    let path = world.client().mount("data", "x").ok()["Mountpoint"].as_str().unwrap().to_owned();
    assert_eq!(path, world.path("disk/mnt/data").to_string_lossy());
    world.client().unmount("data", "x").ok();
    assert_eq!(mounts_at(path.as_ref()), 0);
}

fn another_user_reads_and_writes_what_the_server_permits() {
    let world = World::new();
    world.create("data");
    fs::write(world.remote().join("secret"), "x").unwrap();
    let path = world.mount("data", "x");
    let as_nobody = |script: &str| {
        Command::new("sh")
            .args(["-c", script])
            .current_dir(&path)
            .uid(65534)
            .gid(65534)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(as_nobody("echo hello > file && cat file"));
    assert!(as_nobody("cat secret"), "readable by all on the server");
    assert!(!as_nobody("echo more >> secret"), "alice may not write a file of root");
    assert_eq!(fs::read_to_string(world.remote().join("file")).unwrap(), "hello\n");
}

fn a_read_only_volume_is_read_only() {
    let world = World::new();
    world.create_with("data", &[("ro", "")]).ok();
    fs::write(world.remote().join("file"), "x").unwrap();
    let path = world.mount("data", "x");
    assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "x");
    assert_eq!(fs::write(path.join("file"), "y").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
}

fn volumes_on_one_directory_are_independent() {
    let world = World::new();
    world.create("one");
    world.create("two");
    let (one, two) = (world.mount("one", "x"), world.mount("two", "x"));
    assert_ne!(one.metadata().unwrap().dev(), two.metadata().unwrap().dev());
    world.client().unmount("one", "x").ok();
    world.client().remove("one").ok();
    fs::write(two.join("file"), "x").unwrap();
    assert!(world.remote().join("file").exists());
}

fn a_hung_server_does_not_delay_other_volumes() {
    let world = World::with_config("[mount]\ntimeout = 8");
    world.create("data");
    let (hanging, _connection) = world.mount_that_hangs("hangs");
    let started = Instant::now();
    for _ in 0..3 {
        world.mount("data", "x");
        world.client().unmount("data", "x").ok();
    }
    assert!(!hanging.is_finished(), "three mounts took {:?} while the other hung", started.elapsed());
    hanging.join().unwrap().err();
}

fn unmount_of_a_hung_mount_meets_its_deadline() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "x");
    let sshfs = world.processes("sshfs alice@");
    for pid in &sshfs {
        _ = kill(Pid::from_raw(i32::try_from(*pid).unwrap()), Signal::SIGSTOP);
    }
    let mut hanging = Command::new("stat").arg(path.join("file")).spawn().unwrap();
    let reply = world.client().unmount("data", "x");
    assert!(reply.took < Duration::from_secs(60), "a promise: {reply:?}");
    reply.ok();
    wait_for(|| !world.is_mounted("data"), "the mount is gone");
    assert!(!hanging.wait().unwrap().success());
    assert_eq!(world.processes("sshfs alice@"), [0; 0]);
}

fn read_ahead_is_set() {
    let world = World::with_config("[mount]\nread_ahead_kb = 2048");
    world.create("one");
    world.create_with("two", &[("read_ahead_kb", "256")]).ok();
    for (name, expected) in [("one", 2048), ("two", 256)] {
        assert_eq!(read_ahead(&world.mount(name, "x")), expected);
    }
}

fn read_ahead(mount: &Path) -> u32 {
    let device = mount.metadata().unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let text = fs::read_to_string(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb")).unwrap();
    text.trim().parse().unwrap()
}

fn far_servers_are_read_further_ahead() {
    let world = World::new();
    world.create("near");
    let far = delay::start(world.sshd.port, Duration::from_millis(20)).to_string();
    world.create_with("far", &[("port", &far)]).ok();
    assert_eq!(read_ahead(&world.mount("far", "x")), 4096);
    // A machine that is busy may look further away than it is, but not again and again.
    let is_near = || {
        let is_near = read_ahead(&world.mount("near", "x")) == 1024;
        world.client().unmount("near", "x").ok();
        is_near
    };
    assert!((0..50).any(|_| is_near()));
}

fn paths_with_odd_characters_arrive_as_they_are() {
    let world = World::new();
    for name in [
        "with blank",
        "comma,ro",
        "quote\"'",
        "$HOME ${PATH}",
        "%h%%",
        "back\\slash",
        "ü:colon",
        "-dash",
        "a;b|c&d",
    ] {
        let directory = world.path("remote").join(name);
        Sshd::make_directory(&directory);
        fs::write(directory.join("file"), name).unwrap();
        world.create_with("data", &[("sshcmd", &Sshd::sshcmd(&directory))]).ok();
        let path = world.mount("data", "x");
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), name);
        fs::write(path.join("writable"), "").unwrap();
        world.client().unmount("data", "x").ok();
        world.client().remove("data").ok();
    }
}

fn sshfs_runs_without_privilege() {
    let world = World::new();
    world.create("data");
    world.mount("data", "x");
    // The supervisor and sshfs name the mountpoint's file descriptor, ssh the subsystem.
    let pids = [world.processes("/dev/fd/0"), world.processes("ssh -x -a")].concat();
    assert!(pids.len() >= 3, "{pids:?}");
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("Uid:"), "61002\t61002\t61002\t61002");
        assert_eq!(field("Groups:"), "");
        assert_eq!(field("CapEff:"), "0000000000000000");
    }
}

fn mounts_of_one_volume_at_once_share_one_sshfs() {
    let world = World::new();
    world.create("data");
    let mounts: Vec<_> = (0..10)
        .map(|i| {
            let client = world.client();
            thread::spawn(move || client.mount("data", &i.to_string()).ok())
        })
        .collect();
    for mount in mounts {
        mount.join().unwrap();
    }
    assert_eq!(mounts_at(&world.daemon.mountpoint("data")), 1);
    assert_eq!(world.processes("ssh -x -a").len(), 1);
    for i in 0..10 {
        assert!(world.is_mounted("data"));
        world.client().unmount("data", &i.to_string()).ok();
    }
    assert!(!world.is_mounted("data"));
}
