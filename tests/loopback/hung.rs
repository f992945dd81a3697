//! Servers that hang hurt their own volumes and no other.

use crate::{
    cases,
    client::Client,
    model::{report, share_work},
    sshd::Sshd,
    world::World,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    process::{Child, Command},
    thread,
    time::Duration,
};

cases![hung_volumes_delay_no_other_and_end_in_time];

/// What is asked while volumes hang.
const LOOKS: usize = 10_000;

/// Get, List and Path read memory; the promise is "at once".
const AT_ONCE: Duration = Duration::from_millis(50);

/// dockerd gives up a call after that.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(60);

fn hung_volumes_delay_no_other_and_end_in_time() {
    let world = World::new();
    let client = world.client();
    for name in ["healthy", "io", "first", "second"] {
        let directory = world.path("remote").join(name);
        Sshd::make_directory(&directory);
        world.create_with(name, &[("sshcmd", &Sshd::sshcmd(&directory))]).ok();
    }
    let before = median_of_mounts(&client);

    let processes = ["io", "first", "second"].map(|name| hang(&world, name));
    let (mounting, connection) = world.mount_that_hangs("mounting");
    // One after the other, so that at any time one hangs in unmounting.
    let unmounting = thread::spawn({
        let client = world.client();
        move || ["first", "second"].map(|name| client.unmount(name, "x"))
    });
    let looks = look(&client, &["healthy", "io", "first", "second", "mounting"]);
    let meanwhile = median_of_mounts(&client);
    assert!(!unmounting.is_finished() && !mounting.is_finished(), "nothing hung during {looks:?}");
    assert!(looks.p99 < AT_ONCE && looks.longest < Duration::from_secs(1), "a promise: {looks:?}");
    assert!(meanwhile < before * 3 + Duration::from_millis(300), "{before:?} became {meanwhile:?}");

    let removed = client.remove("io");
    let [first, second] = unmounting.join().unwrap();
    let [unmount, remove] = [first.took.max(second.took), removed.took];
    let over_deadline = [unmount, remove].into_iter().filter(|took| *took > UNMOUNT_DEADLINE).count();
    assert_eq!(over_deadline, 0, "a promise: {unmount:?}, {remove:?}");
    for reply in [first, second, removed] {
        reply.ok();
    }
    for mut process in processes {
        assert!(!process.wait().unwrap().success(), "it was freed with an error");
    }
    drop(connection);
    mounting.join().unwrap().err();
    for name in ["healthy", "first", "second", "mounting"] {
        client.remove(name).ok();
    }
    world.assert_empty();
    report(&format!(
        "case=hung calls_beside_hung_volumes={LOOKS} call_beside_hung_volumes_p99_us={} call_beside_hung_volumes_us={} \
         mount_before_ms={} mount_beside_hung_volumes_ms={} unmount_of_a_hung_volume_ms={} \
         remove_of_a_hung_volume_ms={} calls_over_their_deadline={over_deadline}",
        looks.p99.as_micros(),
        looks.longest.as_micros(),
        before.as_millis(),
        meanwhile.as_millis(),
        unmount.as_millis(),
        remove.as_millis(),
    ));
}

/// Mounts a volume, stops its sshfs, and lets a process hang in it.
fn hang(world: &World, name: &str) -> Child {
    let path = world.mount(name, "x");
    for pid in
        world.processes(&format!("sshfs alice@127.0.0.1:{}", world.path("remote").join(name).display()))
    {
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGSTOP).unwrap();
    }
    Command::new("stat").arg(path.join("file")).spawn().unwrap()
}

/// How long a Mount and its Unmount take.
fn median_of_mounts(client: &Client) -> Duration {
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let mount = client.mount("healthy", "x");
            let unmount = client.unmount("healthy", "x");
            let time = mount.took + unmount.took;
            mount.ok();
            unmount.ok();
            time
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long the answers took that must never wait.
#[derive(Debug)]
pub struct Looks {
    pub p99: Duration,
    pub longest: Duration,
}

/// Get, Path and List for all volumes, four callers at once.
pub fn look(client: &Client, names: &[&str]) -> Looks {
    let look = |i: usize| {
        let name = names[i / 3 % names.len()];
        let reply = match i % 3 {
            0 => client.get(name),
            1 => client.path(name),
            _ => client.call("/VolumeDriver.List", "{}"),
        };
        assert_eq!(reply.status, Some(200), "{reply:?}");
        reply.took
    };
    let mut times = share_work(4, LOOKS, look);
    times.sort_unstable();
    Looks { p99: times[LOOKS * 99 / 100], longest: times[LOOKS - 1] }
}
