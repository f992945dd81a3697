//! What `docker volume inspect` shows under Status is what the volume is doing.

use crate::{
    cases,
    sshd::{free_port, wait_for},
    world::World,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::fs;

cases![
    the_state_follows_the_mount,
    the_last_error_is_what_docker_run_said_and_outlives_the_daemon,
    a_server_that_goes_away_and_comes_back_is_seen,
    an_sshfs_that_died_is_seen,
    the_host_key_is_the_servers_own,
    whoever_writes_in_place_of_a_mount_unit_is_not_believed,
];

fn status(world: &World) -> Value {
    world.client().get("data").ok()["Volume"]["Status"].clone()
}

fn state(world: &World) -> String {
    status(world)["state"].as_str().expect("a state").to_owned()
}

fn the_state_follows_the_mount() {
    let world = World::new();
    world.create("data");
    let created = world.client().get("data").ok()["Volume"]["CreatedAt"].as_str().unwrap().to_owned();
    assert_eq!(status(&world)["state"], "unmounted");
    assert_eq!(status(&world).get("since"), None, "nothing has happened yet");
    let path = world.mount("data", "x");
    let mounted = status(&world);
    assert_eq!(mounted["state"], "mounted");
    assert!(mounted["since"].as_str().unwrap() >= created.as_str(), "{mounted}, created {created}");
    assert_eq!(mounted["unit"], "sshfs-docker-mount-data.service");
    let pid = mounted["pid"].as_u64().unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sshfs\n");
    drop(path);
    world.client().unmount("data", "x").ok();
    let unmounted = status(&world);
    assert_eq!(unmounted["state"], "unmounted");
    assert!(unmounted["since"].as_str().unwrap() >= mounted["since"].as_str().unwrap());
    assert_eq!((unmounted.get("pid"), unmounted.get("unit")), (None, None));
    let (hanging, connection) = world.mount_that_hangs("slow");
    let slow = world.client().get("slow").ok()["Volume"]["Status"].clone();
    assert_eq!(slow["state"], "mounting");
    drop(connection);
    hanging.join().unwrap().err();
}

fn the_last_error_is_what_docker_run_said_and_outlives_the_daemon() {
    let mut world = World::new();
    let port = free_port().to_string();
    world.create_with("data", &[("port", &port)]).ok();
    let said = world.client().mount("data", "x").err().to_owned();
    for _ in 0..2 {
        let status = status(&world);
        let error = status["last_error"].as_str().unwrap();
        assert!(error.contains("connection refused") && said.ends_with(error), "{said:?} {status}");
        assert!(status["last_error_at"].as_str().is_some());
        world.daemon.end(Signal::SIGTERM);
        world.daemon.start_again();
    }
}

fn a_server_that_goes_away_and_comes_back_is_seen() {
    let mut world = World::new();
    world.create("data");
    let path = world.mount("data", "x");
    let access = || _ = fs::metadata(path.join("file"));
    world.sshd.end();
    world.cut_connections();
    wait_for(|| (access(), state(&world) == "failing").1, "it is failing");
    let failing = status(&world);
    assert!(failing["last_error"].as_str().unwrap().contains("connection refused"), "{failing}");
    world.sshd.start_again();
    wait_for(|| (access(), state(&world) == "mounted").1, "it is mounted again");
    assert_eq!(status(&world)["reconnects"], 1);
    assert!(status(&world)["last_error"].is_string(), "what happened can still be seen");
    assert!(world.daemon.log().contains("the connection to the server is back"));
}

fn an_sshfs_that_died_is_seen() {
    let world = World::new();
    world.create("data");
    world.mount("data", "x");
    let pid = i32::try_from(status(&world)["pid"].as_u64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_for(|| state(&world) == "dead", "it is dead");
    assert_eq!(status(&world).get("pid"), None);
    world.mount("data", "y");
    assert_eq!(state(&world), "mounted");
}

fn the_host_key_is_the_servers_own() {
    let world = World::new();
    let expected = Value::from(vec![format!("{} (ED25519)", world.sshd.fingerprint())]);
    // The first one stores the key, the second one finds it.
    for id in ["x", "y"] {
        world.create("data");
        world.mount("data", id);
        wait_for(|| status(&world)["host_keys"] == expected, "the key is told");
        world.client().unmount("data", id).ok();
    }
}

fn whoever_writes_in_place_of_a_mount_unit_is_not_believed() {
    let world = World::new();
    world.create("data");
    world.mount("data", "x");
    // The last that the unit itself writes for now.
    wait_for(|| status(&world)["host_keys"] != Value::from(Vec::<String>::new()), "the unit has told all");
    let directory = fs::read_dir(world.path("run/mounts")).unwrap().flatten().next().unwrap().path();
    let file = directory.join("health.json");
    let secret = world.path("etc/config.toml");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&secret, &file).unwrap();
    assert_eq!(state(&world), "dead");
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(state(&world), "dead");
    world.client().unmount("data", "x").ok();
    assert_eq!(state(&world), "unmounted");
}
