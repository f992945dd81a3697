//! The steps of a check: told as they happen, and kept for `--json`.

use super::transcript::{Event, HostKey, Told, UserKey};
use crate::{
    admin::output::{self, BAD, FAINT, GOOD, WARNING, painted},
    diagnosis::Cause,
    mount::MountError,
};
use anstyle::Style;
use serde::{Serialize, Serializer};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// What a mount goes through, in order, and what is measured then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The policy, the options, the files they name.
    Options,
    /// The unit of the mount.
    Sshfs,
    /// From the name to an address.
    Name,
    /// TCP, also through jump hosts.
    Connection,
    /// Who the server is.
    HostKey,
    /// Who we are.
    Login,
    /// The subsystem.
    Sftp,
    /// The remote directory.
    Directory,
    /// How long a question to the server takes.
    RoundTrip,
    /// A file of our own.
    Write,
    /// The same file.
    Read,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It worked, and somebody should look at it.
    Attention,
    /// A mount would fail with this.
    Failed,
    /// Not wanted, or not possible.
    Skipped,
    /// It did not come to that.
    NotRun,
}

/// What there is to tell of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    step: Step,
    state: State,
    detail: String,
    #[serde(rename = "milliseconds", serialize_with = "milliseconds")]
    took: Duration,
}

/// What is known of the way to the server, and the lines about it.
#[derive(Debug)]
pub struct Progress {
    lines: Vec<Line>,
    since: Instant,
    is_shown: bool,
    started: String,
    checking: Checking,
    address: String,
    shown_key: Option<HostKey>,
    user_key: Option<UserKey>,
    jump_hosts: Vec<String>,
    jump_key: Option<(String, Known)>,
    on_the_way: bool,
}

/// How the key of the server is judged.
#[derive(Clone, Debug)]
pub enum Checking {
    /// The volume names the key.
    Pinned,
    /// Files have it, or it is learnt.
    Files,
    /// It is not.
    Unverified,
}

#[derive(Clone, Debug)]
enum Known {
    At(String),
    Not,
}

const ALL: [Step; 11] = [
    Step::Options,
    Step::Sshfs,
    Step::Name,
    Step::Connection,
    Step::HostKey,
    Step::Login,
    Step::Sftp,
    Step::Directory,
    Step::RoundTrip,
    Step::Write,
    Step::Read,
];

impl Progress {
    /// Nothing has happened. `is_shown`: each line is printed when it is known.
    #[must_use]
    pub fn new(is_shown: bool) -> Self {
        Self {
            lines: Vec::new(),
            since: Instant::now(),
            is_shown,
            started: String::new(),
            checking: Checking::Files,
            address: String::new(),
            shown_key: None,
            user_key: None,
            jump_hosts: Vec::new(),
            jump_key: None,
            on_the_way: false,
        }
    }

    /// Says how sshfs is started, and how the key of the server is judged.
    pub fn expect(&mut self, started: String, checking: Checking) {
        (self.started, self.checking) = (started, checking);
    }

    /// A step has ended, for the first time.
    pub fn note(&mut self, step: Step, state: State, detail: impl Into<String>) {
        if self.is_over(step) {
            return;
        }
        let line = Line { step, state, detail: detail.into(), took: self.since.elapsed() };
        self.since = Instant::now();
        self.show(&line);
        self.lines.push(line);
    }

    /// Prints what is no step.
    pub fn show(&self, line: &impl fmt::Display) {
        if self.is_shown {
            // Whether or not it can be told, the mount must be taken away.
            _ = output::line(line);
        }
    }

    /// Whether a step has ended.
    #[must_use]
    pub fn is_over(&self, step: Step) -> bool {
        self.lines.iter().any(|line| line.step == step)
    }

    /// Whether all went well.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.state != State::Failed)
    }

    /// The lines, those of steps that it did not come to included.
    #[must_use]
    pub fn all(&self) -> Vec<Line> {
        let line = |step| self.lines.iter().find(|line| line.step == step).cloned();
        let missing = |step| Line { step, state: State::NotRun, detail: String::new(), took: Duration::ZERO };
        ALL.into_iter().map(|step| line(step).unwrap_or_else(|| missing(step))).collect()
    }

    /// ssh is further on.
    pub fn hear(&mut self, Told { event, on_the_way }: Told) {
        self.on_the_way = on_the_way;
        self.note_start();
        match event {
            Event::Resolved { host, address, port } => {
                self.address = format!("{address} port {port}");
                let place = if host == address { address } else { format!("{host} is {address}") };
                let detail = if on_the_way { format!("jump host {place}") } else { place };
                self.note(Step::Name, State::Ok, detail);
            }
            Event::Connected if on_the_way => {}
            Event::Connected => self.note(Step::Connection, State::Ok, self.address.clone()),
            Event::KeyShown(key) => {
                if !on_the_way {
                    self.note_connection_through_others();
                }
                self.shown_key = Some(key);
            }
            Event::KeyFound(place) => self.judge_key(Known::At(place), on_the_way),
            Event::KeyAdded => self.judge_key(Known::Not, on_the_way),
            Event::KeyAccepted(key) => self.user_key = Some(key),
            Event::LoggedIn { method } => self.note_login(method.as_deref(), on_the_way),
            Event::SftpRequested => {}
        }
    }

    /// ssh runs, so sshfs does.
    fn note_start(&mut self) {
        self.note(Step::Sshfs, State::Ok, self.started.clone());
    }

    fn judge_key(&mut self, known: Known, on_the_way: bool) {
        let Some(key) = self.shown_key.take() else { return };
        let shown = format!("{} {}", key.kind, key.fingerprint);
        if on_the_way {
            self.jump_key = Some((shown, known));
            return;
        }
        let (state, detail) = match (&self.checking, known) {
            (Checking::Unverified, _) => (
                State::Attention,
                format!("{shown}, not verified: whoever is on the way can read and change everything"),
            ),
            (Checking::Pinned, Known::At(_)) => (State::Ok, format!("{shown}, the pinned one")),
            (_, Known::At(place)) => (State::Ok, format!("{shown}, known ({place})")),
            (_, Known::Not) => (State::Attention, format!("{shown}, {}", advice(&key.kind))),
        };
        self.note(Step::HostKey, state, detail);
    }

    fn note_login(&mut self, method: Option<&str>, on_the_way: bool) {
        let key = self.user_key.take();
        if on_the_way {
            if let Some((shown, known)) = self.jump_key.take() {
                let known = match known {
                    Known::At(_) => "known",
                    Known::Not => "NEW",
                };
                self.jump_hosts.push(format!("{shown}, {known}"));
            }
            return;
        }
        let detail = match (method, key) {
            (Some("publickey"), Some(UserKey { kind, fingerprint, of_agent })) => {
                let whose = if of_agent { "key of the agent" } else { "key" };
                format!("{whose} {kind} {fingerprint}")
            }
            (method, _) => method.unwrap_or("accepted").to_owned(),
        };
        self.note(Step::Login, State::Ok, detail);
    }

    /// The server has spoken although no connection to it was seen: something else has made it.
    fn note_connection_through_others(&mut self) {
        self.note(Step::Name, State::Ok, "left to who makes the connection");
        let new = self.jump_hosts.iter().any(|key| key.ends_with("NEW"));
        let detail = if self.jump_hosts.is_empty() {
            "through a program".to_owned()
        } else {
            let keys = self.jump_hosts.join("; ");
            let compare = if new { "; compare what is new with the keys of the jump hosts" } else { "" };
            format!("through jump hosts with the keys {keys}{compare}")
        };
        self.note(Step::Connection, if new { State::Attention } else { State::Ok }, detail);
    }

    /// The server answers as an SFTP server does.
    pub fn note_sftp(&mut self) {
        self.note(Step::Sftp, State::Ok, "the server offers it");
    }

    /// The mount has failed with this sentence: at the step that the cause is about, or where ssh got stuck.
    pub fn fail(&mut self, error: &MountError, sentence: String) {
        let next = ALL.into_iter().find(|step| !self.is_over(*step)).unwrap_or(Step::Directory);
        let error = match error {
            MountError::TooOld { cause, .. } => cause,
            error => error,
        };
        let step = match error {
            _ if self.on_the_way => Step::Connection,
            MountError::Remote(cause) => step_of(cause).unwrap_or(next.max(Step::Name)),
            MountError::Login(_) | MountError::Keys { .. } => Step::Login,
            MountError::Deadline { .. } => next.max(Step::Name),
            _ => next,
        };
        if step > Step::Sshfs {
            self.note_start();
        }
        if step == Step::Directory {
            self.note_sftp();
        }
        // Of a later one, too: what a server says is out of order.
        let step = if self.is_over(step) { next } else { step };
        self.note(step, State::Failed, sentence);
        if let (Step::HostKey, Some(key)) = (step, &self.shown_key) {
            self.show(&format!("         the server shows {} {}", key.kind, key.fingerprint));
        }
    }
}

/// The step that a cause is about, where it tells.
fn step_of(cause: &Cause) -> Option<Step> {
    Some(match cause {
        Cause::BadConfiguration(_) => Step::Options,
        Cause::NoProgram(_) => Step::Sshfs,
        Cause::UnknownHost => Step::Name,
        Cause::HostKeyChanged(_) | Cause::HostKeyUnknown | Cause::HostKeyRevoked | Cause::HostKey(_) => {
            Step::HostKey
        }
        Cause::JumpHost(_) | Cause::BehindJumpHost(_) => Step::Connection,
        Cause::AccessDenied { .. }
        | Cause::TooManyKeys
        | Cause::UnusableKey(_)
        | Cause::BadKey(_)
        | Cause::NoAgent(_) => Step::Login,
        Cause::NoSftp | Cause::NotSftp => Step::Sftp,
        Cause::NoDirectory | Cause::NotADirectory | Cause::DirectoryDenied => Step::Directory,
        _ => return None,
    })
}

/// What to do about a key that nobody has seen before.
fn advice(kind: &str) -> String {
    let file = match kind {
        "ssh-ed25519" => "ed25519",
        "ssh-rsa" | "rsa-sha2-256" | "rsa-sha2-512" => "rsa",
        kind if kind.starts_with("ecdsa-") => "ecdsa",
        _ => "*",
    };
    format!(
        "NEW: the first mount will store it. Compare it with what this says on the server: \
         ssh-keygen -lf /etc/ssh/ssh_host_{file}_key.pub"
    )
}

impl Step {
    fn title(self) -> &'static str {
        match self {
            Self::Options => "options",
            Self::Sshfs => "sshfs",
            Self::Name => "name",
            Self::Connection => "connection",
            Self::HostKey => "host key",
            Self::Login => "login",
            Self::Sftp => "sftp",
            Self::Directory => "directory",
            Self::RoundTrip => "round trip",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

impl State {
    fn word(self) -> (Style, &'static str) {
        match self {
            Self::Ok => (GOOD, "ok"),
            Self::Attention => (WARNING, "look"),
            Self::Failed => (BAD, "FAILED"),
            Self::Skipped => (FAINT, "skipped"),
            Self::NotRun => (FAINT, "not run"),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (style, word) = self.state.word();
        let took = format!("{} ms", self.took.as_millis());
        let word = painted(style, &format!("{word:7}"));
        write!(
            f,
            "{word}  {:10}  {}  {}",
            self.step.title(),
            painted(FAINT, &format!("{took:>8}")),
            self.detail
        )
    }
}

fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: Event) -> Told {
        Told { event, on_the_way: false }
    }

    fn key() -> HostKey {
        HostKey { kind: "ssh-ed25519".to_owned(), fingerprint: "SHA256:x".to_owned() }
    }

    fn states(progress: &Progress) -> Vec<(Step, State)> {
        progress.lines.iter().map(|line| (line.step, line.state)).collect()
    }

    #[test]
    fn a_new_key_needs_a_look_and_a_known_one_does_not() {
        for (event, checking, state, words) in [
            (Event::KeyAdded, Checking::Files, State::Attention, "ssh_host_ed25519_key.pub"),
            (Event::KeyFound("/f:1".to_owned()), Checking::Files, State::Ok, "known (/f:1)"),
            (Event::KeyFound("/f:1".to_owned()), Checking::Pinned, State::Ok, "pinned"),
            (Event::KeyAdded, Checking::Unverified, State::Attention, "not verified"),
        ] {
            let mut progress = Progress::new(false);
            progress.expect(String::new(), checking);
            progress.hear(told(Event::Connected));
            progress.hear(told(Event::KeyShown(key())));
            progress.hear(told(event));
            let line = progress.lines.last().unwrap();
            assert_eq!((line.step, line.state), (Step::HostKey, state), "{line:?}");
            assert!(line.detail.contains(words), "{line:?}");
        }
    }

    #[test]
    fn a_failure_is_shown_at_the_step_that_it_is_about() {
        let denied = || Cause::AccessDenied { accepts: "publickey".to_owned(), key: None };
        for (cause, on_the_way, step) in [
            (Cause::UnknownHost, false, Step::Name),
            (denied(), false, Step::Login),
            (denied(), true, Step::Connection),
            (Cause::Refused, false, Step::Connection),
            (Cause::NoDirectory, false, Step::Directory),
        ] {
            let mut progress = Progress::new(false);
            progress.note(Step::Options, State::Ok, "");
            progress.note(Step::Sshfs, State::Ok, "");
            if step > Step::Name {
                let [host, address, port] = ["h", "10.0.0.1", "22"].map(str::to_owned);
                progress.hear(Told { event: Event::Resolved { host, address, port }, on_the_way });
            }
            progress.fail(&MountError::Remote(cause), "why".to_owned());
            assert_eq!(states(&progress).last(), Some(&(step, State::Failed)));
            let all = progress.all();
            assert_eq!(all.len(), ALL.len());
            assert!(all.iter().filter(|line| line.step > step).all(|line| line.state == State::NotRun));
        }
    }

    #[test]
    fn a_server_behind_a_jump_host_is_reached_when_it_shows_its_key() {
        let mut progress = Progress::new(false);
        let way = [Event::Connected, Event::KeyShown(key()), Event::KeyAdded];
        for event in way.into_iter().chain([Event::LoggedIn { method: None }]) {
            progress.hear(Told { event, on_the_way: true });
        }
        assert_eq!(states(&progress), [(Step::Sshfs, State::Ok)]);
        progress.hear(told(Event::KeyShown(key())));
        assert_eq!(states(&progress)[1..], [(Step::Name, State::Ok), (Step::Connection, State::Attention)]);
    }
}
