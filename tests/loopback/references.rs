//! Who holds a volume: Docker's ids are hints, the kernel decides.

use crate::{cases, sshd::wait_for, world::World};
use std::{
    fs::{self, File},
    process::{Child, Command},
};

cases![
    two_ids_share_one_mount,
    docker_cp_nests_the_same_id,
    unmount_of_anything_unknown_succeeds,
    a_mount_that_a_container_holds_stays_when_references_are_lost,
    remove_refuses_what_a_container_holds,
    a_bind_mount_elsewhere_on_the_host_holds_too,
    a_mount_in_use_by_the_host_is_unmounted_later,
    the_constant_id_of_podman_and_random_ids_coexist,
];

/// A "container": a mount namespace of its own with a private bind mount of the volume.
struct Container(Child);

impl Container {
    fn with(world: &World, name: &str) -> Self {
        let target = world.path("target");
        fs::create_dir_all(&target).unwrap();
        let script = format!(
            "mount --bind {} {target} && mount --make-private {target} && umount {} && touch {}/in-container && exec sleep 1000",
            world.daemon.mountpoint(name).display(),
            world.daemon.mountpoint(name).display(),
            world.path("").display(),
            target = target.display(),
        );
        let child =
            Command::new("unshare").args(["--mount", "--propagation", "slave", "sh", "-c", &script]).spawn();
        wait_for(|| world.path("in-container").exists(), "the container has the volume");
        Self(child.unwrap())
    }

    fn reads_and_writes(&self, world: &World) {
        let script = format!("echo data > {0}/written && cat {0}/written", world.path("target").display());
        let status = Command::new("nsenter")
            .args(["-t", &self.0.id().to_string(), "-m", "sh", "-c", &script])
            .output();
        assert!(status.unwrap().status.success());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn two_ids_share_one_mount() {
    let world = World::new();
    world.create("data");
    let first = world.mount("data", "a");
    assert_eq!(world.mount("data", "b"), first);
    assert_eq!(world.processes("ssh -x -a").len(), 1);
    world.client().unmount("data", "a").ok();
    fs::write(first.join("file"), "x").unwrap();
    world.client().unmount("data", "b").ok();
    assert!(!world.is_mounted("data"));
}

fn docker_cp_nests_the_same_id() {
    let world = World::new();
    world.create("data");
    world.mount("data", "container");
    world.mount("data", "container");
    world.client().unmount("data", "container").ok();
    assert!(world.is_mounted("data"));
    world.client().unmount("data", "container").ok();
    assert!(!world.is_mounted("data"));
}

fn unmount_of_anything_unknown_succeeds() {
    let world = World::new();
    world.create("data");
    world.mount("data", "a");
    for (name, id) in [("data", "never seen"), ("data", ""), ("nothing", "a"), ("../x", "a")] {
        world.client().unmount(name, id).ok();
    }
    assert!(world.is_mounted("data"));
}

fn a_mount_that_a_container_holds_stays_when_references_are_lost() {
    let world = World::new();
    world.create("data");
    world.mount("data", "a");
    let container = Container::with(&world, "data");
    world.client().unmount("data", "a").ok();
    container.reads_and_writes(&world);
    assert_eq!(world.processes("ssh -x -a").len(), 1, "its sshfs lives");
    // The next container shares that sshfs, and its end is the end of the mount.
    world.mount("data", "b");
    drop(container);
    world.client().unmount("data", "b").ok();
    assert!(!world.is_mounted("data"));
}

fn remove_refuses_what_a_container_holds() {
    let world = World::new();
    world.create("data");
    world.mount("data", "a");
    let container = Container::with(&world, "data");
    world.client().unmount("data", "a").ok();
    let reply = world.client().remove("data");
    assert!(reply.err().contains("in use") && reply.err().contains("process"), "{}", reply.err());
    container.reads_and_writes(&world);
    drop(container);
    world.client().remove("data").ok();
    assert!(world.remote().join("written").exists());
}

fn a_bind_mount_elsewhere_on_the_host_holds_too() {
    let world = World::new();
    world.create("data");
    let path = world.mount("data", "a");
    let elsewhere = world.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let mount =
        |arguments: &[&str]| assert!(Command::new("mount").args(arguments).status().unwrap().success());
    mount(&["--make-shared", path.to_str().unwrap()]);
    mount(&["--bind", path.to_str().unwrap(), elsewhere.to_str().unwrap()]);
    world.client().unmount("data", "a").ok();
    fs::write(elsewhere.join("file"), "x").unwrap();
    assert!(world.client().remove("data").err().contains("elsewhere"));
    assert!(Command::new("umount").arg(&elsewhere).status().unwrap().success());
    world.client().remove("data").ok();
}

fn a_mount_in_use_by_the_host_is_unmounted_later() {
    let mut world = World::new();
    world.create("data");
    let path = world.mount("data", "a");
    let open = File::create(path.join("file")).unwrap();
    world.client().unmount("data", "a").ok();
    assert!(world.is_mounted("data"), "an open file must not lose its mount");
    assert!(world.client().remove("data").err().contains("in use"));
    drop(open);
    // The sweep at the start of a daemon finds it.
    world.daemon.end(nix::sys::signal::Signal::SIGTERM);
    world.daemon.start_again();
    wait_for(|| !world.is_mounted("data"), "the sweep unmounts it");
}

fn the_constant_id_of_podman_and_random_ids_coexist() {
    let world = World::new();
    world.create("data");
    let podman = "2f73349cfc4630255319c6c8dfc1b46a8996ace9d14d8e07563b165915918ec2";
    world.mount("data", podman);
    world.mount("data", "d0c4e3");
    world.client().unmount("data", podman).ok();
    assert!(world.is_mounted("data"));
    world.client().unmount("data", "d0c4e3").ok();
    assert!(!world.is_mounted("data"));
}
