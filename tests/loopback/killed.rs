//! The daemon is killed at any moment of a mixed load: what was acknowledged is there, and nothing else is.

use crate::{
    cases,
    client::{Client, read_reply, request},
    model::{Plan, Random, Shares, Tally, Worker, audit, disturb, report},
    sshd::wait_for,
    world::World,
};
use nix::sys::signal::Signal;
use std::{collections::BTreeMap, io::Write, os::unix::net::UnixStream};

cases![kills_under_load_lose_nothing_that_was_acknowledged, sigterm_answers_all_calls_in_flight,];

const CYCLES: u64 = 100;

fn kills_under_load_lose_nothing_that_was_acknowledged() {
    let seed = Random::seed();
    let mut random = Random::new(seed);
    let mut world = World::new();
    let plan = plan(&world);
    let mut workers: Vec<_> = (0..6).map(|i| Worker::new(&format!("id{i}"), &own(i), &plan, seed)).collect();
    for cycle in 0..CYCLES {
        let client = world.client();
        disturb(&mut workers, &plan, &client, &mut random, 400, || {
            world.daemon.end(Signal::SIGKILL);
            world.daemon.start_again();
        });
        let snapshot = audit(&world.site(), "", &client, &mut workers, &plan)
            .unwrap_or_else(|wrong| panic!("seed {seed}, cycle {cycle}: {wrong}"));
        let mounts = snapshot.mounts.len();
        // Supervisor and sshfs; those of the killed daemon end with it.
        wait_for(|| world.processes("/dev/fd/0").len() <= 2 * mounts, "sshfs without a mount ends");
    }
    finish(&world, &plan, &mut workers);
    let Tally { acknowledged, mounts, in_doubt, wrong, .. } = Tally::total(&workers);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    report(&format!(
        "case=loopback_kills kill_cycles={CYCLES} acknowledged_calls={acknowledged} mounts={mounts} calls_in_doubt={in_doubt} calls_lost=0 seed={seed}"
    ));
}

/// Definitions come and go by the hundred, mounts now and then.
fn plan(world: &World) -> Plan {
    let shared: Vec<_> = ["shared-1", "shared-2"].map(str::to_owned).into();
    for name in &shared {
        world.create(name);
    }
    let shares = Shares { definitions: 450, own_mounts: 5, shared_mounts: 30 };
    Plan { options: world.options(), shared, watched: (0..6).flat_map(own).collect(), shares }
}

/// The volumes of one worker.
fn own(worker: u32) -> Vec<String> {
    (0..4).map(|i| format!("own-{worker}-{i}")).collect()
}

/// Unmounts and removes everything: nothing is left.
fn finish(world: &World, plan: &Plan, workers: &mut [Worker]) {
    let client = world.client();
    for worker in &mut *workers {
        worker.finish(plan, &client);
    }
    for name in &plan.shared {
        client.remove(name).ok();
    }
    world.assert_empty();
}

fn sigterm_answers_all_calls_in_flight() {
    let mut world = World::new();
    world.create("data");
    let mount = in_flight(&world.client(), "/VolumeDriver.Mount", r#"{"Name":"data","ID":"x"}"#);
    wait_for(|| world.is_mounted("data"), "the mount begins");
    let options: BTreeMap<_, _> = world.options().into_iter().collect();
    let creates: Vec<_> = (0..20)
        .map(|i| {
            let body = serde_json::json!({"Name": format!("new-{i}"), "Opts": options}).to_string();
            in_flight(&world.client(), "/VolumeDriver.Create", &body)
        })
        .collect();
    world.daemon.signal(Signal::SIGTERM);
    // The Creates that this daemon had not accepted yet are the next one's.
    assert!(world.daemon.end(Signal::SIGCONT).success());
    world.daemon.start_again();
    for mut stream in [mount].into_iter().chain(creates) {
        assert_eq!(read_reply(&mut stream).0, Some(200));
    }
    assert_eq!(world.client().list().len(), 21);
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 1);
    world.client().unmount("data", "x").ok();
    for name in world.client().list() {
        world.client().remove(&name).ok();
    }
    world.assert_empty();
}

/// A call whose answer is still to be read.
fn in_flight(client: &Client, path: &str, body: &str) -> UnixStream {
    let mut stream = client.connect();
    stream.write_all(&request(path, body)).unwrap();
    stream
}
