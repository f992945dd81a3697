//! A daemon that nobody calls ends, and the next call starts it. No call is lost in between.

use crate::{
    cases,
    client::{Client, read_reply, request},
    sshd::{Tarpit, wait_for},
    world::World,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

cases![
    no_call_is_lost_in_1000_cycles_of_exit_against_call,
    a_call_in_flight_is_no_quiet_time_and_an_idle_connection_is,
    with_a_mount_that_would_end_with_it_the_daemon_stays,
];

/// What systemd does for sshfs-docker.socket: it starts the daemon when somebody calls and none runs.
struct Activator {
    world: Arc<World>,
    starts: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Activator {
    /// A world whose daemon ends after `quiet` seconds, with further lines of config.toml.
    fn start(quiet: &str, lines: &str) -> Self {
        // The first daemon must not end before it was seen to answer.
        let mut world = World::with_config(lines);
        world.daemon.end(Signal::SIGTERM);
        let config = world.path("etc/config.toml");
        let all = fs::read_to_string(&config).expect("a configuration");
        fs::write(&config, format!("{all}[daemon]\nidle_exit = {quiet}\n")).expect("a configuration");
        let (world, starts, stop) = (Arc::new(world), Arc::default(), Arc::default());
        let thread = {
            let (world, starts, stop) = (Arc::clone(&world), Arc::clone(&starts), Arc::clone(&stop));
            thread::spawn(move || activate(&world, &starts, &stop))
        };
        Self { world, starts, stop, thread: Some(thread) }
    }

    fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    fn client(&self) -> Client {
        self.world.client()
    }
}

fn activate(world: &World, starts: &AtomicUsize, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(world.daemon.listener().as_fd(), PollFlags::POLLIN)];
        if poll(&mut polled, PollTimeout::from(50_u8)).expect("poll") > 0 {
            starts.fetch_add(1, Ordering::Relaxed);
            let status = world.daemon.spawn().wait().expect("a child can be waited for");
            assert!(status.success(), "the daemon ended with {status}");
        }
    }
}

impl Drop for Activator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its daemon is idle soon.
            _ = thread.join();
        }
    }
}

/// Calls as Go's HTTP client does, which dockerd uses: on the connection of the last call as long as it is open, on a new
/// one if nothing could be written to that. False if there was no answer: the call is lost.
fn call_like_dockerd(client: &Client, kept: &mut Option<UnixStream>) -> bool {
    let bytes = request("/VolumeDriver.List", "{}");
    let mut stream = match kept.take().filter(is_open) {
        Some(mut stream) => match stream.write_all(&bytes) {
            Ok(()) => stream,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::BrokenPipe, "a request must be refused as a whole");
                fresh(client, &bytes)
            }
        },
        None => fresh(client, &bytes),
    };
    let answered = read_reply(&mut stream).0 == Some(200);
    *kept = Some(stream);
    answered
}

fn fresh(client: &Client, bytes: &[u8]) -> UnixStream {
    let mut stream = client.connect();
    stream.write_all(bytes).unwrap();
    stream
}

/// Go reads in the background and drops a connection that the server has closed.
fn is_open(stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = (&*stream).read(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    open
}

fn no_call_is_lost_in_1000_cycles_of_exit_against_call() {
    const CYCLES: usize = 1000;
    let activator = Activator::start("0.004", "");
    let (client, mut kept) = (activator.client(), None);
    let (mut calls, mut lost) = (0_usize, 0_usize);
    while activator.starts() < CYCLES {
        lost += usize::from(!call_like_dockerd(&client, &mut kept));
        calls += 1;
        // From right after the answer to just after the end, in steps that never meet the same moment twice.
        sleep(Duration::from_micros((calls as u64 * 619) % 7000));
        if calls % 3 == 0 {
            kept = None;
        }
    }
    println!("fault-count: idle_exit_races={CYCLES} calls_in_them={calls} calls_lost={lost}");
    assert_eq!(lost, 0);
}

fn a_call_in_flight_is_no_quiet_time_and_an_idle_connection_is() {
    let activator = Activator::start("0.3", "[mount]\ntimeout = 2\n");
    let tarpit = Tarpit::open();
    activator.world.create_with("dark", &[("port", &tarpit.port)]).ok();
    let mut idle = activator.client().connect();
    idle.write_all(&request("/VolumeDriver.List", "{}")).unwrap();
    assert_eq!(read_reply(&mut idle).0, Some(200));
    let reply = activator.client().mount("dark", "x");
    assert!(reply.err().contains("timed out after 2s"), "{reply:?}");
    assert_eq!(activator.starts(), 1, "it stayed for the call");
    wait_for(|| !is_open(&idle), "the daemon ends although a connection is open");
    assert_eq!(activator.client().list(), ["dark"]);
    assert_eq!(activator.starts(), 2);
}

fn with_a_mount_that_would_end_with_it_the_daemon_stays() {
    let activator = Activator::start("0.1", "");
    activator.world.create("data");
    let path = activator.world.mount("data", "x");
    let mut idle = activator.client().connect();
    idle.write_all(&request("/VolumeDriver.List", "{}")).unwrap();
    assert_eq!(read_reply(&mut idle).0, Some(200));
    sleep(Duration::from_secs(1));
    assert!(is_open(&idle), "the daemon ended, and the mount with it");
    fs::write(path.join("file"), "x").unwrap();
    activator.client().unmount("data", "x").ok();
}
