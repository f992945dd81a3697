//! A TCP proxy that makes a connection longer: what arrives is handed on half a round trip later, as much at a time as ever.
//! The bandwidth stays that of the loopback interface.

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

/// Starts a proxy on a port of its own, which is returned. It ends with this program.
pub fn start(to: u16, round_trip: Duration) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
                carry(from, to, round_trip / 2);
            }
        }
    });
    port
}

/// Hands on in one direction until the connection ends.
fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    // What is small must not wait for more: the delay is all that there is.
    _ = to.set_nodelay(true);
    let line = Arc::new(Line::default());
    let entrance = Arc::clone(&line);
    thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer) {
                Ok(length @ 1..) if entrance.put(Instant::now() + delay, &buffer[..length]) => {}
                _ => break entrance.close(Instant::now() + delay),
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
