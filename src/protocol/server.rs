//! HTTP on the plugin socket: connections, limits, shutdown.
//!
//! Stopping loses no call. What has not been accepted stays in the socket, which is systemd's, for the next daemon. An
//! accepted connection is closed for reading first (shutdown(2), `SHUT_RD`): from then on a caller's write fails without
//! a byte written, which Go's HTTP client takes as a reason to connect again, and what it wrote before is answered.

use super::{
    Administration, Caller, VolumeDriver,
    activity::{Activity, Busy},
    router::{self, Answer, Call},
    wire::{CONTENT_TYPE, ErrorResponse},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{Shutdown, shutdown};
use std::{
    future::Future,
    io,
    os::fd::{AsFd, AsRawFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};

/// No option list is that long.
const MOST_BODY: usize = 1024 * 1024;
/// How long the head of a request may take. Also how long a connection may be idle, because hyper does not tell the two
/// apart: longer than the 30 s after which dockerd closes one itself, or its next call could meet the closing.
const HEAD_PATIENCE: Duration = Duration::from_secs(35);
/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// dockerd opens one connection per volume at boot; the rest waits in the kernel's queue.
const MOST_CONNECTIONS: usize = 1024;
/// How long calls in flight may take at shutdown; a mount takes less.
const DRAIN_PATIENCE: Duration = Duration::from_secs(110);

/// How long a connection that was accepted just before the shutdown may take to send its first call. Go's client takes the
/// failure of a new connection for final, and dockerd repeats the call without its body.
const FIRST_CALL_PATIENCE: Duration = Duration::from_millis(200);

/// Proof that a connection is open or a call is running: held by its task, awaited by the shutdown.
type Running = mpsc::Sender<()>;

/// Serves `listener` until `stop` is done, then finishes the calls in flight. `activity` tells meanwhile whether there
/// are any.
pub async fn serve<D: VolumeDriver + Administration>(
    listener: UnixListener,
    driver: Arc<D>,
    activity: Activity,
    stop: impl Future<Output = ()>,
) {
    let (closing, no_more_calls) = watch::channel(());
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (running, mut all_done) = mpsc::channel(1);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of file descriptors, for example: others may close some.
                tracing::warn!("cannot accept a connection, trying again: {e}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !peer_is_root(&stream) {
            continue;
        }
        let caller = Caller::default();
        let (driver, running, open) = (Arc::clone(&driver), running.clone(), running.clone());
        let activity = activity.clone();
        // Whoever connects is about to call.
        let first_call = Arc::new(Mutex::new(Some(activity.begin())));
        let watch = watch_connection(&stream, caller.clone(), Arc::clone(&first_call), no_more_calls.clone());
        let service = service_fn(move |request| {
            let (driver, caller, running) = (Arc::clone(&driver), caller.clone(), running.clone());
            let first_call = first_call.lock().unwrap_or_else(PoisonError::into_inner).take();
            let busy = first_call.unwrap_or_else(|| activity.begin());
            handle(request, driver, caller, (running, busy))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            // A caller that closes only its sending side still wants its answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // Errors here are the caller's: bad HTTP, a broken connection, or our own hang-up.
            if let Err(e) = connection.await {
                tracing::debug!("connection ended: {e}");
            }
            watch.abort();
            drop((place, open));
        });
    }
    drop((running, closing));
    // Calls whose caller is gone have no connection any more, but they run to their end.
    if timeout(DRAIN_PATIENCE, all_done.recv()).await.is_err() {
        tracing::warn!("calls are still running after {} s, stopping anyway", DRAIN_PATIENCE.as_secs());
    }
}

async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// The socket's mode says the same; this holds also where somebody changed it.
fn peer_is_root(stream: &UnixStream) -> bool {
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == 0 => true,
        Ok(peer) => {
            tracing::warn!(uid = peer.uid(), "refused a connection: only root may use the driver");
            false
        }
        Err(e) => {
            tracing::warn!("refused a connection from an unknown user: {e}");
            false
        }
    }
}

/// Notes in `caller` when the peer has closed the connection altogether. hyper cannot tell that from a half-closed
/// one, as reading ends in both; the kernel can (`EPOLLHUP` only when both sides are closed).
///
/// Ends the reading when the other end of `no_more_calls` is dropped; hyper then answers what was read and closes. A
/// caller who has just connected, and whose `first_call` has not come, gets a moment more.
fn watch_connection(
    stream: &UnixStream,
    caller: Caller,
    first_call: Arc<Mutex<Option<Busy>>>,
    mut no_more_calls: watch::Receiver<()>,
) -> tokio::task::JoinHandle<()> {
    let duplicate = stream.as_fd().try_clone_to_owned().map(std::os::unix::net::UnixStream::from);
    tokio::spawn(async move {
        let Ok(watched) = duplicate.and_then(UnixStream::from_std) else { return };
        let mut reading = true;
        loop {
            let ready = tokio::select! {
                ready = watched.ready(Interest::WRITABLE) => ready,
                _ = no_more_calls.changed(), if reading => {
                    reading = false;
                    if first_call.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                        sleep(FIRST_CALL_PATIENCE).await;
                    }
                    _ = shutdown(watched.as_raw_fd(), Shutdown::Read);
                    continue;
                }
            };
            match ready {
                Ok(ready) if ready.is_write_closed() => return caller.has_gone(),
                // Clears the readiness, so that the next turn waits for a change.
                Ok(_) => {
                    _ = watched.try_io(Interest::WRITABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                }
                Err(_) => return,
            }
        }
    })
}

/// The body of one HTTP exchange. `Err` closes the connection without an answer.
async fn handle<D: VolumeDriver + Administration>(
    request: Request<Incoming>,
    driver: Arc<D>,
    caller: Caller,
    proof: (Running, Busy),
) -> Result<Response<Full<Bytes>>, HungUp> {
    // A task of its own: it runs to its end whatever becomes of the connection, and a panic ends this call only.
    let call = tokio::spawn(async move {
        let answer = answer(request, &*driver, &caller).await;
        drop(proof);
        answer
    });
    let answer = call.await.unwrap_or_else(|e| {
        tracing::error!("a call failed with a bug: {e}");
        router::error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error of sshfs-docker; see journalctl -u sshfs-docker",
        )
    });
    let (status, json) = match answer {
        Answer::Success(json) => (StatusCode::OK, json),
        Answer::Error(status, err) => {
            (status, serde_json::to_vec(&ErrorResponse { err }).map_err(|_| HungUp)?)
        }
        Answer::HangUp => return Err(HungUp),
    };
    let mut response = Response::new(Full::new(Bytes::from(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    Ok(response)
}

async fn answer<D: VolumeDriver + Administration>(
    request: Request<Incoming>,
    driver: &D,
    caller: &Caller,
) -> Answer {
    let Some(call) = Call::from_path(request.uri().path()) else {
        return router::error(
            StatusCode::NOT_FOUND,
            format!("unknown call {}", request.uri().path().escape_debug()),
        );
    };
    if request.method() != Method::POST {
        return router::error(StatusCode::METHOD_NOT_ALLOWED, "calls of a volume plugin are POST requests");
    }
    let body = Limited::new(request.into_body(), MOST_BODY).collect();
    match timeout(BODY_PATIENCE, body).await {
        Ok(Ok(body)) => {
            let answer = router::dispatch(driver, call, &body.to_bytes(), caller).await;
            log_failure(call, &answer);
            answer
        }
        Ok(Err(e)) if e.is::<LengthLimitError>() => router::error(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request is larger than {MOST_BODY} bytes"),
        ),
        Ok(Err(e)) => router::error(StatusCode::BAD_REQUEST, format!("the request broke off: {e}")),
        Err(_) => router::error(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time"),
    }
}

/// What the user saw is in the journal too. Get and Path fail as a matter of course: dockerd asks every driver for every
/// name that it does not know. Of a Mount that failed the driver tells more.
fn log_failure(call: Call, answer: &Answer) {
    if let (Answer::Error(_, text), false) = (answer, matches!(call, Call::Get | Call::Path | Call::Mount)) {
        tracing::warn!("{call:?} failed: {text}");
    }
}

/// Tells hyper to close the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
struct HungUp;
