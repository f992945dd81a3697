//! Speaks the plugin protocol as dockerd does, byte for byte where it matters.

use serde_json::Value;
use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Longer than any deadline of the daemon: a case never waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client of one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status; None where the connection broke before the answer.
    pub status: Option<u16>,
    /// The JSON, or null.
    pub body: Value,
    /// How long it took.
    pub took: Duration,
}

impl Reply {
    /// The text of `Err`.
    pub fn err(&self) -> &str {
        assert_ne!(self.status, Some(200), "expected an error, got {self:?}");
        self.body["Err"].as_str().unwrap_or_else(|| panic!("an error without Err: {self:?}"))
    }

    /// Asserts success and returns the JSON.
    pub fn ok(self) -> Value {
        assert_eq!(self.status, Some(200), "{self:?}");
        assert!(self.body.is_object(), "success is a JSON object: {self:?}");
        self.body
    }
}

impl Client {
    /// A client that connects to `socket` for each call.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Sends `body` to `path` with the headers of dockerd 20.10.
    pub fn call(&self, path: &str, body: &str) -> Reply {
        self.send(&request(path, body))
    }

    /// Sends bytes and reads the reply.
    pub fn send(&self, bytes: &[u8]) -> Reply {
        let started = Instant::now();
        let (status, body) = self.try_connect().map_or((None, Value::Null), |mut stream| {
            _ = stream.write_all(bytes);
            read_reply(&mut stream)
        });
        Reply { status, body, took: started.elapsed() }
    }

    /// Sends bytes, closes the sending side, and reads the reply.
    pub fn send_and_half_close(&self, bytes: &[u8]) -> Reply {
        let started = Instant::now();
        let mut stream = self.connect();
        // The daemon may have hung up on nonsense before it is all written.
        _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        let (status, body) = read_reply(&mut stream);
        Reply { status, body, took: started.elapsed() }
    }

    /// An open connection.
    pub fn connect(&self) -> UnixStream {
        self.try_connect().expect("the socket accepts")
    }

    fn try_connect(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    pub fn create(&self, name: &str, options: &[(&str, &str)]) -> Reply {
        let options: serde_json::Map<_, _> =
            options.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        self.call("/VolumeDriver.Create", &serde_json::json!({"Name": name, "Opts": options}).to_string())
    }

    pub fn mount(&self, name: &str, id: &str) -> Reply {
        self.call("/VolumeDriver.Mount", &serde_json::json!({"Name": name, "ID": id}).to_string())
    }

    pub fn unmount(&self, name: &str, id: &str) -> Reply {
        self.call("/VolumeDriver.Unmount", &serde_json::json!({"Name": name, "ID": id}).to_string())
    }

    pub fn remove(&self, name: &str) -> Reply {
        self.call("/VolumeDriver.Remove", &serde_json::json!({"Name": name}).to_string())
    }

    pub fn get(&self, name: &str) -> Reply {
        self.call("/VolumeDriver.Get", &serde_json::json!({"Name": name}).to_string())
    }

    pub fn path(&self, name: &str) -> Reply {
        self.call("/VolumeDriver.Path", &serde_json::json!({"Name": name}).to_string())
    }

    /// The names in List.
    pub fn list(&self) -> Vec<String> {
        let body = self.call("/VolumeDriver.List", "{}").ok();
        let volumes = body["Volumes"].as_array().expect("a list, also when it is empty").clone();
        volumes.iter().map(|volume| volume["Name"].as_str().expect("a name").to_owned()).collect()
    }
}

/// A request as dockerd 20.10 writes it: no Content-Type, an empty Host.
pub fn request(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: \r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n\
         Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Reads one HTTP reply.
pub fn read_reply(stream: &mut UnixStream) -> (Option<u16>, Value) {
    let mut received = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(reply) = parse(&received) {
            return reply;
        }
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => received.extend_from_slice(&buffer[..length]),
            Ok(0) | Err(_) => return (None, Value::Null),
        }
    }
}

fn parse(received: &[u8]) -> Option<(Option<u16>, Value)> {
    let end = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&received[..end]).expect("headers are text").to_ascii_lowercase();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |text| text.parse().expect("a length"));
    let body = received.get(end..end + length)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Some((status, serde_json::from_slice(body).unwrap_or(Value::Null)))
}
