//! Speaks the plugin protocol with the daemon, as Docker does. systemd starts the daemon for it where it sleeps.

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, time::timeout};

/// Longer than any call takes: a mount that waits for another, and clearing away one that failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ten thousand volumes with all that is told of them have some.
const MOST_ANSWER: usize = 64 * 1024 * 1024;

/// The daemon behind a socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens, or not for this user.
    #[error("cannot reach the driver at {}: {error}; {}", path.display(), remedy(.error))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It listens and does not answer.
    #[error("the driver did not answer within {}s; see 'systemctl status sshfs-docker'", .0.as_secs())]
    Silent(Duration),
    /// Not an answer of this driver.
    #[error("the driver's answer cannot be read ({0})")]
    Answer(String),
    /// It refused, in the words that `docker` would show.
    #[error("{0}")]
    Refused(String),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "only root may: use sudo",
        _ => "run: systemctl enable --now sshfs-docker.socket",
    }
}

impl Client {
    /// A client that connects to `socket` for each call.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// One that waits for an answer no longer than this.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Calls `call`, for example `VolumeDriver.List`, and returns the JSON of the answer.
    pub fn call(&self, call: &str, body: &Value) -> Result<Value, CallError> {
        let unreachable = |error| CallError::Unreachable { path: self.socket.clone(), error };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unreachable)?;
        let exchange = async {
            let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
            let answer = timeout(self.patience, exchange(stream, call, body)).await;
            answer.map_err(|_| CallError::Silent(self.patience))?
        };
        runtime.block_on(exchange)
    }
}

async fn exchange(stream: UnixStream, call: &str, body: &Value) -> Result<Value, CallError> {
    let broken = |e: hyper::Error| CallError::Answer(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("/{call}"))
        .header(header::HOST, "localhost")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|e| CallError::Answer(e.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MOST_ANSWER).collect().await;
    let body = body.map_err(|e| CallError::Answer(e.to_string()))?.to_bytes();
    connection.abort();
    let answer: Value = serde_json::from_slice(&body).map_err(|e| CallError::Answer(e.to_string()))?;
    match (status, answer.get("Err").and_then(Value::as_str)) {
        (StatusCode::OK, _) => Ok(answer),
        (_, Some(err)) => Err(CallError::Refused(err.to_owned())),
        (status, None) => Err(CallError::Answer(status.to_string())),
    }
}
