//! Many callers at once, well-behaved and not.

use crate::{
    cases,
    client::{Client, read_reply, request},
    hung::look,
    model::{Plan, Random, Shares, Tally, Worker, audit, report},
    sshd::wait_for,
    world::World,
};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

cases![two_hundred_connections_on_fifty_volumes, rude_clients_hold_up_nobody];

const SECONDS: Duration = Duration::from_secs(20);

/// Of 200 workers these have two volumes of their own each; with the shared ones it makes fifty.
const OWNERS: u32 = 23;

fn two_hundred_connections_on_fifty_volumes() {
    let seed = Random::seed();
    let world = World::new();
    let client = world.client();
    let own = |owner: u32| -> Vec<String> { (0..2).map(|i| format!("own-{owner}-{i}")).collect() };
    let shared: Vec<_> = (0..4).map(|i| format!("shared-{i}")).collect();
    for name in &shared {
        world.create(name);
    }
    let shares = Shares { definitions: 300, own_mounts: 1, shared_mounts: 20 };
    let plan =
        Plan { options: world.options(), shared, watched: (0..OWNERS).flat_map(own).collect(), shares };
    let mut workers: Vec<_> = (0..200)
        .map(|i| Worker::new(&format!("id{i}"), &if i < OWNERS { own(i) } else { vec![] }, &plan, seed))
        .collect();
    let end = Instant::now() + SECONDS;
    thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(|| worker.run(&plan, &client, |_| Instant::now() < end));
        }
    });
    let check = |workers: &mut Vec<Worker>| {
        audit(&world.site(), "", &client, workers, &plan)
            .unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"))
    };
    let mounts = check(&mut workers).mounts.len();
    // Supervisor and sshfs.
    wait_for(|| world.processes("/dev/fd/0").len() == 2 * mounts, "one sshfs for each mount");
    for worker in &mut workers {
        worker.finish(&plan, &client);
    }
    check(&mut workers);
    for name in &plan.shared {
        client.remove(name).ok();
    }
    world.assert_empty();
    let Tally { acknowledged, mounts, in_doubt, longest_look, longest, wrong } = Tally::total(&workers);
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_eq!(in_doubt, 0, "connections broke");
    report(&format!(
        "case=loopback_load seconds={} acknowledged_calls={acknowledged} mounts={mounts} call_that_must_not_wait_ms={} any_call_under_load_ms={} \
         calls_lost=0 seed={seed}",
        SECONDS.as_secs(),
        longest_look.as_millis(),
        longest.as_millis(),
    ));
}

fn rude_clients_hold_up_nobody() {
    let world = World::new();
    world.create("data");
    let client = world.client();
    let idle: Vec<_> = (0..300).map(|_| client.connect()).collect();
    let large = format!(r#"{{"Name":"{}"}}"#, "x".repeat(8 << 20));
    // Sent byte by byte, both take longer than the patience for them.
    let head = [b"POST /VolumeDriver.List HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 10_000]].concat();
    let body = request("/VolumeDriver.Get", &" ".repeat(10_000));
    let begun = Instant::now();
    let half: [&[u8]; 2] = [
        b"POST /VolumeDriver.List HTTP/1.1\r\nHos",
        b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: 5\r\n\r\n{",
    ];
    let mut silent = half.map(|bytes| {
        let mut stream = client.connect();
        stream.write_all(bytes).unwrap();
        stream
    });
    thread::scope(|scope| {
        let heads: Vec<_> = (0..10).map(|_| scope.spawn(|| drip(&client, &head, 0))).collect();
        let bodies: Vec<_> =
            (0..10).map(|_| scope.spawn(|| drip(&client, &body, body.len() - 10_000))).collect();
        let oversized: Vec<_> =
            (0..10).map(|_| scope.spawn(|| client.call("/VolumeDriver.Create", &large))).collect();
        world.mount("data", "x");
        let looks = look(&client, &["data"]);
        assert!(looks.p99 < Duration::from_millis(50), "a promise: {looks:?}");
        client.unmount("data", "x").ok();
        for reply in oversized.into_iter().map(|call| call.join().unwrap()) {
            assert_eq!(reply.status, Some(413), "{reply:?}");
        }
        for status in bodies.into_iter().map(|call| call.join().unwrap()) {
            assert_eq!(status, Some(408));
        }
        for status in heads.into_iter().map(|call| call.join().unwrap()) {
            assert_ne!(status, Some(200));
        }
        for stream in &mut silent {
            assert_ne!(read_reply(stream).0, Some(200));
        }
        assert!(begun.elapsed() < Duration::from_secs(50), "a promise: 35 s");
        report(&format!(
            "case=rude_clients rude_clients=332 call_beside_rude_clients_p99_us={} call_beside_rude_clients_us={}",
            looks.p99.as_micros(),
            looks.longest.as_micros()
        ));
    });
    drop(idle);
}

/// Sends a request byte by byte from `start` on until the daemon has had enough, and tells what it answered.
fn drip(client: &Client, bytes: &[u8], start: usize) -> Option<u16> {
    let mut stream: UnixStream = client.connect();
    stream.write_all(&bytes[..start]).unwrap();
    for byte in &bytes[start..] {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        // The slowness is what is tested.
        thread::sleep(Duration::from_millis(20));
    }
    read_reply(&mut stream).0
}
