//! An SFTP server (version 3) with one bad habit: this program again, which sshd runs in the place of its own server.
//! It reads requests from standard input and answers on standard output. An honest part, so that mounts get as far as
//! the trick.

use std::{
    collections::HashSet,
    env, fs,
    io::{self, Read, Write},
    process::ExitCode,
    thread::sleep,
    time::Duration,
};

/// The first argument that makes it a server.
pub const ROLE: &str = "sftp";
/// The only directory on it.
pub const ROOT: &str = "/srv/hostile";
/// A file whose content tells that it came from the server.
pub const FILE: &str = "file";
/// What is in it.
pub const CONTENT: &str = "from the server\n";

/// Serves if this process was started for that.
pub fn serve_if_asked() -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let trick = arguments.next()?;
    // Whoever listens may go at any time.
    _ = Server { trick, targets: arguments.collect(), listed: HashSet::new(), names: 0 }.serve();
    Some(ExitCode::SUCCESS)
}

/// A line of terminal escapes, zero bytes and the words of a refusal.
pub const NOISE: &[u8] =
    b"\x1b[2J\x1b]0;owned\x07 \0\0 Host key verification failed? \xff\xfe all is well \x08\r\n";

const INIT: u8 = 1;
const VERSION: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const READLINK: u8 = 19;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

const SUCCESS: u32 = 0;
const END: u32 = 1;
const NO_SUCH_FILE: u32 = 2;
const UNSUPPORTED: u32 = 8;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

struct Node {
    name: Vec<u8>,
    mode: u32,
    uid: u32,
    size: u64,
    /// A link's is its target.
    content: Vec<u8>,
}

impl Node {
    fn new(name: impl Into<Vec<u8>>, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        Self { name: name.into(), mode, uid: 0, size: content.len() as u64, content }
    }

    fn attributes(&self) -> Body {
        // Size, owner, mode and times.
        Body::default().int(0xf).long(self.size).int(self.uid).int(self.uid).int(self.mode).int(1).int(1)
    }
}

/// The content of a packet.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn int(self, number: u32) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    fn long(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    fn string(self, text: &[u8]) -> Self {
        self.int(u32::try_from(text.len()).expect("a short packet")).bytes(text)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

struct Server {
    trick: String,
    /// Of the links, if links are the trick.
    targets: Vec<String>,
    /// Directories of which everything has been told.
    listed: HashSet<Vec<u8>>,
    /// How many packets of names have been sent.
    names: u32,
}

impl Server {
    fn serve(mut self) -> io::Result<()> {
        match self.trick.as_str() {
            "ends-at-once" => return Ok(()),
            "silence" => return wait_for_end(),
            "words" => return say_and_wait(&b"Last login: today. You have new mail.\r\n".repeat(100)),
            "garbage" => return say_and_wait(&[0xa7; 4096]),
            "huge-version" => return say_and_wait(&[0xff, 0xff, 0xff, 0xff, VERSION]),
            "announced-version" => return say_and_wait(&[0x10, 0, 0, 0, VERSION]),
            "half-a-version" => return say(&[0, 0, 0, 5, VERSION, 0]),
            "endless-bytes" => loop {
                say(&[0; 4096])?;
            },
            "flood" => flood()?,
            "flood-and-end" => return flood(),
            _ => {}
        }
        while let Some((kind, body)) = read_packet() {
            self.answer(kind, &body)?;
        }
        Ok(())
    }

    fn answer(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        if kind == INIT {
            let version = match self.trick.as_str() {
                "version-0" => 0,
                "version-max" => u32::MAX,
                _ => 3,
            };
            return send(VERSION, &Body::default().int(version).string(b"statvfs@openssh.com").string(b"2"));
        }
        let mut rest = body;
        let id = take_int(&mut rest);
        match self.trick.as_str() {
            "silence-later" => Ok(()),
            "garbage-later" => say(&[0xa7; 4096]),
            "huge-reply" => say(&[0xff, 0xff, 0xff, 0xff, ATTRS]),
            "announced-reply" => say(&[0x10, 0, 0, 0, ATTRS]),
            "half-a-reply" => {
                say(&[0, 0, 0, 99, ATTRS])?;
                Err(io::ErrorKind::BrokenPipe.into())
            }
            "empty-packets" => say(&[0; 4096]),
            "wrong-ids" => self.reply(kind, id.wrapping_add(1000), rest),
            "wrong-types" => send(DATA, &Body::default().int(id).string(b"never asked for")),
            "unknown-types" => send(99, &Body::default().int(id)),
            "short-attributes" => send(ATTRS, &Body::default().int(id).int(u32::MAX)),
            "silence-in-use" if kind == OPENDIR || kind == OPEN => wait_for_end(),
            "nonsense-statvfs" if kind == EXTENDED => {
                send(EXTENDED_REPLY, &(0..11).fold(Body::default().int(id), |body, _| body.long(u64::MAX)))
            }
            "zero-statvfs" if kind == EXTENDED => {
                send(EXTENDED_REPLY, &(0..11).fold(Body::default().int(id), |body, _| body.long(0)))
            }
            "short-statvfs" if kind == EXTENDED => send(EXTENDED_REPLY, &Body::default().int(id).int(7)),
            "endless-listing" if kind == READDIR => {
                sleep(Duration::from_millis(5));
                send_names(id, &[Node::new(FILE, REGULAR, "")])
            }
            "greedy-listing" if kind == READDIR => {
                // Names that nobody has heard, as long as they may be.
                self.names += 1;
                let name = |i: u32| format!("{:0>6}{i:0>249}", self.names);
                send_names(id, &(0..200).map(|i| Node::new(name(i), REGULAR, "")).collect::<Vec<_>>())
            }
            "endless-replies" if kind == OPENDIR => loop {
                sleep(Duration::from_millis(1));
                send_status(u32::MAX, SUCCESS)?;
            },
            "huge-count" if kind == READDIR => send(NAME, &Body::default().int(id).int(u32::MAX)),
            _ => self.reply(kind, id, rest),
        }
    }

    /// What an honest server says, about files that may be no honest ones.
    fn reply(&mut self, kind: u8, id: u32, mut rest: &[u8]) -> io::Result<()> {
        let subject = take_string(&mut rest);
        match kind {
            LSTAT | STAT | FSTAT => match self.find(&subject) {
                Some(node) => send(ATTRS, &Body::default().int(id).bytes(&node.attributes().0)),
                None => send_status(id, NO_SUCH_FILE),
            },
            OPENDIR | OPEN => match self.find(&subject) {
                Some(_) => send(HANDLE, &Body::default().int(id).string(&subject)),
                None => send_status(id, NO_SUCH_FILE),
            },
            READDIR if self.listed.insert(subject.clone()) => send_names(id, &self.files()),
            READDIR => send_status(id, END),
            READ => {
                let offset = usize::try_from(take_long(&mut rest)).unwrap_or(usize::MAX);
                let content = self.find(&subject).map(|node| node.content).unwrap_or_default();
                match content.get(offset..) {
                    Some(part @ [_, ..]) => {
                        let length = part.len().min(take_int(&mut rest) as usize);
                        send(DATA, &Body::default().int(id).string(&part[..length]))
                    }
                    _ => send_status(id, END),
                }
            }
            CLOSE => {
                self.listed.remove(&subject);
                send_status(id, SUCCESS)
            }
            READLINK => match self.find(&subject) {
                Some(node) => send_names(id, &[Node::new(node.content, LINK, "")]),
                None => send_status(id, NO_SUCH_FILE),
            },
            REALPATH => send_names(id, &[Node::new(subject, DIRECTORY, "")]),
            EXTENDED => {
                let numbers = [4096, 4096, 1000, 500, 500, 1000, 500, 500, 1, 0, 255];
                let body = numbers.into_iter().fold(Body::default().int(id), Body::long);
                send(EXTENDED_REPLY, &body)
            }
            _ => send_status(id, UNSUPPORTED),
        }
    }

    fn find(&self, path: &[u8]) -> Option<Node> {
        let below = path.strip_prefix(ROOT.as_bytes())?;
        let name = below.strip_prefix(b"/").unwrap_or(below);
        if name.is_empty() || name == b"." {
            let mode = match self.trick.as_str() {
                "root-is-a-file" => REGULAR,
                "root-is-a-link" => LINK,
                "root-is-a-device" => 0o060_666,
                "root-without-type" => 0o777,
                _ => DIRECTORY,
            };
            return Some(Node::new("", mode, "/etc"));
        }
        self.files().into_iter().find(|node| node.name == name)
    }

    fn files(&self) -> Vec<Node> {
        let mut files = vec![Node::new(FILE, REGULAR, CONTENT)];
        match self.trick.as_str() {
            "names" => files.extend(bad_names().map(|name| Node::new(name, REGULAR, CONTENT))),
            "links" => {
                let links = self.targets.iter().enumerate();
                files.extend(links.map(|(i, to)| Node::new(format!("link{i}"), LINK, to.as_str())));
            }
            "lies" => {
                let program = fs::read("/usr/bin/id").unwrap_or_default();
                files.push(Node::new("set-user-id", 0o106_755, program));
                files.push(Node::new("character-device", 0o020_666, ""));
                files.push(Node::new("block-device", 0o060_666, ""));
                files.push(Node::new("fifo", 0o010_666, ""));
                files.push(Node::new("socket", 0o140_666, ""));
                files.push(Node::new("no-type", 0o777, CONTENT));
                files.push(Node::new("all-bits", u32::MAX, CONTENT));
                for (name, size) in [("2-63", 1 << 63), ("max", u64::MAX), ("2-62", 1 << 62)] {
                    files.push(Node { size, ..Node::new(name, REGULAR, CONTENT) });
                }
            }
            _ => {}
        }
        files
    }
}

/// Names that no directory entry can have, and some that it can and had better not.
fn bad_names() -> impl Iterator<Item = Vec<u8>> {
    let plain = [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "../up",
        "../../../canary",
        "/etc/shadow",
        "zero\0byte",
        "two\nlines",
        "\u{1b}[2J",
        "-rf",
        "*",
        " ",
    ];
    let long = [255, 256, 1024, 1025, 4096, 70_000].map(|length| vec![b'x'; length]);
    plain.into_iter().map(|name| name.as_bytes().to_vec()).chain(long).chain([b"\xff\xfe\xc3(".to_vec()])
}

/// Two megabytes on standard error, which sshd sends on.
fn flood() -> io::Result<()> {
    io::stderr().write_all(&NOISE.repeat((2 << 20) / NOISE.len()))
}

fn send_names(id: u32, nodes: &[Node]) -> io::Result<()> {
    let body = Body::default().int(id).int(u32::try_from(nodes.len()).expect("a short packet"));
    let add =
        |body: Body, node: &Node| body.string(&node.name).string(&node.name).bytes(&node.attributes().0);
    send(NAME, &nodes.iter().fold(body, add))
}

fn send_status(id: u32, status: u32) -> io::Result<()> {
    send(STATUS, &Body::default().int(id).int(status).string(b"").string(b""))
}

fn send(kind: u8, body: &Body) -> io::Result<()> {
    let length = u32::try_from(body.0.len() + 1).expect("a short packet");
    say(&Body::default().int(length).bytes(&[kind]).bytes(&body.0).0)
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn say_and_wait(bytes: &[u8]) -> io::Result<()> {
    say(bytes)?;
    wait_for_end()
}

/// Says nothing more.
fn wait_for_end() -> io::Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

fn read_packet() -> Option<(u8, Vec<u8>)> {
    let mut input = io::stdin().lock();
    let mut head = [0; 5];
    input.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes(head[..4].try_into().ok()?);
    let mut body = vec![0; length.checked_sub(1)? as usize];
    input.read_exact(&mut body).ok()?;
    Some((head[4], body))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(length.min(rest.len()));
    *rest = left;
    taken
}

fn take_int(rest: &mut &[u8]) -> u32 {
    take(rest, 4).try_into().map_or(0, u32::from_be_bytes)
}

fn take_long(rest: &mut &[u8]) -> u64 {
    take(rest, 8).try_into().map_or(0, u64::from_be_bytes)
}

fn take_string(rest: &mut &[u8]) -> Vec<u8> {
    let length = take_int(rest) as usize;
    take(rest, length).to_vec()
}
