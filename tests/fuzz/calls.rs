//! What arrives on the socket: bytes that may be HTTP, bodies that may be JSON, and secrets in all the wrong places.

use crate::{Check, Target, assert_readable, examples, files, text};
use serde_json::{Value, json};
use sshfs_docker::{
    config::LiveConfig,
    driver::{Driver, DriverError, Status},
    heal::record::HealingBook,
    history::HistoryBook,
    launcher::{BoxFuture, LaunchError, Launcher, Session},
    locks::VolumeLocks,
    mount::Mounter,
    protocol::{
        Administration, Caller, Change, Redefined, VolumeDriver, VolumeInfo,
        activity::Activity,
        router::{self, Answer, Call},
        server,
    },
    references::ReferenceBook,
    sealing::Sealer,
    store::Store,
    volume::{VolumeName, catalogue::CATALOGUE},
};
use std::{
    collections::BTreeMap,
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    runtime::{Builder, Runtime},
    time::timeout,
};

pub fn targets() -> Vec<Target> {
    let target = |name, seeds, words, open: fn() -> Check, needs_root| Target {
        name,
        seeds,
        words,
        open: Box::new(open),
        needs_root,
    };
    vec![
        // Nobody else is served.
        target("http", requests, http_words, http, true),
        target("bodies", || examples(BODIES), words, bodies, false),
        target("secrets", secret_seeds, words, secrets, false),
    ]
}

/// The real driver with directories of its own, and nothing to mount with.
struct Host {
    driver: Arc<MountsNothing>,
    root: TempDir,
}

impl Host {
    fn new() -> Self {
        let root = files::directory();
        let paths = files::paths(&root);
        let mounter = Mounter::open(paths.clone(), Box::new(NoLauncher), "/bin/false".into());
        let driver = Driver::open(
            Store::open(&paths, Sealer::none()).unwrap(),
            ReferenceBook::open(&paths).unwrap(),
            HealingBook::open(&paths).unwrap(),
            HistoryBook::open(&paths).unwrap(),
            VolumeLocks::open(&paths).unwrap(),
            mounter.unwrap(),
            LiveConfig::open(paths.config_file()),
        );
        Self { driver: Arc::new(MountsNothing(driver.unwrap())), root }
    }

    /// Another one when this one has so many volumes that each call takes long.
    fn renew(&mut self) -> bool {
        let is_full = self.driver.list().count() > 20;
        if is_full {
            *self = Self::new();
        }
        is_full
    }
}

/// Whoever runs this as root does not want mounts on his host.
struct MountsNothing(Driver);

impl VolumeDriver for MountsNothing {
    type Error = DriverError;
    type Status = Status;

    async fn create(&self, name: &str, options: BTreeMap<String, String>) -> Result<(), DriverError> {
        self.0.create(name, options).await
    }

    async fn remove(&self, name: &str) -> Result<(), DriverError> {
        self.0.remove(name).await
    }

    async fn mount(&self, name: &str, _id: &str, _caller: &Caller) -> Result<PathBuf, DriverError> {
        self.0.get(name)?;
        Err(DriverError::CallerGone(VolumeName::new(name)?))
    }

    async fn unmount(&self, name: &str, id: &str) -> Result<(), DriverError> {
        self.0.unmount(name, id).await
    }

    fn path(&self, name: &str) -> Result<Option<PathBuf>, DriverError> {
        self.0.path(name)
    }

    fn get(&self, name: &str) -> Result<VolumeInfo<Status>, DriverError> {
        self.0.get(name)
    }

    fn list(&self) -> impl Iterator<Item = VolumeInfo<Status>> + Clone {
        self.0.list()
    }
}

impl Administration for MountsNothing {
    type Error = DriverError;

    async fn set(&self, name: &str, change: Change) -> Result<Redefined, DriverError> {
        self.0.set(name, change).await
    }
}

#[derive(Debug)]
struct NoLauncher;

impl Launcher for NoLauncher {
    fn start<'a>(&'a self, _unit: &'a str, _session: Session) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async { Err(LaunchError::BusHangs) })
    }

    fn request<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn forget_failure<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn runs<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, Result<bool, LaunchError>> {
        Box::pin(async { Ok(false) })
    }

    fn tidy(&self, _unit: &str) {}

    fn outlives_us(&self) -> bool {
        true
    }

    fn stop<'a>(&'a self, _unit: &'a str) -> BoxFuture<'a, Result<(), LaunchError>> {
        Box::pin(async { Ok(()) })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A call and its body.
const BODIES: &[&str] = &[
    r#"Create {"Name":"data","Opts":{"sshcmd":"alice@storage:/srv","port":"22"}}"#,
    r#"Create {"Name":"data","Opts":{"sshcmd":"h:","uid":"1000,gid=1000","auto_cache,reconnect":""}}"#,
    r#"Create {"Name":"c","Opts":null}"#,
    r#"Create {"Name":"data","Opts":{"sshcmd":"h:/y","reconnct":"x"}}"#,
    r#"Mount {"Name":"data","ID":"5ae5b6ee"}"#,
    r#"Unmount {"Name":"data","ID":"5ae5b6ee"}"#,
    r#"Remove {"Name":"data"}"#,
    r#"Get {"Name":"data"}"#,
    r#"Set {"Name":"data","Opts":{"uid":"1000,gid=1000"},"Unset":["port"]}"#,
    r#"Path {"Name":"nothing"}"#,
    "List {}",
    "Capabilities ",
    "Get  ",
];

fn words() -> Vec<&'static str> {
    let names = CATALOGUE.iter().map(|entry| entry.name);
    names.chain(files::JSON.iter().copied()).chain(["\"Name\":", "\"Opts\":", "\"ID\":", "Create "]).collect()
}

/// The path of a call.
fn path(call: &str) -> String {
    let family = if call == "Set" { "SshfsDocker" } else { "VolumeDriver" };
    format!("/{family}.{call}")
}

fn bodies() -> Check {
    let (runtime, mut host) = (runtime(), Host::new());
    Box::new(move |input| {
        let split = input.iter().position(|byte| *byte == b' ').unwrap_or(0);
        let (call, body) = input.split_at(split);
        let Some(call) = Call::from_path(&path(&text(call))) else { return };
        let answer = runtime.block_on(router::dispatch(&*host.driver, call, body, &Caller::default()));
        match answer {
            Answer::Success(json) => assert_is_object(&json),
            Answer::Error(status, text) => {
                assert!(status.is_client_error() || status.is_server_error(), "{status}");
                assert_readable(&text);
            }
            Answer::HangUp => assert!(call == Call::Get && body.trim_ascii().is_empty(), "{call:?}"),
        }
        for VolumeInfo { name, .. } in host.driver.list() {
            assert_eq!(host.driver.get(&name).unwrap().name, name);
        }
        host.renew();
    })
}

fn assert_is_object(json: &[u8]) {
    let value: Value = serde_json::from_slice(json).unwrap();
    assert!(value.is_object(), "{value}");
}

fn requests() -> Vec<Vec<u8>> {
    let request = |text: &&str| {
        let (call, body) = text.split_once(' ').unwrap();
        let head = format!("POST {} HTTP/1.1\r\nHost: \r\nContent-Length: {}", path(call), body.len());
        format!("{head}\r\n\r\n{body}").into_bytes()
    };
    let mut requests: Vec<_> = BODIES.iter().map(request).collect();
    // Two on one connection, one in parts, and one that no plugin gets.
    requests.push([requests[0].clone(), requests[7].clone()].concat());
    requests.push(
        b"POST /VolumeDriver.Get HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"Nam\r\n6;x=y\r\ne\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n"
            .to_vec(),
    );
    requests.push(
        b"GET /VolumeDriver.List?x=%2f HTTP/1.0\r\nExpect: 100-continue\r\nUpgrade: h2c\r\n\r\n".to_vec(),
    );
    requests
}

fn http_words() -> Vec<&'static str> {
    let heads = [
        "\r\n\r\n",
        "\r\n",
        "POST /VolumeDriver.List HTTP/1.1\r\n\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: -1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "HTTP/1.1",
        "HTTP/0.9",
        "/Plugin.Activate",
        "ffffffffffffffff\r\n",
    ];
    words().into_iter().chain(heads).collect()
}

/// No call takes that long here: nothing is mounted.
const HANGS: Duration = Duration::from_secs(60);

fn http() -> Check {
    let (runtime, mut host, mut inputs) = (runtime(), Host::new(), 0_u32);
    let mut socket = runtime.block_on(async { serve(&host) });
    let list = b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    Box::new(move |input| {
        let received = runtime.block_on(exchange(&socket, input));
        assert_are_answers(&received);
        inputs += 1;
        if inputs % 16 == 0 {
            let received = runtime.block_on(exchange(&socket, &list));
            assert!(received.starts_with(b"HTTP/1.1 200"), "{}", received.escape_ascii());
            if host.renew() {
                socket = runtime.block_on(async { serve(&host) });
            }
        }
    })
}

fn serve(host: &Host) -> PathBuf {
    let socket = host.root.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(server::serve(listener, Arc::clone(&host.driver), Activity::default(), pending()));
    socket
}

/// Sends bytes, says that there are no more, and reads all answers.
async fn exchange(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let all = async {
        let (mut reader, mut writer) = UnixStream::connect(socket).await.unwrap().into_split();
        let mut received = Vec::new();
        let write = async {
            // The server may have hung up on nonsense.
            _ = writer.write_all(bytes).await;
            _ = writer.shutdown().await;
        };
        _ = tokio::join!(write, reader.read_to_end(&mut received));
        received
    };
    timeout(HANGS, all).await.expect("an answer or the end of the connection")
}

/// Each answer is JSON, and an error says why. What is no HTTP gets an answer without a body.
fn assert_are_answers(mut received: &[u8]) {
    while !received.is_empty() {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let head = text(&received[..end]).to_ascii_lowercase();
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        received = &received[end..];
        if status == "100" {
            continue;
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().unwrap());
        let (body, rest) = received.split_at(length);
        received = rest;
        if body.is_empty() {
            assert!(status.starts_with('4'), "{head}");
            continue;
        }
        assert_is_object(body);
        if status != "200" {
            let value: Value = serde_json::from_slice(body).unwrap();
            assert_readable(value["Err"].as_str().expect("an error says why"));
        }
    }
}

/// What must not be repeated to anybody.
const SECRET: &str = "hunter2-s3cr3t";
/// The same as a number.
const NUMBER: u64 = 8_265_839_172;

fn secret_seeds() -> Vec<Vec<u8>> {
    let kinds = b'a'..=b'z';
    let noise = ["", "storage:/srv", "storage", "alice", "1000", "x,y", "@h", "sshcmd"];
    kinds.flat_map(|kind| noise.map(|noise| [&[kind], noise.as_bytes()].concat())).collect()
}

/// A secret where users put secrets, between other things that may be wrong.
fn secrets() -> Check {
    let (runtime, mut host, mut inputs) = (runtime(), Host::new(), 0_u32);
    Box::new(move |input| {
        inputs += 1;
        let volume = format!("data{inputs}");
        let [kind, noise @ ..] = input else { return };
        let noise = text(noise);
        let url = |user: &str, rest: &str| format!("sftp://{user}:{SECRET}@{rest}");
        let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n{noise}");
        let good = "h:/x";
        let options = match kind % 17 {
            0 => json!({"sshcmd": noise, "password": SECRET}),
            1 => json!({"sshcmd": good, "Password": SECRET, &noise: "x"}),
            2 => json!({"sshcmd": good, "PASSWORD": SECRET, "uid": noise}),
            3 => json!({"sshcmd": good, "uid": format!("1000,password={SECRET}"), &noise: ""}),
            4 => json!({"sshcmd": good, "reconnect,password": SECRET, "port": noise}),
            5 => json!({"sshcmd": good, format!("reconnect,password={SECRET}"): noise}),
            6 => json!({"sshcmd": good, format!("password={SECRET}"): noise}),
            7 => json!({"sshcmd": url("alice", &noise)}),
            8 => json!({"sshcmd": url("alice", "h/x"), &noise: ""}),
            9 => json!({"sshcmd": format!("sftp://alice:{SECRET}/{SECRET}@{noise}")}),
            10 => json!({"sshcmd": format!("alice:{SECRET}@storage:{noise}")}),
            11 => json!({"sshcmd": good, "password_file": SECRET, "uid": noise}),
            12 => json!({"sshcmd": good, "identity_file": key}),
            13 => json!({"sshcmd": good, "password": NUMBER, &noise: "x"}),
            14 => json!({"sshcmd": good, "password": [SECRET], &noise: "x"}),
            15 => json!(format!("password={SECRET}")),
            _ => json!([format!("password={SECRET}"), noise]),
        };
        let create = json!({"Name": volume, "Opts": options}).to_string();
        let other = json!({"Name": volume, "Opts": {"sshcmd": "other:/x"}}).to_string();
        let name = json!({"Name": volume}).to_string();
        let calls = [
            (Call::Create, &create),
            (Call::Get, &name),
            (Call::Create, &other),
            (Call::Create, &create),
            (Call::Set, &create),
            (Call::List, &name),
        ];
        for (call, body) in calls {
            let answer =
                runtime.block_on(router::dispatch(&*host.driver, call, body.as_bytes(), &Caller::default()));
            let told = match answer {
                Answer::Success(json) => text(&json),
                Answer::Error(_, text) => {
                    assert_readable(&text);
                    text
                }
                Answer::HangUp => String::new(),
            };
            assert!(!told.contains(SECRET) && !told.contains(&NUMBER.to_string()), "{call:?}: {told}");
        }
        host.renew();
    })
}
