//! The daemon goes and comes; what it promised stays. That mounts outlive it needs units: the lab shows that.

use crate::{cases, sshd::wait_for, world::World};
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    process::Command,
    time::Duration,
};

cases![
    references_outlive_the_daemon,
    a_half_made_mount_of_a_killed_daemon_is_cleared_away,
    systemd_hears_ready_watchdog_and_stopping,
    a_second_daemon_on_the_same_state_refuses_to_start,
    a_mistake_in_the_configuration_is_named_and_docker_gets_its_answers,
    without_a_socket_the_error_names_the_unit,
];

fn references_outlive_the_daemon() {
    let mut world = World::new();
    world.create("data");
    for id in ["a", "a", "b"] {
        world.mount("data", id);
    }
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 3);
}

fn a_half_made_mount_of_a_killed_daemon_is_cleared_away() {
    let mut world = World::new();
    world.create("data");
    let mut stream = world.client().connect();
    std::io::Write::write_all(
        &mut stream,
        &crate::client::request("/VolumeDriver.Mount", r#"{"Name":"data","ID":"x"}"#),
    )
    .unwrap();
    wait_for(|| world.is_mounted("data"), "the mount begins");
    // The killed daemon may have got as far as the copies of keys or not.
    let credentials = world.path("run/credentials/sshfs-docker-mount-other.service");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("identity"), "a key").unwrap();
    world.daemon.end(Signal::SIGKILL);
    world.daemon.start_again();
    assert!(!credentials.exists());
    wait_for(|| !world.is_mounted("data"), "the sweep clears it away");
    world.mount("data", "y");
}

fn systemd_hears_ready_watchdog_and_stopping() {
    let mut world = World::new();
    world.daemon.end(Signal::SIGTERM);
    let notify = UnixDatagram::bind(world.path("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut daemon = serve(&world)
        .env("NOTIFY_SOCKET", world.path("notify"))
        .env("WATCHDOG_USEC", "200000")
        .spawn()
        .unwrap();
    let hears = |word: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = notify.recv(&mut buffer).unwrap_or_else(|e| panic!("waiting for {word}: {e}"));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    };
    hears("READY=1");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    hears("STOPPING=1");
    assert!(daemon.wait().unwrap().success());
}

fn a_second_daemon_on_the_same_state_refuses_to_start() {
    let world = World::new();
    let second = serve(&world).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another sshfs-docker is running"));
}

fn a_mistake_in_the_configuration_is_named_and_docker_gets_its_answers() {
    let mut world = World::new();
    world.create("data");
    world.daemon.end(Signal::SIGTERM);
    fs::write(world.path("etc/config.toml"), "[mount]\ntimeout = 'long'\n").unwrap();
    world.daemon.start_again();
    world.client().get("data").ok();
    assert_eq!(world.client().list(), ["data"]);
    for reply in [world.client().mount("data", "x"), world.create_with("other", &[])] {
        assert!(reply.err().contains("config.toml") && reply.err().contains("timeout"), "{}", reply.err());
    }
    world.client().unmount("data", "x").ok();
}

fn without_a_socket_the_error_names_the_unit() {
    let output = Command::new(crate::program()).arg("serve").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && text.contains("systemctl enable --now sshfs-docker.socket"),
        "{text}"
    );
}

/// A daemon without activation on the directories of `world`.
fn serve(world: &World) -> Command {
    let mut command = Command::new(crate::program());
    command.arg("serve").arg("--socket").arg(world.path("other.sock"));
    command.arg("--configuration").arg(world.path("etc")).arg("--state").arg(world.path("lib"));
    command.arg("--runtime").arg(world.path("run")).stdin(File::open("/dev/null").unwrap());
    command
}
