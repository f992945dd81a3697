//! A TCP proxy that makes a connection longer: what arrives is handed on half a round trip later, as much at a time as ever.
//! The bandwidth stays that of the loopback interface, unless it is to be less.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// Most bytes on the way in one direction. At 100 ms this is more than a gigabyte per second.
const MOST_ON_THE_WAY: usize = 64 * 1024 * 1024;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// What is between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub round_trip: Duration,
    /// In each direction; as fast as it goes if there is none.
    pub megabits_per_second: Option<u32>,
}

impl From<Duration> for Link {
    fn from(round_trip: Duration) -> Self {
        Self { round_trip, megabits_per_second: None }
    }
}

impl Link {
    /// How long so many bytes take to get onto it.
    fn time_of(self, bytes: usize) -> Duration {
        // A megabit per second is a bit per microsecond.
        self.megabits_per_second
            .map_or(Duration::ZERO, |speed| Duration::from_micros(bytes as u64 * 8 / u64::from(speed)))
    }

    /// How much of it is handed on at once: on a slow link ten milliseconds' worth, or it would come in bursts.
    fn chunk(self) -> usize {
        self.megabits_per_second.map_or(CHUNK, |speed| CHUNK.min(speed as usize * 10_000 / 8))
    }
}

/// Starts a proxy on a port of its own, which is returned. It ends with this program.
pub fn start(to: u16, link: impl Into<Link>) -> u16 {
    let link = link.into();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                carry(from, to, link);
            }
        }
    });
    port
}

/// Hands on in one direction until the connection ends.
fn carry(mut from: TcpStream, mut to: TcpStream, link: Link) {
    let delay = link.round_trip / 2;
    // What is small must not wait for more: the delay is all that there is.
    _ = to.set_nodelay(true);
    let line = Arc::new(Line::default());
    let entrance = Arc::clone(&line);
    thread::spawn(move || {
        let (mut buffer, mut free) = (vec![0; link.chunk()], Instant::now());
        loop {
            let length = from.read(&mut buffer).unwrap_or_default();
            // Nothing more is read until this is on the way: who sends must notice that the link is slow.
            free = free.max(Instant::now()) + link.time_of(length);
            sleep(free.saturating_duration_since(Instant::now()));
            if length == 0 || !entrance.put(free + delay, &buffer[..length]) {
                break entrance.close(free + delay);
            }
        }
    });
    thread::spawn(move || {
        while let Some((due, chunk)) = line.take() {
            sleep(due.saturating_duration_since(Instant::now()));
            // An empty one is the end of what comes.
            if chunk.is_empty() || to.write_all(&chunk).is_err() {
                break;
            }
        }
        line.give_up();
        _ = to.shutdown(Shutdown::Write);
    });
}

/// What is on the way.
#[derive(Default)]
struct Line {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nobody takes anything any more.
    abandoned: bool,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; false where nobody takes it.
    fn put(&self, due: Instant, chunk: &[u8]) -> bool {
        let full = |state: &mut State| state.bytes > MOST_ON_THE_WAY && !state.abandoned;
        let waited = self.changed.wait_while(self.state(), full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.bytes += chunk.len();
        state.chunks.push_back((due, chunk.to_vec()));
        self.changed.notify_all();
        !state.abandoned
    }

    fn close(&self, due: Instant) {
        self.state().chunks.push_back((due, Vec::new()));
        self.changed.notify_all();
    }

    fn take(&self) -> Option<(Instant, Vec<u8>)> {
        let waited = self.changed.wait_while(self.state(), |state| state.chunks.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let chunk = state.chunks.pop_front()?;
        state.bytes -= chunk.1.len();
        self.changed.notify_all();
        Some(chunk)
    }

    fn give_up(&self) {
        self.state().abandoned = true;
        self.changed.notify_all();
    }
}
