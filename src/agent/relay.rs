//! `sshfs-docker relay-agent VOLUME`: between the ssh of one mount and the agent of the host that its volume names.
//! systemd starts it when ssh calls, and it ends when nobody has called for a while.
//!
//! It calls the agent in the name of the user whom the socket belongs to, and is that user before it reads the first byte
//! of ssh: agents refuse everybody else, OpenSSH's alone makes an exception for root. And a user who puts a link to
//! somebody else's agent in the place of his own gets nothing by it.

use super::filter::{Verdict, failure, judge, read_message, write_message};
use crate::{
    activation,
    cli::Layout,
    config::Config,
    sealing::Sealer,
    store::Store,
    volume::{Spec, VolumeName, agent::AgentSocket},
};
use anyhow::{Context, Result, anyhow, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt::SendTimeout,
        },
        time::TimeVal,
    },
    unistd::{Gid, Uid, User, initgroups, setgid, setgroups, setuid},
};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::{
    ffi::CString,
    fs::Metadata,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Component, Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

/// More parts than a path has, links resolved; the kernel gives up after 40 links (path_resolution(7)).
const MOST_STEPS: usize = 4096;

/// How long it stays without a connection. ssh has one while it logs in.
const IDLE: u16 = 30_000;

/// The same where there is no agent: the next one that calls shall have another look taken.
const IDLE_WITHOUT_AGENT: u16 = 500;

/// How many connections there may be at once. Each mount has one ssh, or as many as its `max_conns`, and theirs for jump
/// hosts.
const CONNECTIONS: usize = 32;

/// How long either side may be silent. A user may have to find a security key first; sshd gives him two minutes
/// (LoginGraceTime).
const SILENCE: Duration = Duration::from_secs(120);

/// How long an agent may take to accept a connection.
const ACCEPT: i64 = 10;

/// Relays until nobody calls any more.
#[must_use]
pub fn run(layout: &Layout, name: &VolumeName) -> ExitCode {
    // Without an agent, whoever calls is told so: a call that nobody takes would start this again and again.
    let agent = find(layout, name).and_then(Agent::become_owner);
    let listener = activation::passed();
    let result = drop_capabilities().and(listener).and_then(|listener| serve(&listener, agent));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The agent of a volume and who it belongs to.
struct Agent {
    socket: AgentSocket,
    owner: Uid,
    group: Gid,
}

/// Reads the definition of the volume, and judges it again: the administrator may have changed the policy.
fn find(layout: &Layout, name: &VolumeName) -> Result<Agent> {
    let paths = layout.paths();
    let config = Config::read(&paths.config_file())
        .with_context(|| format!("{} is not valid", paths.config_file().display()))?;
    let stored = Store::open(&paths, Sealer::none())?
        .read(name)
        .with_context(|| format!("there is no volume {name}"))?;
    let definition = stored.definition?;
    let spec = Spec::parse(&definition.options, definition.has_password, &config.policy)?;
    let socket = spec.agent.with_context(|| format!("volume {name} has no option 'IdentityAgent'"))?;
    let way = first_not_of_root(socket.path()).map_err(|e| anyhow!(sentence(&socket, &e, "root")))?;
    Ok(Agent { owner: Uid::from_raw(way.uid()), group: Gid::from_raw(way.gid()), socket })
}

/// The first on the way to `path` that does not belong to root; what is there in the end where all of it does. Whose it is
/// decides what is at `path`, and nobody else but root does. Links of root's are followed as the kernel does it: behind
/// one may be the directory of a user.
fn first_not_of_root(path: &Path) -> io::Result<Metadata> {
    let mut to_come: Vec<PathBuf> = vec![path.to_owned()];
    let mut here = PathBuf::from("/");
    for _ in 0..MOST_STEPS {
        let Some(next) = to_come.pop() else { return here.symlink_metadata() };
        let mut parts = next.components();
        let Some(part) = parts.next() else { continue };
        to_come.push(parts.as_path().to_owned());
        match part {
            Component::RootDir => here = PathBuf::from("/"),
            Component::ParentDir => _ = here.pop(),
            Component::CurDir | Component::Prefix(_) => {}
            Component::Normal(name) => {
                let place = here.join(name);
                let metadata = place.symlink_metadata()?;
                if metadata.uid() != 0 {
                    return Ok(metadata);
                }
                if metadata.is_symlink() {
                    to_come.push(place.read_link()?);
                } else {
                    here = place;
                }
            }
        }
    }
    Err(nix::errno::Errno::ELOOP.into())
}

impl Agent {
    /// Becomes its owner for good.
    fn become_owner(self) -> Result<AgentSocket> {
        if self.owner.is_root() {
            return Ok(self.socket);
        }
        let user = User::from_uid(self.owner).ok().flatten();
        match &user {
            Some(user) => {
                let name = CString::new(user.name.as_str())?;
                initgroups(&name, user.gid).and_then(|()| setgid(user.gid))
            }
            // A user without a name, of a container for example.
            None => setgroups(&[]).and_then(|()| setgid(self.group)),
        }
        .and_then(|()| setuid(self.owner))
        .with_context(|| format!("cannot become user {}, whose agent it is", self.owner))?;
        Ok(self.socket)
    }
}

/// Root without capabilities is the owner of root's files, and no more. There is only one thread yet.
fn drop_capabilities() -> Result<()> {
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .context("cannot give up capabilities")
}

fn serve(listener: &UnixListener, agent: Result<AgentSocket>) -> Result<()> {
    let agent = Arc::new(agent.map_err(|e| format!("{e:#}")));
    if let Err(reason) = agent.as_ref() {
        eprintln!("there is no agent: {reason}");
    }
    let idle = if agent.is_ok() { IDLE } else { IDLE_WITHOUT_AGENT };
    listener.set_nonblocking(true)?;
    loop {
        let mut called = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut called, PollTimeout::from(idle))?;
        // One is ours; each connection has another.
        let connections = Arc::strong_count(&agent) - 1;
        if ready == 0 && connections == 0 {
            return Ok(());
        }
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => bail!("cannot accept a connection: {e}"),
        };
        if connections >= CONNECTIONS {
            eprintln!("more than {CONNECTIONS} connections at once, refusing one");
            continue;
        }
        let agent = Arc::clone(&agent);
        thread::Builder::new().spawn(move || {
            if let Err(e) = relay(client, agent.as_ref().as_ref()) {
                eprintln!("a connection ended: {e}");
            }
        })?;
    }
}

/// Relays one connection. The protocol has one answer to each request, in turn.
fn relay(mut client: UnixStream, agent: Result<&AgentSocket, &String>) -> io::Result<()> {
    client.set_nonblocking(false)?;
    limit(&client)?;
    let mut agent = agent.map_err(String::clone).and_then(|socket| {
        let stream = call(socket.path()).and_then(|stream| limit(&stream).map(|()| stream));
        stream.map_err(|e| sentence(socket, &e, &user_name()))
    });
    let mut has_refused = false;
    while let Some(request) = read_message(&mut client)? {
        let reply = match (judge(&request), &mut agent) {
            (Verdict::Refuse, _) => {
                // Once is enough: whoever asks for it may ask a million times.
                if !has_refused {
                    eprintln!("refused a request of type {} of the mount's ssh", request[0]);
                }
                has_refused = true;
                failure("")
            }
            (Verdict::Forward, Err(reason)) => failure(reason),
            (Verdict::Forward, Ok(agent)) => {
                write_message(agent, &request)?;
                read_message(agent)?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        write_message(&mut client, &reply)?;
    }
    Ok(())
}

fn limit(stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))
}

/// Connects. Where the agent accepts nobody, the kernel would wait without this limit.
fn call(path: &Path) -> io::Result<UnixStream> {
    let stream = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&stream, SendTimeout, &TimeVal::new(ACCEPT, 0))?;
    connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(stream))
}

/// Why an agent cannot be called, for the user.
fn sentence(socket: &AgentSocket, error: &io::Error, user: &str) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{socket} does not exist"),
        io::ErrorKind::ConnectionRefused => format!("nobody listens on {socket}"),
        io::ErrorKind::PermissionDenied => format!("user {user} may not connect to {socket}"),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{socket} does not answer"),
        _ => format!("cannot connect to {socket}: {error}"),
    }
}

fn user_name() -> String {
    let user = Uid::effective();
    User::from_uid(user).ok().flatten().map_or_else(|| user.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::filter::{IDENTITIES_ANSWER, REQUEST_IDENTITIES};

    /// As root, who can give files away; the others have nothing to prove here.
    #[test]
    fn behind_a_link_of_roots_counts_whose_directory_it_leads_to() {
        if !Uid::effective().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        std::fs::create_dir_all(home.join("agents")).unwrap();
        std::fs::write(home.join("agents/socket"), "").unwrap();
        std::os::unix::fs::symlink("./home/../home/agents", root.path().join("link")).unwrap();
        let owner = |path: &str| first_not_of_root(&root.path().join(path)).unwrap().uid();
        assert_eq!((owner("link/socket"), owner("home/agents/socket")), (0, 0));
        // Whoever has the directory can put anything there, a link to root's agent too.
        std::os::unix::fs::chown(&home, Some(61_001), None).unwrap();
        assert_eq!((owner("link/socket"), owner("home/agents/socket")), (61_001, 61_001));
        std::os::unix::fs::symlink("loop", root.path().join("loop")).unwrap();
        assert!(first_not_of_root(&root.path().join("loop")).is_err());
    }

    /// An agent that takes one connection, answers everything with an empty list of keys, and returns what it was asked.
    fn agent(directory: &Path) -> (AgentSocket, thread::JoinHandle<Vec<Vec<u8>>>) {
        let path = directory.join("agent");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = thread::spawn(move || {
            let (mut relay, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            while let Ok(Some(request)) = read_message(&mut relay) {
                asked.push(request);
                write_message(&mut relay, &[IDENTITIES_ANSWER, 0, 0, 0, 0]).unwrap();
            }
            asked
        });
        (AgentSocket::parse(path.to_str().unwrap()).unwrap(), asked)
    }

    /// What a client gets for each request.
    fn replies(agent: Result<&AgentSocket, &String>, requests: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut client, relayed) = UnixStream::pair().unwrap();
        thread::scope(|scope| {
            scope.spawn(move || relay(relayed, agent));
            let mut ask = |request: &&[u8]| {
                write_message(&mut client, request).unwrap();
                read_message(&mut client).unwrap().unwrap()
            };
            let replies = requests.iter().map(&mut ask).collect();
            drop(client);
            replies
        })
    }

    #[test]
    fn the_agent_hears_only_what_passes() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, asked) = agent(directory.path());
        let remove_all = [19];
        let got = replies(Ok(&socket), &[&[REQUEST_IDENTITIES], &remove_all, &[13, 1, 2]]);
        assert_eq!(got, [vec![IDENTITIES_ANSWER, 0, 0, 0, 0], vec![5], vec![IDENTITIES_ANSWER, 0, 0, 0, 0]]);
        assert_eq!(asked.join().unwrap(), [vec![REQUEST_IDENTITIES], vec![13, 1, 2]]);
    }

    #[test]
    fn without_an_agent_the_reason_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let socket = AgentSocket::parse(directory.path().join("gone").to_str().unwrap()).unwrap();
        let reason = format!("{socket} does not exist");
        assert_eq!(replies(Ok(&socket), &[&[REQUEST_IDENTITIES]]), [failure(&reason)]);
        // A socket that an agent has left behind.
        drop(UnixListener::bind(socket.path()).unwrap());
        let reason = format!("nobody listens on {socket}");
        assert_eq!(replies(Ok(&socket), &[&[REQUEST_IDENTITIES]]), [failure(&reason)]);
        let reason = "why".to_owned();
        assert_eq!(replies(Err(&reason), &[&[19], &[REQUEST_IDENTITIES]]), [failure(""), failure("why")]);
    }

    #[test]
    fn an_agent_is_called_in_the_name_of_the_first_who_is_not_root() {
        let metadata = first_not_of_root(Path::new("/dev/null")).unwrap();
        assert_eq!((metadata.uid(), metadata.rdev()), (0, Path::new("/dev/null").metadata().unwrap().rdev()));
        assert!(first_not_of_root(Path::new("/dev/nothing/at/all")).is_err());
        let root = nix::unistd::Uid::effective().is_root();
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        if root {
            std::os::unix::fs::lchown(directory.path(), Some(4711), None).unwrap();
        }
        let owner = first_not_of_root(&link).unwrap().uid();
        assert_eq!(owner, directory.path().metadata().unwrap().uid());
    }
}
